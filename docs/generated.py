"""Pages written from the code: the API by room, the named rules, the instruments."""

from __future__ import annotations

import inspect
import shutil
from importlib import import_module
from pathlib import Path
from typing import Any

import alliance_stats as als
from alliance_stats.lazy import ROOT, homes

RULES_HEAD = """# The named rules

A rule is a value of [`Rule`](api/alliance_stats.Rule): every part of it can be changed with `dataclasses.replace`.
*Fidelity* says how far a member is the published rule. Rules that look ahead judge a session by ratings made after it:
they describe, and may not feed a model of the next session or of dropout.

| name | looks ahead | source | fidelity |
|---|---|---|---|
"""
INSTRUMENTS_HEAD = """# The instruments

Item numbers and scoring keys only: the wording of questionnaires is copyrighted. *Not verified* lists what could not be
checked against a source. Where that matters, pass your own key
([`read_instrument`](api/alliance_stats.instruments.read_instrument)).

| name | title | items, answers | reversed | score | source | not verified |
|---|---|---|---|---|---|---|
"""


def write_pages(folder: Path) -> None:
    """Write every generated page into the folder of the documentation; pages of names that are gone go with them."""
    shutil.rmtree(folder / "api", ignore_errors=True)
    _write(folder / "api.md", _api())
    _write(folder / "rules_table.md", RULES_HEAD + "".join(map(_rule_row, als.RULES.values())))
    _write(folder / "instruments_table.md", INSTRUMENTS_HEAD + "".join(map(_instrument_row, als.INSTRUMENTS.values())))


def _write(path: Path, text: str) -> None:
    """A page that has not changed keeps its time, and is not built again."""
    if not path.exists() or path.read_text(encoding="utf-8") != text:
        path.write_text(text, encoding="utf-8", newline="\n")


def _api() -> str:
    """Every public name by its room: the root's verbs first, then what a room adds."""
    rooms = [name for name, module in homes(ROOT).items() if module == ROOT]
    parts = ["# Functions and tables\n\nThe root (`import alliance_stats as als`) has the verbs of the main path.\n"]
    roots = [name for name in als.__all__ if name not in rooms]
    parts.append(_autosummary(ROOT, roots))
    for room in rooms:
        public = _public(f"{ROOT}.{room}")
        if public:
            module = import_module(f"{ROOT}.{room}")
            first = inspect.getdoc(module).split("\n\n")[0]
            parts.append(f"## `als.{room}`\n\n{first}\n\n{_autosummary(f'{ROOT}.{room}', public)}")
    return "\n".join(parts)


def _public(package: str) -> list[str]:
    """The names of a room, or the public functions of a room that is one module and not at the root."""
    if homes(package):
        return sorted(homes(package))
    module = import_module(package)
    found = [n for n, value in vars(module).items() if inspect.isfunction(value) and value.__module__ == package]
    return sorted(name for name in found if not name.startswith("_") and name not in als.__all__)


def _autosummary(package: str, names: list[str]) -> str:
    """The functions and classes among the names; tables of constants have no docstring of their own."""
    names = [name for name in names if callable(getattr(import_module(package), name))]
    lines = "\n".join(f"   {package}.{name}" for name in names)
    return f"```{{eval-rst}}\n.. autosummary::\n   :toctree: api\n   :nosignatures:\n\n{lines}\n```\n"


def _rule_row(rule: Any) -> str:
    ahead = "no" if rule.prospective else "yes"
    return f"| `{rule.name}` | {ahead} | {rule.citation} | {rule.fidelity} |\n"


def _instrument_row(key: Any) -> str:
    flipped = ", ".join(map(str, key.reversed)) or "none"
    open_points = "; ".join(f"{what}: {why}" for what, why in key.unverified.items()) or "-"
    answers = f"{len(key.items)}, {key.low} to {key.high}"
    return f"| `{key.name}` | {key.title} | {answers} | {flipped} | {key.score} | {key.source} | {open_points} |\n"
