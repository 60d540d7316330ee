"""Samples by an exported generator, with nothing of Triptych: onnxruntime, numpy and Pillow.

What is exported takes noise and gives pictures: whatever reads ONNX can do the same.

    triptych export dcgan-emoji --to onnx --out exported
    python examples/sample_without_triptych.py exported/model.onnx emoji.png
"""

import sys

import numpy as np
import onnxruntime
from PIL import Image

program, out = sys.argv[1:3]
session = onnxruntime.InferenceSession(program, providers=["CPUExecutionProvider"])

n, brought = 16, {}
for one in session.get_inputs():
    shape = [n, *one.shape[1:]]
    draw = np.random.default_rng(0).random if "uniform" in one.name else np.random.default_rng(0).standard_normal
    brought[one.name] = draw(shape).astype(np.float32)

x = session.run(None, brought)[0]  # [n, channels, height, width] in [-1, 1]
rows = np.concatenate([np.concatenate(list(x[k : k + 4]), 2) for k in range(0, n, 4)], 1)
pixels = ((rows + 1) * 127.5).clip(0, 255).astype(np.uint8).transpose(1, 2, 0)
Image.fromarray(pixels.squeeze()).resize((256, 256), Image.Resampling.NEAREST).save(out)
