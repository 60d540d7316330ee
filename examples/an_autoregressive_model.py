"""An autoregressive model: pixel after pixel, and the exact likelihood of an image.

Samples come one value after the other, by a cache that computes each activation once. The numbers are nats an image
(lower is likelier); 2 to that over 784 log 2 is bits a dimension, and what a file compressed by the model takes.

    python examples/an_autoregressive_model.py 5400      # steps; 4 minutes of one CPU core
"""

import sys

import triptych as tt

steps = int(sys.argv[1]) if len(sys.argv) > 1 else 5400
train, test = tt.data("mnist-binary"), tt.data("mnist-binary:test")
model = tt.create("pixelcnn-mnist-demo")
for now in tt.train(model, train, tt.Run(steps=steps, batch=4)):
    if now.step % 200 == 0:
        print(now.step, f"{now.logs()['pixelcnn/nats']:.1f} nats")

found = tt.score(model, test, limit=50)
print(f"{found.nats:.1f} nats an image, {found.kind}")

tt.show(model.sample(16, seed=0), model).save("pixelcnn.png")
