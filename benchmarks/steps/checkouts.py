"""Models of other libraries, from their own source as it is."""

import importlib
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any


def finder(checkout: Path) -> Callable[[str, str], Any]:
    """Finds classes in pytorch-generative's model files, without what its packages import beside them."""
    for name in ("pytorch_generative", "pytorch_generative.models"):
        package = ModuleType(name)
        package.__path__ = [str(checkout / name.replace(".", "/"))]
        sys.modules[name] = package

    def find(file: str, name: str) -> Any:
        return getattr(importlib.import_module(f"pytorch_generative.models.autoregressive.{file}"), name)

    return find
