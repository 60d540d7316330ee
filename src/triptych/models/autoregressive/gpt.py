"""GPT: p(text) as a product over tokens, each given those before it by a causal transformer.

Radford, Narasimhan, Salimans and Sutskever, 2018. Improving Language Understanding by Generative Pre-Training.
https://openai.com/research/language-unsupervised

    h_0 = U W_e,   h_l = transformer_block(h_{l-1}),   P(u) = softmax(h_n W_e^T)        (Equation 2)

with one matrix W_e for what goes in and what comes out. The block is today's: RMSNorm before each part, rotary
positions in place of the learned W_p, SwiGLU. A learned vector stands before the first token, so that the first factor
is learned like all others. What a token is (a character, a byte, a pair of those) is the data's business.
"""

from collections.abc import Sequence

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
    Noise,
    Player,
    Preset,
    Sampling,
    Stage,
    Tokens,
    config,
)
from triptych.models.paper import Paper
from triptych.nn.transformer import Read, Score, Transformer, check_heads, rotations, write

PAPER = Paper(
    called="GPT",
    title="Improving Language Understanding by Generative Pre-Training",
    authors="Alec Radford, Karthik Narasimhan, Tim Salimans, Ilya Sutskever",
    year=2018,
    url="https://openai.com/research/language-unsupervised",
    likelihood="exact",
    takes=("text",),
)


@config
class GPTConfig:
    x: Tokens = Tokens(256, 256)
    """Vocabulary and sequence length, which is the context: the longest that the model can look back."""
    width: Count = 128
    """Width of the token embedding and of the residual stream. A multiple of twice the heads."""
    layers: Count = 4
    """Blocks of attention and network."""
    heads: Count = 4
    """Attention heads of each layer; each has an equal share of the width."""
    adam: Adam = Adam(lr=4e-3, betas=(0.9, 0.95), schedule="cosine", warmup=0.02)

    def __post_init__(self) -> None:
        check_heads("width", self.width, self.heads)


class GPT(Autoregressive[None]):
    """An exact likelihood of sequences of tokens, and samples from it."""

    name = "gpt"

    def __init__(self, config: GPTConfig) -> None:
        super().__init__()
        self.config, x, width = config, config.x, config.width
        self.embedding = nn.Embedding(x.vocabulary, width)
        self.start = nn.Parameter(torch.empty(width).normal_())
        turns = rotations(torch.arange(x.length)[:, None], width // config.heads, slowest=10_000)
        self.transformer = Transformer(config.layers, width, config.heads, turns)
        nn.init.normal_(self.embedding.weight, std=width**-0.5)

    def embed(self, token: Int[Tensor, "n t"]) -> Float[Tensor, "n t width"]:
        """Token embedding. W_e, which the output layer shares, is small; sqrt(width) makes the inputs of unit scale
        (Vaswani and others, Section 3.4)."""
        out: Tensor = self.embedding(token) * self.config.width**0.5
        return out

    def begin(self, token: Int[Tensor, "n t"]) -> Float[Tensor, "n t+1 width"]:
        """Input embeddings: the start token, then the tokens."""
        return torch.cat((self.start.expand(len(token), 1, -1), self.embed(token)), 1)

    def logits(self, x: Int[Tensor, "n length"], given: None = None) -> Float[Tensor, "n length k"]:
        """The logits of each token, given those before it."""
        return F.linear(self.transformer(self.begin(x[:, :-1])), self.embedding.weight)

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
        score, read = Score(self.embedding.weight), Read(self.embedding.weight, self.config.width**0.5)
        return write(self.transformer, self.begin(token[:, :first]), token, u, how, score, read)

    def memory(self, n: int) -> Sequence[Tensor]:
        """The key-value caches of n sequences before their first token."""
        return self.transformer.memory(n)

    def step(
        self, value: Int[Tensor, " n"], at: Int[Tensor, " 1"], memory: Sequence[Tensor], given: None = None
    ) -> tuple[Float[Tensor, "n k"], Sequence[Tensor]]:
        """The scores of the token at one place, for programs without this model."""
        h, memory = self.transformer.advance(torch.where(at == 0, self.start, self.embed(value[:, None])), at, memory)
        return F.linear(h[:, 0], self.embedding.weight), memory

    def loss(self, batch: Batch[None], clock: Clock) -> Loss:
        """-log p(x) a token, in nats: maximum likelihood (Equation 1)."""
        p = self.log_prob(batch.x)
        return Loss(-p.nats.mean() / p.dims, {"bits_per_token": p.bits_per_dim().mean()})

    def stages(self) -> Sequence[Stage]:
        player = Player(name="gpt", owns=self, loss=self.loss, optimizer=self.config.adam, clip=1.0)
        return [Stage(name="train", players=[player])]


PRESETS = {
    "gpt-char": Preset(
        config=GPTConfig(),
        steps=4000,
        batch=4,
        data={"tokens": "characters", "length": 256},
        expect="King James Bible, one of two CPU cores (shared), seed 0: 20 minutes; 2.06 bits a character on its "
        "last tenth, in windows of 256 without overlap. Words and verses, little sense.",
    ),
    "gpt-bpe": Preset(
        config=GPTConfig(x=Tokens(1024, 128), width=160),
        steps=4000,
        batch=8,
        data={"tokens": 1024, "length": 128},
        expect="King James Bible but for its last tenth, seed 0: 15 minutes of one CPU core. 1.935 bits a "
        "character, exact, on the last tenth: windows of 128 tokens without overlap. Verses that parse and "
        "do not mean much.",
    ),
    "gpt-gpt2": Preset(
        config=GPTConfig(
            x=Tokens(50_257, 1024),
            width=768,
            layers=12,
            heads=12,
            adam=Adam(lr=6e-4, betas=(0.9, 0.95), weight_decay=0.1, schedule="cosine", warmup=0.005),
        ),
        steps=600_000,
        batch=480,
        data={"tokens": 50_257, "length": 1024},
        expect="The size of the smallest GPT-2 (Radford and others, 2019): for GPUs, a large text; not trained by us.",
    ),
    "gpt-tiny": Preset(
        config=GPTConfig(x=Tokens(3, 4), width=8, layers=2, heads=2),
        steps=10,
        batch=8,
        expect="For tests: all 81 sequences can be enumerated.",
    ),
}
