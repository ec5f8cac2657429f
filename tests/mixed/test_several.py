"""Three and four grouping factors, nested and crossed: against lme4 and lmerTest, and sparse against whole inverses."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from alliance_stats.mixed.answers.kenward_roger import kenward_roger
from alliance_stats.mixed.answers.r_squared import icc
from alliance_stats.mixed.answers.robust import cluster_robust
from alliance_stats.mixed.engine import crossed, sparse
from alliance_stats.mixed.fit import fit_mixed

REFERENCE = Path(__file__).parents[1] / "reference" / "mixed"
MODELS = {spec["name"]: spec for spec in json.loads((REFERENCE / "several.json").read_text())["models"]}
DATA = pd.read_csv(REFERENCE / "data" / "several.csv")
NESTED, CROSSED = MODELS["nested_slopes"]["formula"], MODELS["crossed"]["formula"]


@pytest.fixture(scope="module")
def fits():
    return {name: fit_mixed(spec["formula"], DATA, reml=spec["reml"]) for name, spec in MODELS.items()}


@pytest.mark.parametrize("name", MODELS)
def test_as_lme4_and_lmertest(fits, name):
    fit, spec = fits[name], MODELS[name]
    assert fit.diagnostics["converged"]
    assert -2 * fit.log_likelihood == pytest.approx(spec["deviance"], abs=1e-6)
    terms = fit.tidy()
    assert list(terms["term"]) == spec["terms"]
    np.testing.assert_allclose(terms["estimate"], spec["estimate"], rtol=1e-5)
    np.testing.assert_allclose(terms["std_error"], spec["std_error"], rtol=1e-5)
    np.testing.assert_allclose(terms["df"], spec["df"], rtol=2e-3)
    table = fit.variances().set_index(["group", "term", "term_2"])["variance"]
    residual = table["residual", "", ""]
    for row in spec["variances"]:
        group = "residual" if row["group"] == "Residual" else in_our_order(row["group"])
        term, term_2 = ("Intercept" if t == "(Intercept)" else t or "" for t in (row["term"], row["term_2"]))
        assert table[group, term, term_2] == pytest.approx(row["variance"], rel=1e-3, abs=1e-5 * residual)
    np.testing.assert_allclose(fit.fitted().iloc[:8], spec["fitted"], rtol=1e-5)


@pytest.mark.parametrize("name", MODELS)
def test_conditional_modes_and_their_sds(fits, name):
    for group, part in MODELS[name]["random_effects"].items():
        table = fits[name].random_effects[in_our_order(group)]
        levels = [in_our_order(level) for level in part["levels"]]
        terms = ["Intercept" if term == "(Intercept)" else term for term in part["terms"]]
        scale = max(table[terms].to_numpy().std(), 1e-3)
        np.testing.assert_allclose(table.loc[levels, terms], part["mode"], rtol=1e-4, atol=1e-4 * scale)
        sds = table.loc[levels, [f"{term}_sd" for term in terms]]
        np.testing.assert_allclose(sds, part["sd"], rtol=5e-4, atol=1e-4 * scale)


def in_our_order(name):
    """``patient:(therapist:clinic)`` in R is ``clinic:therapist:patient`` here; labels likewise."""
    return ":".join(reversed(name.replace("(", "").replace(")", "").split(":")))


@pytest.mark.parametrize("name", ["nested_slopes", "slopes_at_three_levels", "crossed_slopes", "four"])
@pytest.mark.parametrize("correlation", [None, "ar1"])
def test_sparse_elimination_gives_what_whole_inverses_give(monkeypatch, name, correlation):
    options = {"correlation": correlation, "time": "session"} if correlation else {}
    whole = fit_mixed(MODELS[name]["formula"], DATA, **options)
    monkeypatch.setattr(sparse, "SMALL", 0)
    monkeypatch.setattr(sparse, "TINY", 0)
    monkeypatch.setattr(crossed, "TINY", 0)
    monkeypatch.setattr(sparse, "CROWDED", 2.0)
    fit = fit_mixed(MODELS[name]["formula"], DATA, **options)
    assert fit.model.spec.pattern.fronts is not None
    assert fit.log_likelihood == pytest.approx(whole.log_likelihood, abs=1e-9)
    np.testing.assert_allclose(fit.coefficients, whole.coefficients, rtol=1e-7)
    np.testing.assert_allclose(fit.degrees_of_freedom(), whole.degrees_of_freedom(), rtol=1e-5)
    for level in ("patient", fit.design.outer_factors[0]):
        found, expected = (one.predict(level=level, interval="confidence") for one in (fit, whole))
        pd.testing.assert_frame_equal(found, expected, rtol=1e-6)


def test_the_inverse_at_the_places_of_a_sparse_matrix(monkeypatch):
    monkeypatch.setattr(sparse, "TINY", 0)
    random = np.random.default_rng(3)
    n = 60
    one, other = random.integers(0, n, (2, 90))
    matrix = np.zeros((n, n))
    np.add.at(matrix, (one, other), random.normal(size=90))
    matrix = matrix + matrix.T
    matrix[np.diag_indices(n)] = np.abs(matrix).sum(axis=1)
    pattern = sparse.Pattern.of(*np.nonzero(matrix), n)
    fronts = sparse.Fronts.of(pattern)
    pattern.__dict__["fronts"] = fronts
    found = sparse.Elimination.of(pattern, matrix[pattern.row, pattern.column], np.ones(n))
    expected = np.linalg.inv(matrix + np.eye(n))
    assert fronts is not None
    np.testing.assert_allclose(pattern.at(found.inverse), expected[pattern.row, pattern.column], atol=1e-12)
    assert found.log_det == pytest.approx(np.linalg.slogdet(matrix + np.eye(n))[1])
    columns = random.normal(size=(n, 3))
    np.testing.assert_allclose(found.solve(columns), expected @ columns, atol=1e-12)


def test_two_nested_factors_are_the_same_with_a_third_that_adds_nothing():
    """A crossed factor of zero variance leaves the deviance of the nested engine: the two engines are one model."""
    smaller = fit_mixed("y ~ session + x + (1 + session | patient) + (1 | therapist)", DATA)
    noise = DATA.assign(coin=np.random.default_rng(1).integers(0, 9, len(DATA)))
    larger = fit_mixed("y ~ session + x + (1 + session | patient) + (1 | therapist) + (1 | coin)", noise)
    gain = 2 * (larger.log_likelihood - smaller.log_likelihood)
    assert -1e-7 <= gain < 4
    if larger.diagnostics["boundary"]:
        assert gain == pytest.approx(0, abs=1e-6)
        np.testing.assert_allclose(larger.coefficients, smaller.coefficients, rtol=1e-6)


def test_shares_count_every_level_above():
    found = icc(fit_mixed(NESTED, DATA)).set_index("group")
    total = found["share"]
    assert total.sum() == pytest.approx(1)
    assert found.loc["clinic", "icc"] == pytest.approx(total["clinic"])
    assert found.loc["therapist", "icc"] == pytest.approx(total[["clinic", "therapist"]].sum())
    assert found.loc["patient", "icc"] == pytest.approx(total[["clinic", "therapist", "patient"]].sum())
    crossed = icc(fit_mixed(CROSSED, DATA)).set_index("group")  # seen_by is not within clinics
    assert crossed.loc["seen_by", "icc"] == pytest.approx(crossed.loc["seen_by", "share"])


def test_small_sample_methods_know_the_top_factor():
    fit = fit_mixed(NESTED, DATA)
    assert cluster_robust(fit).cluster == "clinic"
    assert cluster_robust(fit).n_clusters == DATA["clinic"].nunique()
    errors = kenward_roger(fit).covariance
    assert np.sqrt(np.diag(errors))[0] == pytest.approx(fit.tidy()["std_error"][0], rel=0.2)
    with pytest.raises(ValueError, match="crossed"):
        cluster_robust(fit_mixed(CROSSED, DATA))


@pytest.mark.parametrize("formula", [NESTED, CROSSED])
def test_predictions_at_each_level_and_for_new_ones(formula):
    fit = fit_mixed(formula, DATA)
    middle, top = fit.design.outer_factors
    new = DATA.head(3).assign(**{middle: ["t01", "new", "t02"]})
    found = fit.predict(new, level=middle, new_groups="population")["prediction"]
    expected = (
        fit.predict(new)["prediction"]
        + fit.random_effects[middle]["Intercept"].reindex(new[middle]).fillna(0).to_numpy()
    )
    if formula == NESTED:
        expected += fit.random_effects[top]["Intercept"].reindex(new[top]).to_numpy()
    np.testing.assert_allclose(found, expected)
    wide = fit.predict(new, interval="prediction")["std_error"]
    total = fit.variances().query("term_2 == '' and term != 'session'")["variance"].sum()
    assert (wide**2 > total * 0.8).all()


def test_row_order_does_not_matter():
    shuffled = DATA.sample(frac=1, random_state=4)
    one, other = fit_mixed(CROSSED, DATA), fit_mixed(CROSSED, shuffled)
    np.testing.assert_allclose(one.coefficients, other.coefficients, rtol=1e-8)
    assert one.log_likelihood == pytest.approx(other.log_likelihood, abs=1e-8)


def test_five_factors_are_refused():
    data = DATA.assign(fifth=np.arange(len(DATA)) % 5)
    with pytest.raises(ValueError, match="5 grouping factors"):
        fit_mixed(MODELS["four"]["formula"] + " + (1 | fifth)", data)
