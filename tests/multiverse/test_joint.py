"""One p value for a multiverse: by hand, against refitting with flipped residuals, and uniform without an effect."""

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest

import alliance_stats as als
from alliance_stats.multiverse.fit import Multiverse
from alliance_stats.multiverse.joint import _joint, _units
from alliance_stats.multiverse.scores import _contrasts, _hazard, _score, _whitened, scores_of

RULES = ["previous_2pooled", "running_mean_2pooled"]


@pytest.fixture(scope="module")
def study():
    return als.simulate_study(n_patients=70, n_therapists=9, seed=6, rupture_rate=0.08)


def arguments(study, question):
    return {
        "score": "alliance",
        "question": question,
        "symptom": None if question == "dropout" else "phq9",
        "endings": study.endings,
        "rules": RULES,
    }


def same(fit):
    return fit


def fitted(study, question):
    asked = Multiverse(study.sessions, **arguments(study, question), targets=["past baseline"])
    return [asked.fit(piece, read=same).found for piece in asked.pieces()]


def test_statistics_by_hand():
    z = np.array([[2.0, 1.0, -3.0, 0.0], [3.0, 0.0, -2.0, 0.0]])  # two specifications; the data and three draws
    estimates = np.array([[4.0, 1.0, -5.0, 0.0], [6.0, 3.0, -1.0, 0.0]])
    rows = {row["statistic"]: row for row in _joint(estimates, z)}
    assert (rows["mean z"]["observed"], rows["mean z"]["p_value"]) == (2.5, 2 / 4)
    assert (rows["median estimate"]["observed"], rows["median estimate"]["p_value"]) == (5.0, 1 / 4)
    assert (rows["significant"]["observed"], rows["significant"]["p_value"]) == (2.0, 2 / 4)
    assert rows["mean z"]["n_specifications"] == 2


@pytest.mark.parametrize("question", ["next_session", "outcome"])
def test_a_draw_is_a_refit_with_flipped_residuals(study, question):
    """The sums over units are generalised least squares of fitted values plus flipped residuals, and its error."""
    rng = np.random.default_rng(1)
    unit_of, unit, n_units, _ = _units(study.sessions, None)
    assert (unit, n_units) == ("therapist", 8), "one of nine therapists has no patient"
    for fit in fitted(study, question):
        names = list(fit.fit.terms)
        x = np.column_stack([np.ones(len(fit.data)) if n == "Intercept" else fit.data[n] for n in names]).astype(float)
        y = fit.data[fit.post if question == "outcome" else fit.outcome].to_numpy(dtype=float)
        x, y = _whitened(fit.fit, fit.data, x, y)
        group = unit_of.loc[fit.data["patient"]].to_numpy()
        found = {one.term: one for one in scores_of(fit, unit_of, n_units)}
        assert set(found) == set(_contrasts(fit, names))
        for term, contrast in _contrasts(fit, names).items():
            # the model without the effect: coefficients restricted to contrast' beta = 0
            inverse = np.linalg.inv(x.T @ x)
            full = inverse @ x.T @ y
            small = full - inverse @ contrast * (contrast @ full) / (contrast @ inverse @ contrast)
            signs = np.vstack([np.ones(n_units), rng.choice([-1.0, 1.0], size=(5, n_units))])
            refitted = [contrast @ inverse @ x.T @ (x @ small + w[group] * (y - x @ small)) for w in signs]
            estimate, z = found[term].flipped(signs)
            np.testing.assert_allclose(estimate, refitted, rtol=1e-8, atol=1e-10)
            np.testing.assert_allclose(estimate[0], contrast @ full, rtol=1e-9)
            weights = x @ inverse @ contrast
            span = np.linalg.qr(x)[0]
            others = span @ span.T - np.outer(weights, weights) / (weights @ weights)
            length = [weights @ weights - (w[group] * weights) @ others @ (w[group] * weights) for w in signs]
            parts = np.bincount(group, weights * (y - x @ small), minlength=n_units)
            by_hand = estimate / np.sqrt((parts**2).sum() * np.array(length) / (weights @ weights))
            np.testing.assert_allclose(z, by_hand, rtol=1e-7)


def test_estimates_are_close_to_those_of_the_models(study):
    """Variances are held: estimates agree with the mixed model up to the therapists' part of its weights."""
    for fit in fitted(study, "next_session"):
        tidy = fit.tidy().set_index("term")
        for one in scores_of(fit, *np.take(np.array(_units(study.sessions, None), dtype=object), [0, 2])):
            error = tidy.loc[one.term, "std_error"]
            assert one.parts.sum() == pytest.approx(tidy.loc[one.term, "estimate"], abs=0.25 * error)


def test_dropout_is_the_score_of_the_model_without_the_term():
    """The sum over units is the score of logistic regression without the term, over the information left for it."""
    study = als.simulate_study(n_patients=250, n_therapists=9, seed=2, rupture_rate=0.1, dropout_rupture=1.0)
    unit_of, _, n_units, _ = _units(study.sessions, "patient")
    fits = fitted(study, "dropout")
    assert all(fit is not None for fit in fits)
    for fit in fits:
        x = fit.design.matrix
        for term in [name for name in ("rupture_open", "repaired_before") if name in fit.terms]:
            column = fit.terms.index(term)
            others, beta = np.delete(x, column, axis=1), np.zeros(x.shape[1] - 1)
            for _ in range(50):  # Newton's method, by hand
                hazard = 1 / (1 + np.exp(-others @ beta))
                weight = hazard * (1 - hazard)
                beta += np.linalg.solve((others.T * weight) @ others, others.T @ (fit.event - hazard))
            rest = others @ np.linalg.solve((others.T * weight) @ others, (others.T * weight) @ x[:, column])
            left = x[:, column] - rest
            one = _score(term, *_hazard(fit, term), unit_of.loc[fit.data["patient"]].to_numpy(), n_units)
            by_hand = (left @ (fit.event - hazard)) / (weight @ left**2)
            assert one.flipped(np.ones((1, n_units)))[0][0] == pytest.approx(by_hand)


def test_the_result(study):
    test = als.multiverse.joint_test(study.sessions, seed=3, draws=99, **arguments(study, "next_session"))
    table = als.fit_multiverse(study.sessions, **arguments(study, "next_session"), n_jobs=2)
    pd.testing.assert_frame_equal(test.table[list(table)], table, check_exact=True)
    assert (test.table["null_low"] < 0).all()
    assert (test.table["null_high"] > 0).all()
    again = als.multiverse.joint_test(study.sessions, seed=3, draws=99, n_jobs=2, **arguments(study, "next_session"))
    pd.testing.assert_frame_equal(test.joint, again.joint, check_exact=True)
    shuffled = study.sessions.sample(frac=1, random_state=1)
    pd.testing.assert_frame_equal(
        test.joint,
        als.multiverse.joint_test(shuffled, seed=3, draws=99, **arguments(study, "next_session")).joint,
        rtol=1e-6,
    )
    assert "All specifications together" in test.summary()
    axes = als.figures.plot_multiverse(test.table, term="rupture_open")
    greys = [one for one in axes.collections if one.get_linewidth()[0] == 4.5]
    assert len(greys) == 1
    assert len(greys[0].get_segments()) == 6
    mpl.pyplot.close("all")


def test_who_is_flipped(study):
    sessions = study.sessions
    assert _units(sessions, "patient")[1:3] == ("patient", 70)
    few = sessions.assign(therapist=sessions["therapist"].map(lambda name: str(name)[-1:] > "4"))
    _, unit, n_units, notes = _units(few, None)
    assert (unit, n_units) == ("patient", 70)
    assert "too few" in notes[0]
    with pytest.raises(als.DataError, match="no therapists"):
        _units(sessions.drop(columns="therapist"), "therapist")
    with pytest.raises(ValueError, match="draws=5"):
        als.multiverse.joint_test(sessions, seed=1, draws=5, **arguments(study, "next_session"))


def p_values(question, n_studies, **world):
    rules = list(als.RULES)[:7]
    if question != "outcome":
        rules = [name for name, rule in als.RULES.items() if rule.prospective][:7]
    term = "repaired - none" if question == "outcome" else "rupture_open"
    found = []
    for seed in range(n_studies):
        n_patients = 150 if question == "dropout" else 60  # one in five drops out
        study = als.simulate_study(n_patients=n_patients, n_therapists=10, seed=seed, **world)
        test = als.multiverse.joint_test(
            study.sessions, seed=seed, draws=199, **arguments(study, question) | {"rules": rules}
        )
        own = test.joint[(test.joint["term"] == term) & (test.joint["statistic"] == "mean z")]
        found += own["p_value"].tolist()
    return np.array(found)


NO_EFFECT = {"rupture_effect": 0.0, "repair_effect": 0.0, "dropout_rupture": 0.0}


@pytest.mark.slow
@pytest.mark.parametrize("question", ["next_session", "outcome", "dropout"])
def test_p_is_uniform_without_an_effect(question):
    """21 specifications, 199 draws, 200 studies: the share below .05 and .20, and the whole distribution."""
    from scipy.stats import binom, kstest

    p = p_values(question, 200, **NO_EFFECT)
    assert len(p) > 190
    for level in (0.05, 0.2):
        assert (p <= level).sum() <= binom.ppf(0.995, len(p), level)
    assert kstest(p, "uniform").pvalue > 0.01


@pytest.mark.slow
def test_a_strong_effect_is_found():
    p = p_values("next_session", 10, rupture_effect=6.0, rupture_rate=0.12)
    assert (p <= 0.05).mean() >= 0.5
