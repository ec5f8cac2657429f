"""Every edge at which mixed-model software is known to go wrong: boundaries, tiny samples, odd designs.

At each the optimum is compared with the best that a derivative-free search finds from several starts over Cholesky
factors, and must not be worse.
"""

import numpy as np
import pandas as pd
import pytest
from scipy.optimize import minimize

from alliance_stats.mixed.fit import fit_mixed
from alliance_stats.tables.schema import DataError


def study(seed, *, patients=30, sessions=8, sd=(3.0, 0.3), correlation=0.0, sigma=1.0, therapists=6, tau=1.0, single=0):
    rng = np.random.default_rng(seed)
    cov = np.outer(sd, sd) * np.array([[1, correlation], [correlation, 1]])
    values, vectors = np.linalg.eigh(cov)
    effects = rng.normal(size=(patients, 2)) @ (vectors * np.sqrt(np.maximum(values, 0))).T
    patient = np.repeat(np.arange(patients), sessions)
    t = np.tile(np.arange(sessions), patients)
    keep = (patient >= single) | (t == 0)
    patient, t = patient[keep], t[keep]
    therapist = patient % therapists
    x = rng.normal(size=len(t))
    y = 10 - 0.3 * t + 0.2 * x + effects[patient, 0] + effects[patient, 1] * t
    y = y + tau * rng.normal(size=therapists)[therapist] + sigma * rng.normal(size=len(t))
    return pd.DataFrame({"patient": patient, "therapist": therapist, "t": t, "x": x, "y": y})


def best_known(fit):
    """The lowest deviance a simplex search finds over Cholesky factors, from the optimum and from elsewhere."""
    model = fit.model
    shapes = [len(block.columns) for block in model.design.blocks]

    def theta_of(z):
        a, r = len(model.design.effects), len(model.outer_columns)
        inner, outer = np.zeros((a, a)), np.zeros((r, r))
        at = 0
        for q, block in zip(shapes, model.design.blocks):
            root = np.zeros((q, q))
            root[np.tril_indices(q)] = z[at : at + q * (q + 1) // 2]
            at += q * (q + 1) // 2
            if block.outer:
                outer[np.ix_(block.places, block.places)] = root @ root.T
            else:
                inner[np.ix_(block.columns, block.columns)] = root @ root.T
        return model.vector(inner, outer if r else None, np.tanh(z[-1]))

    def deviance(z):
        try:
            return model.deviance(theta_of(z)).value
        except np.linalg.LinAlgError:
            return 1e10

    size = sum(q * (q + 1) // 2 for q in shapes)
    serial = 1 if model.pairs is not None else 0
    rng = np.random.default_rng(0)
    lowest = np.inf
    for start in [np.full(size + 1, 0.5), *(rng.normal(size=size + 1) for _ in range(3))]:
        used = start[: size + serial]
        pad = (lambda z: z) if serial else (lambda z: np.append(z, 0.0))
        found = minimize(
            lambda z, pad=pad: deviance(pad(z)),
            used,
            method="Nelder-Mead",
            options={"maxiter": 1500, "xatol": 1e-6, "fatol": 1e-8},
        )
        lowest = min(lowest, found.fun)
    return lowest


SLOPE = "y ~ t + x + (1 + t | patient)"
THREE = SLOPE + " + (1 | therapist)"
EDGES = {
    "slope_variance_zero": (SLOPE, {"sd": (3.0, 0.0)}),
    "correlation_one": (SLOPE, {"sd": (1.0, 0.3), "correlation": 1.0}),
    "correlation_minus_one": (SLOPE, {"sd": (2.0, 0.25), "correlation": -1.0}),
    "no_variance_at_all": (SLOPE, {"sd": (0.0, 0.0), "tau": 0.0}),
    "no_variance_three_levels": (THREE, {"sd": (0.0, 0.0), "tau": 0.0}),
    "five_patients": (SLOPE, {"patients": 5}),
    "therapist_variance_zero": (THREE, {"tau": 0.0}),
    "half_with_one_session": (THREE, {"single": 15}),
    "uncorrelated_zero": ("y ~ t + x + (1 + t || patient)", {"sd": (3.0, 0.0)}),
    "three_effects_one_zero": ("y ~ t + x + (1 + t + x | patient)", {}),
    "therapist_slopes_zero": (SLOPE + " + (1 + t | therapist)", {"therapists": 5}),
}


@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize("edge", EDGES)
def test_no_search_finds_a_lower_deviance(edge, seed):
    formula, options = EDGES[edge]
    fit = fit_mixed(formula, study(seed, **options))
    assert fit.diagnostics["converged"]
    assert -2 * fit.log_likelihood <= best_known(fit) + 1e-6
    table = fit.tidy()
    assert np.isfinite(table.drop(columns="term").to_numpy(dtype=float)).all()
    assert (table["df"] > 0.5).all()


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(2, 22))
@pytest.mark.parametrize("edge", EDGES)
def test_no_search_finds_a_lower_deviance_in_many_samples(edge, seed):
    test_no_search_finds_a_lower_deviance(edge, seed)


def test_a_boundary_is_reported():
    fits = [fit_mixed(SLOPE, study(seed, sd=(3.0, 0.0), patients=12)) for seed in range(8)]
    singular = [fit for fit in fits if fit.diagnostics["boundary"]]
    assert singular
    for fit in singular:
        assert "(Intercept + t | patient) is singular" in fit.diagnostics["boundary"][0]
        assert fit.glance()["boundary"].item()
        cov = fit.covariances[0]
        assert np.linalg.eigvalsh(cov)[0] == pytest.approx(0, abs=1e-6 * np.trace(cov))
        assert "Boundary" in fit.summary()


def test_zero_variance_is_least_squares():
    """Without any group variance the fit is ordinary regression, its df those of the residual."""
    fits = [fit_mixed("y ~ t + x + (1 | patient)", study(seed, sd=(0.0, 0.0), tau=0.0)) for seed in range(6)]
    zero = [fit for fit in fits if fit.variances()["variance"].iloc[0] == 0]
    assert zero
    for fit in zero:
        x, y = fit.design.user_x(), fit.design.user_outcome()
        beta, rss = np.linalg.lstsq(x, y, rcond=None)[:2]
        np.testing.assert_allclose(fit.coefficients, beta, rtol=1e-8)
        sigma2 = rss.item() / (len(y) - 3)
        np.testing.assert_allclose(fit.covariance, sigma2 * np.linalg.inv(x.T @ x), rtol=1e-8)
        np.testing.assert_allclose(fit.tidy()["df"], len(y) - 3, rtol=1e-6)
        assert (fit.random_effects["patient"]["Intercept"] == 0).all()


@pytest.mark.parametrize("sigma", [1e-3, 1e-5, 1e-7])
def test_a_tiny_residual_variance_is_estimated_exactly(sigma):
    """The groups' own lines fit almost perfectly: what is left is their pooled residual variance."""
    data = study(3, sigma=sigma, tau=0.0).drop(columns="x")
    fit = fit_mixed("y ~ t + (1 + t | patient)", data)
    left = []
    for _, rows in data.groupby("patient"):
        x = np.column_stack([np.ones(len(rows)), rows["t"]])
        left.append(rows["y"] - x @ np.linalg.lstsq(x, rows["y"], rcond=None)[0])
    pooled = float((pd.concat(left) ** 2).sum() / (len(data) - 2 * data["patient"].nunique()))
    assert fit.diagnostics["converged"]
    assert fit.residual_variance == pytest.approx(pooled, rel=1e-4)


def test_calendar_time():
    """Years and days are the same model as sessions, although they lie far from zero."""
    data = study(4)
    fit = fit_mixed(THREE, data)
    for scale, origin in ((1 / 52, 2021.3), (7.0, 738_000.0), (604_800.0, 1.6e9)):
        moved = fit_mixed(THREE, data.assign(t=origin + scale * data["t"]))
        assert -2 * moved.log_likelihood - 2 * np.log(scale) == pytest.approx(-2 * fit.log_likelihood, abs=1e-6)
        assert moved.tidy()["statistic"].iloc[1] == pytest.approx(fit.tidy()["statistic"].iloc[1], rel=1e-5)
        assert moved.tidy()["df"].iloc[1] == pytest.approx(fit.tidy()["df"].iloc[1], rel=1e-3)


def test_an_aliased_term_is_named_and_dropped_only_when_told():
    data = study(5).assign(minutes=lambda d: 50 * d["t"] + 10, both=lambda d: d["t"] + d["x"])
    with pytest.raises(DataError, match=r"'minutes' is a combination of 'Intercept', 't'"):
        fit_mixed("y ~ t + minutes + x + (1 | patient)", data)
    with pytest.raises(DataError, match=r"'both' is a combination of 't', 'x'"):
        fit_mixed("y ~ t + x + both + (1 | patient)", data)
    fit = fit_mixed("y ~ t + minutes + x + both + (1 | patient)", data, drop_aliased=True)
    assert fit.diagnostics["aliased"] == ["minutes", "both"]
    plain = fit_mixed("y ~ t + x + (1 | patient)", data)
    assert fit.log_likelihood == pytest.approx(plain.log_likelihood, abs=1e-9)
    assert fit.predict(data)["prediction"].to_numpy() == pytest.approx(plain.predict(data)["prediction"].to_numpy())


def test_nearly_aliased_terms_are_kept():
    data = study(6)
    data["close"] = data["t"] + 1e-4 * data["x"]
    fit = fit_mixed("y ~ t + close + (1 | patient)", data)
    plain = fit_mixed("y ~ t + x + (1 | patient)", data)
    assert fit.log_likelihood == pytest.approx(plain.log_likelihood + np.log(1e4), abs=1e-4)


def test_designs_that_cannot_be_fitted_say_why():
    data = study(7)
    with pytest.raises(DataError, match="same value in every row"):
        fit_mixed("y ~ t + (1 | patient)", data.assign(y=3.0))
    with pytest.raises(DataError, match="'therapist' has one level"):
        fit_mixed(THREE, data.assign(therapist="T1"))
    with pytest.raises(DataError, match="as many effects as rows"):
        fit_mixed("y ~ t + (1 | row)", data.assign(row=np.arange(len(data))))
    with pytest.raises(DataError, match="cannot be told apart"):
        fit_mixed("y ~ t + (1 | patient) + (1 | twin)", data.assign(twin=data["patient"] + 100))
    with pytest.raises(DataError, match=r"column 'allience'.*Did you mean 'alliance'"):
        fit_mixed("y ~ allience + (1 | patient)", data.assign(alliance=0.0))
    with pytest.raises(DataError, match="No row is complete"):
        fit_mixed("y ~ t + (1 | patient)", data.assign(x=1.0, t=np.nan))
    with pytest.raises(DataError, match=r"'y' must hold numbers"):
        fit_mixed("y ~ t + (1 | patient)", data.assign(y="high"))
    with pytest.raises(DataError, match="infinity"):
        fit_mixed("y ~ t + (1 | patient)", data.assign(t=np.inf))
    with pytest.raises(DataError, match="cannot carry"):
        fit_mixed("y ~ t + x + (1 | patient)", data.iloc[[0, 1, 9]])
    with pytest.raises(ValueError, match="at most 4"):
        fit_mixed("y ~ t + (1 + t + x + I(t**2) + I(x**2) | patient)", data)
    with pytest.raises(ValueError, match="needs time="):
        fit_mixed("y ~ t + (1 | patient)", data, correlation="ar1")
    with pytest.raises(ValueError, match="correlation="):
        fit_mixed("y ~ t + (1 | patient)", data, correlation="arma", time="t")


def test_serial_correlation_needs_distinct_times():
    data = study(8)
    with pytest.raises(DataError, match=r"the same 't': 1, first of 0.*First at row 0 \(patient 0, column 't'\): 0"):
        fit_mixed(SLOPE, pd.concat([data, data.iloc[:1]]), correlation="ar1", time="t")
    with pytest.raises(DataError, match="whole numbers"):
        fit_mixed(SLOPE, data.assign(t=data["t"] + 0.5), correlation="ar1", time="t")
    with pytest.raises(DataError, match="No group has two rows"):
        fit_mixed("y ~ x + (1 | row)", data.assign(row=np.arange(len(data))), correlation="ar1", time="t")


@pytest.mark.parametrize("rho", [-0.6, 0.0, 0.95])
def test_serial_correlation_of_any_size(rho):
    rng = np.random.default_rng(9)
    data = study(9, patients=60, sessions=12, sd=(1.0, 0.0))
    noise = rng.normal(size=len(data))
    for t in range(1, 12):
        now = np.flatnonzero(data["t"] == t)
        noise[now] = rho * noise[now - 1] + np.sqrt(1 - rho**2) * noise[now]
    data["y"] = 10 + 0.2 * data["x"] + noise
    fit = fit_mixed("y ~ x + (1 | patient)", data, correlation="ar1", time="t")
    assert fit.diagnostics["converged"]
    assert fit.rho == pytest.approx(rho, abs=0.1)
    assert -2 * fit.log_likelihood <= best_known(fit) + 1e-6
