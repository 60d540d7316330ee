"""Checks of configurations: sizes that are shared out evenly, or halved so many times."""

from triptych.core.spaces import Images, Voxels
from triptych.errors import UsageError


def check_multiple(field: str, value: int, unit: int, among: str) -> None:
    """Raises UsageError unless `value`, of the named field, is a multiple of `unit`, as sharing it out `among` needs.

    check_multiple("width", 10, 4, "4 heads")
    UsageError: width=10 cannot be shared out among 4 heads: it must be a multiple of 4, for example 8
    """
    if value % unit:
        near = max(unit, round(value / unit) * unit)
        raise UsageError(
            f"{field}={value} cannot be shared out among {among}: it must be a multiple of {unit}, for example {near}"
        )


def check_sides(x: Images | Voxels, unit: int, why: str, remedy: str = "") -> None:
    """Raises UsageError unless the sides are multiples of `unit`. `why` names the field that asks for it."""
    sides = x.shape[1:]
    if any(side % unit for side in sides):
        remedy = f"{remedy}, or " if remedy else ""
        raise UsageError(
            f"{why}: the sides of x must be multiples of {unit}, not {' x '.join(map(str, sides))}; "
            f"{remedy}pad or crop the {'images' if x.planar else 'solids'}"
        )
