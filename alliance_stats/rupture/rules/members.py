"""The rules in print and those this package recommends, by name."""

from __future__ import annotations

from alliance_stats.rupture.rules.rule import Rule
from alliance_stats.tables.schema import suggest

_REPAIR_IS_OURS = "The repair target (past baseline) is this package's, not the source's."

# fmt: off
_MEMBERS = (
    # -- what this package recommends ---------------------------------------------------------------------------
    Rule(
        name="own_median_2pooled", reference="own_median", unit="pooled_sd", size=2.0, min_ratings=3,
        citation="This package; see figures/detector_comparison.csv.",
        fidelity="Not a published rule. Looks ahead (own median of all sessions).",
    ),
    Rule(
        name="own_mean_2pooled", reference="own_mean", unit="pooled_sd", size=2.0, min_ratings=3,
        citation="This package; the rule of J Consult Clin Psychol 2024;92:129 with the pooled SD as its unit.",
        fidelity="Not a published rule. Looks ahead (own mean of all sessions).",
    ),
    Rule(
        name="own_mean_2shrunken", reference="own_mean", unit="shrunken_sd", size=2.0, min_ratings=3,
        citation="This package; own variances drawn towards the pooled one.",
        fidelity="Not a published rule. Looks ahead (own mean and SD of all sessions).",
    ),
    Rule(
        name="previous_2pooled", reference="previous", unit="pooled_sd", size=2.0,
        citation="This package.",
        fidelity="Not a published rule. Prospective.",
    ),
    Rule(
        name="running_mean_2pooled", reference="running_mean", unit="pooled_sd", size=2.0, min_ratings=3,
        citation="This package; with running_mean_2earlier the best of the rules in figures/detector_comparison.csv.",
        fidelity="Not a published rule. Prospective.",
    ),
    Rule(
        name="running_mean_2earlier", reference="running_mean", unit="earlier_sd", size=2.0, min_ratings=2,
        citation="This package; see figures/detector_comparison.csv.",
        fidelity="Not a published rule. Prospective.",
    ),
    # -- rules in print -----------------------------------------------------------------------------------------
    Rule(
        name="own_mean_2sd", reference="own_mean", unit="own_sd", size=2.0, strict=True,
        citation="J Consult Clin Psychol 2024;92:129 (WAI, 58 patients, 22 sessions).",
        fidelity="As published for the fall: more than 2 own SD below the patient's own mean of all sessions. "
        + _REPAIR_IS_OURS,
    ),
    Rule(
        name="own_trend_2sd", reference="own_trend", unit="own_sd", size=2.0,
        citation="Stiles et al. (2004): V-shaped deflections around the patient's own regression line.",
        fidelity="In the spirit of: the size of about 2 SD is recalled, not checked. " + _REPAIR_IS_OURS,
    ),
    Rule(
        name="own_trend_1sd", reference="own_trend", unit="own_sd", size=1.0,
        citation="Strauss et al. (2006).",
        fidelity="In the spirit of: close to Stiles et al. with about 1 SD, recalled, not checked. " + _REPAIR_IS_OURS,
    ),
    Rule(
        name="previous_1point", reference="previous", unit="points", size=1.0, repair="within_points",
        repair_amount=0.25,
        citation="Stevens et al. (2007): a fall of about 1 point of the item scale, back to within about .25.",
        fidelity="In the spirit of: size and target are recalled, not checked. For scores on the scale of one item.",
    ),
    Rule(
        name="cumulative_1stricter", reference="previous", unit="stricter_sd", size=1.0, fall="cumulative",
        citation="Gumz et al. (2012), BMC Med Res Methodol 12:10.",
        fidelity="In the spirit of: unit (the stricter of within- and between-person SD), 1 SD and falls over several "
        "sessions are as published; the exact start and end of an episode are not. " + _REPAIR_IS_OURS,
    ),
    Rule(
        name="cumulative_2stricter", reference="previous", unit="stricter_sd", size=2.0, fall="cumulative",
        citation="Gumz et al. (2012), BMC Med Res Methodol 12:10.",
        fidelity="In the spirit of: as cumulative_1stricter, with the 2 SD they also report. " + _REPAIR_IS_OURS,
    ),
    Rule(
        name="chart_3sigma", reference="own_mean", unit="moving_range", size=3.0, strict=True, bridge=None,
        citation="Control chart for individuals: Eubanks-Carter et al. (2012); Lipner et al. (2022).",
        fidelity="In the spirit of: a control chart per patient is as published; the 3 sigma limit is recalled, not "
        "checked. " + _REPAIR_IS_OURS,
    ),
    Rule(
        name="chart_2sigma", reference="own_mean", unit="moving_range", size=2.0, strict=True, bridge=None,
        citation="Control chart for individuals: Eubanks-Carter et al. (2012); Lipner et al. (2022).",
        fidelity="In the spirit of: as chart_3sigma, with the 2 sigma limit (recalled, not checked). "
        + _REPAIR_IS_OURS,
    ),
    Rule(
        name="chart_run_rules", reference="own_mean", unit="moving_range", size=3.0, strict=True, bridge=None,
        run_rules=("two_of_three", "four_of_five", "eight_in_a_row"),
        citation="Western Electric run rules; Eubanks-Carter et al. (2012); Lipner et al. (2022).",
        fidelity="In the spirit of: that run rules were used is recalled, not checked. " + _REPAIR_IS_OURS,
    ),
    Rule(
        name="sudden_loss", reference="previous", unit="rci", size=1.0, fall="sudden", bridge=0, reliability=0.77,
        citation="Tang & DeRubeis (1999); Lutz et al. (2013); R package suddengains.",
        fidelity="As published for the fall (three criteria, degrees of freedom adjusted for missing ratings); the "
        "first criterion's cut-off is the RCI at a single-session reliability of .77: state your instrument's. "
        + _REPAIR_IS_OURS,
    ),
    # -- plain rules of many laboratories -----------------------------------------------------------------------
    Rule(
        name="previous_1sd", reference="previous", unit="own_sd", size=1.0,
        citation="No single source: a fall of one own SD from the previous session.",
        fidelity="A common simple rule; on noise alone it flags nearly every patient.",
    ),
    Rule(
        name="previous_2sd", reference="previous", unit="own_sd", size=2.0,
        citation="No single source: a fall of two own SD from the previous session.",
        fidelity="A common simple rule.",
    ),
    Rule(
        name="previous_rci", reference="previous", unit="rci", size=1.0, reliability=0.77,
        citation="Jacobson & Truax (1991): reliable change index.",
        fidelity="The RCI is as published; its use between neighbouring sessions and the reliability of .77 (a single "
        "session's) are a choice: state your instrument's. Prospective.",
    ),
    Rule(
        name="running_max_1point", reference="running_max", unit="points", size=1.0,
        citation="No single source: one point below the best session so far.",
        fidelity="A plain prospective rule for scores on the scale of one item.",
    ),
)
# fmt: on

RULES: dict[str, Rule] = {rule.name: rule for rule in _MEMBERS}
"""The named rules. Two sources have no member: McLaughlin et al. (2014) and Larsson et al. (2018) do not state a
threshold that could be verified; Zlotnick et al. (2020) compare ratings before and after a session, two columns."""


def as_rule(rule: str | Rule) -> Rule:
    """The rule meant by a `rule=` argument: a name in :data:`RULES`, or a Rule.

    Examples
    --------
    >>> as_rule("own_mean_2sd").size
    2.0
    >>> as_rule("own_mean_2SD")
    Traceback (most recent call last):
        ...
    ValueError: rule='own_mean_2SD' is not known. Did you mean 'own_mean_2sd'?
    """
    if isinstance(rule, Rule):
        return rule
    if not isinstance(rule, str):
        raise TypeError(f"rule must be a name in RULES or a Rule, not {type(rule).__name__}.")
    if rule not in RULES:
        raise ValueError(f"rule={rule!r} is not known. {suggest(rule, RULES)}")
    return RULES[rule]
