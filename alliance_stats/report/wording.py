"""A rule in words, for the methods paragraph."""

from __future__ import annotations

from alliance_stats.report.numbers import count
from alliance_stats.rupture.rules.rule import Rule
from alliance_stats.rupture.rules.vocabulary import REFERENCES, REPAIRS, UNITS


def rule_in_words(rule: Rule) -> str:
    """What counts as a rupture and as its repair, as a clause.

    Examples
    --------
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
