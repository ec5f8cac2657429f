"""The definition of ruptures and repairs as plain loops, and courses to try it on."""

import math
import statistics
from dataclasses import replace

import numpy as np
import pandas as pd

from alliance_stats.rupture.rules.detect import detect_ruptures
from alliance_stats.rupture.rules.members import RULES
from alliance_stats.rupture.rules.rule import Rule
from alliance_stats.rupture.rules.vocabulary import REFERENCES, UNITS

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
            onset, nadir, repaired, i, over, held = at, at, None, at + 1, False, 0
            while i < len(course):
                if rule.window is not None and course[i][0] > course[onset][0] + rule.window:
                    over = True
                    break
                met = naive_regained(course[i][1], baseline, course[nadir][1], rule)
                held = held + 1 if met else 0
                if held == rule.repair_holds:
                    repaired = i
                    break
                if not met and course[i][1] < course[nadir][1] - 1e-9:
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
                undecided = len(course) - 1 - onset < rule.repair_holds or held > 0
                status = "censored" if undecided else "unrepaired"
            else:
                status = "censored" if course[-1][0] < course[onset][0] + rule.window else "unrepaired"
            drop = baseline - course[nadir][1]
            repaired_at = None if repaired is None else course[repaired][0]
            events.append(
                (patient, course[onset][0], course[nadir][0], repaired_at, status, baseline, drop, drop / unit)
            )
            at = i + 1 if repaired is not None else i
    return events


SIZES = {"percent": 15.0, "moving_range": 1.5, "between_sd": 1.5, "rci": 0.7}
"""Sizes at which rules in these units fire in random courses; 1.1 for every other unit."""

VARIANTS = [
    *RULES.values(),
    *(
        Rule(
            name=f"{reference} {unit}",
            reference=reference,
            unit=unit,
            size=SIZES.get(unit, 1.1),
            reliability=0.8 if unit == "rci" else None,
        )
        for reference in REFERENCES
        for unit in UNITS
    ),
    replace(POINTS, name="window", size=1.0, window=2, bridge=0),
    replace(POINTS, name="window restart", size=1.0, window=3, overlap="restart"),
    replace(POINTS, name="share", size=1.0, repair="share_of_fall", repair_amount=0.5),
    replace(
        POINTS, name="share window", size=1.0, repair="share_of_fall", repair_amount=1.0, window=2, overlap="restart"
    ),
    replace(POINTS, name="within", size=1.0, repair="within_points", repair_amount=0.5, burn_in=2),
    replace(POINTS, name="holds two", size=1.0, repair_holds=2),
    replace(POINTS, name="holds three", size=1.0, repair="to_baseline", repair_holds=3, window=6, overlap="restart"),
    replace(POINTS, name="share holds", size=1.0, repair="share_of_fall", repair_amount=0.4, repair_holds=2),
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
