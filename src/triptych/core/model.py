"""The two questions that every model answers: draw x, and (if it can) say how likely x is."""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, ClassVar, Generic, Protocol, Self, TypeVar, final, overload, runtime_checkable

import torch
from jaxtyping import Float, Int, Shaped
from torch import Tensor, nn

from triptych.core.asking import guard, in_precision, still
from triptych.core.game import Stage
from triptych.core.given import G, Given, Picture
from triptych.core.likelihood import Likelihood
from triptych.core.noise import ItemNoise, Noise
from triptych.core.precision import HALVES, products
from triptych.core.sampling import FAITHFUL, Sampling, raster
from triptych.core.spaces import Images, Tokens
from triptych.errors import UsageError

GC = TypeVar("GC", bound=Given | None, contravariant=True)


class Generative(nn.Module, ABC, Generic[G]):
    """A model of p(x | given). `Generative[None]` models p(x).

    `config.x` is the space of x; a conditional model's `config.given` is the space of its condition.
    """

    name: ClassVar[str]
    judges_pairs: ClassVar[bool] = False
    """Whether a discriminator is shown x beside its condition, as `Batch.fakes` gives them."""
    config: Any

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        guard(cls)

    @overload
    def sample(
        self: "Generative[None]",
        n: int,
        given: None = None,
        *,
        seed: int | None = None,
        first: int = 0,
        how: Sampling = FAITHFUL,
    ) -> Shaped[Tensor, "n ..."]: ...
    @overload
    def sample(
        self, n: int, given: G, *, seed: int | None = None, first: int = 0, how: Sampling = FAITHFUL
    ) -> Shaped[Tensor, "n ..."]: ...

    @final
    def sample(
        self, n: int, given: Any = None, *, seed: int | None = None, first: int = 0, how: Sampling = FAITHFUL
    ) -> Shaped[Tensor, "n ..."]:
        """Draws n samples of x, in evaluation mode and without gradients.

        Sample i is a function of the model, the seed, `given[i]` and first + i: not of n, nor of what is drawn beside
        it. Without a seed, one is taken from torch's global generator. `how` holds the options of sampling; by default
        samples follow the model. `given` may also be what a person would write (see `condition`).

        Raises UsageError if the model needs a condition that was not given (or the other way round), or if options
        are asked of a kind of model that does not have them.
        """
        if n < 0 or first < 0:
            raise UsageError(f"sample: n={n} and first={first} must not be negative")
        given = self.condition(n, given)
        self.check_given(n, given)
        if how.picks and not isinstance(self, Autoregressive | Coding):
            raise UsageError(f"{self.name} is not autoregressive: it takes no temperature, limit or known values")
        if how.guidance != 1 and not (isinstance(self, Coding) and given is not None):
            why = "was not trained to do without its condition" if given is not None else "has no condition to follow"
            raise UsageError(f"{self.name} {why}; leave out guidance={how.guidance:g}")
        if how.best_of != 1 and not isinstance(self, Coding):
            raise UsageError(f"{self.name} has no codes to choose the likeliest of; leave out best_of={how.best_of}")
        if how.truncation is not None and not isinstance(self, Truncatable):
            raise UsageError(f"{self.name} has no latent that could be truncated")
        if how.observation != "drawn" and not isinstance(self, Decoding):
            raise UsageError(
                f"{self.name} has no decoder whose noise could be left out; leave out observation={how.observation}"
            )
        if seed is None:
            seed = int(torch.randint(2**62, ()).item())
        noise = ItemNoise(seed, range(first, first + n), self.device, self.precision)
        given = in_precision(given, noise.dtype)
        with evaluating(self), torch.no_grad():
            x = (
                self.draw(noise, given, how)
                if isinstance(self, Autoregressive | Truncatable | Decoding)
                else self.draw(noise, given)
            )
        return x.to(noise.dtype) if x.is_floating_point() else x

    @final
    def condition(self, n: int, given: Any) -> Any:
        """n conditions, of what a person would write: for a model of classes 3 (for all), [0, 1, 2] or ["cat", "dog"]
        (one each); for one of texts a text or a list of them; else a tensor. What is a `Given` already stays as it is.

        Raises UsageError for what the model's condition cannot be made of.
        """
        needs = getattr(self.config, "given", None)
        if given is None or needs is None or isinstance(given, Given):
            return given
        made: Given = needs.condition(needs.elements(given, n).to(self.device))
        return made

    @final
    def check_given(self, n: int, given: Given | None) -> None:
        """Raises UsageError unless `given` is what this model is conditioned on, n of it.

        Labels that may be unknown may be left out: then all are.
        """
        needs = getattr(self.config, "given", None)
        if needs is None and given is not None:
            raise UsageError(f"{self.name} models p(x): it takes no condition; leave out given=")
        if needs is not None and given is None and not needs.optional:
            raise UsageError(f"{self.name} models p(x | given): it needs a condition in {needs}")
        if given is None or needs is None:
            return
        if len(given) != n:
            raise UsageError(f"{n} samples need {n} conditions, got {len(given)}")
        takes = self.sized(needs, given) if isinstance(self, AnySize) and isinstance(given, Picture) else needs
        takes.check_condition(given)

    def __repr__(self) -> str:
        given = getattr(self.config, "given", None)
        many = sum(p.numel() for p in self.parameters())
        return f"<{self.name}: {many:,} parameters, x in {self.config.x}{f', given {given}' if given else ''}>"

    def to(self, *where: Any, **options: Any) -> Self:
        """As torch has it. Raises UsageError for a device that this machine lacks."""
        try:
            return super().to(*where, **options)
        except (RuntimeError, AssertionError) as e:
            device = str(options.get("device", where[0] if where else ""))
            if not isinstance(options.get("device", where[0] if where else None), str | torch.device):
                raise
            if ("cuda" in device and torch.cuda.is_available()) or "memory" in str(e):
                raise
            hint = "did you mean cuda?" if device.startswith("gpu") else "`triptych doctor` says what this machine has"
            raise UsageError(f"device {device}: not available here; {hint}") from e

    def __getattr__(self, name: str) -> Tensor | nn.Module:
        if name == "log_prob":
            raise AttributeError(
                f"{self.name} has no likelihood: it gives samples, not probabilities. tt.evaluate compares its samples "
                "with data; tt.ais estimates log p(x) under an observation noise that you state"
            )
        return super().__getattr__(name)

    @property
    def device(self) -> torch.device:
        return next(self.parameters()).device

    @property
    def precision(self) -> torch.dtype:
        """What the weights are kept in: float32 or float64. Raises UsageError for less."""
        dtype = next(self.parameters()).dtype
        if dtype in HALVES:
            raise UsageError(
                f"{self.name}: its weights are in {str(dtype).removeprefix('torch.')}, too coarse to sample or score "
                "with: call model.float() first (training runs in bfloat16 by precision='bf16')"
            )
        return dtype

    @abstractmethod
    def draw(self, noise: Noise, given: G) -> Shaped[Tensor, "n ..."]:
        """One x for each item of `noise`: how `sample` draws. Differentiable where the model allows it."""

    @abstractmethod
    def stages(self) -> Sequence[Stage]:
        """How the model is trained."""


class Autoregressive(Generative[G]):
    """p(x | given) as a product of factors, one for each value of x given those before it; x has levels or tokens."""

    @abstractmethod
    def logits(self, x: Shaped[Tensor, "n ..."], given: G) -> Float[Tensor, "n ... k"]:
        """Every factor at once, [n, *x.shape, k]: the scores of each value's k levels (softmax).

        k = 1 for two levels: the log-odds of level 1. The scores of a value depend on values before it only.
        """

    @abstractmethod
    def draw(self, noise: Noise, given: G, how: Sampling = FAITHFUL) -> Shaped[Tensor, "n ..."]:
        """One x for each item of `noise`, by caches: equal to what the naive loop (`nn.fixed_point`) draws.

        Spends noise.uniform(*x.shape), one number a value, through `how.pick`.
        """

    def order(self) -> Int[Tensor, " dims"]:
        """The order of the factors: where each value lies in x.flatten(). Raster order with the channels innermost."""
        return raster(self.config.x)


@runtime_checkable
class Stepwise(Protocol):
    """An autoregressive model that can be asked for one factor after the other by who remembers for it: for programs
    without it, which are single steps. `Autoregressive.draw` is the faster way where the model is at hand."""

    def memory(self, n: int) -> Sequence[Tensor]:
        """What is remembered of n items before the first value."""

    def step(
        self, value: Int[Tensor, " n"], at: Int[Tensor, " 1"], memory: Sequence[Tensor], given: Any = None
    ) -> tuple[Float[Tensor, "n k"], Sequence[Tensor]]:
        """The scores of the value at place `at` of the model's order, given the level or token of the one before it
        (of the first there is none: any number) and what is remembered; and what is remembered then."""


class Truncatable(Generative[G]):
    """A model with a normal latent that may be kept near its mean: better samples, of fewer kinds."""

    @abstractmethod
    def draw(self, noise: Noise, given: G, how: Sampling = FAITHFUL) -> Shaped[Tensor, "n ..."]:
        """One x for each item of `noise`, its latent truncated as `how` says."""


class AnySize(Generative[G]):
    """A fully convolutional model of images given pictures: trained at one size, used at any.

    The condition may have any height and width that are multiples of `multiple`; x follows in proportion. What a pixel
    of x depends on lies within `reach` pixels of the condition around it: so tiles that overlap by as much show no
    seams, they are the whole picture's own values.
    """

    multiple: int = 1
    reach: int
    """In pixels of the condition."""

    def sized(self, needs: Images, given: Picture) -> Images:
        """The space of the condition at the size that is given. Raises UsageError if that is no multiple."""
        height, width = given.grid.shape[-2:]
        if height % self.multiple or width % self.multiple:
            raise UsageError(
                f"{self.name} takes sides that are multiples of {self.multiple}; the picture is {height} x {width}"
            )
        return replace(needs, height=height, width=width)


@runtime_checkable
class TwoWay(Protocol):
    """A model that translates both ways."""

    def reversed(self) -> "Generative[Any]":
        """The same model the other way round: x and what it is given have changed places."""


class Observation(Protocol):
    """p(x | z) as a decoder gives it: each value with noise of its own around what z says."""

    @property
    def mean(self) -> Tensor:
        """E[x | z], [n, *x.shape]. It need not lie on a level."""

    @property
    def uniforms(self) -> Sequence[int]:
        """The shape of the uniform numbers that `icdf` takes for one x."""

    def icdf(self, value: Tensor) -> Tensor:
        """Uniform numbers [n, *uniforms] -> x."""


class Decoding(Generative[G]):
    """A model that decodes a latent into a distribution of x, as a VAE does.

    The noise of that distribution is a part of the model, and of its likelihood; but it is independent from value to
    value, and what a person wants to see of an image is most often what it was laid around.
    """

    noisy: ClassVar[bool] = True
    """Whether there is such noise. A decoder that only says what z stands for has none, and gives no likelihood."""

    @abstractmethod
    def observe(self, noise: Noise, given: G) -> Observation:
        """p(x | z) for a z drawn by each item of `noise`."""

    def steered(self, noise: Noise, given: G, how: Sampling) -> Observation:
        """As `observe`, with those options of sampling that are about the latent."""
        return self.observe(noise, given)

    @final
    def draw(
        self,
        noise: Noise,
        given: G = None,  # type: ignore[assignment]  # a model of p(x) is asked without
        how: Sampling = FAITHFUL,
    ) -> Shaped[Tensor, "n ..."]:
        """One x for each item of `noise`: drawn from p(x | z), or its mean, as `how.observation` says."""
        p = self.steered(noise, given, how)
        return p.mean if how.observation == "mean" else p.icdf(noise.uniform(*p.uniforms))


class Coding(Decoding[G]):
    """A model of codes, and of x by its code. Temperature, limits, known values and guidance are those of the codes.

    Where it has a condition, it was also trained without. What `how.guidance` draws has a distribution of its own, not
    the model's, so that no likelihood is that of guided samples (`check_plain`).
    """

    codes: Tokens
    """The space of a code: as many tokens as the grid has places."""

    @abstractmethod
    def draw_codes(self, noise: Noise, given: G, how: Sampling = FAITHFUL) -> Int[Tensor, "n places"]:
        """One code for each item of `noise`."""

    @abstractmethod
    def encode(self, x: Shaped[Tensor, "n ..."], given: G | None = None) -> Int[Tensor, "n places"]:
        """The code of each x."""

    @abstractmethod
    def log_prob_codes(self, code: Int[Tensor, "n places"], given: G) -> Likelihood:
        """log p(code | given), or a bound on it."""

    @abstractmethod
    def pixels(self, code: Int[Tensor, "*n places"]) -> Observation:
        """p(x | code)"""

    def fits(self, code: Int[Tensor, "n places"], given: G) -> Float[Tensor, " n"]:
        """How well codes fit the condition, in nats: what `Sampling.best_of` chooses by. How likely they are given it,
        unless a model has better."""
        return self.log_prob_codes(code, given).nats

    def observe(self, noise: Noise, given: G) -> Observation:
        return self.steered(noise, given, FAITHFUL)

    def steered(self, noise: Noise, given: G, how: Sampling) -> Observation:
        if how.best_of == 1:
            return self.pixels(self.draw_codes(noise, given, how))
        codes = [self.draw_codes(noise, given, how) for _ in range(how.best_of)]
        # as one sees it: what codes of their own say that do not fit together is lost, or turns into something else
        seen = [self.encode(self.pixels(code).mean) for code in codes]
        best = torch.stack([self.fits(code, given) for code in seen]).argmax(0)
        return self.pixels(torch.stack(codes)[best, torch.arange(len(best), device=best.device)])

    def check_plain(self, guidance: float) -> None:
        """Raises UsageError for a likelihood of guided samples."""
        if guidance != 1:
            raise UsageError(
                f"guidance={guidance:g}: guided samples are not drawn from p(x | given), whose likelihood {self.name} "
                "gives, and so is not theirs; leave it out (1 is plain)"
            )


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Evaluation mode for a while, in float32 that is float32; every submodule gets back the mode it had, and torch its
    random state."""
    device = next((w.device for w in model.parameters()), torch.device("cpu"))
    drawing = [device] if device.type == "cuda" else []  # of other GPUs, nothing is asked
    with still(model), products("fp32", device), torch.random.fork_rng(devices=drawing):
        yield


@runtime_checkable
class HasLikelihood(Protocol[GC]):
    """A model that can also say how likely x is, and how far to trust the answer."""

    def log_prob(self, x: Tensor, given: GC) -> Likelihood:
        """log p(x | given) of each example, in evaluation mode. Raises UsageError if x is not in the model's space."""
