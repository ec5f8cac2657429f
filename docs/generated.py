"""Pages written from the code: the API by room, the named rules, the instruments, the study file; and the notebooks."""

from __future__ import annotations

import inspect
import re
import shutil
from importlib import import_module
from pathlib import Path
from typing import Any

from numpydoc.docscrape import FunctionDoc

import alliance_stats as als
from alliance_stats.lazy import ROOT, homes
from alliance_stats.report.sections import REQUIRED, known_sections
from alliance_stats.report.study import options_of

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


STUDY_HEAD = """# The study file

One TOML file describes a study; `alliance-stats init DATA` proposes one, `alliance-stats check STUDY.toml`
lists everything that is wrong with it and with its files. Each section is one call of the package, and its
keys are that function's arguments: what a study file leaves out, the function decides. A key that is not
known is an error that names the nearest one. Nothing in a study file can run code.

"""
FUNCTIONS = {
    "read": (als.read_sessions,),
    "redcap": (als.load.read_redcap, als.read_sessions),
    "merge": (als.merge_ratings, als.read_sessions),
    "patients": (als.load.join_patients,),
    "keep": (als.keep,),
    "score": (als.score_items,),
    "flip": (als.flip,),
    "reliability": (als.reliability.item_reliability,),
    "endings": (als.read_endings,),
    "detect": (als.detect_ruptures,),
    "latent": (als.detect_latent,),
    "chance": (als.chance_level,),
    "outcome": (als.fit_outcome,),
    "next_session": (als.fit_next_session,),
    "dynamics": (als.fit_dynamics,),
    "growth": (als.fit_growth,),
    "dropout": (als.dropout_intervals, als.fit_dropout),
    "codes": (
        als.coding.code_sessions,
        als.load.read_codes,
        als.fit_dropout,
        als.coding.consensus,
        als.events_from_codes,
        als.coding.repair_intervals,
    ),
    "multiverse": (als.multiverse.joint_test, als.fit_multiverse),
}
"""What each section calls; what its keys mean is read from there."""
OWN_KEYS = {
    "title": "of the report",
    "seed": "of everything drawn at random; 1 if not given",
    "show_ids": "show ids instead of pseudonyms",
    "file": "the data file, in the folder of the study file or below",
    "instrument": "one of the [instruments](instruments_table), or a TOML file of your own",
    "recovery": "say whether the level after a rupture lies past, at or short of the level before (a second)",
    "prediction_rule": "the rule for models that predict, where `rule` looks at the whole course",
    "symptom": "the column of the symptom score",
    "formula": "the covariates, such as `rupture_open + repaired_before + session`; in `[codes]` those of repair, by "
    "default the strategies used so far",
    "reports": "columns of the sessions with 1 where a rupture was reported, as `{ patient = ..., therapist = ... }`",
    "patients": "how many courses are drawn",
    "before": "sessions before the onset that are drawn",
    "after": "sessions after the onset that are drawn",
    "crossed": "reliability of change with sessions crossed",
    "n_sessions": "sessions that reliability is estimated for",
}
"""Keys that no function has as an argument."""


def write_pages(folder: Path) -> None:
    """Write every generated page into the folder of the documentation; pages of names that are gone go with them."""
    shutil.rmtree(folder / "api", ignore_errors=True)
    _write(folder / "api.md", _api())
    _write(folder / "study_file.md", STUDY_HEAD + "".join(map(_section, known_sections().items())))
    for notebook in (folder.parent / "notebooks").glob("*.ipynb"):
        (folder / "notebooks").mkdir(exist_ok=True)
        _write(folder / "notebooks" / notebook.name, notebook.read_text(encoding="utf-8"))
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


def _section(item: tuple[str, frozenset[str]]) -> str:
    """A section of the study file: the functions it calls, and a row for each key."""
    name, keys = item
    functions = FUNCTIONS.get(name, ())
    described = {}
    for function in functions:
        for parameter in FunctionDoc(function)["Parameters"]:
            for each in (name.strip() for name in parameter.name.split(",")):
                if each not in options_of(function):  # a table is no key
                    continue
                described[each] = (parameter.type, " ".join(parameter.desc).replace("|", "\\|"))
    calls = ", ".join(f"`{function.__name__}`" for function in functions)
    rows = []
    for key in sorted(keys, key=lambda key: (key not in REQUIRED.get(name, ()), key)):
        kind, meaning = described[key] if key in described else ("", OWN_KEYS[key])
        needed = " (needed)" if key in REQUIRED.get(name, ()) else ""
        kind = kind.replace("|", "\\|").removesuffix(", optional")
        rows.append(f"| `{key}`{needed} | {kind} | {_plain(meaning)} |")
    title = f"## `[{name}]`\n\n" + (f"Calls {calls}.\n\n" if calls else "")
    return title + "| key | holds | meaning |\n|---|---|---|\n" + "\n".join(rows) + "\n\n"


def _plain(text: str) -> str:
    """A docstring's words without the roles that only Sphinx reads."""
    return re.sub(r":\w+:`~?([^`]*)`", r"`\1`", text).replace("``", "`")


def _rule_row(rule: Any) -> str:
    ahead = "no" if rule.prospective else "yes"
    return f"| `{rule.name}` | {ahead} | {rule.citation} | {rule.fidelity} |\n"


def _instrument_row(key: Any) -> str:
    flipped = ", ".join(map(str, key.reversed)) or "none"
    open_points = "; ".join(f"{what}: {why}" for what, why in key.unverified.items()) or "-"
    answers = f"{len(key.items)}, {key.low} to {key.high}"
    return f"| `{key.name}` | {key.title} | {answers} | {flipped} | {key.score} | {key.source} | {open_points} |\n"
