"""LSTM language model: p(text) as a product over tokens, each given a memory of all those before it.

Graves, 2013. Generating Sequences With Recurrent Neural Networks. https://arxiv.org/abs/1308.0850

    h^1_t = H(x_t, h^1_{t-1}),   h^n_t = H(x_t, h^{n-1}_t, h^n_{t-1})                   (Equations 1 and 2)
    y_t = b + sum_n W_n h^n_t,   P(x_{t+1} | x_1 ... x_t) = softmax(y_t)                (Equations 3 and 4, 12)

Every layer reads the token beside the layer below, and the output reads all layers: so gradients have a short way
whatever the depth. H is an LSTM without Graves' peepholes. A learned vector stands before the first token.
"""

from collections.abc import Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

from triptych import native
from triptych.core import (
    FAITHFUL,
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
    precisely,
)
from triptych.models.paper import Paper
from triptych.native.lstm import write_lstm

PAPER = Paper(
    called="LSTM language model",
    title="Generating Sequences With Recurrent Neural Networks",
    authors="Alex Graves",
    year=2013,
    url="https://arxiv.org/abs/1308.0850",
    likelihood="exact",
    takes=("text",),
)

State = tuple[Tensor, Tensor]
"""Recurrent state of a layer: hidden state and cell state, [1, n, width] each."""


@config
class LSTMConfig:
    x: Tokens = Tokens(256, 256)
    """Vocabulary and sequence length; the recurrent state begins empty with each sequence."""
    embedding: Count = 64
    """Width of the token embedding."""
    width: Count = 256
    """Cells of each layer."""
    layers: Count = 2
    """Each reads the token and the layer below."""
    adam: Adam = Adam(lr=4e-3, schedule="cosine", warmup=0.02)


class LSTM(Autoregressive[None]):
    """An exact likelihood of sequences of tokens, and samples from it."""

    name = "lstm"

    def __init__(self, config: LSTMConfig) -> None:
        super().__init__()
        self.config, width = config, config.width
        self.embedding = nn.Embedding(config.x.vocabulary, config.embedding)
        self.start = nn.Parameter(torch.empty(config.embedding).normal_())
        inputs = (config.embedding + (width if i else 0) for i in range(config.layers))
        self.layers = nn.ModuleList(nn.LSTM(size, width, batch_first=True) for size in inputs)
        self.out = nn.Linear(width * config.layers, config.x.vocabulary)
        for layer in self.layers:
            # gates in the order input, forget, cell, output: at first, everything is remembered (Jozefowicz, 2015)
            nn.init.ones_(layer.get_parameter("bias_ih_l0")[width : 2 * width])

    def advance(
        self, h: Float[Tensor, "n t embedding"], states: Sequence[State | None]
    ) -> tuple[Float[Tensor, "n t k"], list[State]]:
        """The scores after each of the next tokens, and what is remembered then."""
        outputs: list[Tensor] = []
        after: list[State] = []
        for layer, state in zip(self.layers, states, strict=True):
            # rounding errors of a recurrence add up, and not every processor has this layer in bfloat16
            output, state = precisely(layer, torch.cat((h, outputs[-1]), -1) if outputs else h, state)
            outputs.append(output)
            after.append(state)
        return self.out(torch.cat(outputs, -1)), after

    def next(
        self, h: Float[Tensor, "n embedding"], states: Sequence[State]
    ) -> tuple[Float[Tensor, "n k"], list[State]]:
        """As `advance`, of a single token. On a CPU the layer would arrange its weights anew with every call, which
        takes up to ten times as long as to read them."""
        after: list[State] = []
        for layer, state in zip(self.layers, states, strict=True):
            weights = [layer.get_parameter(f"{name}_l0") for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")]
            read = torch.cat((h, after[-1][0]), -1) if after else h
            after.append(precisely(torch.lstm_cell, read, state, *weights))
        return self.out(torch.cat([output for output, _ in after], -1)), after

    def logits(self, x: Int[Tensor, "n length"], given: None = None) -> Float[Tensor, "n length k"]:
        """The logits of each token, given those before it."""
        start = self.start.expand(len(x), 1, -1)
        return self.advance(torch.cat((start, self.embedding(x[:, :-1])), 1), [None] * self.config.layers)[0]

    def log_prob(self, x: Int[Tensor, "n length"], given: None = None) -> Exact:
        """log p(x). Raises UsageError if x is not in the space: another length, or a token that there is not."""
        self.config.x.check(x)
        nats = -F.cross_entropy(self.logits(x).transpose(1, 2), x, reduction="none").sum(1)
        return Exact(nats=nats, dims=self.config.x.dims, measure="mass", how="chain rule")

    def draw(self, noise: Noise, given: None = None, how: Sampling = FAITHFUL) -> Int[Tensor, "n length"]:
        """One token at a time, carrying the recurrent state of each layer."""
        x = self.config.x
        u, token = noise.uniform(*x.shape), how.start(x, noise)
        if native.plays(u, how):  # in C++ the same samples, sooner
            return write_lstm(self, u, token, how)
        h, empty = self.start.expand(noise.n, -1), self.start.new_zeros(noise.n, self.config.width)
        states: Sequence[State] = [(empty, empty)] * self.config.layers
        for i in range(x.length):
            logits, states = self.next(h, states)
            token[:, i] = how.fill(token[:, i], logits, u[:, i])
            h = self.embedding(token[:, i])
        return token

    def memory(self, n: int) -> Sequence[Tensor]:
        """Hidden state and cell of each layer, for n sequences before their first token."""
        empty = self.start.new_zeros(n, self.config.layers, self.config.width)
        return empty, empty.clone()

    def step(
        self, value: Int[Tensor, " n"], at: Int[Tensor, " 1"], memory: Sequence[Tensor], given: None = None
    ) -> tuple[Float[Tensor, "n k"], Sequence[Tensor]]:
        """The scores of the token at one place, for programs without this model."""
        states = [
            (h[None].contiguous(), c[None].contiguous()) for h, c in zip(*(m.unbind(1) for m in memory), strict=True)
        ]
        scores, after = self.advance(torch.where(at == 0, self.start, self.embedding(value[:, None])), states)
        return scores[:, 0], [torch.cat(m).transpose(0, 1) for m in zip(*after, strict=True)]

    def loss(self, batch: Batch[None], clock: Clock) -> Loss:
        """-log p(x) a token, in nats: maximum likelihood (Equation 6)."""
        p = self.log_prob(batch.x)
        return Loss(-p.nats.mean() / p.dims, {"bits_per_token": p.bits_per_dim().mean()})

    def stages(self) -> Sequence[Stage]:
        player = Player(name="lstm", owns=self, loss=self.loss, optimizer=self.config.adam, clip=1.0)
        return [Stage(name="train", players=[player])]


PRESETS = {
    "lstm-char": Preset(
        config=LSTMConfig(),
        steps=3000,
        batch=8,
        data={"tokens": "characters", "length": 256},
        expect="King James Bible, one of two CPU cores, seed 0: 9 minutes; 1.97 bits a character on its last tenth, in "
        "windows of 256 without overlap. Verses of words, some of them made up.",
    ),
    "lstm-wikipedia": Preset(
        config=LSTMConfig(x=Tokens(256, 100), embedding=205, width=700, layers=7, adam=Adam(lr=1e-3)),
        steps=400_000,
        batch=100,
        data={"tokens": "bytes", "length": 100},
        expect="In the manner of the paper's network for 100 MB of Wikipedia (Section 3.2); not trained by us. The "
        "paper, where memory lasts 10,000 bytes: 1.67 bits a character held out, 1.33 if weights adapt on the way.",
    ),
    "lstm-tiny": Preset(
        config=LSTMConfig(x=Tokens(3, 4), embedding=4, width=6, layers=2),
        steps=10,
        batch=8,
        expect="For tests: all 81 sequences can be enumerated.",
    ),
}
