"""A rule in words, for the methods paragraph; and messages in the words of a study file."""

from __future__ import annotations

import re

from alliance_stats.report.numbers import count
from alliance_stats.report.sections import all_keys
from alliance_stats.rupture.rules.rule import Rule
from alliance_stats.rupture.rules.vocabulary import REFERENCES, REPAIRS, UNITS
from alliance_stats.tables.words import names_in_words


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
