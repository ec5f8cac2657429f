"""Numbers as the report prints them (APA style, 7th edition; unrounded in the tables), and rules in words."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from typing import Any

import pandas as pd

from alliance_stats.report.sections import all_keys
from alliance_stats.rupture.rules.rule import Rule
from alliance_stats.rupture.rules.vocabulary import REFERENCES, REPAIRS, UNITS
from alliance_stats.tables import rendering
from alliance_stats.tables.words import names_in_words

MISSING = "–"
Format = Callable[[Any], str]


def number(value: Any, places: int | None = None) -> str:
    """Whole numbers whole; others with `places` decimals, by default two or as many as two digits need.

    >>> number(0.04567), number(12), number(138.26), number(1234.5678), number(-2.0), number(None)
    ('0.046', '12', '138.3', '1,235', '−2.00', '–')
    >>> number(0.04567, 2), number(-0.005, 3)
    ('0.05', '−0.005')
    """
    value = _plain(value)
    if value is None:
        return MISSING
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}".replace("-", "−")
    if not isinstance(value, float):
        return str(value)
    if math.isinf(value):
        return "∞" if value > 0 else "−∞"
    size = abs(value)
    if size >= 1e9 or (places is None and 0 < size < 5e-7):
        return f"{value:.1e}".replace("-", "−")
    if places is None:
        places = 2 if size == 0 or size >= 0.0995 else 1 - math.floor(math.log10(size))
    return _decimals(value, 0 if size >= 999.5 else 1 if size >= 99.95 else places)


def whole_or_not(value: float) -> str:
    """A float that may be a count."""
    return number(int(value) if float(value).is_integer() else value)


def two_decimals(value: Any) -> str:
    """A standardised effect.

    >>> two_decimals(-0.0199), two_decimals(-0.001)
    ('−0.02', '0.00')
    """
    return _fixed(value, 2)


def one_decimal(value: Any) -> str:
    """Degrees of freedom and expected counts.

    >>> one_decimal(83.6298), one_decimal(float("inf"))
    ('83.6', '∞')
    """
    return _fixed(value, 1)


def whole(value: float) -> str:
    """An expected count beside its interval, which makes decimals meaningless.

    >>> whole(59.6)
    '60'
    """
    return number(round(value))


def correlation(value: Any) -> str:
    """What cannot exceed 1 has no leading zero: correlations, reliabilities.

    >>> correlation(0.2946), correlation(-0.0058), correlation(1.0), correlation(-0.5)
    ('.29', '−.01', '1.00', '−.50')
    """
    text = _fixed(value, 2)
    return text.replace("0.", ".", 1) if text.lstrip("−").startswith("0.") else text


def p_value(value: Any) -> str:
    """A p value.

    >>> p_value(0.0004), p_value(0.0321), p_value(0.4), p_value(0.9999)
    ('< .001', '.032', '.400', '> .999')
    """
    value = _plain(value)
    if value is None:
        return MISSING
    return "> .999" if value > 0.9995 else rendering.p_value(value)


def printed(table: pd.DataFrame, name: str, formats: Mapping[str, Format]) -> list[str]:
    """A column as it is printed: an estimate and its error with the decimals that the row's interval needs.

    >>> rows = pd.DataFrame({"estimate": [0.0456, -0.0051], "ci_low": [-0.4, -0.0134], "ci_high": [0.5, 0.0032]})
    >>> printed(rows, "estimate", {}), printed(rows, "ci_high", {})
    (['0.05', '−0.005'], ['0.50', '0.003'])
    """
    if name in formats or name == "p_value" or not {"ci_low", "ci_high"} <= set(table):
        form = formats.get(name, p_value if name == "p_value" else number)
        return [form(value) for value in table[name].tolist()]
    ends = zip(table[name].tolist(), table["ci_low"].tolist(), table["ci_high"].tolist(), strict=True)
    return [number(value, rendering.decimals_for(low, high)) for value, low, high in ends]


def percent(value: Any, digits: int = 1) -> str:
    """A share as a percentage.

    >>> percent(0.2264), percent(float("nan"))
    ('22.6%', '–')
    """
    value = _plain(value)
    return MISSING if value is None else f"{_decimals(100 * float(value), digits)}%"


def brief(value: Any) -> str:
    """A number as short as it can be written: ends of scales, settings.

    >>> brief(5.0), brief(0.25)
    ('5', '0.25')
    """
    return f"{value:g}".replace("-", "−")


def tally(value: Any) -> str:
    """A count, or a quantile of counts, which may fall between two of them.

    >>> tally(17.0), tally(25.025), tally(25.5)
    ('17', '25', '25.5')
    """
    return one_decimal(value).removesuffix(".0")


def count(n: int, singular: str, plural: str | None = None) -> str:
    """A count with its noun.

    >>> count(1, "patient"), count(1200, "session"), count(0, "study", "studies")
    ('1 patient', '1,200 sessions', '0 studies')
    """
    return f"{n:,} {singular if n == 1 else plural or singular + 's'}"


def p_clause(text: str) -> str:
    """``p = .032`` or ``p < .001``, from a printed p value.

    >>> p_clause(".032"), p_clause("< .001")
    ('p = .032', 'p < .001')
    """
    return f"p {text}" if text[0] in "<>" else f"p = {text}"


def _plain(value: Any) -> Any:
    """A Python number, text or bool; None for everything that means missing."""
    if value is None or value is pd.NA or value is pd.NaT:
        return None
    value = value.item() if hasattr(value, "item") else value
    return None if isinstance(value, float) and math.isnan(value) else value


def _fixed(value: Any, digits: int) -> str:
    value = _plain(value)
    if value is None or math.isinf(value):
        return number(value)
    return _decimals(float(value), digits)


def _decimals(value: float, digits: int) -> str:
    """`value` with `digits` decimals, a true minus sign, and no minus before what rounds to zero."""
    text = f"{value:,.{digits}f}"
    return text.replace("-", "−") if any(digit in text for digit in "123456789") else text.removeprefix("-")


def rule_in_words(rule: Rule) -> str:
    """What counts as a rupture and as its repair, as a clause.

    >>> rule_in_words(Rule(reference="previous", unit="points", size=1.0, window=3))
    'a score at least one point below the previous rated session begins a rupture, and the first later score
    strictly above the baseline within 3 sessions repairs it'
    """
    size = f"{'more than' if rule.strict else 'at least'} {UNITS[rule.unit].counted(rule.size)}"
    fall = f"a score {size} below {REFERENCES[rule.reference].words}"
    if rule.fall == "cumulative":
        fall = f"a run of non-rising scores that loses {size}"
    elif rule.fall == "sudden":
        fall = f"a sudden loss (Tang & DeRubeis criteria) of {size}"
    runs = " (or a run rule of the control chart)" if rule.run_rules else ""
    window = f" within {count(rule.window, 'session')}" if rule.window is not None else ""
    repair = REPAIRS[rule.repair].words.format(amount=rule.repair_amount)
    later = "the first later score"
    if rule.repair_holds > 1:
        later = f"the last of the first {count(rule.repair_holds, 'score')} in a row"
    return f"{fall}{runs} begins a rupture, and {later} {repair}{window} repairs it"


def remark(text: str) -> str:
    """A remark of a fit as the report prints it: terms in words, keys of the study file, a capital letter first."""
    text = in_keys(names_in_words(text), all_keys())
    return text[:1].upper() + text[1:]


def in_keys(text: str, keys: frozenset[str]) -> str:
    """A message of the package in the words of a study file: its `keys` instead of arguments of Python.

    >>> keys = frozenset({"sheet", "missing_codes", "codes", "decimal", "already_reversed"})
    >>> in_keys("Name one with sheet=. Or: missing_codes={'wai 1': [-9], 'phq9': [99]}.", keys)
    'Name one with sheet = ... Or: missing_codes = { "wai 1" = [-9], phq9 = [99] }.'
    >>> in_keys("Say decimal=',' or already_reversed=True; unknown=3 stays.", keys)
    "Say decimal = ',' or already_reversed = true; unknown=3 stays."
    """
    for words, instead in _COMMANDS:
        text = re.sub(words, instead, text)

    def key(found: re.Match[str]) -> str:
        if found[1] not in keys:
            return found[0]
        return f"{found[1]} = " if re.match(r"[\w\['\"{(-]", text[found.end() :]) else f"{found[1]} = ..."

    text = re.sub(r"\b([a-z_]+)=(?!=)", key, text).replace(" = ....", " = ...")
    text = re.sub(r"(?<= = )(True|False)\b", lambda found: found[0].lower(), text)
    return re.sub(r"(?<= = )\{((?:[^{}]|\{\w+\})*)\}", _inline_table, text)


_COMMANDS = (
    (r"\bfit_(outcome|next_session|growth|dynamics|dropout)\b", r"[\1]"),
    (r"The column attenuation is", "The column 'share of an effect shown' is"),
    (r" (?:without|and no) cluster=", " without a cluster"),
    (r"check_file lists them all", "alliance-stats check lists them all"),
    (r"[Rr]ead it with read_redcap\(path, (.*?)\)", r"write [redcap] instead of [read], with \1"),
    (r"in a TOML file \(read_instrument\)", "in a TOML file beside the study file: instrument = 'own.toml'"),
    (r"merge_ratings", "[[merge]]"),
    (r"join_patients", "[patients]"),
    (r" \(missing_codes= when reading\)", " (missing_codes= in [read])"),
    (r"missing_codes= when reading", "missing_codes= in [read]"),
)
"""What is said in Python, and how a study file says it."""


def _inline_table(found: re.Match[str]) -> str:
    """A dict of Python as a table of TOML."""

    def key(one: re.Match[str]) -> str:
        name = one[1].strip("'\"")
        return f"{name} = " if re.fullmatch(r"[\w-]+", name) else f'"{name}" = '

    inside = re.sub(r"('[^']*'|\"[^\"]*\"|\b\w+): ", key, found[1])
    return f"{{ {inside} }}" if inside else "{ }"
