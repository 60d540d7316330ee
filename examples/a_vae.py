"""A VAE: a latent that can be looked at, and a bound on how likely an image is.

Its loss is the negative bound, in nats: distortion (what the decoder gets wrong) plus rate (what the latent tells).
Both are logged; on binary MNIST the sum falls from 500 to about 100.

    python examples/a_vae.py 4200      # steps; 2 minutes of one CPU core
"""

import sys

import torch

import triptych as tt
from triptych.verbs.walk import interpolate, reconstruct

steps = int(sys.argv[1]) if len(sys.argv) > 1 else 4200
train, test = tt.data("mnist-binary"), tt.data("mnist-binary:test")
model = tt.create("vae-mnist-demo")
for now in tt.train(model, train, tt.Run(steps=steps, batch=128)):
    if now.step % 200 == 0:
        logs = now.logs()
        print(now.step, f"distortion {logs['vae/distortion']:.1f} + rate {logs['vae/rate']:.1f} nats")

print(tt.score(model, test, limit=200))  # at most: a bound

x = model.sample(8, seed=1)
again = reconstruct(model, x)
paths = interpolate(model, walks=3, steps=8)  # along great circles of the latent space
tt.show(torch.cat([x, again, paths.flatten(0, 1)]), model).save("vae.png")
