"""Moving digits: two pictures of 28 x 28 that move over a black field of 64 x 64 and bounce off its edges.

Srivastava, Mansimov and Salakhutdinov, 2015. Unsupervised Learning of Video Representations using LSTMs.
https://arxiv.org/abs/1502.04681, Section 3.2

The protocol by which video prediction is compared: clips of 20 frames, the first ten given and the others to be
foreseen. A picture starts anywhere and moves a tenth of its way from edge to edge at each frame, in any direction;
where two overlap, the lighter pixel is seen. (The fixed test file that papers use was made in this way; these clips
are others, of test pictures.)
"""

from collections.abc import Iterator

import numpy as np

from triptych.core import mix

FRAMES, FIELD, STEP, TOGETHER = 20, 64, 0.1, 2


def path(random: np.random.Generator, frames: int) -> np.ndarray:
    """Where a picture is, float64 [frames, 2]: as a share of the way from edge to edge, down and across."""
    at, angle = random.random(2), random.random() * 2 * np.pi
    way, found = np.array([np.sin(angle), np.cos(angle)]) * STEP, np.empty((frames, 2))
    for t in range(frames):
        at = at + way
        over = (at <= 0) | (at >= 1)
        at, way = at.clip(0, 1), np.where(over, -way, way)
        found[t] = at
    return found


def clips(pictures: np.ndarray, n: int, seed: int) -> Iterator[np.ndarray]:
    """n clips, uint8 [frames, 1, 64, 64], of pictures uint8 [m, side, side]."""
    random = np.random.Generator(np.random.Philox(key=mix(seed)))
    side = pictures.shape[1]
    for _ in range(n):
        clip = np.zeros((FRAMES, 1, FIELD, FIELD), np.uint8)
        for picture in pictures[random.integers(len(pictures), size=TOGETHER)]:
            for frame, (top, left) in zip(clip, (path(random, FRAMES) * (FIELD - side)).astype(int), strict=True):
                part = frame[0, top : top + side, left : left + side]
                np.maximum(part, picture, out=part)
        yield clip
