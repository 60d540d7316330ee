"""The training steps of other libraries, written here from what they do, on our networks (GPT's on its own).

They differ from ours in the recipe alone: who is frozen, how often the generator runs, which optimizer kernels, what is
copied and read at every step. Batches come as a loader hands them over: float32 on the CPU.
"""

import math
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from triptych.core import Batch, Clock, Generative, StepNoise, learning

Step = Callable[[], float | None]


def batches(x: Tensor, y: Tensor | None, size: int, device: torch.device) -> Iterator[tuple[Tensor, Tensor | None]]:
    """Copied as scripts do, one after the other and around again."""
    while True:
        for i in range(0, len(x) - size + 1, size):
            yield x[i : i + size].to(device), None if y is None else y[i : i + size].to(device)


def dcgan(model: Any, x: Tensor, y: Tensor | None, size: int, device: torch.device) -> Step:
    """PyTorch-GAN's dcgan.py: one batch and one batch of fakes; the generator's step through a discriminator whose own
    gradients are computed as well; the discriminator's on both in two passes; both losses read."""
    generator, discriminator, latent = model.generator.train(), model.discriminator.train(), model.config.latent
    first, second = (
        torch.optim.Adam(net.parameters(), lr=2e-4, betas=(0.5, 0.999)) for net in (generator, discriminator)
    )
    source = batches(x, y, size, device)

    def guess(x: Tensor, label: float) -> Tensor:
        p = discriminator(x).sigmoid()
        return F.binary_cross_entropy(p, torch.full_like(p, label))

    def step() -> float:
        real, _ = next(source)
        first.zero_grad()
        fake = generator(torch.randn(size, latent).to(device))
        loss = guess(fake, 1)
        loss.backward()
        first.step()
        second.zero_grad()
        other = (guess(real, 1) + guess(fake.detach(), 0)) / 2
        other.backward()
        second.step()
        return loss.item() + other.item()

    return step


def r3gan(model: Any, x: Tensor, y: Tensor | None, size: int, device: torch.device) -> Step:
    """R3GAN's Trainer.py: real and generated images in passes of their own, penalties by double differentiation."""
    generator, discriminator, latent = model.generator.train(), model.discriminator.train(), model.config.latent
    adams = [torch.optim.Adam(net.parameters(), lr=2e-4, betas=(0.0, 0.9)) for net in (discriminator, generator)]
    average, source = [w.detach().clone() for w in generator.parameters()], batches(x, y, size, device)

    def penalty(images: Tensor, scores: Tensor) -> Tensor:
        (slope,) = torch.autograd.grad(scores.sum(), images, create_graph=True)
        return slope.square().sum([1, 2, 3])

    def step() -> float:
        real, _ = next(source)
        real.requires_grad_()
        discriminator.requires_grad_(True)
        generator.requires_grad_(False)
        adams[0].zero_grad()
        fake = generator(torch.randn(size, latent, device=device), None).detach().requires_grad_()
        scores, others = discriminator(real, None), discriminator(fake, None)
        loss = (F.softplus(others - scores) + 0.5 * (penalty(real, scores) + penalty(fake, others))).mean()
        loss.backward()
        adams[0].step()
        discriminator.requires_grad_(False)
        generator.requires_grad_(True)
        adams[1].zero_grad()
        real, _ = next(source)
        fake = generator(torch.randn(size, latent, device=device), None)
        F.softplus(discriminator(real, None) - discriminator(fake, None)).mean().backward()
        adams[1].step()
        with torch.no_grad():
            for mine, theirs in zip(average, generator.parameters(), strict=True):
                mine.copy_(theirs.lerp(mine, 0.999))
        return loss.item()

    return step


def biggan(model: Any, x: Tensor, y: Tensor | None, size: int, device: torch.device) -> Step:
    """BigGAN-PyTorch's train_fns.py: two steps of the discriminator for one of the generator, toggled; an average over
    the state dict."""
    assert y is not None
    generator, discriminator = model.generator.train(), model.discriminator.train()
    first = torch.optim.Adam(discriminator.parameters(), lr=2e-4, betas=(0.0, 0.999))
    second = torch.optim.Adam(generator.parameters(), lr=5e-5, betas=(0.0, 0.999))
    average = {k: v.detach().clone() for k, v in generator.state_dict().items()}
    source, latent, classes = batches(x, y, size, device), generator.latent, model.config.given.classes

    def drawn() -> tuple[Tensor, Tensor]:
        return torch.randn(size, latent, device=device), torch.randint(classes, (size,), device=device)

    def step() -> float:
        discriminator.requires_grad_(True)
        generator.requires_grad_(False)
        for _ in range(2):
            real, label = next(source)
            assert label is not None
            first.zero_grad()
            z, c = drawn()
            with torch.no_grad():
                fake = generator(z, c)
            scores = discriminator(torch.cat([fake, real]), torch.cat([c, label]))
            others, goods = scores.chunk(2)
            loss = F.relu(1 - goods).mean() + F.relu(1 + others).mean()
            loss.backward()
            first.step()
        discriminator.requires_grad_(False)
        generator.requires_grad_(True)
        second.zero_grad()
        z, c = drawn()
        other = -discriminator(generator(z, c), c).mean()
        other.backward()
        second.step()
        with torch.no_grad():
            for k, v in generator.state_dict().items():
                average[k].copy_(average[k] * 0.9999 + v * (1 - 0.9999))
        return loss.item() + other.item()

    return step


def vdvae(model: Any, x: Tensor, y: Tensor | None, size: int, device: torch.device) -> Step:
    """openai/vdvae's train.py: the bound, its gradient clipped, the step left out if it is not finite, an average."""
    network = model.network.train()
    model.train()
    adam = torch.optim.AdamW(network.parameters(), lr=2e-4, betas=(0.9, 0.9), weight_decay=0.01)
    average, source = [w.detach().clone() for w in network.parameters()], batches(x, y, size, device)

    def step() -> float:
        real, _ = next(source)
        adam.zero_grad()
        with learning(model):
            loss = model.loss(Batch(real, None, StepNoise(1, size, slice(None), device)), Clock(0, 0.0)).value
        loss.backward()
        norm = torch.nn.utils.clip_grad_norm_(network.parameters(), 200.0).item()
        value = loss.item()
        if math.isfinite(value) and norm < 400:
            adam.step()
            for mine, theirs in zip(average, network.parameters(), strict=True):
                mine.mul_(0.9999).add_(theirs.detach(), alpha=1 - 0.9999)
        return float(value)

    return step


class NanoBlock(nn.Module):
    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm1, self.norm2 = nn.LayerNorm(width, bias=False), nn.LayerNorm(width, bias=False)
        self.take, self.give = nn.Linear(width, 3 * width, bias=False), nn.Linear(width, width, bias=False)
        self.up, self.down = nn.Linear(width, 4 * width, bias=False), nn.Linear(4 * width, width, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        n, t, c = x.shape
        q, k, v = (
            part.view(n, t, self.heads, c // self.heads).transpose(1, 2)
            for part in self.take(self.norm1(x)).split(c, dim=2)
        )
        y = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        x = x + self.give(y.transpose(1, 2).contiguous().view(n, t, c))
        return x + self.down(F.gelu(self.up(self.norm2(x))))


class NanoGPT(nn.Module):
    """nanoGPT's model.py: the layers, the loss, and `generate`, which sends the text so far through the network."""

    def __init__(self, vocabulary: int, length: int, width: int, layers: int, heads: int) -> None:
        super().__init__()
        self.length = length
        self.token, self.place = nn.Embedding(vocabulary, width), nn.Embedding(length, width)
        self.blocks = nn.ModuleList(NanoBlock(width, heads) for _ in range(layers))
        self.norm, self.out = nn.LayerNorm(width, bias=False), nn.Linear(width, vocabulary, bias=False)
        self.token.weight = self.out.weight
        self.apply(self.begin)

    @staticmethod
    def begin(layer: nn.Module) -> None:
        if isinstance(layer, nn.Linear | nn.Embedding):
            nn.init.normal_(layer.weight, std=0.02)

    def forward(self, token: Tensor, last: bool = False) -> Tensor:
        h = self.token(token) + self.place(torch.arange(token.shape[1], device=token.device))
        for block in self.blocks:
            h = block(h)
        out: Tensor = self.out(self.norm(h[:, -1:] if last else h))
        return out

    @torch.no_grad()
    def generate(self, token: Tensor, more: int) -> Tensor:
        for _ in range(more):
            p = self(token[:, -self.length :], last=True)[:, -1].softmax(-1)
            token = torch.cat((token, torch.multinomial(p, 1)), 1)
        return token


def gpt(model: Any, x: Tensor, y: Tensor | None, size: int, device: torch.device) -> Step:
    """nanoGPT's train.py, not compiled: bf16 on a GPU, clipped, fused AdamW, pinned copies; the loss read every tenth
    step."""
    c = model.config
    net = NanoGPT(c.x.vocabulary, c.x.length, c.width, c.layers, c.heads).to(device)
    adam = torch.optim.AdamW(net.parameters(), lr=1e-3, betas=(0.9, 0.99), weight_decay=0.1, fused=True)
    rows, count = torch.arange(len(x)), 0
    cuda = device.type == "cuda"

    def step() -> float | None:
        nonlocal count
        count += 1
        token = x[rows[torch.randint(len(x), (size,))]]
        token = token.pin_memory().to(device, non_blocking=True) if cuda else token
        with torch.autocast(device.type, dtype=torch.bfloat16, enabled=cuda):
            logits = net(token[:, :-1])
            loss = F.cross_entropy(logits.reshape(-1, logits.shape[-1]), token[:, 1:].reshape(-1))
        loss.backward()
        nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        adam.step()
        adam.zero_grad(set_to_none=True)
        return loss.item() if count % 10 == 0 else None

    return step


def of(name: str) -> Callable[[Generative[Any], Tensor, Tensor | None, int, torch.device], Step]:
    return {"dcgan": dcgan, "r3gan": r3gan, "biggan": biggan, "vdvae": vdvae, "gpt": gpt}[name]
