"""Makes a folder of faces of known ages out of the emoji: the same person as a baby, a child, an adult and older.

    triptych data get emoji
    python tools/emoji_ages.py emoji-ages/
    triptych train aging --data emoji-ages/ --size 64 groups=4 --out runs/emoji-ages

Three drawers (Fluent, Noto, Twemoji), six tones of skin, and a man, a woman or neither: whoever has all four ages. A
person's tone decides the split: `medium` is held out. Ages are what the words say, put in years: 1, 8, 35 and 75.
"""

import argparse
import csv
import sys
from pathlib import Path

from PIL import Image

from triptych.data.library import folder_of

AGES = {
    "neither": {"baby": 1, "child": 8, "adult": 35, "older adult": 75},
    "a man": {"baby": 1, "boy": 8, "man": 35, "older man": 75},
    "a woman": {"baby": 1, "girl": 8, "woman": 35, "older woman": 75},
}
DRAWERS = {"file_name": "fluent", "google_file": "noto", "twitter_file": "twemoji"}
HELD_OUT = "medium skin tone"
SIDE = 72


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path, help="the folder to write")
    out = parser.parse_args().out
    source = folder_of("emoji", None)
    with (source / "metadata.csv").open(encoding="utf-8", newline="") as file:
        rows = {row["text"]: row for row in csv.DictReader(file)}
    tones = ["", *dict.fromkeys(text.partition(", ")[2] for text in rows if text.startswith("older man, "))]
    made = []
    for column, drawer in DRAWERS.items():
        for tone in tones:
            split = "test" if tone == HELD_OUT else "train"
            (out / split).mkdir(parents=True, exist_ok=True)
            for kind, chain in AGES.items():
                person = f"{drawer}, {kind}, {tone or 'yellow'}"
                for word, age in chain.items():
                    row = rows.get(f"{word}, {tone}" if tone else word)
                    if row is None or not row[column]:
                        sys.exit(f"emoji: {word} {tone} is not among them; triptych data get emoji, once more")
                    name = f"{split}/{person.replace(', ', '-').replace(' ', '_')}-{age:02}.png"
                    picture = Image.open(source / row[column]).convert("RGBA").resize((SIDE, SIDE))
                    ground = Image.new("RGBA", picture.size, "white")
                    Image.alpha_composite(ground, picture).convert("RGB").save(out / name)
                    made.append({"file_name": name, "age": age, "person": person, "split": split})
    with (out / "metadata.csv").open("w", encoding="utf-8", newline="") as file:
        table = csv.DictWriter(file, list(made[0]))
        table.writeheader()
        table.writerows(made)
    sys.stdout.write(f"{len(made)} pictures of {len({row['person'] for row in made})} people in {out}\n")


if __name__ == "__main__":
    main()
