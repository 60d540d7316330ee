"""Files called as those of LookBook: PID000123_CLEAN1_000456.jpg is a product, CLEAN0 somebody who wears it.

Pixel-Level Domain Transfer. Yoo, Kim, Park, Paek and Kweon, 2016. https://arxiv.org/abs/1603.07442, Section 4
"""

import re
from collections.abc import Iterable

NAME = re.compile(r"(?:.*/)?(PID\d+)_CLEAN(\d)_\d+\.\w+", re.IGNORECASE)


def product_of(name: str) -> str | None:
    """The product that a file shows, or somebody wears in it; None for a file that is called otherwise."""
    found = NAME.fullmatch(name)
    return found[1].upper() if found else None


def is_product(name: str) -> bool:
    found = NAME.fullmatch(name)
    return found is not None and found[2] == "1"


def pairs(names: Iterable[str]) -> tuple[dict[str, str], list[str]]:
    """The product of each wearer's file, by its name; and the files that have no partner."""
    known = sorted(name for name in names if product_of(name))
    products = {str(product_of(name)): name for name in reversed(known) if is_product(name)}
    found = {
        name: products[key] for name in known if not is_product(name) and (key := str(product_of(name))) in products
    }
    used = {*found, *found.values()}
    return found, [name for name in known if name not in used]
