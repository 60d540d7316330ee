"""The contract suite, applied to every model of the catalogue, and to planted bugs, each of which it must catch."""

from collections.abc import Sequence
from dataclasses import replace
from functools import partial

import pytest
import torch
from torch import Tensor, nn
from torch.distributions import Bernoulli, Categorical

from triptych import models, testing
from triptych.core import (
    FAITHFUL,
    Adam,
    AnySize,
    Autoregressive,
    Batch,
    Clock,
    Exact,
    Generative,
    Images,
    ItemNoise,
    Label,
    Labels,
    Loss,
    LowerBound,
    Noise,
    PartialLabels,
    Picture,
    Player,
    Points,
    Sampling,
    Space,
    Stage,
    Tokens,
    config,
)
from triptych.losses import adversarial
from triptych.nn.fixed_point import draw_by_iteration
from triptych.testing.toys import first_examples

TINY = [
    (entry.name, preset)
    for entry in models.own().values()
    for preset in entry.presets()
    if preset.startswith(f"{entry.name}-tiny")
]


@pytest.mark.parametrize(("name", "preset"), TINY, ids=[preset for _, preset in TINY])
def test_every_model_keeps_the_promises(name: str, preset: str) -> None:
    entry = models.find(name)
    testing.check_model(entry.load(), entry.presets()[preset].config)


def test_every_ready_model_has_a_tiny_preset() -> None:
    assert {name for name, _ in TINY} == set(models.own())


def test_the_suite_leaves_the_random_state() -> None:
    before = torch.get_rng_state()
    testing.check_model(Toy, ToyConfig())
    assert torch.equal(torch.get_rng_state(), before)


# A model of each kind that keeps every promise, and what happens when it does not


@config
class ToyConfig:
    x: Images = Images(1, 2, 2, levels=2)
    given: Labels = Labels(3)
    adam: Adam = Adam(lr=1e-2, schedule="linear", warmup=0.5)


class Toy(Generative[Label]):
    """An autoregressive model over 4 pixels: a strictly triangular matrix, and a bias for each class."""

    name = "toy"

    def __init__(self, config: ToyConfig) -> None:
        super().__init__()
        self.config = config
        self.weight = nn.Parameter(torch.randn(4, 4))
        self.bias = nn.Embedding(3, 4)
        self.register_buffer("mask", torch.ones(4, 4).tril(-1))

    def scores(self, x: Tensor, given: Label) -> Tensor:
        return x.flatten(1) @ (self.weight * self.mask).T + self.bias(given.y)

    def log_prob(self, x: Tensor, given: Label) -> Exact:
        level = self.config.x.index(x).flatten(1).to(x.dtype)
        nats = Bernoulli(logits=self.scores(x, given), validate_args=False).log_prob(level).sum(1)
        return Exact(nats=nats, dims=4, measure="mass", how="chain rule")

    def draw(self, noise: Noise, given: Label) -> Tensor:
        u = noise.uniform(4)
        x = torch.zeros_like(u)
        for i in range(4):
            x[:, i] = torch.where(u[:, i] < self.scores(x, given)[:, i].sigmoid(), 1.0, -1.0)
        return x.view(-1, 1, 2, 2)

    def loss(self, batch: Batch[Label], clock: Clock) -> Loss:
        return Loss(-Toy.log_prob(self, batch.x, batch.given).nats.mean())

    def stages(self) -> Sequence[Stage]:
        player = Player(name="toy", owns=self, loss=self.loss, optimizer=self.config.adam)
        return [Stage(name="one", players=[player], steps=2), Stage(name="two", players=[player])]


def test_a_conditional_model_in_two_stages_passes() -> None:
    testing.check_model(Toy, ToyConfig())


class Leaky(Toy):
    def scores(self, x: Tensor, given: Label) -> Tensor:
        return x.flatten(1) @ self.weight.T + self.bias(given.y)


class Unnormalized(Toy):
    def log_prob(self, x: Tensor, given: Label) -> Exact:
        good = super().log_prob(x, given)
        return Exact(nats=good.nats * 1.001, dims=4, measure="mass", how="chain rule")


class Biased(Toy):
    """Draws with another threshold than its likelihood says."""

    def draw(self, noise: Noise, given: Label) -> Tensor:
        x = super().draw(noise, given)
        return torch.where(noise.uniform(1, 2, 2) < 0.1, 1.0, x)


class Unseeded(Toy):
    def draw(self, noise: Noise, given: Label) -> Tensor:
        return torch.where(torch.rand(noise.n, 1, 2, 2) < 0.5, 1.0, -1.0)


class Rolling(Toy):
    """Item i gets the noise of its place in the batch."""

    def draw(self, noise: Noise, given: Label) -> Tensor:
        generator = torch.Generator().manual_seed(int(1e6 * noise.uniform(1)[0].item()))
        return torch.where(torch.rand(noise.n, 1, 2, 2, generator=generator) < 0.5, 1.0, -1.0)


class OffGrid(Toy):
    def draw(self, noise: Noise, given: Label) -> Tensor:
        return super().draw(noise, given) * 0.9


class WrongShape(Toy):
    def draw(self, noise: Noise, given: Label) -> Tensor:
        return super().draw(noise, given).flatten(1)


class Frozen(Toy):
    """Ignores its seed."""

    def draw(self, noise: Noise, given: Label) -> Tensor:
        return torch.ones(noise.n, 1, 2, 2)


class Marking(Toy):
    """Sampling leaves a mark on a weight."""

    def draw(self, noise: Noise, given: Label) -> Tensor:
        self.bias.weight.data += 1e-3
        return super().draw(noise, given)


class Consuming(Toy):
    """Scoring moves a buffer."""

    def log_prob(self, x: Tensor, given: Label) -> Exact:
        self.mask.mul_(1.0).sub_(1e-3)
        return super().log_prob(x, given)


class Accepting(Toy):
    """Scores what is not in its space."""

    def log_prob(self, x: Tensor, given: Label) -> Exact:
        return super().log_prob(torch.where(x > 0, 1.0, -1.0).to(x.dtype), given)


class Crashing(Toy):
    """Meets what is not in its space with an accident."""

    def log_prob(self, x: Tensor, given: Label) -> Exact:
        self.scores(x, given)
        return super().log_prob(x, given)


class Crowd(Toy):
    """log p(x) of an item depends on the others."""

    def log_prob(self, x: Tensor, given: Label) -> Exact:
        good = super().log_prob(x, given)
        return Exact(nats=good.nats - x.mean(), dims=4, measure="mass", how="chain rule")


class Number(Toy):
    def log_prob(self, x: Tensor, given: Label) -> Tensor:  # type: ignore[override]
        return super().log_prob(x, given).nats


class Miscounting(Toy):
    def log_prob(self, x: Tensor, given: Label) -> Exact:
        return Exact(nats=super().log_prob(x, given).nats, dims=5, measure="mass", how="chain rule")


class Dense(Toy):
    def log_prob(self, x: Tensor, given: Label) -> Exact:
        return Exact(nats=super().log_prob(x, given).nats, dims=4, measure="density", how="chain rule")


class TooHigh(Toy):
    """Calls its likelihood a bound, and adds to it."""

    def log_prob(self, x: Tensor, given: Label) -> LowerBound:  # type: ignore[override]
        nats = super().log_prob(x, given).nats + 0.1 * torch.rand(len(x))
        return LowerBound(nats=nats, dims=4, measure="mass", how="bound")


class Orphan(Toy):
    """A weight that nobody trains."""

    def stages(self) -> Sequence[Stage]:
        return [
            Stage(name="one", players=[Player(name="b", owns=self.bias, loss=self.loss, optimizer=self.config.adam)])
        ]


class Idle(Toy):
    """A player whose loss says nothing about its weights."""

    def loss(self, batch: Batch[Label], clock: Clock) -> Loss:
        return Loss(0.0 * self.bias.weight.sum() + 0.0 * self.weight.sum())


class Meddling(Toy):
    """A player that moves what it does not own."""

    def shrink(self) -> None:
        self.weight.mul_(0.99)

    def stages(self) -> Sequence[Stage]:
        mine = nn.ParameterList([self.weight])
        players = [
            Player(name="a", owns=mine, loss=self.loss, optimizer=self.config.adam),
            Player(
                name="b",
                owns=self.bias,
                loss=self.loss,
                optimizer=self.config.adam,
                project=self.shrink,
            ),
        ]
        return [Stage(name="one", players=players)]


class Thawing(Toy):
    """A player that leaves a weight frozen."""

    def loss(self, batch: Batch[Label], clock: Clock) -> Loss:
        out = super().loss(batch, clock)
        self.weight.requires_grad_(False)
        return out


class Dreaming(Toy):
    """Training that draws from an unseeded generator."""

    def loss(self, batch: Batch[Label], clock: Clock) -> Loss:
        generator = torch.Generator()
        generator.seed()
        return Loss(super().loss(batch, clock).value * (1 + torch.rand((), generator=generator)))


class Counting(Toy):
    """Training that depends on a number which is not saved."""

    def __init__(self, config: ToyConfig) -> None:
        super().__init__(config)
        self.turns = 0

    def loss(self, batch: Batch[Label], clock: Clock) -> Loss:
        self.turns += 1
        return Loss(super().loss(batch, clock).value * self.turns**2 + self.weight.pow(2).mean())


class Forgetting(Toy):
    """A buffer that is drawn when the model is made, and not saved."""

    def __init__(self, config: ToyConfig) -> None:
        super().__init__(config)
        self.register_buffer("shift", torch.randn(4), persistent=False)

    def scores(self, x: Tensor, given: Label) -> Tensor:
        return super().scores(x, given) + 3 * self.shift


class Watching(Toy):
    """Sampling has a side effect on training."""

    def __init__(self, config: ToyConfig) -> None:
        super().__init__(config)
        self.drawn = 0

    def draw(self, noise: Noise, given: Label) -> Tensor:
        self.drawn += 1
        return super().draw(noise, given)

    def loss(self, batch: Batch[Label], clock: Clock) -> Loss:
        return Loss(super().loss(batch, clock).value + self.drawn * self.weight.pow(2).mean())


class Answering(Toy):
    """Its likelihood is another in training mode."""

    def nats(self, x: Tensor, given: Label) -> Exact:
        good = Toy.log_prob(self, x, given)
        return replace(good, nats=good.nats - int(self.training))


Answering.log_prob = Answering.nats  # past what makes `log_prob` of a class a question


class Single(Toy):
    """Draws in float32, whatever the model is in."""

    def draw(self, noise: Noise, given: Label) -> Tensor:
        u, x = noise.uniform(4), torch.zeros(noise.n, 4)
        for i in range(4):
            x[:, i] = torch.where(u[:, i] < self.scores(x, given)[:, i].sigmoid(), 1.0, -1.0)
        return x.view(-1, 1, 2, 2)


class Rounded(Toy):
    """A penalty by differences of rounded scores."""

    def loss(self, batch: Batch[Label], clock: Clock) -> Loss:
        a, b = (self.scores(batch.x + s, batch.given) for s in (0, 1e-3))
        return Loss(super().loss(batch, clock).value, {"slope": ((a - b) / 1e-3).square().mean()})


class Promoted(Toy):
    """Takes for granted that scores have the precision of x."""

    def loss(self, batch: Batch[Label], clock: Clock) -> Loss:
        x = batch.x.flatten(1)
        return Loss(super().loss(batch, clock).value + torch.lerp(x @ self.weight.T, x, 0.5).mean())


class Untyped(Toy):
    def __init__(self, config) -> None:  # type: ignore[no-untyped-def]
        super().__init__(config)


BROKEN = [
    (Leaky, "no exact likelihood"),
    (Unnormalized, "no exact likelihood"),
    (Biased, "do not follow log_prob"),
    (Unseeded, "the same seed gave other samples"),
    (Rolling, "must not depend on the batch"),
    (OffGrid, "samples are not in"),
    (WrongShape, "samples have shape"),
    (Frozen, "another seed gave the same samples"),
    (Marking, "sampling and scoring between rounds change the training"),
    (Consuming, "sampling and scoring between rounds change the training"),
    (Accepting, "gets a likelihood"),
    (Crashing, "ends in RuntimeError.* must raise UsageError"),
    (Crowd, "depends on the items beside it"),
    (Number, "does not say what kind of number"),
    (Miscounting, "counts 5 dimensions"),
    (Dense, "is a mass, not a density"),
    (TooHigh, "it is no lower bound"),
    (Orphan, "no player owns weight"),
    (Idle, "moves none of its weights"),
    (Meddling, "player b moves weight, which it does not own"),
    (Thawing, "other weights are trainable"),
    (Dreaming, "two runs of one seed differ"),
    (Counting, "what training depends on must be in state_dict"),
    (Forgetting, "must be in state_dict|is not in state_dict"),
    (Watching, "sampling and scoring between rounds change the training"),
    (Answering, "log_prob answers otherwise in training mode"),
    (Single, "with weights in torch.float64 asking ends in RuntimeError"),
    (Rounded, "player toy: in bfloat16, slope is"),
    (Promoted, "player toy cannot learn in bfloat16"),
    (Untyped, "annotate it"),
]


@pytest.mark.parametrize(("broken", "sentence"), BROKEN, ids=[cls.__name__ for cls, _ in BROKEN])
def test_a_planted_bug_is_caught_and_named(broken: type[Toy], sentence: str) -> None:
    with pytest.raises(AssertionError, match=sentence):
        testing.check_model(broken, ToyConfig())


def test_a_mark_left_by_sampling_is_named() -> None:
    model = Marking(ToyConfig())
    with pytest.raises(AssertionError, match=r"sampling from toy changes bias\.weight"):
        testing.check_samples(model, testing.Examples(model.config.x, model.config.given))


@config
class FreeConfig:
    x: Images | Points = Images(1, 2, 3, levels=3)
    adam: Adam = Adam(lr=1e-2)


class Chain(Autoregressive[None]):
    """p(x) with a network over the whole grid, as autoregressive models of images have it."""

    name = "chain"

    def __init__(self, config: FreeConfig) -> None:
        super().__init__()
        self.config = config
        self.net = nn.Linear(6, 18)
        self.register_buffer("mask", torch.ones(6, 6).tril(-1).repeat_interleave(3, 0))

    def logits(self, x: Tensor, given: None = None) -> Tensor:
        out = nn.functional.linear(x.flatten(1), self.net.weight * self.mask, self.net.bias)
        return out.view(-1, 1, 2, 3, 3)

    def forward(self, x: Tensor) -> Categorical:
        return Categorical(logits=self.logits(x), validate_args=False)

    def log_prob(self, x: Tensor, given: None = None) -> Exact:
        level = self.config.x.index(x)
        nats = self(x).log_prob(level).flatten(1).sum(1)
        return Exact(nats=nats, dims=6, measure="mass", how="chain rule")

    def draw(self, noise: Noise, given: None = None, how: Sampling = FAITHFUL) -> Tensor:
        u, known = noise.uniform(6), how.start(self.config.x, noise).flatten(1)
        x = torch.zeros_like(u)
        for i in range(6):
            logits = self.logits(x.view(-1, 1, 2, 3)).flatten(1, 3)[:, i]
            x[:, i] = self.config.x.from_index(how.fill(known[:, i], logits, u[:, i]))
        return x.view(-1, 1, 2, 3)

    def loss(self, batch: Batch[None], clock: Clock) -> Loss:
        return Loss(-self.log_prob(batch.x).nats.mean())

    def stages(self) -> Sequence[Stage]:
        return [Stage(name="one", players=[Player(name="p", owns=self, loss=self.loss, optimizer=self.config.adam)])]


class ChainWithLeak(Chain):
    """The last pixel sees itself: with one mask entry too many."""

    def __init__(self, config: FreeConfig) -> None:
        super().__init__(config)
        self.mask[-3:, -1] = 1


class Untitled(Generative[None]):
    """A model of factors that does not call itself autoregressive: by its forward(x), it is one."""

    name = "untitled"

    def __init__(self, config: FreeConfig) -> None:
        super().__init__()
        leaky = ChainWithLeak(config)
        self.config, self.net, self.mask = config, leaky.net, leaky.mask

    logits, forward, log_prob = Chain.logits, Chain.forward, Chain.log_prob
    draw, loss, stages = Chain.draw, Chain.loss, Chain.stages


class LeakInTraining(Chain):
    """Only in training mode: batch statistics over the whole image, for example."""

    def logits(self, x: Tensor, given: None = None) -> Tensor:
        return super().logits(x) + (x.mean() if self.training else 0)


class Backwards(Chain):
    """Says that its factors come in another order than they do."""

    def order(self) -> Tensor:
        return super().order().flip(0)


class Reordered(Chain):
    """Draws by other uniform numbers than the loop would: right in distribution, and still another sampler."""

    def draw(self, noise: Noise, given: None = None, how: Sampling = FAITHFUL) -> Tensor:
        noise.uniform(1)
        return super().draw(noise, given, how)


class Stubborn(Chain):
    """Takes no options."""

    def draw(self, noise: Noise, given: None = None, how: Sampling = FAITHFUL) -> Tensor:
        return super().draw(noise, given)


class Forgetful(Chain):
    """Takes all options but what is known."""

    def draw(self, noise: Noise, given: None = None, how: Sampling = FAITHFUL) -> Tensor:
        return super().draw(noise, given, replace(how, known=None))


def test_an_autoregressive_network_passes() -> None:
    testing.check_model(Chain, FreeConfig())


@pytest.mark.parametrize(
    ("broken", "check", "sentence"),
    [
        (ChainWithLeak, testing.check_causality, r"not causal in evaluation mode: .*\(0, 1, 2\) sees \(0, 1, 2\)"),
        (Backwards, testing.check_causality, "not causal in evaluation mode: in its order of factors"),
        (LeakInTraining, testing.check_causality, "not causal in training mode"),
        (ChainWithLeak, testing.check_likelihood, "no exact likelihood"),
        (Reordered, testing.check_sampler, "draw and draw_naively differ"),
        (Stubborn, testing.check_sampler, "differ for the same uniform numbers with Sampling.temperature=0.7"),
        (Forgetful, testing.check_sampler, "differ for the same uniform numbers with .*known=tensor"),
    ],
)
def test_a_leak_or_another_sampler_is_caught(broken: type[Chain], check, sentence: str) -> None:
    torch.manual_seed(0)
    model = broken(FreeConfig())
    with pytest.raises(AssertionError, match=sentence):
        check(model, testing.Examples(model.config.x))


def test_a_leak_is_caught_whatever_the_model_calls_itself() -> None:
    torch.manual_seed(0)
    model = Untitled(FreeConfig())
    with pytest.raises(AssertionError, match=r"not causal in evaluation mode: .* \(0, 1, 2\) depends"):
        testing.check_causality(model, testing.Examples(model.config.x))


class Shuffled(Chain):
    """The first value in order is the last in the image, and so on."""

    def __init__(self, config: FreeConfig) -> None:
        super().__init__(config)
        self.mask.copy_(self.mask.view(6, 3, 6).flip(0, 2).reshape(18, 6))

    def order(self) -> Tensor:
        return super().order().flip(0)

    draw = draw_by_iteration


def test_a_causal_order_need_not_be_the_raster() -> None:
    testing.check_model(Shuffled, FreeConfig())


class TinyGAN(Generative[None]):
    """A GAN of points, its generator normalized over the batch as `normalize` says."""

    name = "tiny-gan"
    tracks = True
    outside = 1.0

    def __init__(self, config: FreeConfig) -> None:
        super().__init__()
        self.config = config
        d = config.x.dims
        self.generator = nn.Sequential(
            nn.Linear(3, 8), nn.BatchNorm1d(8, track_running_stats=self.tracks), nn.ReLU(), nn.Linear(8, d)
        )
        self.discriminator = nn.Sequential(nn.Flatten(1), nn.Linear(d, 8), nn.ReLU(), nn.Linear(8, 1), nn.Flatten(0))

    def draw(self, noise: Noise, given: None = None) -> Tensor:
        return self.outside * self.generator(noise.normal(3)).view(-1, *self.config.x.shape)

    def loss(self, batch: Batch[None], clock: Clock, *, real: bool) -> Loss:
        fake = self.discriminator(self.draw(batch.noise))
        if not real:
            return Loss(adversarial.non_saturating(fake))
        return Loss(adversarial.discriminator(self.discriminator(batch.x), fake))

    def stages(self) -> Sequence[Stage]:
        adam = self.config.adam
        d = Player(
            name="d", owns=self.discriminator, loss=partial(self.loss, real=True), optimizer=adam, turns=2, clip=1.0
        )
        g = Player(name="g", owns=self.generator, loss=partial(self.loss, real=False), optimizer=adam, every=2)
        return [Stage(name="one", players=[d, g])]


class BatchStatistics(TinyGAN):
    """Batch normalization by the batch that is being drawn."""

    tracks = False


class OutOfRange(TinyGAN):
    outside = 1000.0


def test_a_gan_of_points_passes() -> None:
    testing.check_model(TinyGAN, FreeConfig(x=Points(2)))


def test_batch_statistics_in_sampling_are_caught() -> None:
    # one sample has no batch statistics: torch itself refuses, which is as good as a sentence
    with pytest.raises((AssertionError, ValueError), match=r"depend on the batch|more than 1 value per channel"):
        testing.check_model(BatchStatistics, FreeConfig(x=Points(2)))


def test_images_out_of_range_are_caught() -> None:
    with pytest.raises(AssertionError, match="samples are not in"):
        testing.check_model(OutOfRange, FreeConfig(x=Images(1, 2, 2)))


@pytest.mark.parametrize("space", [Labels(3), PartialLabels(3), Tokens(5, 4), Images(2, 3, 4), Points(2)], ids=str)
def test_conditions_are_made_up_in_any_space(space: Space) -> None:
    batch = first_examples(TinyGAN(FreeConfig(x=Points(2))), testing.Examples(Points(2), space), 4)
    assert batch.given is None  # the model takes none
    given = testing.Examples(Points(2), space).fetch(torch.arange(4), ItemNoise(0, range(4))).given
    space.check_condition(given)
    assert len(given) == 4


@config
class PictureConfig:
    x: Images = Images(1, 8, 8)
    given: Images = Images(1, 4, 4)
    adam: Adam = Adam(lr=1e-2)


class Enlarging(AnySize[Picture]):
    """A function of a picture: one that is twice as high and as wide."""

    name = "enlarging"
    reach = 1

    def __init__(self, config: PictureConfig) -> None:
        super().__init__()
        self.config = config
        self.net = nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.PixelShuffle(2))

    def draw(self, noise: Noise, given: Picture) -> Tensor:
        return self.net(given.grid).tanh()

    def loss(self, batch: Batch[Picture], clock: Clock) -> Loss:
        return Loss((self.draw(batch.noise, batch.given) - batch.x).square().mean())

    def stages(self) -> Sequence[Stage]:
        return [Stage(name="one", players=[Player(name="p", owns=self, loss=self.loss, optimizer=self.config.adam)])]


class Blind(Enlarging):
    """Ignores what it is given."""

    def draw(self, noise: Noise, given: Picture) -> Tensor:
        return self.net(torch.zeros_like(given.grid)).tanh()


class Modest(Enlarging):
    """Looks further than it says."""

    reach = 0


class Averaging(Enlarging):
    """Looks at the whole picture."""

    def draw(self, noise: Noise, given: Picture) -> Tensor:
        return super().draw(noise, given) * given.grid.mean().sigmoid()


class OneSize(Enlarging):
    """Takes all sizes, and gives one."""

    def draw(self, noise: Noise, given: Picture) -> Tensor:
        return super().draw(noise, given)[..., :8, :8]


def test_a_function_of_pictures_of_any_size_passes() -> None:
    testing.check_model(Enlarging, PictureConfig())


@pytest.mark.parametrize(
    ("broken", "sentence"),
    [
        (Blind, "neither another seed nor another picture"),
        (Modest, r"0 pixels \(reach\) away from where a tile was cut"),
        (Averaging, "depends on the items beside it|must not depend on the batch|from where a tile was cut"),
        (OneSize, "of a 8 x 2 picture, x is"),
    ],
)
def test_a_function_that_breaks_its_promise_is_caught(broken: type[Enlarging], sentence: str) -> None:
    with pytest.raises(AssertionError, match=sentence):
        testing.check_model(broken, PictureConfig())
