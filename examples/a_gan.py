"""A GAN that draws digits.

Two players: a discriminator that tells drawings from data, a generator that makes drawings that pass. Neither loss
falls when it goes well: watch the pictures in `runs/gan/samples`, and D(real) near D(fake).

    python examples/a_gan.py 2900      # steps; 4 minutes of one CPU core
"""

import sys

import triptych as tt

steps = int(sys.argv[1]) if len(sys.argv) > 1 else 2900
data = tt.data("mnist")
model = tt.create("dcgan-mnist-demo")
for now in tt.train(model, data, tt.Run(steps=steps, batch=32, channels_last=True), out="runs/gan", pictures=2):
    if now.step % 100 == 0:
        logs = now.logs()
        print(now.step, {name: round(logs[f"discriminator/{name}"], 2) for name in ("D(real)", "D(fake)")})

tt.show(model.sample(64, seed=0), model).save("gan.png")
