"""Reliability against R's psych (frozen), pingouin, hand-worked cases and data with known reliability."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import alliance_stats as als
from alliance_stats import reliability as rel
from alliance_stats.reliability.consistency import _feldt, _minres, cronbach_alpha

REFERENCE = Path(__file__).parents[1] / "reference" / "reliability"
R = json.loads((REFERENCE / "reference.json").read_text(encoding="utf-8"))
ITEMS = pd.read_csv(REFERENCE / "items.csv")
RATINGS = pd.read_csv(REFERENCE / "ratings.csv").melt(id_vars="subject", var_name="rater", value_name="score")


# -- against R -------------------------------------------------------------------------------------------------
def test_alpha_and_omega_match_psych():
    got = rel.item_reliability(ITEMS, "item_{item}").iloc[0]
    assert got["alpha"] == pytest.approx(R["alpha"], rel=1e-10)
    assert got["alpha_standardised"] == pytest.approx(R["std_alpha"], rel=1e-10)
    assert [got["alpha_ci_low"], got["alpha_ci_high"]] == pytest.approx(R["alpha_ci"], rel=1e-8)
    assert got["omega"] == pytest.approx(R["omega"], rel=1e-5)  # psych's optimiser stops at about 1e-6
    loadings = rel.item_statistics(ITEMS, "item_{item}")["loading"]
    assert loadings.tolist() == pytest.approx(R["loadings"], rel=1e-4)


def test_least_squares_loadings_match_psych():
    got = _minres(np.corrcoef(ITEMS[[f"item_{i}" for i in range(1, 5)]], rowvar=False))
    assert got.tolist() == pytest.approx(R["minres_loadings"], rel=1e-4)


def test_between_covariances_that_are_not_positive_definite_still_give_omega():
    """Items that differ between patients in one thing alone: between-patient omega is 1, or close."""
    table = simulated(60, 12, between=0.8, within=0.4, item=0.0, error=0.5)
    got = rel.level_omega(table, "i{item}").set_index("level")["omega"]
    assert got["between"] > 0.97
    assert got["within"] == pytest.approx(0.4 * 36 / (0.4 * 36 + 0.5 * 6), abs=0.05)


def test_alpha_matches_pingouin():
    import pingouin

    alpha, interval = pingouin.cronbach_alpha(ITEMS[[f"item_{i}" for i in range(1, 5)]])
    got = rel.item_reliability(ITEMS, "item_{item}").iloc[0]
    assert got["alpha"] == pytest.approx(alpha, rel=1e-10)
    assert [got["alpha_ci_low"], got["alpha_ci_high"]] == pytest.approx(list(interval), abs=6e-4)  # rounded there


@pytest.mark.filterwarnings("ignore")  # pingouin uses what pandas is about to remove
def test_icc_matches_pingouin():
    import pingouin

    theirs = pingouin.intraclass_corr(RATINGS, targets="subject", raters="rater", ratings="score")["ICC"]
    ours = rel.rater_icc(RATINGS, subject="subject", rater="rater", score="score")["estimate"]
    assert ours.tolist() == pytest.approx(theirs.tolist(), rel=1e-10)


def test_crossed_components_and_coefficients_match_psych():
    components = rel.session_components(ITEMS, "item_{item}", crossed=True).set_index("component")["variance"]
    psych = {row["name"]: row["variance"] for row in R["components"]}
    pairs = {
        "patient": "ID",
        "session": "Time",
        "item": "Items",
        "patient:session": "ID x time",
        "patient:item": "ID x items",
        "session:item": "time x items",
        "residual": "Residual",
    }
    for ours, theirs in pairs.items():
        # psych takes them from lme4, which stops within about 1e-5 of the closed form for complete data
        assert components[ours] == pytest.approx(psych[theirs], rel=2e-4), ours
    got = rel.session_reliability(ITEMS, "item_{item}", crossed=True).set_index("coefficient")["estimate"]
    assert got["R_kF"] == pytest.approx(R["crossed"]["RkF"], rel=1e-5)
    assert got["R_1R"] == pytest.approx(R["crossed"]["R1R"], rel=1e-4)
    assert got["R_kR"] == pytest.approx(R["crossed"]["RkR"], rel=1e-4)
    assert got["R_C"] == pytest.approx(R["crossed"]["Rc"], rel=1e-4)


def test_nested_components_match_lme4_once_item_effects_are_put_back():
    """psych's nested model leaves item means and patient-item differences in the error; the rest is the same data."""
    components = rel.session_components(ITEMS, "item_{item}").set_index("component")["variance"]
    psych = {row["name"]: row["variance"] for row in R["components"]}
    within_mean = components["patient:session"] + components["residual"] / 4
    assert within_mean == pytest.approx(psych["id(time)"] + psych["residual"] / 4, rel=1e-4)
    assert components["patient"] + components["patient:item"] / 4 == pytest.approx(psych["id"], rel=1e-4)


def test_levels_match_psych():
    columns = [f"item_{i}" for i in range(1, 5)]
    got = rel.level_correlations(ITEMS, columns).set_index(["first", "second"])
    for i in range(4):
        for j in range(i + 1, 4):
            row = got.loc[(columns[i], columns[j])]
            assert row["r_within"] == pytest.approx(R["within_r"][i][j], rel=1e-10)
            assert row["r_between"] == pytest.approx(R["between_r"][i][j], rel=1e-10)


def test_within_omega_is_that_of_the_pooled_within_covariances():
    columns = [f"item_{i}" for i in range(1, 5)]
    inside = ITEMS[columns] - ITEMS.groupby("patient")[columns].transform("mean")
    sd = np.sqrt((inside**2).sum() / (len(ITEMS) - ITEMS["patient"].nunique())).to_numpy()
    loading = np.array(R["within_loadings"]) * sd
    unique = sd**2 - loading**2
    want = loading.sum() ** 2 / (loading.sum() ** 2 + unique.sum())
    got = rel.level_omega(ITEMS, "item_{item}").set_index("level")["omega"]
    assert got["within"] == pytest.approx(want, rel=1e-4)
    assert got["between"] > 0.9


def test_icc_matches_psych():
    got = rel.rater_icc(RATINGS, subject="subject", rater="rater", score="score")
    psych = {row["type"]: row for row in R["icc"]}
    names = {"ICC(1,1)": "ICC1", "ICC(2,1)": "ICC2", "ICC(3,1)": "ICC3"}
    names |= {form.replace(",1", ",k"): name + "k" for form, name in names.items()}
    assert set(got["form"]) == set(names)
    for row in got.itertuples():
        want = psych[names[row.form]]
        assert row.estimate == pytest.approx(want["ICC"], rel=1e-9), row.form
        assert row.ci_low == pytest.approx(want["lower.bound"], rel=1e-9), row.form
        assert row.ci_high == pytest.approx(want["upper.bound"], rel=1e-9), row.form
    assert got["name"].tolist() == ["ICC(1)", "ICC(A,1)", "ICC(C,1)", "ICC(k)", "ICC(A,k)", "ICC(C,k)"]


# -- by hand ---------------------------------------------------------------------------------------------------
def test_alpha_by_hand():
    # Items (1,2,3), (1,3,2): variances 1, 1, covariance 0.5; alpha = 2/1 (1 - 2/3) = 2/3.
    table = pd.DataFrame({"a": [1, 2, 3], "b": [1, 3, 2]})
    assert rel.item_reliability(table, ["a", "b"])["alpha"].iloc[0] == pytest.approx(2 / 3)


def test_icc_of_shrout_and_fleiss():
    """Their table 4 (1979): six targets, four judges."""
    scores = [[9, 2, 5, 8], [6, 1, 3, 2], [8, 4, 6, 8], [7, 1, 2, 6], [10, 5, 6, 9], [6, 2, 4, 7]]
    rows = [{"t": i, "j": j, "y": float(y)} for i, line in enumerate(scores) for j, y in enumerate(line)]
    got = rel.rater_icc(pd.DataFrame(rows), subject="t", rater="j", score="y").set_index("form")["estimate"]
    assert got.round(2).to_dict() == {
        "ICC(1,1)": 0.17,
        "ICC(2,1)": 0.29,
        "ICC(3,1)": 0.71,
        "ICC(1,k)": 0.44,
        "ICC(2,k)": 0.62,
        "ICC(3,k)": 0.91,
    }


@pytest.mark.parametrize(
    ("method", "rci"),
    [
        # r = .84, s = 5, m = 17, pre 20, post 6
        ("jacobson_truax", (6 - 20) / (5 * np.sqrt(2) * np.sqrt(0.16))),
        ("gulliksen_lord_novick", ((6 - 17) - 0.84 * (20 - 17)) / (5 * np.sqrt(1 - 0.84**2))),
        ("edwards_nunnally", (6 - (17 + 0.84 * 3)) / (5 * np.sqrt(0.16))),
    ],
)
def test_clinical_change_by_hand(method, rci):
    table = pd.DataFrame({"patient": [1], "pre": [20.0], "post": [6.0]})
    got = rel.clinical_change(
        table, pre="pre", post="post", reliability=0.84, higher_is="worse", cutoff=10, sd=5, mean=17, method=method
    )
    assert got["rci"].iloc[0] == pytest.approx(rci, rel=1e-12)
    assert got["clinical_change"].iloc[0] == "recovered"


def test_clinical_change_categories_and_direction():
    table = pd.DataFrame({"pre": [20.0, 20, 20, 20, 8, np.nan, 10], "post": [5.0, 12, 19, 30, 0, 3, 4]})
    options = {"pre": "pre", "post": "post", "reliability": 0.9, "sd": 5, "cutoff": 10}
    down = rel.clinical_change(table, higher_is="worse", **options)
    # smallest reliable change 1.96 x 5 x sqrt(.2) = 4.38; the fifth was functional already; the last began at
    # the cut-off
    want = ["recovered", "improved", "unchanged", "deteriorated", "improved", None, "recovered"]
    assert [None if pd.isna(value) else value for value in down["clinical_change"]] == want
    assert down.attrs["clinical_change"]["n_missing"] == 1
    up = rel.clinical_change(-table, higher_is="better", **{**options, "cutoff": -10})
    assert up["clinical_change"].tolist() == down["clinical_change"].tolist()


def test_reliable_change_and_sem():
    assert rel.standard_error_of_measurement(7, 0.75) == 3.5
    assert rel.reliable_change_points(7, 0.75) == pytest.approx(1.959964 * np.sqrt(2) * 3.5, rel=1e-6)
    with pytest.raises(ValueError, match="reliability=1"):
        rel.reliable_change_points(7, 1)
    with pytest.raises(ValueError, match="sd=0"):
        rel.reliable_change_points(0, 0.8)
    # The change that defines RCI = z of Jacobson & Truax is the one in points.
    points = rel.reliable_change_points(5, 0.84)
    table = pd.DataFrame({"pre": [20.0, 20.0], "post": [20 - points - 0.01, 20 - points + 0.01]})
    got = rel.clinical_change(table, pre="pre", post="post", reliability=0.84, higher_is="worse", sd=5)
    assert got["reliable"].tolist() == ["improved", "none"]


def test_rater_agreement_and_truth_and_bias_on_known_data():
    rng = np.random.default_rng(5)
    patient = np.repeat(np.arange(150), 12)
    truth = rng.normal(4, 0.8, 150)[patient] + rng.normal(0, 0.5, len(patient))
    level = pd.Series(truth).groupby(patient).transform("mean").to_numpy()
    judgment = level - 0.4 + 0.6 * (truth - level) + rng.normal(0, 0.2, 150)[patient] + rng.normal(0, 0.3, len(patient))
    table = pd.DataFrame({"patient": patient, "session": np.tile(np.arange(1, 13), 150), "p": truth, "t": judgment})
    got = rel.rater_agreement(table, "p", "t").iloc[0]
    assert got["bias"] == pytest.approx(-0.4, abs=0.06)
    assert got["r_within"] == pytest.approx(0.3 / np.sqrt(0.3**2 + 0.09), abs=0.03)
    fit = rel.truth_and_bias(table, judgment="t", truth="p", random_slope=False)
    terms = als.tidy(fit).set_index("term")["estimate"]
    assert terms.iloc[0] == pytest.approx(-0.4, abs=0.06)
    assert terms.iloc[1] == pytest.approx(0.6, abs=0.04)


# -- known truth and invariances -------------------------------------------------------------------------------
def simulated(n_patients, seed, between=0.5, within=0.3, item=0.2, error=0.6, m=6):
    rng = np.random.default_rng(seed)
    sizes = rng.integers(2, 20, n_patients)
    patient = np.repeat(np.arange(n_patients), sizes)
    session = np.concatenate([np.arange(1, size + 1) for size in sizes])
    level = rng.normal(0, np.sqrt(between), n_patients)[patient] + rng.normal(0, np.sqrt(within), len(patient))
    own = rng.normal(0, np.sqrt(item), (n_patients, m))[patient]
    answers = level[:, None] + own + np.linspace(-1, 1, m) + rng.normal(0, np.sqrt(error), (len(patient), m))
    return pd.DataFrame({"patient": patient, "session": session, **{f"i{j + 1}": answers[:, j] for j in range(m)}})


def test_components_are_recovered_from_unequal_numbers_of_sessions():
    got = rel.session_components(simulated(3000, 1), "i{item}").set_index("component")["variance"]
    want = {"patient": 0.5, "patient:item": 0.2, "patient:session": 0.3, "residual": 0.6}
    for name, value in want.items():
        assert got[name] == pytest.approx(value, rel=0.08), name


def test_within_reliability_is_the_squared_correlation_with_the_true_state():
    table = simulated(400, 2, between=0, item=0, within=0.3, error=0.6)
    coefficient = rel.session_reliability(table, "i{item}").set_index("coefficient")["estimate"]["R_C"]
    assert coefficient == pytest.approx(0.3 / (0.3 + 0.6 / 6), abs=0.03)


def test_row_order_labels_shift_and_scale_do_not_matter():
    table = simulated(30, 3)
    base = rel.session_reliability(table, "i{item}")["estimate"]
    changed = table.sample(frac=1, random_state=1).assign(patient=lambda t: "p" + t["patient"].astype(str))
    for column in [f"i{j}" for j in range(1, 7)]:
        changed[column] = 3 + 2 * changed[column]
    assert np.allclose(rel.session_reliability(changed, "i{item}")["estimate"], base)
    assert np.allclose(
        rel.item_reliability(table, "i{item}")[["alpha", "omega"]],
        rel.item_reliability(changed, "i{item}")[["alpha", "omega"]],
        atol=1e-6,
    )


def test_the_instrument_turns_reversed_items_round():
    rng = np.random.default_rng(4)
    level = rng.normal(4, 1, 100)
    answers = np.clip(np.round(level[:, None] + rng.normal(0, 0.7, (100, 5))), 1, 7)
    keyed = pd.DataFrame(answers, columns=[f"a{j}" for j in range(1, 6)])
    raw = keyed.assign(a3=8 - keyed["a3"])
    turned = rel.item_reliability(raw, "a{item}", instrument="ARM-5")["alpha"].iloc[0]
    assert turned == pytest.approx(rel.item_reliability(keyed, "a{item}")["alpha"].iloc[0])


def test_incomplete_rows_are_counted():
    table = simulated(20, 6)
    table.loc[[0, 5], "i2"] = np.nan
    assert rel.item_reliability(table, "i{item}")["n_incomplete"].iloc[0] == 2
    assert rel.session_reliability(table, "i{item}").attrs["n_incomplete"] == 2


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda t: rel.item_reliability(t, "x{item}"), "No column fits"),
        (lambda t: rel.item_reliability(t, ["i1"]), "two or more items"),
        (lambda t: rel.item_reliability(t.head(2), "i{item}"), "three or more are needed"),
        (lambda t: rel.session_components(t[t["session"] == 1], "i{item}"), "cannot be split"),
        (lambda t: rel.session_components(t, "i{item}", crossed=True), "every patient in every session"),
        (lambda t: rel.rater_icc(t, subject="patient", rater="patient", score="i1"), "Duplicate ratings"),
        (lambda t: rel.truth_and_bias(t.assign(i1=np.nan), judgment="i1", truth="i2"), "both ratings"),
    ],
)
def test_data_that_cannot_be_used(call, message):
    with pytest.raises(als.DataError, match=message):
        call(simulated(10, 7))


def test_a_constant_item_gives_no_omega_and_no_false_alpha():
    table = simulated(20, 9).assign(i1=3.0)
    assert np.isnan(rel.item_reliability(table, "i{item}")["omega"].iloc[0])
    constant = pd.DataFrame({"a": [1.0] * 5, "b": [2.0] * 5, "c": [3.0] * 5})
    assert np.isnan(rel.item_reliability(constant, ["a", "b", "c"])["alpha"].iloc[0])


# -- coverage --------------------------------------------------------------------------------------------------
@pytest.mark.slow
def test_the_interval_of_alpha_covers_the_truth():
    """Six parallel items, n = 60: true alpha 6 x .4 / (1 + 5 x .4) = .8; 2,000 samples."""
    rng = np.random.default_rng(31)
    hits = 0
    for _ in range(2000):
        values = rng.normal(0, np.sqrt(0.4), 60)[:, None] + rng.normal(0, np.sqrt(0.6), (60, 6))
        low, high = _feldt(cronbach_alpha(np.cov(values, rowvar=False)), 60, 6, 0.95)
        hits += low <= 0.8 <= high
    assert abs(hits / 2000 - 0.95) < 0.015


@pytest.mark.slow
def test_the_intervals_of_the_iccs_cover_the_truth():
    """30 subjects, 4 random raters: ICC(2,1) = .5 / (.5 + .1 + .4); ICC(3,1) = .5 / .9; 1,500 samples."""
    rng = np.random.default_rng(32)
    subject, rater = np.repeat(np.arange(30), 4), np.tile(np.arange(4), 30)
    hits = {"ICC(2,1)": 0, "ICC(3,1)": 0}
    for _ in range(1500):
        score = rng.normal(0, np.sqrt(0.5), 30)[subject] + rng.normal(0, np.sqrt(0.1), 4)[rater]
        score = score + rng.normal(0, np.sqrt(0.4), 120)
        table = pd.DataFrame({"s": subject, "r": rater, "y": score})
        got = rel.rater_icc(table, subject="s", rater="r", score="y").set_index("form")
        for form, truth in (("ICC(2,1)", 0.5), ("ICC(3,1)", 0.5 / 0.9)):
            hits[form] += got.loc[form, "ci_low"] <= truth <= got.loc[form, "ci_high"]
    assert abs(hits["ICC(3,1)"] / 1500 - 0.95) < 0.02
    assert 0.93 < hits["ICC(2,1)"] / 1500 < 0.985  # McGraw & Wong's degrees of freedom are approximate
