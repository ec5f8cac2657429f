"""Simulation with known truth: coverage of intervals and size of tests, 2,000 studies of 40 patients x 12 sessions.

Eight therapists with five patients each; the within-patient predictor drifts from session to session as real alliance
scores do (its own autocorrelation is .6), which is what makes an unmodelled AR(1) residual dangerous.
"""

import numpy as np
import pandas as pd
import pytest

from alliance_stats.mixed.fit import fit_mixed

PATIENTS, SESSIONS, THERAPISTS, STUDIES = 40, 12, 8, 2000
TRUTH = {"Intercept": 16.0, "session": -0.45, "within": 0.0, "between": -0.9}
FORMULA = "y ~ session + within + between + (1 + session | patient) + (1 | therapist)"


def autoregression(random, rho):
    noise = random.standard_normal((PATIENTS, SESSIONS))
    for k in range(1, SESSIONS):
        noise[:, k] = rho * noise[:, k - 1] + np.sqrt(1 - rho**2) * noise[:, k]
    return noise


def study(random, rho):
    session = np.arange(1, SESSIONS + 1) - 6.5
    effects = random.multivariate_normal([0, 0], [[6.0, -0.3], [-0.3, 0.08]], PATIENTS)
    therapist = np.repeat(np.arange(THERAPISTS), PATIENTS // THERAPISTS)
    of_therapist = random.normal(0, 1.5, THERAPISTS)
    between = random.standard_normal(PATIENTS)
    within = 0.8 * autoregression(random, 0.6)
    level = TRUTH["Intercept"] + of_therapist[therapist] + effects[:, 0] + TRUTH["between"] * between
    y = level[:, None] + (TRUTH["session"] + effects[:, 1])[:, None] * session + TRUTH["within"] * within
    y = y + 2.0 * autoregression(random, rho)
    return pd.DataFrame(
        {
            "patient": np.repeat(np.arange(PATIENTS), SESSIONS),
            "therapist": np.repeat(therapist, SESSIONS),
            "session": np.tile(session, PATIENTS),
            "time": np.tile(np.arange(SESSIONS), PATIENTS),
            "within": within.ravel(),
            "between": np.repeat(between, SESSIONS),
            "y": y.ravel(),
        }
    )


def run(studies, *, rho, seed, plain=True):
    """Share of intervals that cover, share of tests of the (absent) within-effect below .05, and convergence."""
    random = np.random.default_rng(seed)
    covered = {"ar1": [], "plain": []}
    rejected = {"ar1": [], "plain": []}
    converged = []
    for _ in range(studies):
        data = study(random, rho)
        for kind in ("ar1", "plain") if plain else ("ar1",):
            options = {"correlation": "ar1", "time": "time"} if kind == "ar1" else {}
            fit = fit_mixed(FORMULA, data, **options)
            converged.append(fit.diagnostics["converged"])
            table = fit.tidy().set_index("term")
            truth = pd.Series(TRUTH)
            inside = (table["ci_low"] <= truth) & (truth <= table["ci_high"])
            covered[kind].append(inside.to_numpy())
            rejected[kind].append(table.loc["within", "p_value"] < 0.05)
    share = {kind: dict(zip(TRUTH, np.mean(rows, axis=0))) for kind, rows in covered.items() if rows}
    return share, {kind: float(np.mean(rows)) for kind, rows in rejected.items() if rows}, float(np.mean(converged))


def test_a_few_studies_converge():
    _, _, converged = run(5, rho=0.4, seed=3)
    assert converged == 1.0


@pytest.mark.slow
def test_coverage_and_size_over_two_thousand_studies():
    """95 % intervals cover 94 to 96 %; the test of the within-effect holds its 5 % with AR(1) and not without."""
    share, rejected, converged = run(STUDIES, rho=0.5, seed=20)
    print(share, rejected, converged)
    assert converged == 1.0
    for term, value in share["ar1"].items():
        assert 0.94 <= value <= 0.96, (term, value)
    assert 0.04 <= rejected["ar1"] <= 0.06
    assert rejected["plain"] > 0.08, "without AR(1) the test should reject far too often"
