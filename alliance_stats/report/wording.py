"""A rule in words, for the methods paragraph."""

from __future__ import annotations

from alliance_stats.report.numbers import count
from alliance_stats.rupture.rules.rule import Rule

_REFERENCES = {
    "previous": "the previous rated session",
    "running_mean": "the mean of all earlier rated sessions",
    "running_max": "the highest of all earlier ratings",
    "own_mean": "the patient's own mean of all sessions",
    "own_median": "the patient's own median of all sessions",
    "own_trend": "the patient's own linear trend",
}
_UNITS = {
    "points": "points",
    "percent": "percent of that level",
    "own_sd": "of the patient's own SD",
    "pooled_sd": "pooled within-patient SD",
    "shrunken_sd": "of the patient's own SD, shrunken towards the pooled one",
    "earlier_sd": "of the SD of the patient's earlier ratings, shrunken towards the pooled within-patient SD",
    "between_sd": "between-patient SD",
    "stricter_sd": "of the stricter of within- and between-patient SD",
    "moving_range": "sigma of the patient's moving range",
    "rci": "reliable change indices",
}
_REPAIRS = {
    "past_baseline": "strictly above the baseline",
    "to_baseline": "at or above the baseline",
    "share_of_fall": "that has regained the share {amount} of the fall",
    "within_points": "not more than {amount} points below the baseline",
}


def rule_in_words(rule: Rule) -> str:
    """What counts as a rupture and as its repair, as a clause.

    Examples
    --------
    >>> rule_in_words(Rule(reference="previous", unit="points", size=1.0, window=3))
    'a score at least 1 points below the previous rated session begins a rupture, and the first later score
    strictly above the baseline within 3 sessions repairs it'
    """
    least = "more than" if rule.strict else "at least"
    fall = f"a score {least} {rule.size:g} {_UNITS[rule.unit]} below {_REFERENCES[rule.reference]}"
    if rule.fall == "cumulative":
        fall = f"a run of non-rising scores that loses {least} {rule.size:g} {_UNITS[rule.unit]}"
    elif rule.fall == "sudden":
        fall = f"a sudden loss (Tang & DeRubeis criteria) of {least} {rule.size:g} {_UNITS[rule.unit]}"
    runs = " (or a run rule of the control chart)" if rule.run_rules else ""
    amount = "" if rule.repair_amount is None else f"{rule.repair_amount:g}"
    window = f" within {count(rule.window, 'session')}" if rule.window is not None else ""
    repair = _REPAIRS[rule.repair].format(amount=amount)
    return f"{fall}{runs} begins a rupture, and the first later score {repair}{window} repairs it"
