"""Public names, loaded on first use from the one list there is of them: the stub beside a package's ``__init__.py``.

A line ``from alliance_stats.mixed.fit import fit_mixed as fit_mixed`` in ``__init__.pyi`` makes the name public in
that package, for type checkers and for :func:`public`. Importing the package then costs hardly more than importing
pandas.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Callable
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any

ROOT = "alliance_stats"


@cache
def homes(package: str) -> dict[str, str]:
    """The public names of a package, each with the module that defines it (the package itself for a room)."""
    stub = Path(__file__).parent.joinpath(*package.split(".")[1:], "__init__.pyi")
    body = ast.parse(stub.read_text(encoding="utf-8")).body if stub.exists() else []
    return {name.name: str(node.module) for node in body if isinstance(node, ast.ImportFrom) for name in node.names}


def public(package: str) -> tuple[Callable[[str], Any], Callable[[], list[str]], list[str]]:
    """``__getattr__``, ``__dir__`` and ``__all__`` of a package, from its stub.

    Raises
    ------
    AttributeError
        From ``__getattr__``, for a name that is not public here; it says where the name is public instead.
    """
    names = sorted(homes(package))

    def load(name: str) -> Any:
        if name not in homes(package):
            raise AttributeError(f"module {package!r} has no attribute {name!r}.{_elsewhere(package, name)}")
        module = homes(package)[name]
        room = module == package
        value = import_module(f"{package}.{name}") if room else getattr(import_module(module), name)
        vars(sys.modules[package])[name] = value  # found without this function from now on
        return value

    return load, lambda: names, names


def _elsewhere(package: str, name: str) -> str:
    """Where a name is public, as the end of a message; empty where it is not."""
    rooms = [f"{ROOT}.{room}" for room, module in homes(ROOT).items() if module == ROOT]
    found = [place for place in (ROOT, *rooms) if place != package and name in homes(place)]
    return f" It is {found[0]}.{name}." if found else ""
