"""lme4's formula: which part is fixed, which random, and by which group."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from alliance_stats.tables.formulas import one_sided, variables_of
from alliance_stats.tables.schema import DataError, suggest

INTERCEPT = "Intercept"


@dataclass(frozen=True)
class RandomTerm:
    """One correlated block of random effects: ``(lhs | group)``."""

    lhs: str  # The random effects, as a one-sided formula: ``"1 + time"``, ``"0 + time"``
    group: tuple[str, ...]  # The columns whose combination is the grouping factor; one name, or several joined by ``:``

    @property
    def factor(self) -> str:
        """The grouping factor as lme4 prints it: ``patient``, ``therapist:patient``."""
        return ":".join(self.group)


@dataclass(frozen=True)
class MixedFormula:
    """A parsed formula: outcome, fixed part (a formulaic formula) and the random blocks."""

    text: str
    outcome: str
    fixed: str
    random: tuple[RandomTerm, ...]


@lru_cache(maxsize=256)
def parse(formula: str) -> MixedFormula:
    """Read a formula in lme4's syntax.

    ``(1 + x || g)`` means ``(1 | g) + (0 + x | g)`` and ``(1 | a/b)`` for ``(1 | a) + (1 | a:b)``.

    Raises
    ------
    ValueError
        For a formula without ``~``, without a random part, or with a part that cannot be read.

    Examples
    --------
    >>> parsed = parse("y ~ time * arm + (1 + time || patient) + (1 | therapist)")
    >>> parsed.fixed, [(term.lhs, term.factor) for term in parsed.random]
    ('time * arm', [('1', 'patient'), ('0 + time', 'patient'), ('1', 'therapist')])
    """
    outcome, tilde, right = formula.partition("~")
    if not tilde or not outcome.strip():
        raise ValueError(f"{formula!r} is no model formula. Write outcome ~ fixed terms + (random terms | group).")
    fixed, inside = _split_random(right)
    if not inside:
        raise ValueError(f"{formula!r} has no random part. Add one, such as (1 | patient).")
    random = tuple(term for text in inside for term in _random_terms(text))
    seen = set()
    for term in random:
        key = (term.factor, tuple(sorted(terms_of(term.lhs))))
        if key in seen:
            raise ValueError(f"The random term ({term.lhs} | {term.factor}) is given twice in {formula!r}.")
        seen.add(key)
    return MixedFormula(formula, outcome.strip(), fixed, random)


def _split_random(right: str) -> tuple[str, list[str]]:
    """The fixed part of a right-hand side, and the text inside each ``( ... | ... )``."""
    fixed: list[str] = []
    inside: list[str] = []
    position = 0
    while position < len(right):
        character = right[position]
        if character != "(":
            fixed.append(character)
            position += 1
            continue
        end = _closing(right, position)
        body = right[position + 1 : end]
        called = "".join(fixed).rstrip()[-1:].isidentifier()
        if "|" in body and not called:
            inside.append(body)
        else:
            fixed.append(right[position : end + 1])
        position = end + 1
    text = re.sub(r"\s+", " ", "".join(fixed)).strip()
    if inside:
        text = re.sub(r"(\+\s*)+(?=\+)", "", text).strip()  # the plus signs that joined the random terms
        text = text.strip("+").strip()
    return text or "1", inside


def _closing(text: str, start: int) -> int:
    depth = 0
    for position in range(start, len(text)):
        depth += {"(": 1, ")": -1}.get(text[position], 0)
        if depth == 0:
            return position
    raise ValueError(f"A parenthesis is not closed: {text[start:]!r}.")


def _random_terms(text: str) -> list[RandomTerm]:
    parts = [part.strip() for part in re.split(r"\|\|?", text)]
    if len(parts) != 2 or not all(parts):
        raise ValueError(f"({text}) cannot be read as (random terms | group).")
    lhs, right = parts
    effects = [lhs]
    if "||" in text:
        terms = terms_of(lhs)
        effects = ["1" if term == "1" else f"0 + {term}" for term in terms]
    return [RandomTerm(effect, group) for group in _groups(right) for effect in effects]


def _groups(text: str) -> list[tuple[str, ...]]:
    """``a/b`` is ``a`` and ``a:b``; ``a:b`` one factor."""
    nested = [tuple(name.strip().strip("`") for name in part.split(":")) for part in text.strip("() ").split("/")]
    if any(not re.fullmatch(r"[^\s()+*|~]+(\s[^\s()+*|~]+)*", name) for part in nested for name in part):
        raise ValueError(f"{text!r} is no grouping factor. Name one column, or several joined by ':' or '/'.")
    groups = [nested[0]]
    for part in nested[1:]:
        groups.append((*groups[-1], *part))
    return groups


@lru_cache(maxsize=256)
def terms_of(side: str) -> tuple[str, ...]:
    """The terms of a one-sided formula, ``"1"`` for the intercept.

    >>> terms_of("1 + a * b")
    ('1', 'a', 'b', 'a:b')
    """
    return tuple(str(term) for term in one_sided(side))


def require_variables(parsed: MixedFormula, columns: Any, extra: tuple[str, ...] = ()) -> tuple[str, ...]:
    """Every data column the model needs, in a fixed order; ``DataError`` for the first that is not there."""
    sides = (f"0 + {parsed.outcome}", parsed.fixed, *(term.lhs for term in parsed.random))
    names = [name for side in sides for name in variables_of(side)]
    groups = [name for term in parsed.random for name in term.group]
    names += groups
    known = set(columns)
    for name in dict.fromkeys((*names, *extra)):
        if name not in known:
            raise DataError(
                f"The model needs a column {name!r}, which is not a column of the data.", remedy=suggest(name, columns)
            )
    for name in {INTERCEPT}.intersection(names) | {"residual", "fixed"}.intersection(groups):
        raise DataError(f"The name {name!r} has its own meaning in the tables of a fit.", remedy="Rename the column.")
    return tuple(dict.fromkeys((*names, *extra)))
