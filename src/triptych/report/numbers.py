"""Numbers as people read them."""

import math


def significant(value: float, digits: int = 4) -> str:
    """1234.5 -> "1,234"; 0.012345 -> "0.01234"; scientific below 1e-4 and above 1e9."""
    if not math.isfinite(value):
        return "not finite"
    if value == 0:
        return "0"
    size = math.floor(math.log10(abs(value)))
    if size < -4 or size > 9:
        return f"{value:.{digits - 1}e}".replace("e-0", "e-").replace("e+0", "e").replace("e+", "e")
    return f"{value:,.{max(digits - 1 - size, 0)}f}"


def with_error(value: float, stderr: float | None, digits: int = 4) -> str:
    """The value to the second digit of its standard error: "93.12 ± 0.34"."""
    if stderr is None or not (math.isfinite(stderr) and stderr > 0 and math.isfinite(value)):
        return significant(value, digits)
    places = min(max(1 - math.floor(math.log10(stderr)), 0), 9)
    return f"{value:,.{places}f} ± {stderr:,.{places}f}"


def seconds(value: float) -> str:
    """0.00123 -> "1.23 ms"; 75 -> "1 min 15 s"."""
    if not math.isfinite(value):
        return "not finite"
    for unit, size in (("s", 1.0), ("ms", 1e-3), ("µs", 1e-6)):
        if abs(value) >= size or unit == "µs":
            break
    if abs(value) < 60:
        return f"{significant(value / size, 3)} {unit}" if value else "0 s"
    whole = round(value)
    hours, minutes, rest = whole // 3600, whole // 60 % 60, whole % 60
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s"


def count(value: float) -> str:
    """4500 -> "4,500"; 1234567 -> "1.23 M"."""
    if not math.isfinite(value):
        return "not finite"
    for unit, size in (("G", 1e9), ("M", 1e6)):
        if abs(value) >= size:
            return f"{value / size:.2f} {unit}"
    return f"{value:,.0f}" if value == round(value) else significant(value)


def percent(value: float) -> str:
    """0.1234 -> "12.3 %"."""
    return f"{100 * value:.1f} %" if math.isfinite(value) else "not finite"
