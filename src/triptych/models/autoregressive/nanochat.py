"""nanochat: p(text) by today's transformer, of a size that one number says, and trained by Muon.

Karpathy, 2025. nanochat. https://github.com/karpathy/nanochat
after Jordan and others, 2024. Modded-NanoGPT: Speedrunning the NanoGPT baseline.
https://github.com/KellerJordan/modded-nanogpt

    log p(x) = sum_t log softmax(c tanh(W_out h_t / c))[x_t],   h = norm(blocks(norm(W_in x)))

Against gpt (this toolkit's GPT has RMSNorm, rotary positions and SwiGLU): queries and keys are normalized, so that no
product of them is large (Henry and others, 2020. https://arxiv.org/abs/2010.04245); the feed-forward network has ReLU
squared (So and others, 2021. https://arxiv.org/abs/2109.08668); what each block adds begins at zero, and so do the
scores; scores stay within +-c (Gemma 2, 2024. https://arxiv.org/abs/2408.00118); what goes in and what comes out have a
matrix each; and Muon moves the matrices between (Jordan and others, 2024).

`depth` is the one dial: so many blocks, so many heads, and a width of `aspect` for each.
"""

from collections.abc import Sequence
from functools import partial

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

from triptych.core import (
    FAITHFUL,
    UNKNOWN,
    Adam,
    Autoregressive,
    Batch,
    Clock,
    Count,
    Exact,
    Loss,
    Muon,
    Noise,
    Player,
    Positive,
    Preset,
    Sampling,
    Stage,
    Tokens,
    UsageError,
    config,
)
from triptych.models.paper import Paper
from triptych.nn.transformer import KVCache, RMSNorm, Transformer, rotate, rotations, write

PAPER = Paper(
    called="nanochat",
    title="nanochat: The best ChatGPT that $100 can buy",
    authors="Andrej Karpathy",
    year=2025,
    url="https://github.com/karpathy/nanochat",
    likelihood="exact",
    takes=("text",),
)


@config
class NanochatConfig:
    x: Tokens = Tokens(256, 256)
    """Vocabulary and sequence length, which is the context: the longest that the model can look back."""
    depth: Count = 4
    """Blocks, and attention heads of each: the one dial of how large the model is."""
    aspect: Count = 64
    """Width for each of the depth, which is a head's. An even number."""
    cap: Positive = 15.0
    """Scores lie between minus and plus this."""
    muon: Muon = Muon()

    def __post_init__(self) -> None:
        if self.aspect % 2:
            raise UsageError(f"aspect={self.aspect}: a head turns its numbers in pairs; take {self.aspect + 1}")

    @property
    def width(self) -> int:
        return self.depth * self.aspect


class Attention(nn.Module):
    """Causal self-attention whose queries and keys are of one length, before they are turned by their place."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.query, self.key, self.value, self.give = (nn.Linear(width, width, bias=False) for _ in range(4))

    def forward(
        self, x: Float[Tensor, "n t width"], turn: Float[Tensor, "2 t size"], cache: KVCache | None = None
    ) -> Float[Tensor, "n t width"]:
        """With a cache, x continues the sequence in it: by one position, or by any number if it is empty."""
        n, t, width = x.shape
        split = (n, t, self.heads, width // self.heads)
        q, k, values = (take(x).view(split).transpose(1, 2) for take in (self.query, self.key, self.value))
        queries, keys = rotate(normalized(q), turn), rotate(normalized(k), turn)
        if cache is not None:
            cache.add(keys, values)
        if cache is not None and x.shape[1] == 1:
            heads = cache.recall(queries)
        else:
            heads = F.scaled_dot_product_attention(queries, keys, values, is_causal=True)
        out: Tensor = self.give(heads.transpose(1, 2).flatten(2))
        return out


def normalized(x: Float[Tensor, "*n size"]) -> Float[Tensor, "*n size"]:
    """x with a root mean square of one, and no weights to it. A product of two is then at most their size; over its
    root, as attention takes it, that is enough for a head to look at one place."""
    return x * (x.shape[-1] ** 0.5 / torch.linalg.vector_norm(x, dim=-1, keepdim=True).clamp_min(1e-6))


class Block(nn.Module):
    """x + attention(norm(x)), then x + network(norm(x)), the network being W2 relu(W1 x)^2."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.norm1, self.attention = RMSNorm(width), Attention(width, heads)
        self.norm2, self.take = RMSNorm(width), nn.Linear(width, 4 * width, bias=False)
        self.give = nn.Linear(4 * width, width, bias=False)

    def forward(
        self, x: Float[Tensor, "n t width"], turn: Float[Tensor, "2 t size"], cache: KVCache | None = None
    ) -> Float[Tensor, "n t width"]:
        x = x + self.attention(self.norm1(x), turn, cache)
        out: Tensor = x + self.give(F.relu(self.take(self.norm2(x))).square())
        return out


class Nanochat(Autoregressive[None]):
    """An exact likelihood of sequences of tokens, and samples from it."""

    name = "nanochat"

    def __init__(self, config: NanochatConfig) -> None:
        super().__init__()
        self.config, x, width = config, config.x, config.width
        self.embedding = nn.Embedding(x.vocabulary, width)
        self.start = nn.Parameter(torch.empty(width).normal_())
        self.norm = RMSNorm(width)
        turns = rotations(torch.arange(x.length)[:, None], config.aspect, slowest=10_000)
        self.transformer = Transformer(
            config.depth, width, config.depth, turns, block=partial(Block, width, config.depth)
        )
        self.head = nn.Linear(width, x.vocabulary, bias=False)
        nn.init.normal_(self.embedding.weight, std=width**-0.5)
        for name, weight in self.transformer.named_parameters():
            if name.endswith("give.weight"):
                nn.init.zeros_(weight)
        nn.init.zeros_(self.head.weight)

    def embed(self, token: Int[Tensor, "n t"]) -> Float[Tensor, "n t width"]:
        """Token embedding, of unit scale: the weights are small, so that a step of Adam's moves them by a good part."""
        out: Tensor = self.norm(self.embedding(token) * self.config.width**0.5)
        return out

    def begin(self, token: Int[Tensor, "n t"]) -> Float[Tensor, "n t+1 width"]:
        """Input embeddings: the start token, then the tokens."""
        return torch.cat((self.start.expand(len(token), 1, -1), self.embed(token)), 1)

    def score(self, h: Float[Tensor, "*n width"]) -> Float[Tensor, "*n k"]:
        cap = self.config.cap
        out: Tensor = cap * torch.tanh(self.head(h) / cap)
        return out

    def logits(self, x: Int[Tensor, "n length"], given: None = None) -> Float[Tensor, "n length k"]:
        """The logits of each token, given those before it."""
        return self.score(self.transformer(self.begin(x[:, :-1])))

    def log_prob(self, x: Int[Tensor, "n length"], given: None = None) -> Exact:
        """log p(x). Raises UsageError if x is not in the space: another length, or a token that there is not."""
        self.config.x.check(x)
        nats = -F.cross_entropy(self.logits(x).transpose(1, 2), x, reduction="none").sum(1)
        return Exact(nats=nats, dims=self.config.x.dims, measure="mass", how="chain rule")

    def draw(self, noise: Noise, given: None = None, how: Sampling = FAITHFUL) -> Int[Tensor, "n length"]:
        """The prefix that all samples know is read at once; then one token at a time, by the key-value cache."""
        x = self.config.x
        u, token = noise.uniform(*x.shape), how.start(x, noise)
        first = int((token[:, :-1] != UNKNOWN).all(0).cumprod(0).sum())

        def read(token: Tensor, place: Tensor) -> Tensor:
            return self.embed(token)

        return write(self.transformer, self.begin(token[:, :first]), token, u, how, self.score, read)

    def memory(self, n: int) -> Sequence[Tensor]:
        """The key-value caches of n sequences before their first token."""
        return self.transformer.memory(n)

    def step(
        self, value: Int[Tensor, " n"], at: Int[Tensor, " 1"], memory: Sequence[Tensor], given: None = None
    ) -> tuple[Float[Tensor, "n k"], Sequence[Tensor]]:
        """The scores of the token at one place, for programs without this model."""
        h, memory = self.transformer.advance(torch.where(at == 0, self.start, self.embed(value[:, None])), at, memory)
        return self.score(h[:, 0]), memory

    def loss(self, batch: Batch[None], clock: Clock) -> Loss:
        """-log p(x) a token, in nats: maximum likelihood."""
        p = self.log_prob(batch.x)
        return Loss(-p.nats.mean() / p.dims, {"bits_per_token": p.bits_per_dim().mean()})

    def stages(self) -> Sequence[Stage]:
        optimizer = self.config.muon.of(self.transformer)
        return [Stage(name="train", players=[Player(name="gpt", owns=self, loss=self.loss, optimizer=optimizer)])]


PRESETS = {
    "nanochat-bpe": Preset(
        config=NanochatConfig(
            x=Tokens(1024, 256), aspect=32, muon=Muon(adam=Adam(lr=8e-3, betas=(0.8, 0.95), schedule="linear"))
        ),
        steps=4200,
        batch=4,
        data={"tokens": 1024, "length": 256},
        expect="King James Bible but for its last tenth, seed 0: 13 minutes of one CPU core. 1.926 bits a character, "
        "exact, on the last tenth: windows of 256 tokens without overlap (gzip 2.584, xz 2.181). Verses that parse.",
    ),
    "nanochat-tiny": Preset(
        config=NanochatConfig(x=Tokens(3, 4), depth=2, aspect=4),
        steps=10,
        batch=8,
        expect="For tests: all 81 sequences can be enumerated.",
    ),
}
