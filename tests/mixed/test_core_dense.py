"""The fast deviance against the definition: an explicit V, its determinant and its inverse, on small random data."""

import numpy as np
import pandas as pd
import pytest
from scipy.linalg import block_diag

from alliance_stats.mixed.design.build import build_design
from alliance_stats.mixed.design.formula import parse
from alliance_stats.mixed.engine.fitted import user_deviance, user_vector
from alliance_stats.mixed.engine.model import build_model
from alliance_stats.mixed.fit import fit_mixed

STRUCTURES = {
    "intercept": "y ~ t + x + (1 | patient)",
    "slope": "y ~ t + x + (1 + t | patient)",
    "apart": "y ~ t + x + (1 + t || patient)",
    "slope_only": "y ~ t + x + (0 + t | patient)",
    "three_effects": "y ~ t + x + (1 + t + x | patient)",
    "four_effects": "y ~ t * x + (1 + t * x | patient)",
    "blocks": "y ~ t + x + (1 + t | patient) + (0 + x | patient)",
    "therapists": "y ~ t + x + (1 + t | patient) + (1 | therapist)",
    "therapist_slopes": "y ~ t + x + (1 + t | patient) + (1 + t | therapist)",
    "therapist_other_slope": "y ~ t + x + (1 | patient) + (1 + x | therapist)",
    "therapist_intercept_above_slopes": "y ~ t + x + (0 + t | patient) + (1 | therapist)",
    "therapist_apart": "y ~ t + x + (1 + t | patient) + (1 + t || therapist)",
    "transfers": "y ~ t + x + (1 + t | patient) + (1 | switched)",
    "transfers_slopes": "y ~ t + x + (1 | patient) + (1 + t | switched)",
    "clinics": "y ~ t + x + (1 + t | patient) + (1 | therapist) + (1 + x | clinic)",
    "clinics_transfers": "y ~ t + x + (1 | patient) + (1 + t | switched) + (1 | clinic)",
    "raters": "y ~ t + x + (1 + t | patient) + (1 | switched) + (1 | clinic) + (1 | rater)",
    "no_fixed_intercept": "y ~ 0 + t + x + (1 | patient)",
}
OPTIONS = {
    "plain": {},
    "ml": {"reml": False},
    "ar1": {"correlation": "ar1", "time": "t"},
    "car1": {"correlation": "car1", "time": "when"},
    "weights": {"weights": "w"},
    "ar1_weights": {"correlation": "ar1", "time": "t", "weights": "w"},
}


def study(seed=0, patients=9, therapists=3):
    rng = np.random.default_rng(seed)
    rows = []
    for patient in range(patients):
        sessions = np.sort(rng.choice(np.arange(1, 12), size=rng.integers(1, 11), replace=False))
        rows += [(f"p{patient}", f"t{patient % therapists}", session) for session in sessions]
    data = pd.DataFrame(rows, columns=["patient", "therapist", "t"])
    n = len(data)
    data["when"] = data["t"] + rng.uniform(-0.3, 0.3, n)
    data["x"] = rng.normal(size=n) + 3
    data["w"] = rng.uniform(0.5, 2, n)
    data["switched"] = np.where(rng.uniform(size=n) < 0.3, "t0", data["therapist"])
    data["clinic"] = data["therapist"].map(lambda name: "c1" if name == "t2" else "c0")
    data["rater"] = rng.integers(0, 4, n)
    effect = {patient: rng.normal(size=2) for patient in data["patient"].unique()}
    shift = np.array([effect[p][0] + 0.2 * effect[p][1] * t for p, t in zip(data["patient"], data["t"])])
    data["y"] = 20 + 0.5 * data["t"] - data["x"] + 2 * shift + rng.normal(size=n)
    return data.sample(frac=1, random_state=seed)


def parameters(model, seed):
    """Some admissible variance parameters, internal and relative."""
    rng = np.random.default_rng(seed)
    a = len(model.design.effects)

    def spd(q):
        root = rng.normal(size=(q, q))
        return root @ root.T + 0.1 * np.eye(q)

    inner, outer = spd(a), [spd(len(columns)) for columns in model.design.outer_columns]
    return model.vector(inner, block_diag(*outer) if outer else None, 0.45)


def dense(model, theta, sigma2):
    """-2 log (restricted) likelihood by the definition, internal columns but the user's units of the criterion."""
    design = model.design
    inner, outer, rho = model.matrices(theta)
    same = design.grouping.inner_of_row()
    same = same[:, None] == same
    v = (design.effects.T @ inner @ design.effects) * same
    if outer is not None:
        u = outer_design(design)
        v = v + u.T @ outer_prior(design, outer) @ u
    r = np.eye(design.n)
    if model.pairs is not None:
        gap = np.abs(design.time[:, None] - design.time) / model.pairs.unit
        r = np.where(same, rho**gap, 0.0)
    if design.weights is not None:
        root = 1 / np.sqrt(design.weights)
        r = r * np.outer(root, root)
    v = sigma2 * (v + r)
    x, y = design.x.T, design.y
    inverse = np.linalg.inv(v)
    information = x.T @ inverse @ x
    beta = np.linalg.solve(information, x.T @ inverse @ y)
    left = y - x @ beta
    value = np.linalg.slogdet(v)[1] + left @ inverse @ left + model.freedom * np.log(2 * np.pi)
    if model.reml:
        value += np.linalg.slogdet(information)[1]
    return value + model.offset


def outer_design(design):
    """Z of the outer factors, (effects of all levels, n), factor by factor and level by level."""
    parts = []
    for codes, columns in zip(design.grouping.outer_of_row, design.outer_columns):
        for level in np.unique(codes):
            parts.append(design.effects[list(columns)] * (codes == level))
    return np.vstack(parts)


def outer_prior(design, outer):
    """The covariance of all outer effects, in the order of `outer_design`."""
    parts, first = [], 0
    for codes, columns in zip(design.grouping.outer_of_row, design.outer_columns):
        own = slice(first, first + len(columns))
        parts += [outer[own, own]] * len(np.unique(codes))
        first += len(columns)
    return block_diag(*parts)


def model_of(structure, option, seed=0):
    options = dict(OPTIONS[option])
    reml, correlation = options.pop("reml", True), options.pop("correlation", None)
    design = build_design(parse(STRUCTURES[structure]), study(seed), **options)
    return build_model(design, correlation=correlation, reml=reml)


@pytest.mark.parametrize("option", OPTIONS)
@pytest.mark.parametrize("structure", STRUCTURES)
def test_deviance_is_that_of_the_explicit_covariance(structure, option):
    for seed in range(2):
        model = model_of(structure, option, seed)
        theta = parameters(model, seed)
        value, _, _, _ = model.full_gradient(theta, 0.7)
        assert value == pytest.approx(dense(model, theta, 0.7), rel=1e-11, abs=1e-9)
        profiled = model.deviance(theta)
        assert profiled.value == pytest.approx(dense(model, theta, profiled.sigma2), rel=1e-11, abs=1e-9)


@pytest.mark.parametrize("option", OPTIONS)
@pytest.mark.parametrize("structure", STRUCTURES)
def test_gradient_is_the_slope_of_the_deviance(structure, option):
    model = model_of(structure, option)
    theta = parameters(model, 3)
    _, gradient, _, change = model.full_gradient(theta, 0.7)
    profiled = model.deviance(theta).gradient
    step = 1e-5
    for k in range(len(theta)):
        move = step * np.eye(len(theta))[k]
        up, down = (model.full_gradient(theta + sign * move, 0.7) for sign in (1, -1))
        assert gradient[k] == pytest.approx((up[0] - down[0]) / (2 * step), rel=1e-5, abs=1e-5)
        information = [np.linalg.inv(end[2]) for end in (up, down)]
        np.testing.assert_allclose(change[k], (information[0] - information[1]) / (2 * step), rtol=1e-4, atol=1e-5)
        values = [model.deviance(theta + sign * move).value for sign in (1, -1)]
        assert profiled[k] == pytest.approx((values[0] - values[1]) / (2 * step), rel=1e-5, abs=1e-5)
    values = [model.full_gradient(theta, 0.7 + sign * step)[0] for sign in (1, -1)]
    assert gradient[-1] == pytest.approx((values[0] - values[1]) / (2 * step), rel=1e-6, abs=1e-6)


@pytest.mark.parametrize("option", ["plain", "ml", "ar1", "car1", "weights"])
@pytest.mark.parametrize("structure", ["slope", "apart", "therapist_slopes", "transfers", "clinics_transfers"])
def test_deviance_in_the_users_units(structure, option):
    """The same criterion written in absolute variances of uncentred columns, with its gradient."""
    data = study(5, patients=12)
    fit = fit_mixed(STRUCTURES[structure], data, **OPTIONS[option])
    _, values = user_vector(fit)
    value, _ = user_deviance(fit, values)
    assert value == pytest.approx(-2 * fit.log_likelihood, abs=1e-8)
    values = values * 1.05
    if fit.rho is not None:
        values[-2] = 0.3
    _, gradient = user_deviance(fit, values)
    for k in range(len(values)):
        step = 1e-5 * max(abs(values[k]), 1e-2)
        ends = [user_deviance(fit, values + sign * step * np.eye(len(values))[k])[0] for sign in (1, -1)]
        assert gradient[k] == pytest.approx((ends[0] - ends[1]) / (2 * step), rel=1e-4, abs=1e-4)


@pytest.mark.parametrize("option", ["plain", "ar1", "weights"])
@pytest.mark.parametrize(
    "structure", ["slope", "therapists", "therapist_slopes", "transfers", "transfers_slopes", "clinics", "raters"]
)
def test_predictions_are_henderson_s(structure, option):
    """Random effects, their conditional SDs and prediction errors by the definition, from the explicit V."""
    data = study(2, patients=14, therapists=4)
    fit = fit_mixed(STRUCTURES[structure], data, **OPTIONS[option])
    design, model = fit.design, fit.model
    inner, outer, rho = model.matrices(fit.optimum.theta)
    n, a = design.n, len(inner)
    group = design.grouping.inner_of_row()
    z = np.zeros((n, a * design.grouping.n_inner))
    for row in range(n):
        z[row, group[row] * a : (group[row] + 1) * a] = design.effects[:, row]
    prior = np.kron(np.eye(design.grouping.n_inner), inner)
    if outer is not None:
        z = np.hstack([z, outer_design(design).T])
        prior = block_diag(prior, outer_prior(design, outer))
    residual = np.eye(n)
    if model.pairs is not None:
        same = group[:, None] == group
        residual = np.where(same, rho ** np.abs(design.time[:, None] - design.time), 0.0)
    if design.weights is not None:
        residual = residual / np.sqrt(np.outer(design.weights, design.weights))
    inverse = np.linalg.inv(z @ prior @ z.T + residual)
    x = design.x.T
    cov = np.linalg.inv(x.T @ inverse @ x)
    beta = cov @ x.T @ inverse @ design.y
    modes = prior @ z.T @ inverse @ (design.y - x @ beta)
    held = prior - prior @ z.T @ inverse @ z @ prior
    fitted = fit.fitted()
    expected = (x @ beta + z @ modes) * design.y_scale + design.y_centre
    np.testing.assert_allclose(fitted.to_numpy(), expected[np.argsort(design.kept)], rtol=1e-8, atol=1e-8)
    follow = x - z @ prior @ z.T @ inverse @ x
    spread = np.einsum("ni,ij,nj->n", z, held, z) + np.einsum("ni,ij,nj->n", follow, cov, follow)
    error = np.sqrt(spread * model.deviance(fit.optimum.theta).sigma2) * design.y_scale
    found = fit.predict(data, level="patient", interval="confidence")
    rows = found.iloc[design.kept]
    np.testing.assert_allclose(rows["prediction"].to_numpy(), expected, rtol=1e-8, atol=1e-8)
    np.testing.assert_allclose(rows["std_error"].to_numpy(), error, rtol=1e-6, atol=1e-8)
    sd = np.sqrt(np.diag(held)[: a * design.grouping.n_inner].reshape(-1, a) * model.deviance(fit.optimum.theta).sigma2)
    table = fit.random_effects["patient"]
    block = design.blocks[0]
    last = block.columns[-1]  # a slope's own scale maps back by its scale alone
    order = pd.Index(design.grouping.labels).get_indexer(table.index)
    back = design.effect_map[last, last] * design.y_scale
    np.testing.assert_allclose(table[f"{block.names[-1]}_sd"].to_numpy(), sd[order, last] * back, rtol=1e-5, atol=1e-9)
