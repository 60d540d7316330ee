"""Fashion-MNIST (Xiao, Rasul and Vollgraf, 2017; https://arxiv.org/abs/1708.07747): the original four files."""

from triptych.data.idx import read_idx
from triptych.data.library.packages import Package
from triptych.data.library.recipe import Archives, Folder, Recipe

PACKAGE = Package(
    client="apt",
    name="dataset-fashion-mnist",
    version="0.0~git20200523.55506a9-1",
    sha256="39e172fe32dd318ebb3e512220c3beea2fa47d7e20bab348fb4e0922d6beefc0",
    size=30_900_652,
)
FILES = "usr/share/datasets/fashion-mnist/"
SPLITS = {"train-images-idx3-ubyte.gz": "train", "t10k-images-idx3-ubyte.gz": "test"}
CLASSES = (
    "t-shirt or top",
    "trouser",
    "pullover",
    "dress",
    "coat",
    "sandal",
    "shirt",
    "sneaker",
    "bag",
    "ankle boot",
)


def write(archives: Archives, folder: Folder) -> None:
    for file, content in archives.members(PACKAGE.name, lambda n: n.startswith(FILES)):
        name = file.removeprefix(FILES)
        folder.put(name, content)
        if name in SPLITS:
            folder.counts[SPLITS[name]] += len(read_idx(content, name))
    folder.table("classes.csv", ("index", "name"), list(enumerate(CLASSES)))


RECIPE = Recipe(
    name="fashion-mnist",
    about="70,000 pictures of clothes in ten classes, 8-bit grey, 28 x 28",
    licence="MIT",
    credit="Han Xiao, Kashif Rasul and Roland Vollgraf (Zalando Research), 2017",
    packages=(PACKAGE,),
    write=write,
    counts={"train": 60_000, "test": 10_000},
    version=1,
    then=(
        "triptych data fashion-mnist",
        "triptych train dcgan --data fashion-mnist --out runs/fashion",
    ),
)
