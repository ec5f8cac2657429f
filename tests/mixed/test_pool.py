"""Rubin's rules by hand, in limits and over a known truth; the delta adjustment; bootstrap intervals of shares."""

import numpy as np
import pandas as pd
import pytest

from alliance_stats.mixed.answers.pool import delta_adjusted, pool
from alliance_stats.mixed.answers.r_squared import icc
from alliance_stats.mixed.fit import fit_mixed
from alliance_stats.tables.schema import DataError
from alliance_stats.tables.terms import terms_table

FORMULA = "y ~ t + (1 | patient)"


class Table:
    """A fit that is only its table."""

    def __init__(self, estimate, std_error, df):
        self.table = terms_table(["x"], np.array([estimate]), np.array([std_error]), df, level=0.95)

    def tidy(self, *, level=0.95):
        return self.table

    glance = variances = tidy


def test_rubins_rules_by_hand():
    """Estimates 1, 2, 3 with errors 2, 2, 1: U = 3, B = 1, T = 3 + 4/3, lambda = (4/3)/T = 4/13."""
    row = pool([Table(1, 2, 20), Table(2, 2, 20), Table(3, 1, 20)]).iloc[0]
    assert row["estimate"] == 2
    assert row["std_error"] == pytest.approx(np.sqrt(13 / 3))
    by_imputations = 2 / (4 / 13) ** 2
    observed = 21 / 23 * 20 * (9 / 13)
    df = by_imputations * observed / (by_imputations + observed)
    assert row["df"] == pytest.approx(df)
    ratio = (4 / 3) / 3
    assert row["fraction_missing"] == pytest.approx((ratio + 2 / (df + 3)) / (ratio + 1))
    assert row["within"] == 3
    assert row["between"] == 1


def test_in_the_limits():
    same = pool([Table(1, 2, 20), Table(1, 2, 20)]).iloc[0]  # nothing was missing
    assert same["df"] == pytest.approx(21 / 23 * 20)
    assert same["std_error"] == 2
    normal = pool([Table(1, 2, np.inf), Table(3, 2, np.inf)]).iloc[0]  # Rubin (1987): (m - 1) / lambda^2
    assert normal["df"] == pytest.approx(1 / (3 / 7) ** 2)
    assert np.isinf(pool([Table(1, 2, np.inf)] * 3)["df"][0])


def study(seed=1, patients=60):
    random = np.random.default_rng(seed)
    data = pd.DataFrame({"patient": np.repeat(np.arange(patients), 4), "t": np.tile(np.arange(4.0), patients)})
    data["y"] = 10 - data["t"] + random.normal(0, 2, patients)[data["patient"]] + random.normal(0, 1, len(data))
    return data


def test_a_shift_moves_the_estimates_as_least_squares_says():
    """With the last session of half the patients missing, a delta moves the slope by delta times its weight there."""
    observed = study()
    observed.loc[(observed["t"] == 3) & (observed["patient"] % 2 == 0), "y"] = np.nan
    random = np.random.default_rng(2)
    filled = [observed.fillna({"y": 7.0}).assign(y=lambda d: d["y"] + 0.0 * random.normal()) for _ in range(2)]
    filled[1] = filled[1].assign(y=filled[1]["y"].where(observed["y"].notna(), 7.5))
    table = delta_adjusted(filled, observed, lambda d: fit_mixed(FORMULA, d), column="y", deltas=[0, 2])
    plain = pool([fit_mixed(FORMULA, data) for data in filled])
    np.testing.assert_allclose(table.query("delta == 0")["estimate"], plain["estimate"])
    assert (table["n_shifted"] == 30).all()
    slopes = table.query("term == 't'")["estimate"].to_numpy()
    assert slopes[1] - slopes[0] == pytest.approx(2 * 0.5 * 1.5 / 5, rel=1e-6)  # (t - mean) / sum of squares = 1.5 / 5
    arm = observed["patient"] < 10
    assert (
        delta_adjusted(filled, observed, lambda d: fit_mixed(FORMULA, d), column="y", deltas=[1], where=arm)[
            "n_shifted"
        ]
        .eq(5)
        .all()
    )


def test_what_is_no_imputation_is_refused():
    observed = study()
    observed.loc[3, "y"] = np.nan
    fit = lambda d: fit_mixed(FORMULA, d)  # noqa: E731
    for wrong, words in (
        (observed, "still misses"),
        (observed.fillna(1.0).assign(y=lambda d: d["y"] + 1), "changed"),
        (observed.fillna(1.0).iloc[1:], "other rows"),
    ):
        with pytest.raises(DataError, match=words):
            delta_adjusted([wrong] * 2, observed, fit, column="y", deltas=[0])
    with pytest.raises(ValueError, match="two fits"):
        pool([fit(study())])
    with pytest.raises(ValueError, match="different terms"):
        pool([fit(study()), fit_mixed("y ~ 1 + (1 | patient)", study())])


@pytest.mark.slow
def test_proper_imputations_cover_the_truth():
    """Values missing at random given the earlier score, imputed from the true model: 95 % intervals of the slope."""
    covered = []
    for seed in range(300):
        random = np.random.default_rng(seed)
        n = 60
        first = random.normal(0, 1, n)
        last = 0.5 * first - 1 + random.normal(0, 1, n)
        gone = random.random(n) < 1 / (1 + np.exp(-first))
        x, y, m = first[~gone], last[~gone], int((~gone).sum())
        fits = []
        for _ in range(10):  # Bayesian regression imputation, with its parameters drawn
            basis = np.column_stack([np.ones(m), x])
            beta = np.linalg.lstsq(basis, y, rcond=None)[0]
            sigma = np.sqrt(np.sum((y - basis @ beta) ** 2) / random.chisquare(m - 2))
            drawn = random.multivariate_normal(beta, sigma**2 * np.linalg.inv(basis.T @ basis))
            filled = np.where(gone, drawn[0] + drawn[1] * first + random.normal(0, sigma, n), last)
            change = filled - first
            fits.append(Table(change.mean(), change.std(ddof=1) / np.sqrt(n), n - 1))
        row = pool(fits).iloc[0]
        covered.append(row["ci_low"] < -1 < row["ci_high"])
    assert 0.92 < np.mean(covered) < 0.98


def test_bootstrap_intervals_of_shares():
    fit = fit_mixed(FORMULA, study(patients=40))
    table = icc(fit, draws=60, seed=3)
    pd.testing.assert_frame_equal(table[["group", "variance", "share", "icc"]], icc(fit))
    pd.testing.assert_frame_equal(table, icc(fit, draws=60, seed=3, n_jobs=2))
    own = table.iloc[0]
    assert own["icc_low"] < own["icc"] < own["icc_high"]
    assert own["draws"] == 60
    # with 40 patients of 4 sessions the standard error of an ICC of .8 is about .04 (Fisher 1925)
    rho = own["icc"]
    error = (1 - rho) * (1 + 3 * rho) / np.sqrt(0.5 * 4 * 3 * 39)
    assert own["icc_high"] - own["icc_low"] == pytest.approx(3.92 * error, rel=0.4)
    with pytest.raises(ValueError, match="seed"):
        icc(fit, draws=10)


@pytest.mark.slow
def test_intervals_of_shares_cover():
    covered = []
    for seed in range(120):
        table = icc(fit_mixed(FORMULA, study(seed, patients=40)), draws=150, seed=seed).iloc[0]
        covered.append(table["icc_low"] < 0.8 < table["icc_high"])
    assert 0.88 <= np.mean(covered) <= 0.99
