"""A causal transformer (pre-RMSNorm, rotary position embedding, SwiGLU), and the key-value cache to sample from it.

Vaswani and others, 2017. Attention Is All You Need. https://arxiv.org/abs/1706.03762
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import torch
from jaxtyping import Float, Int, Shaped
from torch import Tensor, nn
from torch.nn import functional as F

from triptych import native
from triptych.core import Sampling, check_multiple
from triptych.native.transformer import write_natively
from triptych.nn import recorded


class RMSNorm(nn.Module):
    """RMSNorm: divides by the root mean square over features. Zhang and Sennrich, 2019. https://arxiv.org/abs/1910.07467

    torch.nn.RMSNorm is the same in more operations on a CPU, where one token takes it four times as long; on a GPU it
    is one.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))

    def forward(self, x: Float[Tensor, "*n width"]) -> Float[Tensor, "*n width"]:
        if x.is_cuda:
            return F.rms_norm(x, x.shape[-1:], self.weight, eps=1e-12 / x.shape[-1])
        length = torch.linalg.vector_norm(x, dim=-1, keepdim=True).clamp_min(1e-6)
        return x * (self.weight * x.shape[-1] ** 0.5) / length


def check_heads(field: str, width: int, heads: int, axes: int = 1) -> None:
    """Raises UsageError unless each head's share of `width` consists of pairs for each of the axes that rotary position
    embedding turns them by: 1, or 2 for rows and columns, or 3 with depths."""
    pairs = ("in pairs", "in pairs for rows and columns", "in pairs for depths, rows and columns")[axes - 1]
    check_multiple(field, width, 2 * axes * heads, f"{heads} heads {pairs}")


def rotations(places: Shaped[Tensor, "t axes"], size: int, slowest: float) -> Float[Tensor, "2 t size"]:
    """Rotary position embedding: cosines and sines that turn pairs of a query or key by their position.

    The product of a query and a key then depends on how far apart they are, and not on where.

    The pairs of a head of `size` numbers, k and k + size / 2, are shared out among the axes. Along each, the first
    turns by one radian a place and the last by 1 / slowest. Su and others, 2021, Equation 15.
    https://arxiv.org/abs/2104.09864

    Raises ValueError unless size is a multiple of 2 * axes.
    """
    axes = places.shape[1]
    if size % (2 * axes):
        raise ValueError(f"rotations: a head of {size} numbers has no pairs to share out among {axes} axes")
    speed = slowest ** -torch.linspace(0, 1, size // (2 * axes))
    angle = (places[:, :, None] * speed).flatten(1)
    cos, sin = angle.cos(), angle.sin()
    return torch.stack((torch.cat((cos, cos), -1), torch.cat((-sin, sin), -1)))


def rotate(x: Float[Tensor, "*n t size"], by: Float[Tensor, "2 t size"]) -> Float[Tensor, "*n t size"]:
    """Applies the rotary embedding: every pair (a, b) of a position becomes (a cos - b sin, b cos + a sin)."""
    cos, sin = by
    return x * cos + x.roll(x.shape[-1] // 2, -1) * sin


class KVCache:
    """Key-value cache of one layer: what it has computed so far, with room for `length` positions.

    Both lie as the matrix products with them want: on a CPU, one query then takes two thirds of the time that
    scaled_dot_product_attention does.
    """

    def __init__(self, n: int, heads: int, length: int, size: int, like: Tensor) -> None:
        self.keys = like.new_empty(n * heads, size, length)
        self.values = like.new_empty(n * heads, length, size)
        self.seen = 0

    def clear(self) -> None:
        """Puts zeros where nothing is yet."""
        self.keys[:, :, self.seen :] = 0
        self.values[:, self.seen :] = 0

    def turn(self, turns: Float[Tensor, "2 length size"], t: int) -> Float[Tensor, "2 t size"]:
        """The rotations of the next t places."""
        return turns[:, self.seen : self.seen + t]

    def add(self, keys: Float[Tensor, "n heads t size"], values: Float[Tensor, "n heads t size"]) -> None:
        """Appends the keys and values of the next positions."""
        start, self.seen = self.seen, self.seen + keys.shape[2]
        self.keys[:, :, start : self.seen] = keys.flatten(0, 1).mT
        self.values[:, start : self.seen] = values.flatten(0, 1)

    def recall(self, query: Float[Tensor, "n heads 1 size"]) -> Float[Tensor, "n heads 1 size"]:
        """Attention of the last position's query over all keys and values so far, its own included."""
        alike = torch.bmm(query.flatten(0, 1) * query.shape[-1] ** -0.5, self.keys[:, :, : self.seen])
        return torch.bmm(alike.softmax(-1), self.values[:, : self.seen]).view_as(query)


class SteadyCache(KVCache):
    """The cache of a layer, gone on with one place after the other, of which a tensor says the number.

    So every step is the same work on the same memory (see `nn.recorded`): it looks at the first `span` places, of which
    those that are not there yet count for nothing; they hold numbers (`clear`).
    """

    def __init__(self, cache: KVCache, at: Int[Tensor, " 1"], span: int) -> None:
        self.keys, self.values, self.at, self.span = cache.keys, cache.values, at, span
        self.places = torch.arange(span, device=at.device)

    def turn(self, turns: Float[Tensor, "2 length size"], t: int) -> Float[Tensor, "2 t size"]:
        return turns.index_select(1, self.at)

    def add(self, keys: Float[Tensor, "n heads t size"], values: Float[Tensor, "n heads t size"]) -> None:
        self.keys.index_copy_(2, self.at, keys.flatten(0, 1).mT)
        self.values.index_copy_(1, self.at, values.flatten(0, 1))

    def recall(self, query: Float[Tensor, "n heads 1 size"]) -> Float[Tensor, "n heads 1 size"]:
        alike = torch.bmm(query.flatten(0, 1) * query.shape[-1] ** -0.5, self.keys[:, :, : self.span])
        alike = alike.masked_fill(self.places > self.at, -torch.inf)
        return torch.bmm(alike.softmax(-1), self.values[:, : self.span]).view_as(query)


class HandedCache(KVCache):
    """The cache of a layer that is handed in and out as a whole: for programs that remember nothing."""

    def __init__(
        self, keys: Float[Tensor, "n heads size length"], values: Float[Tensor, "n heads length size"], at: Tensor
    ) -> None:
        self.keys, self.values, self.at = keys, values, at
        self.places = torch.arange(keys.shape[-1], device=keys.device)

    def turn(self, turns: Float[Tensor, "2 length size"], t: int) -> Float[Tensor, "2 t size"]:
        return turns.index_select(1, self.at)

    def add(self, keys: Float[Tensor, "n heads t size"], values: Float[Tensor, "n heads t size"]) -> None:
        here = self.places == self.at
        self.keys = torch.where(here, keys.mT, self.keys)
        self.values = torch.where(here[:, None], values, self.values)

    def recall(self, query: Float[Tensor, "n heads 1 size"]) -> Float[Tensor, "n heads 1 size"]:
        alike = (query * query.shape[-1] ** -0.5) @ self.keys
        return alike.masked_fill(self.places > self.at, -torch.inf).softmax(-1) @ self.values


class Attention(nn.Module):
    """Multi-head self-attention with rotary embedding (Section 3.2). Causal: each position attends to itself and those
    before it; otherwise to all."""

    def __init__(self, width: int, heads: int, causal: bool = True) -> None:
        super().__init__()
        self.causal = causal
        self.heads, self.size = heads, width // heads
        self.take = nn.Linear(width, 3 * width, bias=False)
        self.give = nn.Linear(width, width, bias=False)

    def forward(
        self, x: Float[Tensor, "n t width"], turn: Float[Tensor, "2 t size"], cache: KVCache | None = None
    ) -> Float[Tensor, "n t width"]:
        """With a cache, x continues the sequence in it: by one position, or by any number if it is empty."""
        parts = self.take(x).unflatten(-1, (3, self.heads, self.size)).permute(2, 0, 3, 1, 4)
        (queries, keys), values = rotate(parts[:2], turn), parts[2]
        if cache is not None:
            cache.add(keys, values)
        if cache is not None and x.shape[1] == 1:
            heads = cache.recall(queries)
        else:
            heads = F.scaled_dot_product_attention(queries, keys, values, is_causal=self.causal)
        out: Tensor = self.give(heads.transpose(1, 2).flatten(2))
        return out


class SwiGLU(nn.Module):
    """Gated feed-forward network, W2 (silu(W1 x) * V x), with as many weights as one of 4 * width without the gate.

    Shazeer, 2020. https://arxiv.org/abs/2002.05202
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        hidden = -(-8 * width // 24) * 8  # 8 / 3 of the width, rounded up to a multiple of 8
        self.take = nn.Linear(width, 2 * hidden, bias=False)
        self.give = nn.Linear(hidden, width, bias=False)

    def forward(self, x: Float[Tensor, "n t width"]) -> Float[Tensor, "n t width"]:
        gate, value = self.take(x).chunk(2, -1)
        out: Tensor = self.give(F.silu(gate) * value)
        return out


class Block(nn.Module):
    """A pre-norm block: attention, then a feed-forward network at each position, each with a residual connection.

    In training, `dropout` of what either adds is left out.
    """

    def __init__(self, width: int, heads: int, causal: bool = True, dropout: float = 0.0) -> None:
        super().__init__()
        self.norm1, self.attention = RMSNorm(width), Attention(width, heads, causal)
        self.norm2, self.network = RMSNorm(width), SwiGLU(width)
        self.drop = nn.Dropout(dropout)

    def forward(
        self, x: Float[Tensor, "n t width"], turn: Float[Tensor, "2 t size"], cache: KVCache | None = None
    ) -> Float[Tensor, "n t width"]:
        x = x + self.kept(self.attention(self.norm1(x), turn, cache))
        return x + self.kept(self.network(self.norm2(x)))

    def kept(self, x: Float[Tensor, "n t width"]) -> Float[Tensor, "n t width"]:
        if not (self.training and self.drop.p):
            return x  # to call a layer that does nothing costs a single token something
        out: Tensor = self.drop(x)
        return out


class Transformer(nn.Module):
    """Blocks and a final RMSNorm, over sequences as long as `turns`, the rotary embedding (see `rotations`)."""

    turns: Tensor

    def __init__(
        self,
        layers: int,
        width: int,
        heads: int,
        turns: Float[Tensor, "2 length size"],
        causal: bool = True,
        dropout: float = 0.0,
        block: Callable[[], nn.Module] | None = None,
    ) -> None:
        """`block` makes each of the blocks, where they are not to be `Block`: called with h, the turns and a cache."""
        super().__init__()
        self.heads, self.size = heads, width // heads
        make = block or partial(Block, width, heads, causal, dropout)
        self.blocks = nn.ModuleList([make() for _ in range(layers)])
        self.norm = RMSNorm(width)
        self.register_buffer("turns", turns, persistent=False)
        for name, weight in self.named_parameters():
            if weight.dim() == 2:
                # 2 * layers parts are added up: together they should be as large as what they are added to
                share = (2 * layers) ** -0.5 if name.endswith("give.weight") else 1.0
                nn.init.normal_(weight, std=share * weight.shape[1] ** -0.5)

    @property
    def plain(self) -> bool:
        """Whether it is what this page says, in evaluation mode: blocks of a model's own may do anything."""
        return not self.training and all(type(block) is Block for block in self.blocks)

    def caches(self, n: int) -> list[KVCache]:
        """Empty key-value caches for n sequences: hand them to every call, and give each position once."""
        length = self.turns.shape[1]
        return [KVCache(n, self.heads, length, self.size, self.norm.weight) for _ in self.blocks]

    def memory(self, n: int) -> tuple[Tensor, Tensor]:
        """Keys and values of all layers before anything is read: what `step` begins with."""
        layers, length, like = len(self.blocks), self.turns.shape[1], self.norm.weight
        keys = like.new_zeros(n, layers, self.heads, self.size, length)
        return keys, keys.new_zeros(n, layers, self.heads, length, self.size)

    def advance(
        self, h: Float[Tensor, "n 1 width"], at: Int[Tensor, " 1"], memory: Sequence[Tensor]
    ) -> tuple[Float[Tensor, "n 1 width"], tuple[Tensor, Tensor]]:
        """The output at place `at`, given what was read before it, and what is remembered then."""
        caches = [HandedCache(keys, values, at) for keys, values in zip(*(m.unbind(1) for m in memory), strict=True)]
        out = self(h, caches)
        return out, (torch.stack([c.keys for c in caches], 1), torch.stack([c.values for c in caches], 1))

    def forward(
        self, h: Float[Tensor, "n t width"], caches: Sequence[KVCache] | None = None
    ) -> Float[Tensor, "n t width"]:
        """If causal, output t depends on h up to t.

        With caches, which a causal one takes, `h` is what comes next: first any number of positions (the prefix), then
        one at a time.
        """
        turn = caches[0].turn(self.turns, h.shape[1]) if caches else self.turns[:, : h.shape[1]]
        for i, block in enumerate(self.blocks):
            h = block(h, turn, caches[i] if caches else None)
        out: Tensor = self.norm(h)
        return out


@dataclass(frozen=True)
class Read:
    """What a transformer reads of a value: its row of a table, times `scale`, plus what is added at its place."""

    table: Float[Tensor, "values width"]
    scale: float = 1.0
    position: Float[Tensor, "*n length width"] | None = None
    """The same for all items, or for each its own."""
    row: int = 0
    """Of an image: how many values a row has. In C++ those of two levels are guessed by their neighbors, so that the
    network looks at several places at once; what it picks is the same."""

    def __call__(self, token: Int[Tensor, "n t"], place: Int[Tensor, " t"]) -> Float[Tensor, "n t width"]:
        """`place` is the number of the place that each value comes before."""
        out = F.embedding(token, self.table)
        if self.scale != 1:
            out = out * self.scale
        return out if self.position is None else out + self.position.index_select(-2, place)


@dataclass(frozen=True)
class Score:
    """The scores of the value at a place, of what the network makes of it: a linear layer."""

    weight: Float[Tensor, "values width"]
    bias: Float[Tensor, " values"] | None = None

    def __call__(self, h: Float[Tensor, "n width"]) -> Float[Tensor, "n values"]:
        return F.linear(h, self.weight, self.bias)


SPAN = 1024
"""Places that a recorded step looks at, or a multiple of it: what it reads in vain costs less than to record again."""


def write(
    transformer: Transformer,
    h: Float[Tensor, "n first+1 width"],
    token: Int[Tensor, "n length"],
    u: Float[Tensor, "n length"],
    how: Sampling,
    score: Callable[[Tensor], Tensor],
    read: Callable[[Tensor, Tensor], Tensor],
) -> Int[Tensor, "n length"]:
    """Draws values one after the other into `token`, from number `first` on, and returns it.

    Args:
        h: what the network reads before it gives the first of them: those before, and a start.
        token: what is known, -1 where it is to be drawn.
        u: a uniform number for each.
        score: what the network makes of a place [n, width] -> the scores of the value there [n, k]; `Score` mostly.
        read: values [n, 1], and the number of the place they come before, int64 [1] -> what the network reads of them
            [n, 1, width]; `Read` mostly.
    """
    first, length, device = h.shape[1] - 1, token.shape[1], token.device
    caches, steady = transformer.caches(token.shape[0]), recorded.records(device)
    if isinstance(score, Score) and isinstance(read, Read) and transformer.plain and native.plays(u, how):
        if first:
            transformer(h[:, :-1], caches)
        return write_natively(transformer, caches, h, token, u, how, score, read)
    places = torch.split(torch.arange(length, device=device), 1)
    for i in range(first, first + 1 if steady else length):
        token[:, i] = how.fill(token[:, i], score(transformer(h, caches)[:, -1]), u[:, i])
        if i + 1 < length:
            h = read(token[:, i : i + 1], places[i + 1])
    if not steady or first + 1 == length:
        return token
    for cache in caches:
        cache.clear()
    at = places[first + 1].clone()
    reading = h.contiguous().clone()  # in place from here on

    def step(caches: Sequence[KVCache]) -> None:
        scores = score(transformer(reading, caches)[:, -1])
        picked = how.fill(token.index_select(1, at)[:, 0], scores, u.index_select(1, at)[:, 0])[:, None]
        token.index_copy_(1, at, picked)
        at.add_(1)
        reading.copy_(read(picked, at.clamp(max=length - 1)))

    for start in range(0, length, SPAN):
        end = min(start + SPAN, length)
        if end > first + 1:
            again = recorded.Repeated(partial(step, [SteadyCache(cache, at, end) for cache in caches]), device)
            for _ in range(max(start, first + 1), end):
                again()
    return token
