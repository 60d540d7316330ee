"""Furniture and other things of houses: the meshes of Sweet Home 3D's libraries, as solids of 64 voxels a side, or the
pictures that the libraries show of them.

The class of a thing is what its name says it is, "chair" of "Old kitchen chair", or else the room that it is listed in.
Things whose files are called the same but for a number are on one side of the split; of solids, or of pictures, that
are the same, one is kept.
"""

import hashlib
import re
from collections.abc import Iterator, Mapping

import numpy as np
from PIL import Image

from triptych.core import DataError
from triptych.data.files import Zip
from triptych.data.library.packages import Package
from triptych.data.library.recipe import Archives, Folder, Recipe, png
from triptych.media.images import BadImage, open_picture
from triptych.media.meshes import Mesh, filled, read_mesh
from triptych.media.voxels import binvox
from triptych.media.work import BadFile

PACKAGE = Package(
    client="apt",
    name="sweethome3d-furniture",
    version="1.8-1",
    sha256="3ccb90c63f9525e887a767b9cd5c8b6933b8b6b2973a615a5359ee68a2118668",
    size=119_782_356,
)
SIDE = 64
CATALOGUE = "PluginFurnitureCatalog.properties"
ENTRY = re.compile(r"(name|icon|model|category|modelRotation)#(\d+)=(.*)")
KINDS = {
    "cabinet": "cabinet wardrobe bookcase shelves shelf cupboard dresser nightstand bedside locker unit chest drawers "
    "sideboard buffet commode",
    "lamp": "lamp light lights lantern spotlight lamppost chandelier",
    "sofa": "sofa couch settee seats",
    "chair": "chair armchair stool bench wheelchair rocker",
    "bed": "bed bunk crib cradle",
    "table": "table desk",
    "plant": "plant tree bamboo bonsai yucca ficus cactus tulips hedge palm poplar maple orchids flower oak fir",
    "door": "door window panes",
}
"""Classes, by the last word of a name that is one of these."""
ROOMS = {
    "Characters": "person",
    "Vehicles": "vehicle",
    "Doors and windows": "door",
    "Lights": "lamp",
    "Kitchen": "kitchen",
    "Bathroom": "bathroom",
}
HELD = 1 / 8


def kind_of(name: str, category: str) -> str:
    kinds = {word: kind for kind, words in KINDS.items() for word in words.split()}
    named = [kinds[word] for word in re.findall("[a-z]+", name.lower()) if word in kinds]
    if category == "Characters" or not named:
        return ROOMS.get(category, "other")
    return "cabinet" if "bedside" in name.lower() else named[-1]


def listed(archive: Zip) -> Iterator[Mapping[str, str]]:
    """What the catalogue of a library says of each thing."""
    if CATALOGUE not in archive.files:
        raise DataError(f"{archive.name} holds no {CATALOGUE}")
    things = dict[str, dict[str, str]]()
    for line in archive.read(CATALOGUE).decode("latin-1").splitlines():
        if found := ENTRY.fullmatch(line.strip()):
            things.setdefault(found[2], {})[found[1]] = found[3]
    return iter(things.values())


def turned(mesh: Mesh, rotation: str | None) -> Mesh:
    """A mesh as it stands: some lie in their files, and the catalogue says how to turn them."""
    if rotation is None:
        return mesh
    matrix = np.array(rotation.split(), np.float64).reshape(3, 3)
    return Mesh(mesh.vertices @ matrix.T, mesh.faces)


def held(stem: str) -> bool:
    """Whether a thing is held out, by its name without numbers."""
    key = re.sub(r"[^a-z]+", "", stem.lower())
    return int.from_bytes(hashlib.sha256(key.encode()).digest()[:7]) < 2**56 * HELD


def place_for(library: str, thing: Mapping[str, str]) -> str:
    """Split, class and a name without its ending, that a thing is written by."""
    stem = re.sub(r"[^A-Za-z0-9_-]+", "-", thing["model"].rsplit("/", 1)[-1].removesuffix(".obj"))
    where = re.sub(r"[^a-z0-9]+", "-", library.rsplit("/", 1)[-1].removesuffix(".sh3f").lower())
    return f"{'test' if held(stem) else 'train'}/{kind_of(thing['name'], thing['category'])}/{where}-{stem}"


def write(archives: Archives, folder: Folder) -> None:
    seen, rows = set[str](), []
    for library, content in archives.members(PACKAGE.name, lambda n: n.endswith(".sh3f")):
        archive = Zip(content, library)
        for thing in listed(archive):
            file = thing["model"].lstrip("/")
            try:
                solid = filled(turned(read_mesh(archive.read(file)), thing.get("modelRotation")), SIDE)
            except (BadFile, KeyError, ValueError) as e:
                raise DataError(f"{file} in {library} cannot be read: {e}") from e
            digest = hashlib.sha256(solid.tobytes()).hexdigest()
            if digest in seen:
                continue
            seen.add(digest)
            name = f"{place_for(library, thing)}.binvox"
            folder.put(name, binvox(solid))
            folder.counts[name.partition("/")[0]] += 1
            rows.append((name, thing["name"], thing["category"]))
    folder.table("things.csv", ("file", "name", "room"), sorted(rows))


def write_renders(archives: Archives, folder: Folder) -> None:
    """The picture of each thing, on white."""
    seen = set[str]()
    for library, content in archives.members(PACKAGE.name, lambda n: n.endswith(".sh3f")):
        archive = Zip(content, library)
        for thing in listed(archive):
            file = thing["icon"].lstrip("/")
            try:
                with open_picture(archive.read(file)) as image:
                    cut_out = image.convert("RGBA")
            except (BadImage, KeyError) as e:
                raise DataError(f"{file} in {library} cannot be read: {e}") from e
            picture = Image.new("RGBA", cut_out.size, "white")
            picture.alpha_composite(cut_out)
            content = png(picture.convert("RGB"))
            digest = hashlib.sha256(content).hexdigest()
            if digest not in seen:
                seen.add(digest)
                name = place_for(library, thing)
                folder.put(f"{name}.png", content)
                folder.counts[name.partition("/")[0]] += 1


RECIPE = Recipe(
    name="furniture",
    about="812 things of houses as solids, 64 x 64 x 64 voxels, in 13 classes; held out by name",
    licence="by library: CC0, CC BY 3.0, free art licence (see the package's copyright file)",
    credit="Sweet Home 3D's libraries: Scopia, Blend Swap, Kator Legaz, Reallusion iClone and their artists",
    packages=(PACKAGE,),
    write=write,
    counts={"train": 713, "test": 99},
    version=1,
    then=(
        "triptych data furniture --sheet furniture.png",
        "triptych train vae-3d --data furniture --out runs/furniture",
    ),
)
RENDERS = Recipe(
    name="furniture-renders",
    about="820 rendered pictures of things of houses, in color, 128 x 128, in 13 classes; held out by name",
    licence=RECIPE.licence,
    credit=RECIPE.credit,
    packages=(PACKAGE,),
    write=write_renders,
    counts={"train": 718, "test": 102},
    version=1,
    then=(
        "triptych data furniture-renders --sheet renders.png",
        "triptych train dcgan-small --data furniture-renders --size 32 --minutes 5",
    ),
)
