"""Column names that follow a pattern, such as ``wai_{item}`` or ``{measure}_s{session}``; pseudonyms; runs of numbers.

``{item}`` and ``{session}`` match a whole number (up to nine digits, leading zeros
allowed), any other name in braces for text.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

from alliance_stats.tables.schema import DataError, generator

NUMBERS = ("item", "session", "event")
_FIELD = re.compile(r"\{([A-Za-z_]\w*)\}")


def fields(pattern: str) -> list[str]:
    """The names in braces, in order.

    >>> fields("{measure}_s{session}")
    ['measure', 'session']
    """
    return _FIELD.findall(pattern)


def is_pattern(text: str) -> bool:
    """Whether a text holds a name in braces."""
    return bool(_FIELD.search(text))


def matcher(pattern: str) -> re.Pattern[str]:
    """The regular expression of a pattern; each field is a named group, and may be named once."""
    names = fields(pattern)
    if len(set(names)) != len(names):
        raise ValueError(f"pattern {pattern!r} names a field twice.")
    parts = _FIELD.split(pattern)
    pieces = [
        re.escape(part)
        if position % 2 == 0
        else (f"0*(?P<{part}>[0-9]{{1,9}})" if part in NUMBERS else f"(?P<{part}>.+?)")
        for position, part in enumerate(parts)
    ]
    return re.compile("".join(pieces) + r"\Z")


def numbered(columns: Iterable[object], pattern: str, *, field: str = "item") -> dict[int, str]:
    """The columns that fit a pattern, by the number each carries; ``DataError`` if two carry the same.

    >>> numbered(["id", "wai_01", "wai_2", "wai_total"], "wai_{item}")
    {1: 'wai_01', 2: 'wai_2'}
    """
    if fields(pattern) != [field]:
        raise ValueError(f"pattern {pattern!r} must hold {{{field}}}, once, and no other name in braces.")
    expression = matcher(pattern)
    found: dict[int, str] = {}
    for column in columns:
        fit = expression.match(str(column))
        if fit is None:
            continue
        number = int(fit[field])
        if number in found:
            raise DataError(
                f"{found[number]!r} and {column!r} are both {field} {number} of {pattern!r}.",
                remedy="Rename or drop one of them.",
            )
        found[number] = str(column)
    return dict(sorted(found.items()))


def pseudonyms(ids: Iterable[Any], letter: str, seed: int) -> dict[Any, str]:
    """Id to P01, P02, ..., numbered in a random order, so that the number does not tell the order of admission.

    >>> sorted(pseudonyms(["anna", "ben"], "P", 1).values())
    ['P01', 'P02']
    """
    listed = sorted(ids, key=str)
    digits, order = max(2, len(str(len(listed)))), generator(seed).permutation(len(listed)) + 1
    return {one: f"{letter}{number:0{digits}d}" for one, number in zip(listed, order, strict=True)}


def ranges(numbers: Iterable[int], *, between: str = ",", least: int = 2) -> str:
    """Whole numbers as text, runs of `least` or more shortened.

    >>> ranges([3, 7, 8, 9]), ranges([1, 2, 4], between=", ", least=3)
    ('3,7-9', '1, 2, 4')
    """
    runs: list[list[int]] = []
    for number in numbers:
        if runs and number == runs[-1][-1] + 1:
            runs[-1].append(number)
        else:
            runs.append([number])
    return between.join(f"{run[0]}-{run[-1]}" if len(run) >= least else between.join(map(str, run)) for run in runs)


def matching(columns: Iterable[object], name_or_pattern: str) -> list[str]:
    """The columns meant by a name (itself) or a pattern (all that fit it), in the order of `columns`.

    >>> matching(["wai_1", "wai_2", "phq9"], "wai_{item}"), matching(["wai_1", "phq9"], "phq9")
    (['wai_1', 'wai_2'], ['phq9'])
    """
    if not is_pattern(name_or_pattern):
        return [str(column) for column in columns if column == name_or_pattern]
    expression = matcher(name_or_pattern)
    return [str(column) for column in columns if expression.match(str(column))]
