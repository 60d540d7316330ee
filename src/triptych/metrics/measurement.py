"""One number about a model or its outputs, with all that is needed to quote it."""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from triptych.core import UsageError


@dataclass(frozen=True, kw_only=True)
class Measurement:
    """A value, how it was measured, and what others get where the model's outputs were."""

    name: str
    """What is measured: "PSNR"."""
    value: float
    unit: str = ""
    """"dB", "share", "seconds"; empty for a number without one."""
    better: Literal["higher", "lower"] | None = None
    """None: there is no better."""
    protocol: str
    """How it was measured. Only equal protocols may be ranked."""
    n: str = ""
    """Of how many items: "200 held-out pictures"."""
    baselines: Mapping[str, float] = field(default_factory=dict)
    """What simple rivals get on the same items by the same protocol: {"bicubic": 27.3}."""
    floor: float | None = None
    """What real data gets against other real data: nothing can be told below it."""

    def __post_init__(self) -> None:
        if not self.name or not self.protocol:
            raise UsageError(f"measurement {self.name!r}: it needs a name and a protocol")
        numbers = {"value": self.value, "floor": self.floor, **self.baselines}
        nan = [what for what, number in numbers.items() if number is not None and math.isnan(number)]
        if nan:
            raise UsageError(f"measurement {self.name!r}: {', '.join(nan)} is not a number (NaN)")

    def as_dict(self) -> dict[str, Any]:
        """All of it, as JSON values; what is infinite becomes the text "infinity" or "-infinity"."""
        plain = {**asdict(self), "baselines": {name: finite(v) for name, v in self.baselines.items()}}
        return plain | {"value": finite(self.value), "floor": finite(self.floor)}


def finite(value: float | None) -> float | str | None:
    """The number itself, or its name in JSON, which has no infinity."""
    if value is None or math.isfinite(value):
        return value
    return "infinity" if value > 0 else "-infinity"
