"""Detection: cases worked by hand, the definition as a naive loop, invariances, named rules, tables and errors."""

import math
import statistics
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from alliance_stats.rupture.describe.describe import describe_ruptures, ruptures_by_session
from alliance_stats.rupture.describe.summarise import summarise_patients
from alliance_stats.rupture.rules.detect import detect_ruptures
from alliance_stats.rupture.rules.explain import explain
from alliance_stats.rupture.rules.members import RULES
from alliance_stats.rupture.rules.rule import Rule
from alliance_stats.rupture.rules.vocabulary import UNITS
from alliance_stats.tables.schema import EVENTS_COLUMNS, EVENTS_DTYPES, DataError

POINTS = Rule(name="points", reference="previous", unit="points", size=2.0, bridge=None)


def sessions_of(*courses, first=1):
    """SESSIONS from lists of scores, None for unrated sessions; patients 0, 1, ..."""
    rows = [
        {"patient": patient, "session": first + place, "alliance": score}
        for patient, course in enumerate(courses)
        for place, score in enumerate(course)
    ]
    return pd.DataFrame(rows).astype({"alliance": "float64"})


def found(course, rule, **kwargs):
    """(onset, nadir, repaired_at or None, status) of each rupture of one course."""
    events = detect_ruptures(sessions_of(course, **kwargs), score="alliance", rule=rule)
    repaired = [None if pd.isna(value) else int(value) for value in events["repaired_at"]]
    return list(zip(events["onset"], events["nadir"], repaired, events["status"], strict=True))


def random_sessions(seed, *, patients=40, longest=14, missing=0.15, step=0.5, level=5.0):
    """Random courses with unrated sessions, missed sessions, patients without ratings and constant courses."""
    rng = np.random.default_rng(seed)
    rows = []
    for patient in range(patients):
        n = int(rng.integers(1, longest + 1))
        scores = np.clip(np.round((level + rng.normal(0, 1, n)) / step) * step, 1, 7)
        if patient % 11 == 3:
            scores[:] = 6.0
        for session in range(1, n + 1):
            if rng.random() < missing / 2:
                continue
            score = np.nan if rng.random() < missing or patient % 13 == 5 else scores[session - 1]
            rows.append((f"p{patient:03d}", session, score))
    return pd.DataFrame(rows, columns=["patient", "session", "alliance"])


# -- worked by hand ------------------------------------------------------------------------------------------------


def test_a_fall_and_a_repair_past_baseline():
    events = detect_ruptures(sessions_of([5, 6, 4, 3, 6, 6.5, 6]), score="alliance", rule=POINTS)
    assert events.loc[0, ["onset", "nadir", "repaired_at"]].tolist() == [3, 4, 6]
    assert events.loc[0, ["baseline", "nadir_score", "repair_score", "drop", "drop_units"]].tolist() == [
        6,
        3,
        6.5,
        3,
        3,
    ]
    assert events.loc[0, "status"] == "repaired"
    assert events.loc[0, "sessions_to_repair"] == 3


@pytest.mark.parametrize(
    ("repair", "amount", "repaired_at"),
    [("past_baseline", None, 7), ("to_baseline", None, 6), ("share_of_fall", 0.5, 5), ("within_points", 1.0, 5)],
)
def test_repair_targets(repair, amount, repaired_at):
    rule = replace(POINTS, repair=repair, repair_amount=amount)
    assert found([6, 6, 2, 3.5, 5, 6, 6.5], rule)[0][2] == repaired_at


def test_share_of_the_fall_is_measured_from_the_lowest_score_so_far():
    rule = replace(POINTS, repair="share_of_fall", repair_amount=0.5)
    assert found([6, 4, 2, 3.9, 4], rule) == [(2, 3, 5, "repaired")]


def test_a_window_counts_session_numbers_missed_ones_too():
    rule = replace(POINTS, window=2)
    assert found([6, 3, None, 7, 7], rule) == [(2, 2, 4, "repaired")]
    assert found([6, 3, None, None, 7], rule) == [(2, 2, None, "unrepaired")]


def test_censoring():
    assert found([6, 6, 3], POINTS) == [(3, 3, None, "censored")]
    assert found([6, 3, 3], POINTS) == [(2, 2, None, "unrepaired")]
    windowed = replace(POINTS, window=3)
    assert found([6, 3, 3, 3], windowed) == [(2, 2, None, "censored")]
    assert found([6, 3, 3, 3, 3], windowed) == [(2, 2, None, "unrepaired")]


def test_after_the_window_a_new_rupture_may_begin():
    assert found([7, 5, 5, 3, 8], replace(POINTS, window=1)) == [(2, 2, None, "unrepaired"), (4, 4, 5, "repaired")]
    assert found([7, 5, 5, 3, 8], POINTS) == [(2, 4, 5, "repaired")]


def test_restart_closes_the_open_rupture_at_a_deeper_fall():
    course = [7, 5, 5, 3, 6, 8]
    assert found(course, replace(POINTS, overlap="restart")) == [(2, 2, None, "unrepaired"), (4, 4, 5, "repaired")]
    assert found(course, POINTS) == [(2, 4, 6, "repaired")]


def test_cumulative_fall_begins_where_the_scores_began_to_fall():
    rule = replace(POINTS, fall="cumulative")
    events = detect_ruptures(sessions_of([5, 6, 5.5, 5.5, 4, 6.5]), score="alliance", rule=rule)
    assert events.loc[0, ["onset", "baseline", "repaired_at"]].tolist() == [5, 6.0, 6]
    assert found([5, 6, 5.5, 5.6, 4], rule) == []


def test_bridge_is_the_gap_policy():
    course = [6, None, 3, 7]
    assert found(course, replace(POINTS, bridge=0)) == []
    assert found(course, replace(POINTS, bridge=1)) == [(3, 3, 4, "repaired")]
    assert found([6, None, None, 3, 7], replace(POINTS, bridge=1)) == []


def test_ceiling_counts_as_regained():
    rule = replace(POINTS, bounds=(1, 7))
    assert found([7, 4, 7, 7], POINTS) == [(2, 2, None, "unrepaired")]
    assert found([7, 4, 7, 7], rule) == [(2, 2, 3, "repaired")]


def test_burn_in_and_min_ratings():
    assert found([6, 3, 7, 4], replace(POINTS, burn_in=2)) == [(4, 4, None, "censored")]
    running = Rule(reference="running_mean", unit="points", size=1.0, min_ratings=3)
    assert found([6, 4, 6, 4, 7], running) == [(4, 4, 5, "repaired")]


def test_strict_and_not():
    assert found([6, 4, 7], POINTS) == [(2, 2, 3, "repaired")]
    assert found([6, 4, 7], replace(POINTS, strict=True)) == []
    tenths = replace(POINTS, size=0.1)
    assert len(found([0.4, 0.3, 0.5], tenths)) == 1  # .4 - .3 < .1 in floating point


def test_run_rules_of_a_control_chart():
    rule = Rule(reference="own_mean", unit="points", size=9.0, run_rules=("two_of_three",), bridge=None)
    assert found([6, 6, 6, 6, 3, 6, 3, 9], rule)[0][0] == 7  # mean 5.625: two of three at least 2 below
    rule = replace(rule, run_rules=("eight_in_a_row",))
    assert found([9, 9, 9, 9, *[5] * 8], rule)[0][0] == 12


def test_two_sd_below_own_mean_cannot_fire_with_five_ratings():
    sessions = sessions_of([7, 7, 7, 7, 1], [7, 7, 7, 7, 7, 1])
    events = detect_ruptures(sessions, score="alliance", rule="own_mean_2sd")
    assert events["patient"].tolist() == [1]
    table = describe_ruptures(sessions, events).set_index("quantity")
    assert table.loc["cannot fire: too few ratings", "count"] == 1
    assert explain(sessions, patient=0, session=5, score="alliance", rule="own_mean_2sd").verdict == "cannot fire"
    assert summarise_patients(sessions, events)["cannot_fire"].tolist() == ["too few ratings", ""]


@pytest.mark.parametrize("name", ["own_mean_2sd", "own_trend_2sd", "previous_2sd", "chart_3sigma"])
def test_the_largest_possible_fall_is_never_exceeded_and_nearly_reached(name):
    from alliance_stats.rupture.rules.criterion import judge
    from alliance_stats.rupture.rules.limits import largest_fall
    from alliance_stats.rupture.rules.series import read_series

    rng = np.random.default_rng(1)
    rule = replace(RULES[name], bridge=None)
    for n in range(3, 9):
        courses = [rng.normal(0, 1, n) for _ in range(300)]
        for low in range(n):  # one low rating, one high and one low: the extreme courses
            courses.append(np.where(np.arange(n) == low, -1.0, 0.0))
            courses.append(np.where(np.arange(n) == low, -1.0, np.where(np.arange(n) == low - 1, 1.0, 0.0)))
        from alliance_stats.tables.schema import check_sessions

        series, _ = read_series(check_sessions(sessions_of(*courses), ["alliance"]), "alliance")
        depth = np.maximum.reduceat(judge(series, rule).depth(), series.start)
        most = largest_fall(series, rule)
        assert (depth <= most * (1 + 1e-9)).all()
        assert depth.max() >= 0.98 * most[0]


# -- the definition as a naive loop --------------------------------------------------------------------------------


def naive_units(courses, rule):
    """Quantities of the whole study, from the definition."""
    fits = {patient: naive_fit(course, rule) for patient, course in courses.items()}
    ss, df = sum(fit[1] for fit in fits.values()), sum(fit[2] for fit in fits.values())
    means = [statistics.fmean(score for _, score in course) for course in courses.values()]
    firsts = [course[0][1] for course in courses.values()]
    fourth = sum(fit[1] ** 2 / (fit[2] + 2) for fit in fits.values()) / df if df else 0.0
    pooled = ss / df if df else 0.0
    spread = fourth / pooled**2 - 1 if pooled else 0.0
    return {
        "pooled": pooled,
        "pooled_mean": naive_pooled_around_means(courses),
        "weight": 2 + 2 / max(spread, 1e-6),
        "between": statistics.stdev(means) if len(means) > 1 else 0.0,
        "first": statistics.stdev(firsts) if len(firsts) > 1 else 0.0,
    }


def naive_pooled_around_means(courses):
    ss, df = 0.0, 0
    for course in courses.values():
        scores = [score for _, score in course]
        ss += sum((score - statistics.fmean(scores)) ** 2 for score in scores)
        df += len(scores) - 1
    return ss / df if df else 0.0


def naive_fit(course, rule):
    """Own level at each rating, sum of squares around it and degrees of freedom."""
    times, scores = [time for time, _ in course], [score for _, score in course]
    mean = statistics.fmean(scores)
    levels, lost = [mean] * len(scores), 1
    if rule.reference == "own_trend":
        lost = 2
        centre = statistics.fmean(times)
        sxx = sum((time - centre) ** 2 for time in times)
        slope = sum((t - centre) * (y - mean) for t, y in course) / sxx if sxx else 0.0
        levels = [mean + slope * (time - centre) for time in times]
    ss = sum((score - level) ** 2 for score, level in zip(scores, levels, strict=True))
    return levels, ss, max(len(scores) - lost, 0)


def naive_baseline(course, at, rule):
    """The reference level at one rating, None where there is none."""
    scores = [score for _, score in course]
    if rule.reference == "previous":

        def neighbour(i):
            return i > 0 and (rule.bridge is None or course[i][0] - course[i - 1][0] <= rule.bridge + 1)

        if not neighbour(at):
            return None
        begin = at - 1
        if rule.fall == "cumulative":
            begin = at
            while neighbour(begin) and scores[begin] <= scores[begin - 1]:
                begin -= 1
        return scores[begin]
    if rule.reference == "running_mean":
        return statistics.fmean(scores[:at]) if at else None
    if rule.reference == "running_max":
        return max(scores[:at]) if at else None
    if rule.reference == "own_median":
        return statistics.median(scores)
    return naive_fit(course, rule)[0][at]


def naive_earlier_sd(course, at, study):
    """SD of the ratings before one, with four further ratings at the pooled variance."""
    past = [score for _, score in course[:at]]
    squares = sum((score - statistics.fmean(past)) ** 2 for score in past)
    return math.sqrt((squares + 4 * study["pooled_mean"]) / (max(len(past) - 1, 0) + 4))


def naive_unit(course, at, baseline, rule, study):
    _, ss, df = naive_fit(course, rule)
    own = math.sqrt(ss / df) if df else 0.0
    steps = [
        abs(course[i][1] - course[i - 1][1])
        for i in range(1, len(course))
        if rule.bridge is None or course[i][0] - course[i - 1][0] <= rule.bridge + 1
    ]
    return {
        "points": 1.0,
        "percent": abs(baseline) / 100,
        "own_sd": own,
        "pooled_sd": math.sqrt(study["pooled"]),
        "shrunken_sd": math.sqrt((ss + study["weight"] * study["pooled"]) / (df + study["weight"])),
        "earlier_sd": naive_earlier_sd(course, at, study),
        "between_sd": study["between"],
        "stricter_sd": max(own, study["between"]),
        "moving_range": statistics.fmean(steps) / 1.128 if steps else 0.0,
        "rci": 1.96 * math.sqrt(2) * math.sqrt(1 - (rule.reliability or 0)) * study["first"],
    }[rule.unit]


def naive_fires(course, at, rule, study):
    """Whether the fall criterion holds at one rating, and the baseline there."""
    before = at if rule.prospective else len(course)
    baseline = naive_baseline(course, at, rule)
    if baseline is None or at < rule.burn_in or before < rule.min_ratings:
        return False, baseline, 1.0
    unit = naive_unit(course, at, baseline, rule, study)
    if unit <= 1e-8:
        return False, baseline, unit
    fall = baseline - course[at][1]
    fires = fall > rule.size * unit + 1e-9 if rule.strict else fall >= rule.size * unit - 1e-9
    if rule.fall == "sudden":
        fires = fires and naive_sudden(dict(course), course[at - 1][0], course[at][0], rule)
    for run_rule in rule.run_rules:
        needed, among, beyond = {"two_of_three": (2, 3, 2), "four_of_five": (4, 5, 1), "eight_in_a_row": (8, 8, 0)}[
            run_rule
        ]
        window = range(max(at - among + 1, 0), at + 1)
        low = [naive_beyond(course, i, beyond, rule, study) for i in window]
        fires = fires or (low[-1] and sum(low) >= needed)
    return fires, baseline, unit


def naive_beyond(course, at, beyond, rule, study):
    baseline = naive_baseline(course, at, rule)
    if baseline is None:
        return False
    unit = naive_unit(course, at, baseline, rule, study)
    fall = baseline - course[at][1]
    return unit > 1e-8 and (fall >= beyond * unit - 1e-9 if beyond else fall > 1e-9)


def naive_sudden(course, earlier, later, rule):
    """Criteria 2 and 3 of Tang & DeRubeis (1999) between two sessions of a {session: score}."""
    before = [course[s] for s in range(earlier - 2, earlier + 1) if s in course]
    after = [course[s] for s in range(later, later + 3) if s in course]
    if len(before) < 2 or len(after) < 2:
        return False
    critical = {2: 4.302652729911275, 3: 3.182446305284263, 4: 2.7764451051977987}[len(before) + len(after) - 2]
    ss = statistics.variance(before) * (len(before) - 1) + statistics.variance(after) * (len(after) - 1)
    pooled = math.sqrt(ss / (len(before) + len(after) - 2))
    large = course[earlier] - course[later] >= rule.sudden_percent / 100 * abs(course[earlier]) - 1e-9
    return large and statistics.fmean(before) - statistics.fmean(after) > critical * pooled


def naive_regained(score, baseline, low, rule):
    if rule.bounds is not None and score >= rule.bounds[1] - 1e-9:
        return True
    return {
        "past_baseline": score > baseline + 1e-9,
        "to_baseline": score >= baseline - 1e-9,
        "share_of_fall": score >= low + (rule.repair_amount or 0) * (baseline - low) - 1e-9,
        "within_points": score >= baseline - (rule.repair_amount or 0) - 1e-9,
    }[rule.repair]


def naive_events(sessions, rule):
    """EVENTS as the design defines them, one patient and one session at a time."""
    rated = sessions.dropna(subset=["alliance"]).sort_values(["patient", "session"])
    courses = {
        patient: list(zip(part["session"], part["alliance"], strict=True)) for patient, part in rated.groupby("patient")
    }
    study = naive_units(courses, rule)
    events = []
    for patient, course in courses.items():
        at = 0
        while at < len(course):
            fires, baseline, unit = naive_fires(course, at, rule, study)
            if not fires:
                at += 1
                continue
            onset, nadir, repaired, i, over = at, at, None, at + 1, False
            while i < len(course):
                if rule.window is not None and course[i][0] > course[onset][0] + rule.window:
                    over = True
                    break
                if naive_regained(course[i][1], baseline, course[nadir][1], rule):
                    repaired = i
                    break
                if course[i][1] < course[nadir][1] - 1e-9:
                    if rule.overlap == "restart" and naive_fires(course, i, rule, study)[0]:
                        over = True
                        break
                    nadir = i
                i += 1
            if repaired is not None:
                status = "repaired"
            elif over:
                status = "unrepaired"
            elif rule.window is None:
                status = "censored" if onset == len(course) - 1 else "unrepaired"
            else:
                status = "censored" if course[-1][0] < course[onset][0] + rule.window else "unrepaired"
            drop = baseline - course[nadir][1]
            repaired_at = None if repaired is None else course[repaired][0]
            events.append(
                (patient, course[onset][0], course[nadir][0], repaired_at, status, baseline, drop, drop / unit)
            )
            at = i + 1 if repaired is not None else i
    return events


VARIANTS = [
    *RULES.values(),
    *(
        Rule(
            name=f"{reference} {unit}",
            reference=reference,
            unit=unit,
            size=size,
            reliability=0.8 if unit == "rci" else None,
        )
        for reference in ("previous", "running_mean", "running_max", "own_mean", "own_median", "own_trend")
        for unit, size in [
            ("points", 1.0),
            ("percent", 15.0),
            ("own_sd", 1.0),
            ("pooled_sd", 1.2),
            ("shrunken_sd", 1.2),
            ("earlier_sd", 1.2),
            ("between_sd", 1.5),
            ("stricter_sd", 1.0),
            ("moving_range", 1.5),
            ("rci", 0.7),
        ]
    ),
    replace(POINTS, name="window", size=1.0, window=2, bridge=0),
    replace(POINTS, name="window restart", size=1.0, window=3, overlap="restart"),
    replace(POINTS, name="share", size=1.0, repair="share_of_fall", repair_amount=0.5),
    replace(
        POINTS, name="share window", size=1.0, repair="share_of_fall", repair_amount=1.0, window=2, overlap="restart"
    ),
    replace(POINTS, name="within", size=1.0, repair="within_points", repair_amount=0.5, burn_in=2),
    replace(POINTS, name="to", size=1.0, repair="to_baseline", bounds=(1, 7), min_ratings=3),
    replace(POINTS, name="strict", size=1.0, strict=True, bridge=2),
    replace(POINTS, name="cumulative", size=1.5, fall="cumulative", bridge=1, window=4),
    replace(POINTS, name="cumulative restart", size=1.0, fall="cumulative", bridge=0, overlap="restart"),
    replace(POINTS, name="cumulative earlier", unit="earlier_sd", size=1.0, fall="cumulative", overlap="restart"),
    replace(POINTS, name="sudden", size=0.5, fall="sudden", bridge=0, sudden_percent=10.0),
    replace(POINTS, name="sudden bridged", size=0.5, fall="sudden", bridge=1, sudden_percent=10.0),
    Rule(name="runs", reference="own_mean", unit="between_sd", size=2.5, run_rules=("two_of_three", "four_of_five")),
    Rule(name="running runs", reference="running_mean", unit="points", size=2.0, run_rules=("two_of_three",)),
]


@pytest.mark.parametrize("rule", VARIANTS, ids=[rule.name for rule in VARIANTS])
def test_the_definition_as_a_naive_loop(rule):
    n_events = 0
    for seed in range(3):
        sessions = random_sessions(seed, step=[0.5, 1 / 12, 1.0][seed], level=[5.0, 6.0, 5.5][seed])
        events = detect_ruptures(sessions.sample(frac=1, random_state=seed), score="alliance", rule=rule)
        expected = naive_events(sessions, rule)
        got = list(
            zip(
                events["patient"],
                events["onset"],
                events["nadir"],
                [None if pd.isna(value) else int(value) for value in events["repaired_at"]],
                events["status"],
                strict=True,
            )
        )
        assert got == [row[:5] for row in expected]
        numbers = events[["baseline", "drop", "drop_units"]].to_numpy()
        assert np.allclose(numbers, np.array([row[5:] for row in expected]).reshape(-1, 3), rtol=1e-9, atol=1e-12)
        n_events += len(events)
    assert n_events > 0 or rule.name in {"chart_3sigma", "sudden_loss", "own_trend_2sd"}


scores = st.lists(st.one_of(st.none(), st.integers(2, 14).map(lambda value: value / 2)), min_size=1, max_size=12)
rules = st.builds(
    lambda base, window, overlap, repair, strict: replace(
        base, window=window, overlap=overlap, repair=repair[0], repair_amount=repair[1], strict=strict
    ),
    st.sampled_from(VARIANTS),
    st.sampled_from([None, 1, 2, 4]),
    st.sampled_from(["absorb", "restart"]),
    st.sampled_from([("past_baseline", None), ("to_baseline", None), ("share_of_fall", 0.4), ("within_points", 0.5)]),
    st.booleans(),
)


@settings(max_examples=80, deadline=None, derandomize=True)
@given(courses=st.lists(scores, min_size=1, max_size=5), rule=rules)
def test_events_are_what_they_say(courses, rule):
    sessions = sessions_of(*courses)
    events = detect_ruptures(sessions, score="alliance", rule=rule)
    if sessions["alliance"].notna().any():
        assert [row[:5] for row in naive_events(sessions, rule)] == [
            (*row[:3], None if pd.isna(row[3]) else row[3], row[4])
            for row in events[["patient", "onset", "nadir", "repaired_at", "status"]].itertuples(index=False)
        ]
    for _, part in events.groupby("patient"):
        assert (part["onset"] <= part["nadir"]).all()
        ends = part["repaired_at"].fillna(10**6)
        assert (part["nadir"] < ends).all()
        assert (np.diff(part["onset"]) > 0).all()
    assert (events["repaired_at"].isna() == (events["status"] != "repaired")).all()


# -- invariances ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("rule", list(RULES.values()), ids=list(RULES))
def test_row_order_labels_shift_and_scale(rule):
    sessions = random_sessions(5, patients=60)
    events = detect_ruptures(sessions, score="alliance", rule=rule)
    columns = ["onset", "nadir", "repaired_at", "status"]
    shuffled = sessions.sample(frac=1, random_state=1)
    pd.testing.assert_frame_equal(detect_ruptures(shuffled, score="alliance", rule=rule), events)
    indexed = sessions.set_index(pd.MultiIndex.from_arrays([range(len(sessions)), ["x"] * len(sessions)]))
    pd.testing.assert_frame_equal(detect_ruptures(indexed, score="alliance", rule=rule), events)
    numbered = sessions.assign(patient=pd.factorize(sessions["patient"], sort=True)[0])
    again = detect_ruptures(numbered, score="alliance", rule=rule)
    pd.testing.assert_frame_equal(again[columns], events[columns])
    nullable = sessions.convert_dtypes()
    pd.testing.assert_frame_equal(detect_ruptures(nullable, score="alliance", rule=rule)[columns], events[columns])
    if rule.unit not in ("percent",) and rule.fall != "sudden":
        moved = sessions.assign(alliance=sessions["alliance"] + 100)
        pd.testing.assert_frame_equal(detect_ruptures(moved, score="alliance", rule=rule)[columns], events[columns])
    if rule.unit != "points":
        scaled = sessions.assign(alliance=sessions["alliance"] * 12)
        pd.testing.assert_frame_equal(detect_ruptures(scaled, score="alliance", rule=rule)[columns], events[columns])


@pytest.mark.parametrize("rule", list(RULES.values()), ids=list(RULES))
def test_prospective_rules_do_not_look_ahead(rule):
    """Cutting the series after any session changes no earlier onset of a prospective rule in points."""
    sessions = random_sessions(8, patients=90)
    fixed = replace(rule, unit="points", size=1.0, reliability=None) if rule.prospective else rule
    whole = detect_ruptures(sessions, score="alliance", rule=fixed)
    looked_ahead = False
    for last in range(2, 14):
        cut = detect_ruptures(sessions[sessions["session"] <= last], score="alliance", rule=fixed)
        earlier = whole[whole["onset"] <= last]
        same = (
            cut[["patient", "onset"]]
            .reset_index(drop=True)
            .equals(earlier[["patient", "onset"]].reset_index(drop=True))
        )
        looked_ahead |= not same
        if fixed.prospective:
            assert same
    if not rule.prospective:
        assert looked_ahead
    assert whole.attrs["prospective"] == rule.prospective


@pytest.mark.parametrize("reference", ["running_mean", "running_max", "previous"])
@pytest.mark.parametrize("unit", ["earlier_sd", "pooled_sd", "percent"])
def test_later_ratings_in_another_order_change_no_earlier_onset(reference, unit):
    """Another order leaves the study's pooled variance as it is, so only a look ahead could change an earlier onset."""
    sessions = random_sessions(12, patients=60, missing=0.0)
    rule = Rule(reference=reference, unit=unit, size=1.0, min_ratings=2)
    whole = detect_ruptures(sessions, score="alliance", rule=rule)
    for last in (3, 5, 8):
        later = sessions["session"] > last
        turned = sessions.copy()
        turned.loc[later, "alliance"] = (
            sessions[later].groupby("patient")["alliance"].transform(lambda scores: scores.to_numpy()[::-1])
        )
        assert not turned.equals(sessions)
        other = detect_ruptures(turned, score="alliance", rule=rule)
        ours, theirs = (
            events.loc[events["onset"] <= last, ["patient", "onset"]].reset_index(drop=True)
            for events in (whole, other)
        )
        pd.testing.assert_frame_equal(ours, theirs)
    assert rule.prospective


def test_the_unit_of_earlier_ratings_does_not_hear_of_a_later_outburst():
    """Two patients alike up to session 4; with the pooled SD in points given, their units there are the same."""
    from alliance_stats.rupture.rules.criterion import judge
    from alliance_stats.rupture.rules.series import read_series
    from alliance_stats.tables.schema import check_sessions

    sessions = sessions_of([5, 6, 4, 5, 1, 7, 1], [5, 6, 4, 5, 5, 5, 5], [3, 4])
    series, _ = read_series(check_sessions(sessions, ["alliance"]), "alliance")
    earlier = judge(series, Rule(unit="earlier_sd")).unit
    own = judge(series, Rule(unit="own_sd")).unit
    assert np.allclose(earlier[:5], earlier[7:12])
    assert not np.isclose(own[0], own[7])
    pooled = math.sqrt((statistics.variance([5, 6, 4, 5, 1, 7, 1]) * 6 + 2 + 0.5) / (6 + 6 + 1))
    assert np.allclose(earlier[[0, 1, 7, 8, 14, 15]], pooled)  # no or one earlier rating
    assert earlier[3] == pytest.approx(math.sqrt((2 + 4 * pooled**2) / 6))  # 5, 6, 4: squares 2, 2 df


def test_the_unit_of_earlier_ratings_explained():
    sessions = sessions_of([5, 6, 4, 5, 1, 7, 1], [5, 6, 4, 5, 5, 5, 5], [3, 4])
    told = explain(sessions, patient=0, session=5, score="alliance", rule="running_mean_2earlier")
    assert told.verdict == "onset"
    assert UNITS["earlier_sd"].words in " ".join(told.table["criterion"])
    early = explain(sessions, patient=0, session=2, score="alliance", rule="running_mean_2earlier")
    assert early.verdict == "not judgeable"
    short = explain(sessions, patient=2, session=2, score="alliance", rule="running_mean_2earlier")
    assert "too few ratings" in short.text
    constant = explain(sessions_of([5] * 6), patient=0, session=4, score="alliance", rule="running_mean_2earlier")
    assert "no spread" in constant.text


def test_adding_a_patient_changes_nobody_elses_events_under_own_units():
    sessions = random_sessions(3)
    more = pd.concat([sessions, pd.DataFrame({"patient": "zzz", "session": range(1, 9), "alliance": 4.0})])
    for name in ("own_mean_2sd", "previous_1sd", "chart_2sigma", "own_trend_1sd"):
        events = detect_ruptures(sessions, score="alliance", rule=name)
        pd.testing.assert_frame_equal(detect_ruptures(more, score="alliance", rule=name), events)


# -- tables, rules, errors -----------------------------------------------------------------------------------------


def test_events_keep_their_columns_and_types_with_and_without_rows():
    for sessions in (random_sessions(1), sessions_of([5, 5, 5])):
        before = sessions.copy()
        events = detect_ruptures(sessions, score="alliance", rule="previous_1sd")
        pd.testing.assert_frame_equal(sessions, before)
        assert tuple(events.columns) == EVENTS_COLUMNS
        for name, dtype in EVENTS_DTYPES.items():
            assert events[name].dtype == dtype
        assert events["patient"].dtype == sessions["patient"].dtype
        assert events.attrs["rule"] == "previous_1sd"
        assert Rule(**events.attrs["settings"]) == RULES["previous_1sd"]


@pytest.mark.parametrize("name", RULES)
def test_no_rating_at_all_gives_no_event(name):
    sessions = sessions_of([None, None])
    events = detect_ruptures(sessions, score="alliance", rule=name)
    assert events.empty
    table = describe_ruptures(sessions, events).set_index("quantity")
    assert table.loc["cannot fire: not rated", "count"] == 1
    assert summarise_patients(sessions, events)["cannot_fire"].tolist() == ["not rated"]


def test_every_named_rule_states_its_source_and_fidelity():
    assert len(RULES) >= 10
    for name, rule in RULES.items():
        assert rule.name == name
        assert rule.citation
        assert rule.fidelity
    unverified = [rule for rule in RULES.values() if "recalled" in rule.fidelity]
    assert not any(rule.fidelity.startswith("As published") for rule in unverified)


def test_which_rules_are_prospective():
    prospective = {name for name, rule in RULES.items() if rule.prospective}
    assert prospective == {
        "previous_2pooled",
        "running_mean_2pooled",
        "running_mean_2earlier",
        "previous_1point",
        "previous_rci",
        "running_max_1point",
    }


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"reference": "own_maen"}, "Did you mean 'own_mean'"),
        ({"unit": "sd"}, "unit='sd'"),
        ({"unit": "earlier"}, "Did you mean 'earlier_sd'"),
        ({"unit": "earlier_sd", "reliability": 0.8}, "reliability"),
        ({"size": 0}, "size=0"),
        ({"size": float("nan")}, "size=nan"),
        ({"fall": "cumulative"}, "needs reference='previous'"),
        ({"repair": "within_points"}, "needs repair_amount"),
        ({"repair_amount": 1.0}, "takes no repair_amount"),
        ({"repair": "share_of_fall", "repair_amount": 1.5}, "repair_amount=1.5"),
        ({"unit": "rci"}, "reliability"),
        ({"reliability": 0.9}, "reliability"),
        ({"unit": "rci", "reliability": 1.0}, "reliability=1.0"),
        ({"window": 0}, "window=0"),
        ({"burn_in": -1}, "burn_in=-1"),
        ({"bounds": (7, 1)}, "bounds"),
        ({"run_rules": ("three_of_four",)}, "run_rules"),
        ({"overlap": "merge"}, "overlap"),
        ({"sudden_alpha": 0}, "sudden_alpha"),
    ],
)
def test_a_rule_that_makes_no_sense_is_refused(fields, message):
    with pytest.raises(ValueError, match=message.replace("(", r"\(")):
        Rule(**fields)


@pytest.mark.parametrize(
    "fields", [{"size": "2"}, {"window": 2.5}, {"strict": 1}, {"run_rules": "two_of_three"}, {"name": 3}]
)
def test_a_field_of_the_wrong_type_is_refused(fields):
    with pytest.raises(TypeError):
        Rule(**fields)


def test_unknown_names_are_refused_with_the_nearest():
    sessions = sessions_of([5, 6, 5])
    with pytest.raises(ValueError, match="own_mean_2sd"):
        detect_ruptures(sessions, score="alliance", rule="own_mean_2SD")
    with pytest.raises(DataError, match="alliance"):
        detect_ruptures(sessions, score="alliense", rule="own_mean_2sd")
    with pytest.raises(TypeError):
        detect_ruptures(sessions, score="alliance", rule=2)


# -- description ---------------------------------------------------------------------------------------------------


def test_describe_by_hand():
    sessions = sessions_of([6, 3, 7, 6], [6, 6, 6], [6, 3, 3, 3], [None, None])
    events = detect_ruptures(sessions, score="alliance", rule=POINTS)
    table = describe_ruptures(sessions, events).set_index("quantity")
    assert table.loc["patients with a rating", ["count", "of"]].tolist() == [3, 4]
    assert table.loc["patients with a rupture", ["count", "of"]].tolist() == [2, 3]
    assert table.loc["patients with a repaired rupture", "count"] == 1
    # judgeable: all but the first ratings (3 + 2 + 3 = 8); after an onset without repair 2 are not at risk
    assert table.loc["onsets per session at risk", ["count", "of"]].tolist() == [2, 6]
    assert table.loc["rated sessions in an open rupture", ["count", "of"]].tolist() == [1 + 3, 11]
    assert table.loc["ruptures repaired, of those decided", ["count", "of"]].tolist() == [1, 2]
    by_session = ruptures_by_session(sessions, events).set_index("session")
    assert by_session.loc[2, ["n_rated", "n_at_risk", "n_onsets", "n_open"]].tolist() == [3, 3, 2, 2]
    assert by_session["n_onsets"].sum() == 2


def test_describe_agrees_with_plain_counting():
    sessions = random_sessions(2, patients=25)
    for name in ("previous_1sd", "own_median_2pooled", "previous_1point"):
        events = detect_ruptures(sessions, score="alliance", rule=name)
        table = describe_ruptures(sessions, events).set_index("quantity")
        rated = sessions.dropna()
        assert table.loc["patients with a rupture", "count"] == events["patient"].nunique()
        assert table.loc["onsets per rated session", "of"] == len(rated)
        end = events["repaired_at"].astype("float64").fillna(np.inf)
        inside = sum(
            ((events["patient"] == row.patient) & (events["onset"] <= row.session) & (row.session < end)).any()
            for row in rated.itertuples()
        )
        assert table.loc["rated sessions in an open rupture", "count"] == inside
        assert (
            (table["ci_low"] <= table["estimate"]) & (table["estimate"] <= table["ci_high"]) | (table["of"] == 0)
        ).all()
        by_session = ruptures_by_session(sessions, events)
        assert by_session["n_onsets"].sum() == len(events)
        assert by_session["n_open"].sum() == inside
        assert by_session["n_at_risk"].sum() == table.loc["onsets per session at risk", "of"]


def test_describe_refuses_foreign_events():
    sessions = random_sessions(1)
    events = detect_ruptures(sessions, score="alliance", rule="previous_1sd")
    with pytest.raises(DataError, match="not in the sessions"):
        describe_ruptures(sessions.assign(patient="other-" + sessions["patient"].astype(str)), events)
    with pytest.raises(DataError, match="without a rating"):
        describe_ruptures(sessions.assign(session=sessions["session"] + 50), events)
    plain = events.drop(columns=["score", "rule"])
    plain.attrs.clear()
    with pytest.raises(DataError, match="score="):
        describe_ruptures(sessions, plain)


@pytest.mark.slow
def test_the_interval_of_onsets_per_session_covers():
    """Patients whose rupture rates differ: the clustered interval covers the mean rate, Wilson's alone would not."""
    from alliance_stats.tables.shares import clustered_share, wilson

    rng = np.random.default_rng(1)
    covered, plain = 0, 0
    for _ in range(2000):
        rate = rng.beta(1, 9, 120)
        length = rng.integers(5, 25, 120)
        hits = rng.binomial(length, rate)
        _, low, high = clustered_share(hits, length, level=0.95)
        covered += low <= 0.1 <= high
        low, high = wilson(hits.sum() / length.sum(), length.sum(), level=0.95)
        plain += low <= 0.1 <= high
    assert 0.925 <= covered / 2000 <= 0.965
    assert plain / 2000 < 0.85


def test_patterns():
    rule = replace(POINTS, window=1)
    sessions = sessions_of([6, 6], [6, 3, 7, 7], [6, 3, 3, 3], [6, 3, 7, 4, 4, 4], [6, 6, 3])
    endings = pd.DataFrame({"patient": [1, 2], "ending": ["completed", "dropout"]})
    table = summarise_patients(
        sessions.assign(therapist="t", phq9=sessions["session"] * 1.0),
        detect_ruptures(sessions, score="alliance", rule=rule),
        endings=endings,
        measures=["phq9"],
    )
    assert table["pattern"].tolist() == ["none", "repaired", "unrepaired", "mixed", "censored"]
    assert table["n_ruptures"].tolist() == [0, 1, 1, 2, 1]
    assert table["ending"].tolist() == [None, "completed", "dropout", None, None]
    assert table["phq9_pre"].tolist() == [1.0] * 5
    assert table["phq9_post"].tolist() == table["n_sessions"].tolist() == table["n_phq9"].tolist()


def test_the_main_therapist_is_the_one_of_most_sessions():
    sessions = sessions_of([5, 5, 5, 5, 5], [5, 5], [5]).assign(therapist=["a", "b", "b", "b", "a", "c", "d", None])
    table = summarise_patients(sessions, detect_ruptures(sessions, score="alliance", rule=POINTS))
    assert table["therapist"].fillna("-").tolist() == ["b", "c", "-"]
    assert table["n_therapists"].tolist() == [2, 2, 0]


@pytest.mark.parametrize(
    ("endings", "message"),
    [
        ({"patient": [0, 0], "ending": ["dropout", "dropout"]}, "twice"),
        ({"patient": [0], "ending": ["drop-out"]}, "Did you mean 'dropout'"),
        ({"patient": ["0"], "ending": ["dropout"]}, "same ids"),
        ({"patient": [0]}, "ending"),
    ],
)
def test_endings_that_do_not_fit(endings, message):
    sessions = sessions_of([5, 5, 5])
    events = detect_ruptures(sessions, score="alliance", rule=POINTS)
    with pytest.raises(DataError, match=message):
        summarise_patients(sessions, events, endings=pd.DataFrame(endings))


# -- explanations --------------------------------------------------------------------------------------------------


def test_explain_agrees_with_detection_at_every_session():
    sessions = random_sessions(4, patients=6)
    for rule in (
        RULES["own_mean_2sd"],
        RULES["previous_1sd"],
        RULES["chart_run_rules"],
        POINTS,
        RULES["sudden_loss"],
        RULES["running_mean_2earlier"],
    ):
        events = detect_ruptures(sessions, score="alliance", rule=rule)
        onsets = set(zip(events["patient"], events["onset"], strict=True))
        repairs = {(row.patient, int(row.repaired_at)) for row in events.itertuples() if row.status == "repaired"}
        for patient, session, score in sessions.itertuples(index=False):
            told = explain(sessions, patient=patient, session=session, score="alliance", rule=rule)
            assert (told.verdict == "not rated") == bool(np.isnan(score))
            assert (told.verdict == "onset") == ((patient, session) in onsets)
            assert (told.verdict == "repaired") == ((patient, session) in repairs)
            failed = told.table["holds"].eq(False).any()
            if told.verdict in ("onset", "repaired") and not rule.run_rules:
                assert told.verdict == "repaired" or not failed
            if told.verdict == "no fall":
                assert failed
            assert told.text in str(told)
            assert "<table" in told._repr_html_()


def test_explain_names_the_reason():
    sessions = sessions_of([7, 7, 7, 7, 7, 7, 7], [6, None, None, 3, 3, 7])
    constant = explain(sessions, patient=0, session=3, score="alliance", rule="own_mean_2sd")
    assert constant.verdict == "cannot fire"
    assert "no spread" in constant.text
    gap = explain(sessions, patient=1, session=4, score="alliance", rule="previous_1point")
    assert gap.verdict == "not judgeable"
    assert explain(sessions, patient=1, session=2, score="alliance", rule="previous_1point").verdict == "not rated"
    assert explain(sessions, patient=1, session=40, score="alliance", rule="previous_1point").verdict == "not rated"
    with pytest.raises(DataError, match="not in the sessions"):
        explain(sessions, patient=9, session=1, score="alliance", rule="previous_1point")
    floor = Rule(reference="own_mean", unit="points", size=3.0, bounds=(1, 7))
    low = sessions_of([2, 2, 3, 3])
    assert "below the lowest score" in explain(low, patient=0, session=2, score="alliance", rule=floor).text
