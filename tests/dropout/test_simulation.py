"""Known truth: coverage of the intervals, size of the tests, and the estimates' centre."""

import numpy as np
import pandas as pd
import pytest

import alliance_stats as als
from alliance_stats.dropout.fit import fit_dropout

TRUE = {"Intercept": -2.6, "rupture_open": 0.8, "repaired_before": -0.2, "x": 0.3}


def simulate(random, *, n_patients=300, n_therapists=20, sd=0.0, rupture=0.8):
    """INTERVALS of therapies whose hazard is known: logit, a therapist's own level, a rupture state, a covariate."""
    level = random.normal(0, sd, n_therapists)
    rows = []
    therapist = random.integers(n_therapists, size=n_patients)
    opened, repaired = np.zeros(n_patients, dtype=int), np.zeros(n_patients, dtype=int)
    present = np.arange(n_patients)
    # Between therapists too, patients differ in x: what clustering has to allow for.
    own = random.normal(size=n_therapists)
    for session in range(1, 21):
        x = 0.7 * own[therapist[present]] + 0.7 * random.normal(size=len(present))
        linear = TRUE["Intercept"] + level[therapist[present]] + TRUE["x"] * x
        linear += rupture * opened[present] + TRUE["repaired_before"] * repaired[present]
        leaves = random.random(len(present)) < 1 / (1 + np.exp(-linear))
        rows.append(
            pd.DataFrame(
                {
                    "patient": present,
                    "therapist": therapist[present],
                    "session": session,
                    "start": session,
                    "stop": session + 1,
                    "ending": np.where(leaves, "dropout", ""),
                    "rupture_open": opened[present],
                    "repaired_before": repaired[present],
                    "x": x,
                }
            )
        )
        present = present[~leaves]
        heals = (opened[present] == 1) & (random.random(len(present)) < 0.3)
        breaks = (opened[present] == 0) & (random.random(len(present)) < 0.15)
        repaired[present[heals]] = 1
        opened[present[heals]], opened[present[breaks]] = 0, 1
    return pd.concat(rows, ignore_index=True)


def study(repetitions, seed, *, term, truth, level=0.95, sd=0.0, rupture=0.8, **options):
    """Share of intervals that cover the truth, and the mean estimate."""
    random = np.random.default_rng(seed)
    covered, estimates = [], []
    for _ in range(repetitions):
        fit = fit_dropout("rupture_open + repaired_before + x", simulate(random, sd=sd, rupture=rupture), **options)
        row = fit.tidy(level=level).set_index("term").loc[term]
        covered.append(row["ci_low"] <= truth <= row["ci_high"])
        estimates.append(row["estimate"])
    return float(np.mean(covered)), float(np.mean(estimates)), float(np.std(estimates) / np.sqrt(repetitions))


# 400 repetitions: two standard errors of a coverage of .95 are .022.
@pytest.mark.slow
@pytest.mark.parametrize(
    ("options", "sd"),
    [
        ({}, 0.0),
        ({"cluster": "therapist"}, 0.0),
        ({"random": "therapist", "nodes": 9}, 0.6),
    ],
    ids=["model-based", "clustered", "random intercept"],
)
def test_discrete_intervals_cover(options, sd):
    coverage, mean, error = study(400, 1, term="rupture_open", truth=0.8, sd=sd, **options)
    assert 0.925 <= coverage <= 0.975
    assert abs(mean - 0.8) < 4 * error


@pytest.mark.slow
def test_clustering_is_what_a_therapist_effect_needs():
    """z differs between 20 therapists, who differ in dropout; its true effect is 0, so every finding is a false alarm.

    The sandwich is known to be too small with few clusters; the jackknife is made for them.
    """
    random = np.random.default_rng(5)
    ways = {"model-based": {}, "sandwich": {"cluster": "therapist", "adjust": "groups"}}
    ways["jackknife"] = {"cluster": "therapist"}
    alarms = {name: [] for name in ways}
    for _ in range(400):
        rows = simulate(random, sd=0.8)
        rows["z"] = random.normal(size=20)[rows["therapist"]]
        for name, options in ways.items():
            terms = fit_dropout("rupture_open + z", rows, **options).tidy().set_index("term")
            alarms[name].append(terms.loc["z", "p_value"] < 0.05)
    share = {name: np.mean(found) for name, found in alarms.items()}
    assert share["model-based"] > 0.2
    assert share["sandwich"] < 0.15
    assert 0.02 < share["jackknife"] < 0.08


@pytest.mark.slow
@pytest.mark.parametrize(
    "options",
    [{"model": "cox"}, {"model": "cox", "cluster": "therapist"}, {"model": "cox", "random": "therapist"}],
    ids=["model-based", "clustered", "frailty"],
)
def test_size_of_the_cox_tests(options):
    coverage, mean, error = study(400, 2, term="rupture_open", truth=0.0, rupture=0.0, **options)
    assert 0.03 <= 1 - coverage <= 0.08
    assert abs(mean) < 4 * error


@pytest.mark.slow
def test_the_effect_of_repair_is_covered():
    """The risk difference by session 10, against the truth of the same paths, bootstrapping patients."""
    random = np.random.default_rng(3)
    covered = []
    for _ in range(150):
        rows = simulate(random)
        fit = fit_dropout("rupture_open + repaired_before + x", rows)
        found = als.dropout.repair_effect(fit, draws=200, seed=random).set_index("quantity").loc["difference"]
        # The truth for these patients: the same paths, with the true coefficients.
        true = fit.__class__(**{**vars(fit), "coefficients": np.array([TRUE[name] for name in fit.terms])})
        target = als.dropout.repair_effect(true, draws=2, seed=0).set_index("quantity").loc["difference", "estimate"]
        covered.append(found["ci_low"] <= target <= found["ci_high"])
    assert 0.90 <= np.mean(covered) <= 0.985


@pytest.mark.slow
def test_incidence_intervals_cover_with_clusters():
    random = np.random.default_rng(4)
    large = simulate(np.random.default_rng(99), n_patients=60_000, n_therapists=20_000, sd=0.8)
    truth = als.cumulative_incidence(large).set_index("time")["estimate"]
    truth = truth[als.cumulative_incidence(large).set_index("time")["state"] == "dropout"].loc[10]
    covered = []
    for _ in range(300):
        rows = simulate(random, n_patients=400, n_therapists=40, sd=0.8)
        found = als.cumulative_incidence(rows, cluster="therapist")
        row = found[(found["state"] == "dropout") & (found["time"] == 10)].iloc[0]
        covered.append(row["ci_low"] <= truth <= row["ci_high"])
    assert 0.90 <= np.mean(covered) <= 0.985


def few_therapists(random, *, n_patients, n_therapists, sd):
    """INTERVALS with a covariate z of the therapist that has no effect, though therapists differ."""
    rows = simulate(random, n_patients=n_patients, n_therapists=n_therapists, sd=sd)
    return rows.assign(z=random.normal(size=n_therapists)[rows["therapist"]])


# 500 repetitions: two standard errors of a coverage of .95 are .02.
@pytest.mark.slow
@pytest.mark.parametrize(
    "options",
    [{"cluster": "therapist"}, {"cluster": "therapist", "model": "cox"}, {"random": "therapist", "nodes": 7}],
    ids=["discrete", "cox", "random intercept"],
)
def test_a_null_covariate_of_eight_therapists_is_covered(options):
    random = np.random.default_rng(8)
    covered = []
    for _ in range(500):
        rows = few_therapists(random, n_patients=120, n_therapists=8, sd=0.6)
        row = fit_dropout("rupture_open + z", rows, **options).tidy().set_index("term").loc["z"]
        covered.append(row["ci_low"] <= 0 <= row["ci_high"])
    print(options, np.mean(covered))
    assert 0.93 <= np.mean(covered) <= 0.97


def study_with_absence(random, n_patients):
    """Ruptures double the hazard of dropout, decided at sessions held, and raise absence from .05 to .45."""
    rows, events, endings = [], [], []
    for patient in range(n_patients):
        opened, onset = False, None
        for session in range(1, 21):
            held = session == 1 or random.random() >= (0.45 if opened else 0.05)
            if held:
                rows.append((patient, session))
                if not opened and random.random() < 0.12:
                    opened, onset = True, session
                elif opened and random.random() < 0.15:
                    events.append((patient, onset, session))
                    opened = False
                if random.random() < -np.expm1(-0.04 * (2 if opened else 1)):
                    break
        endings.append((patient, session))
        if opened:
            events.append((patient, onset, np.nan))
    sessions = pd.DataFrame(rows, columns=["patient", "session"])
    events = pd.DataFrame(events, columns=["patient", "onset", "repaired_at"])
    events.attrs["prospective"] = True
    return sessions, events


@pytest.mark.slow
def test_ruptures_that_raise_absence_keep_their_hazard_ratio():
    """True ratio 2.0; with every session number at risk, missing a session would seem to protect."""
    random = np.random.default_rng(21)
    found = {"held": [], "every": []}
    for _ in range(100):
        sessions, events = study_with_absence(random, 400)
        endings = als.derive_endings(sessions, "before_planned_end", planned=20)
        intervals = als.dropout_intervals(sessions, events, endings=endings)
        for name, rows in (("held", intervals), ("every", intervals.assign(at_risk=1))):
            # the last eight sessions only tell who came back
            fit = fit_dropout("rupture_open", rows[rows["session"] < 13], link="cloglog", baseline="log")
            found[name].append(fit.coefficients[fit.terms.index("rupture_open")])
    error = np.std(found["held"]) / 10
    print({name: (np.exp(np.mean(values)), np.std(values) / 10) for name, values in found.items()})
    assert abs(np.mean(found["held"]) - np.log(2)) < 3 * error
    assert np.mean(found["every"]) < np.log(2) - 6 * error


@pytest.mark.slow
@pytest.mark.parametrize("model", ["discrete", "cox"])
def test_firth_covers_where_events_are_few(model):
    """About 4 events with x = 1 and 8 with x = 0; log ratio 0."""
    random, covered = np.random.default_rng(4), []
    for _ in range(400):
        x = np.repeat([1.0, 0.0], [60, 120])
        event = random.random(180) < 0.067
        rows = pd.DataFrame({"patient": range(180), "session": 1, "start": 1, "x": x})
        rows = rows.assign(stop=1 + random.integers(1, 9, 180), ending=np.where(event, "dropout", ""))
        row = fit_dropout("x", rows, model=model, penalty="firth").tidy().set_index("term").loc["x"]
        covered.append(row["ci_low"] <= 0 <= row["ci_high"])
    print(model, np.mean(covered))
    assert 0.93 <= np.mean(covered) <= 0.985


def repair_without_effect(random, *, sd=0.0, chosen=0.0, since=0.0):
    """INTERVALS in which repair has no effect. u: patients differ; chosen: those who leave are repaired less often;
    since: the hazard falls with the sessions since the rupture."""
    n = 500
    u, onset, repaired = random.normal(size=n), np.zeros(n, dtype=int), np.zeros(n)
    present, last, left, rows = np.arange(n), np.zeros(n, dtype=int), np.zeros(n, dtype=bool), []
    for session in range(1, 21):
        opened = (onset[present] > 0) & (repaired[present] == 0)
        heals = opened & (random.random(len(present)) < 1 / (1 + np.exp(1.1 + chosen * u[present])))
        repaired[present[heals]] = session
        onset[present[(onset[present] == 0) & (random.random(len(present)) < 0.25)]] = session
        hurt = onset[present] > 0
        linear = -3 + sd * u[present] + hurt * (0.7 - since * (session - onset[present]))
        rows.append(pd.DataFrame({"patient": present, "session": session}))
        leaves = random.random(len(present)) < 1 / (1 + np.exp(-linear))
        last[present], left[present[leaves]] = session, True
        present = present[~leaves]
    ruptured = np.flatnonzero(onset > 0)
    events = pd.DataFrame({"patient": ruptured, "onset": onset[ruptured], "repaired_at": repaired[ruptured]})
    events["repaired_at"] = events["repaired_at"].where(events["repaired_at"] > 0)
    events.attrs["prospective"] = True
    endings = pd.DataFrame({"patient": range(n), "ending": np.where(left, "dropout", "completed")})
    intervals = als.dropout_intervals(pd.concat(rows), events, endings=endings)
    return intervals[intervals["n_ruptures_so_far"] > 0].assign(u=lambda table: u[table["patient"]])


@pytest.mark.slow
@pytest.mark.parametrize(
    ("world", "covariates", "biased"),
    [
        ({}, "session", False),
        ({"sd": 1.0, "chosen": 1.0}, "session", True),
        ({"sd": 1.0, "chosen": 1.0}, "session + u", False),
        ({"since": 0.15}, "session", True),
        ({"since": 0.15}, "session + sessions_since_onset", False),
    ],
    ids=str,
)
def test_repair_effect_in_worlds_that_break_its_assumptions(world, covariates, biased):
    random = np.random.default_rng(6)
    found = []
    for _ in range(30):
        fit = fit_dropout(f"rupture_open + {covariates}", repair_without_effect(random, **world))
        effect = als.dropout.repair_effect(fit, draws=2, seed=1).set_index("quantity")
        found.append(effect.loc["difference", "estimate"])
    error = np.std(found) / np.sqrt(30)
    assert (abs(np.mean(found)) > 4 * error) == biased
