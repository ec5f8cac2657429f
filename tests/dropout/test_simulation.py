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
    ways = {"model-based": {}, "sandwich": {"cluster": "therapist"}}
    ways["jackknife"] = {"cluster": "therapist", "adjust": "jackknife"}
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
