"""CycleGAN: pictures of one kind turned into another and back, learned without a single pair.

Unpaired Image-to-Image Translation using Cycle-Consistent Adversarial Networks.
Zhu, Park, Isola and Efros, 2017. https://arxiv.org/abs/1703.10593

    L_GAN(G, D_X) = E (D_X(x) - 1)^2 + E D_X(G(a))^2                               (Section 4, after Equation 3)
    L_cyc(G, F)   = E |F(G(a)) - a| + E |G(F(x)) - x|                              (Equation 2)
    L_identity    = E |G(x) - x| + E |F(a) - a|                                    (Section 5.2)

where c is a picture a of the first kind, x one of the second that has nothing to do with it, G goes from the first kind
to the second and F back; F and its discriminator have the same losses the other way round. Discriminators look at a
pool of 50 generated pictures.

Where this departs from the paper: the generators normalize each place by itself and end without tanh (see
`nn.translator`); the discriminators have spectral normalization; samples are drawn by moving averages of the
generators. Generators that add to the picture, at first nothing, never leave the identity, at which L_cyc and
L_identity are 0 and steep all around: two runs gave every held-out picture back as it was. So here each draws the
picture anew.

The model is a function of c: it shows one of the x that are possible, and always the same. `reversed` goes back.
"""

import copy
from collections.abc import Sequence
from dataclasses import replace
from functools import partial

from jaxtyping import Float
from torch import Tensor, nn

from triptych.core import (
    Adam,
    AnySize,
    Batch,
    Clock,
    Count,
    Doublings,
    Fraction,
    Images,
    Loss,
    Noise,
    NonNegative,
    Picture,
    Player,
    Preset,
    Stage,
    config,
)
from triptych.losses import adversarial, pictures
from triptych.models.paper import Paper
from triptych.nn.ema import EMA
from triptych.nn.patch import PatchDiscriminator, check_patches
from triptych.nn.pool import Pool
from triptych.nn.reach import reach
from triptych.nn.translator import Translator, check_translator

PAPER = Paper(
    called="CycleGAN",
    title="Unpaired Image-to-Image Translation using Cycle-Consistent Adversarial Networks",
    authors="Jun-Yan Zhu, Taesung Park, Phillip Isola, Alexei A. Efros",
    year=2017,
    url="https://arxiv.org/abs/1703.10593",
    conditions="picture",
)


@config
class CycleGANConfig:
    x: Images = Images(3, 64, 64)
    """What is modeled: pictures of the second kind, as large as those trained on. A trained model takes any size."""
    given: Images = Images(3, 64, 64)
    """Pictures of the first kind, as large."""
    width: Count = 24
    """Channels of the generators at the picture's size, twice as many at each halving."""
    blocks: Count = 4
    """Residual blocks of each generator, at its least size."""
    halvings: Doublings = 2
    """How often the generators halve the picture."""
    judge: Count = 32
    """Channels of the discriminators at half the picture's size, twice as many at each halving."""
    judge_halvings: Doublings = 2
    """How often the discriminators halve the picture: patches of 16, 34, 70 pixels at 1, 2, 3."""
    cycle: NonNegative = 10.0
    """Weight of L_cyc."""
    identity: NonNegative = 5.0
    """Weight of L_identity, which keeps colors."""
    pool: int = 50
    """Generated pictures of earlier turns that the discriminators are shown; 0: none."""
    ema: Fraction = 0.999
    """Decay of the average of the generators' weights that samples are drawn from; 0: the weights themselves, as in
    the paper."""
    generator_adam: Adam = Adam(lr=2e-4, betas=(0.5, 0.999))
    discriminator_adam: Adam = Adam(lr=2e-4, betas=(0.5, 0.999))

    def __post_init__(self) -> None:
        check_translator(self.x, self.given, self.halvings)
        check_patches(self.x, self.judge_halvings)
        if self.pool < 0:
            raise ValueError(f"pool={self.pool}: it holds 0 pictures or more")


def pair(there: nn.Module, back: nn.Module) -> nn.ModuleDict:
    """What there is of either direction: from the first kind of pictures to the second, and back."""
    return nn.ModuleDict({"there": there, "back": back})


class CycleGAN(AnySize[Picture]):
    name = "cyclegan"

    def __init__(self, config: CycleGANConfig) -> None:
        super().__init__()
        self.config = c = config
        n = c.x.channels
        self.generators = pair(*(Translator(n, n, c.width, c.blocks, c.halvings, anew=True) for _ in range(2)))
        self.discriminators = pair(*(PatchDiscriminator(n, c.judge, c.judge_halvings) for _ in range(2)))
        self.pools = pair(*(Pool(c.x, c.pool) for _ in range(2)))
        self.average = EMA(self.generators, c.ema)
        self.multiple = 2**c.halvings
        self.reach = reach(self.generators["there"], self.multiple)

    def draw(self, noise: Noise, given: Picture) -> Float[Tensor, "n c h w"]:
        """G(a): by the generator in training, by its average otherwise, where what is beyond black and white is
        clipped."""
        x = self.average.unless_training(self.generators)["there"](given.grid)
        return x if self.training else x.clamp(-1, 1)

    def reversed(self) -> "CycleGAN":
        """The same model the other way round: what it models is the first kind, given pictures of the second."""
        other, names = copy.deepcopy(self), {"there": "back", "back": "there"}
        other.config = replace(self.config, x=self.config.given, given=self.config.x)
        turned = {
            ".".join(names.get(part, part) for part in key.split(".")): value
            for key, value in self.state_dict().items()
        }
        other.load_state_dict(turned)
        return other

    def discriminator_loss(self, batch: Batch[Picture], clock: Clock) -> Loss:
        """Of both, each half of L_GAN, as in the paper."""
        a, x, g, pools = batch.given.grid, batch.x, self.generators, self.pools
        values, logs = list[Tensor](), dict[str, Tensor]()
        for way, real, fake in (("there", x, g["there"](a)), ("back", a, g["back"](x))):
            judge, pool = self.discriminators[way], pools[way]
            assert isinstance(pool, Pool)
            scores, others = judge(real)[0], judge(pool.mixed(fake, batch.noise))[0]
            values.append(adversarial.least_squares_discriminator(scores, others))
            logs |= {f"score(real), {way}": scores.mean(), f"score(fake), {way}": others.mean()}
        return Loss(values[0] + values[1], logs)

    def generator_loss(self, batch: Batch[Picture], clock: Clock) -> Loss:
        """Of both: L_GAN + cycle L_cyc + identity L_identity"""
        c, a, x = self.config, batch.given.grid, batch.x
        there, back = self.generators["there"], self.generators["back"]
        new, old, judges = there(a), back(x), self.discriminators
        fool = adversarial.least_squares_generator
        fooled = 2 * (fool(judges["there"](new)[0]) + fool(judges["back"](old)[0]))
        cycle = pictures.l1(a, back(new)) + pictures.l1(x, there(old))
        logs = {"fooled": fooled, "cycle": cycle}
        value = fooled + c.cycle * cycle
        if c.identity:
            logs["identity"] = pictures.l1(x, there(x)) + pictures.l1(a, back(a))
            value = value + c.identity * logs["identity"]
        return Loss(value, logs)

    def remember(self) -> None:
        for pool in self.pools.values():
            assert isinstance(pool, Pool)
            pool.follow()

    def stages(self) -> Sequence[Stage]:
        c, follow = self.config, partial(self.average.update, self.generators)
        discriminators = Player(
            name="discriminators",
            owns=self.discriminators,
            loss=self.discriminator_loss,
            optimizer=c.discriminator_adam,
            project=self.remember,
            judges="it judges two kinds of pictures, and what is made of each is compared with what it was made of",
        )
        generators = Player(
            name="generators",
            owns=self.generators,
            loss=self.generator_loss,
            optimizer=c.generator_adam,
            project=follow,
        )
        return [Stage(name="train", players=[discriminators, generators])]


QUICK = CycleGANConfig(
    generator_adam=Adam(lr=5e-4, betas=(0.5, 0.999), schedule="linear", warmup=0.02),
    discriminator_adam=Adam(lr=5e-4, betas=(0.5, 0.999), schedule="linear"),
)
"""For a quarter of an hour of one CPU core."""

PRESETS = {
    "cyclegan-64": Preset(
        config=replace(QUICK, ema=0.99, discriminator_adam=Adam(lr=1e-4, betas=(0.5, 0.999), schedule="linear")),
        steps=1500,
        batch=4,
        expect="Reliefs to satellite pictures, 550 steps, 8 minutes of one CPU core: 94 % of held-out answers are "
        "taken for satellite pictures, 84 % are likest to their own relief of 100, and 13.3 dB from the true picture "
        "(the relief: 11.9); 20.6 dB there and back. Some seas come out magenta.",
    ),
    "cyclegan-32": Preset(
        config=replace(
            QUICK, x=Images(1, 32, 32), given=Images(1, 32, 32), width=16, judge=24, judge_halvings=1, blocks=3
        ),
        steps=2500,
        batch=8,
        expect="Sneakers to boots, 2,000 steps, 7 minutes of one CPU core: 87 % of held-out answers are taken for "
        "boots (95 % of boots are, 2 % of sneakers), 34 % are likest to their own sneaker of 100; 23.5 dB there and "
        "back.",
    ),
    "cyclegan-paper": Preset(
        config=CycleGANConfig(
            x=Images(3, 256, 256),
            given=Images(3, 256, 256),
            width=64,
            blocks=9,
            judge=64,
            judge_halvings=3,
            ema=0,
            generator_adam=Adam(lr=2e-4, betas=(0.5, 0.999), schedule="linear"),
            discriminator_adam=Adam(lr=2e-4, betas=(0.5, 0.999), schedule="linear"),
        ),
        steps=260_000,
        batch=1,
        expect="The paper's sizes and rates (200 epochs of 1,300 pictures); not trained by us.",
    ),
    "cyclegan-tiny": Preset(
        config=CycleGANConfig(
            x=Images(1, 16, 16),
            given=Images(1, 16, 16),
            width=2,
            blocks=1,
            halvings=1,
            judge=2,
            judge_halvings=1,
            pool=6,
        ),
        steps=10,
        batch=8,
        expect="For tests.",
    ),
    "cyclegan-tiny-rgb": Preset(
        config=CycleGANConfig(
            x=Images(3, 16, 20),
            given=Images(3, 16, 20),
            width=2,
            blocks=1,
            judge=2,
            judge_halvings=1,
            identity=0,
            pool=0,
        ),
        steps=10,
        batch=8,
        expect="For tests.",
    ),
}
