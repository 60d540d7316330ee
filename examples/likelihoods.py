"""Two likelihoods of one digit, of different kinds, by weights that come with the package.

An autoregressive model knows log p(x). A VAE gives a lower bound, which importance sampling tightens. They are never
ranked against each other: a bound says only "at least so likely".

    python examples/likelihoods.py
"""

import triptych as tt

test = tt.data("mnist-binary:test")
exact = tt.score(tt.from_pretrained("pixelcnn-mnist"), test, limit=50)
bound = tt.score(tt.from_pretrained("vae-mnist"), test, limit=50)
print(f"pixelcnn: {exact.nats:.1f} nats, {exact.kind}")
print(f"vae: at most {bound.nats:.1f} nats, {bound.kind}")
