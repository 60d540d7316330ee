"""Your own pictures: a folder, what is in it, a model that fits it.

Presets NAME-small take the size, channels and classes of the data. Here the pictures are drawn on the spot, so that
the script runs anywhere; put your folder's name in their place.

    python examples/your_own_data.py 300
"""

import sys
from pathlib import Path

from PIL import Image, ImageDraw

import triptych as tt

steps = int(sys.argv[1]) if len(sys.argv) > 1 else 300

folder = Path("discs")
folder.mkdir(exist_ok=True)
for k in range(200):
    picture = Image.new("RGB", (40, 40), "white")
    color = (40 * k % 256, 90 * k % 256, 170 * k % 256)
    ImageDraw.Draw(picture).ellipse((k % 12, k % 7, 24 + k % 12, 24 + k % 11), fill=color)
    picture.save(folder / f"{k}.png")

data = tt.data(folder, size=16)
print(data)

model = tt.create("dcgan-small", x=data.x, width=16)
for _ in tt.train(model, data, tt.Run(steps=steps, batch=16), out="runs/discs", pictures=2):
    pass

tt.show(model.sample(32, seed=0), model).save("discs.png")
