"""STATES wherever EVENTS are: by hand, 0/1 states against events, no look-ahead, and what is refused."""

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest

import alliance_stats as als
from alliance_stats.tables.shares import clustered_share
from alliance_stats.tables.states import PROBABILITIES, events_or_states, rupture_states


@pytest.fixture(scope="module")
def study():
    world = {"rupture_rate": 0.08, "rupture_depth": 3.0, "rupture_length": 3.0, "dropout_rupture": 2.0}
    return als.simulate_study(n_patients=110, n_therapists=6, seed=4, n_sessions=12, max_sessions=20, **world)


@pytest.fixture(scope="module")
def latent(study):
    return als.detect_latent(study.sessions, score="alliance")


@pytest.fixture(scope="module")
def zero_one(study):
    """The true events, and the same as STATES of 0 and 1."""
    states = als.mark_ruptures(study.sessions, study.events)[["patient", "session", "rupture_open", "repaired_before"]]
    states.attrs = {"prospective": True, "rule": "truth", "score": "alliance"}
    return study.events, states


def test_by_hand():
    sessions = pd.DataFrame({"patient": [2, 2, 2, 1], "session": [5, 1, 3, 2], "alliance": 4.0})
    states = pd.DataFrame(
        {"patient": [2, 2, 1], "session": [2, 4, 2], "rupture_open": [0.25, 0.75, 1.0], "unrepaired": [0.0, 0.5, 0.0]}
    )
    marked = als.mark_ruptures(sessions, states)
    assert marked[["patient", "session"]].to_numpy().tolist() == [[1, 2], [2, 1], [2, 3], [2, 5]]
    assert marked["rupture_open"].tolist() == [1.0, 0.0, 0.25, 0.75]  # carried forward, never backward
    assert marked["unrepaired"].tolist() == [0.0, 0.0, 0.0, 0.5]
    assert als.mark_ruptures(sessions, states, lag=2)["rupture_open"].tolist() == [0.0, 0.0, 0.0, 0.25]
    assert "rupture_state" not in marked
    again = als.mark_ruptures(marked, pd.DataFrame({"patient": [2], "onset": [3], "repaired_at": [5]}))
    assert again["rupture_state"].tolist() == ["none", "none", "open", "repaired"]
    assert "unrepaired" not in again, "marks of an earlier call are replaced"
    shuffled = states.sample(frac=1, random_state=2)
    pd.testing.assert_frame_equal(als.mark_ruptures(sessions.iloc[::-1], shuffled), marked)


def test_a_naive_loop_agrees(study, latent):
    states = latent.states().sample(frac=0.6, random_state=1)
    table = study.sessions.sort_values(["patient", "session"], ignore_index=True)
    rows = states.groupby("patient")
    expected = []
    for patient, session in zip(table["patient"], table["session"], strict=True):
        own = rows.get_group(patient) if patient in rows.groups else states.iloc[:0]
        before = own[own["session"] <= session - 1].sort_values("session")
        expected.append(before["rupture_open"].iloc[-1] if len(before) else 0.0)
    some = table["patient"].isin(states["patient"])
    found = rupture_states(table[some].reset_index(drop=True), states, lag=1)["rupture_open"]
    np.testing.assert_array_equal(found, np.array(expected)[some])


def test_states_of_0_and_1_give_what_their_events_give(study, zero_one):
    states = zero_one[1]
    names = {"symptom": "phq9", "alliance": "alliance"}
    one, two = (als.fit_next_session(study.sessions, found, **names) for found in zero_one)
    pd.testing.assert_frame_equal(one.tidy(), two.tidy())
    one, two = (als.dropout_intervals(study.sessions, found, endings=study.endings, lag=2) for found in zero_one)
    both = [name for name in two if name in one]
    assert {"rupture_open", "repaired_before"} <= set(both)
    pd.testing.assert_frame_equal(one[both], two[both], check_dtype=False)
    dynamics = [
        als.fit_dynamics(
            als.mark_ruptures(study.sessions, found, for_prediction=True), **names, inputs=["rupture_open"]
        ).tidy()
        for found in zero_one
    ]
    pd.testing.assert_frame_equal(*dynamics)
    described = als.describe_ruptures(study.sessions, states).set_index("quantity")
    rated = study.sessions["alliance"].notna().to_numpy()
    is_open = states["rupture_open"].to_numpy()[rated]
    patient = study.sessions["patient"].to_numpy()[rated]
    part, whole = (pd.Series(x).groupby(patient).sum() for x in (is_open, np.ones(rated.sum())))
    row = described.loc["rated sessions in an open rupture"]
    assert row[["estimate", "ci_low", "ci_high"]].tolist() == pytest.approx(clustered_share(part, whole, level=0.95))
    assert row["count"] == is_open.sum()
    by_session = als.rupture.ruptures_by_session(study.sessions, states).set_index("session")
    at_three = is_open[study.sessions["session"].to_numpy()[rated] == 3]
    assert by_session.loc[3, "open_rate"] == pytest.approx(at_three.mean())


def test_patterns_of_0_and_1_give_what_labels_give(study, latent):
    labels = als.summarise_patients(study.sessions, latent.events(), endings=study.endings, measures=["phq9"])
    dummies = {f"p_pattern_{name}": (labels["pattern"] == name).astype(float) for name in labels["pattern"].unique()}
    chances = labels.assign(**dummies)
    options = {"post": "phq9_post", "pre": "phq9_pre", "exclude": ()}
    few = labels["pattern"].value_counts().loc[lambda n: n < 5].index
    labels, chances = labels[~labels["pattern"].isin(few)], chances[~labels["pattern"].isin(few)]
    one, two = als.fit_outcome(labels, **options), als.fit_outcome(chances, **options)
    assert (one.pattern, two.pattern) == ("pattern", "p_pattern")
    pd.testing.assert_frame_equal(one.effects(), two.effects())
    assert one.diagnostics["patterns"] == two.diagnostics["patterns"]
    pd.testing.assert_frame_equal(one.predict(labels), two.predict(chances))
    one = als.fit_growth(study.sessions, labels, measure="phq9", exclude=())
    two = als.fit_growth(study.sessions, chances, measure="phq9")
    pd.testing.assert_frame_equal(one.tidy(), two.tidy())


def test_a_detector_counts_as_its_states(study, latent):
    """So far for whatever predicts, the whole course for description."""
    sessions = study.sessions
    names = {"symptom": "phq9", "alliance": "alliance"}
    fit = als.fit_next_session(sessions, latent, **names)
    assert (fit.diagnostics["rule"], fit.diagnostics["prospective"]) == ("latent_filtered", True)
    intervals = als.dropout_intervals(sessions, latent, endings=study.endings)
    assert intervals.attrs["verdict"] == latent.verdict
    assert set(PROBABILITIES) - set(intervals) == {"short"}, "known of the whole course only"
    hazard = als.fit_dropout("rupture_open + session", intervals)
    assert "rupture_open" in hazard.terms
    whole = als.describe_ruptures(sessions, latent).set_index("quantity")
    assert whole.loc["patients with a rupture", "count"] == pytest.approx(
        (1 - latent.patterns()["p_pattern_none"]).sum()
    )
    smoothed = als.describe_ruptures(sessions, latent.states("smoothed")).set_index("quantity")
    shared = ["rated sessions in an open rupture", "onsets per rated session"]
    pd.testing.assert_frame_equal(whole.loc[shared], smoothed.loc[shared])
    assert (whole["ci_low"] < whole["estimate"]).all()
    patients = als.summarise_patients(sessions, latent, measures=["phq9"])
    np.testing.assert_allclose(patients.filter(like="p_pattern_").sum(axis=1).dropna(), 1.0)
    assert als.fit_outcome(patients, post="phq9_post", pre="phq9_pre").pattern == "p_pattern"
    by_session = als.rupture.ruptures_by_session(sessions, latent)
    axes = als.plot_prevalence(by_session)
    assert len(axes.containers) == 1
    mpl.pyplot.close("all")


def test_nothing_that_predicts_knows_later_ratings(study, latent):
    """Later ratings changed: with the same parameters, every state up to then is the same."""
    rng = np.random.default_rng(1)
    later = study.sessions["session"] > 6
    changed = study.sessions.assign(alliance=study.sessions["alliance"].where(~later, rng.uniform(1, 5, len(later))))
    changed["alliance"] = changed["alliance"].where(study.sessions["alliance"].notna())
    other = als.detect_latent(changed, score="alliance", parameters=latent.parameters)
    same = als.detect_latent(study.sessions, score="alliance", parameters=latent.parameters)
    early = ~later.to_numpy()
    for one, two in (
        (als.mark_ruptures(study.sessions, same), als.mark_ruptures(changed, other)),
        tuple(als.dropout_intervals(study.sessions, found, endings=study.endings) for found in (same, other)),
    ):
        rows = one["session"].to_numpy() <= 6
        columns = [name for name in PROBABILITIES if name != "short"]
        np.testing.assert_allclose(one.loc[rows, columns], two.loc[rows, columns], atol=1e-12)
        assert (one.loc[~rows, "rupture_open"] - two.loc[~rows, "rupture_open"]).abs().max() > 0.1
    assert early.sum() > 100


def test_what_looks_ahead_is_refused(study, latent):
    smoothed = latent.states("smoothed")
    names = {"symptom": "phq9", "alliance": "alliance"}
    for call in (
        lambda states, **more: als.fit_next_session(study.sessions, states, **names, **more),
        lambda states, **more: als.dropout_intervals(study.sessions, states, endings=study.endings, **more),
        lambda states, **more: als.mark_ruptures(study.sessions, states, for_prediction=True, **more),
    ):
        with pytest.raises(als.DataError, match=r"'latent_smoothed' looks ahead.*states\('filtered'\)"):
            call(smoothed)
        call(smoothed, allow_lookahead=True)
        unknown = smoothed.copy()
        unknown.attrs = {}
        with pytest.raises(als.DataError, match=r"does not say whether it looks ahead \(states.attrs"):
            call(unknown)
    marked = als.mark_ruptures(study.sessions, smoothed)
    with pytest.raises(als.DataError, match="'rupture_open' come from a rule that looks ahead"):
        als.fit_dynamics(marked, **names, inputs=["rupture_open"])


def test_states_that_are_none_are_refused(study, latent):
    states = latent.states()
    first = states["patient"].iloc[0]
    for wrong, words in (
        (states.assign(rupture_open=states["rupture_open"] + 0.5), "not probabilities"),
        (states.assign(rupture_open=np.nan), "missing or not probabilities"),
        (states[states["patient"] != first], "not of the same patients: 1 are in one table only"),
        (pd.concat([states, states.head(1)]), "Duplicate"),
    ):
        with pytest.raises(als.DataError, match=words):
            als.mark_ruptures(study.sessions, wrong)
    with pytest.raises(als.DataError, match="which patients had a rupture"):
        als.summarise_patients(study.sessions, states)
    with pytest.raises(TypeError, match="not str"):
        events_or_states("filtered", so_far=True)


def test_a_detector_that_does_not_vouch_is_not_trusted(study, latent):
    states = latent.states()
    assert states.attrs["at_bound"] == pytest.approx(latent.diagnostics.set_index("quantity")["value"]["at_ceiling"])
    states.attrs |= {"verdict": "ambiguous", "at_bound": 0.101}
    words, bound = "verdict on these ruptures is 'ambiguous'", "10% of the scores are at a bound"
    fit = als.fit_next_session(study.sessions, states, symptom="phq9", alliance="alliance")
    assert words in fit.summary()
    assert bound in fit.summary()
    intervals = als.dropout_intervals(study.sessions, states, endings=study.endings)
    hazard = als.fit_dropout("rupture_open", intervals).summary()
    assert words in hazard
    assert bound in hazard
    assert words not in als.fit_dropout("session", intervals).summary()
    marked = als.mark_ruptures(study.sessions, states, for_prediction=True)
    fit = als.fit_dynamics(marked, alliance="alliance", symptom="phq9", inputs=["rupture_open"])
    assert any(words in note for note in fit.diagnostics["notes"])
    patients = als.summarise_patients(study.sessions, latent, measures=["phq9"])
    patients.attrs["verdict"] = "ambiguous"
    assert words in als.fit_outcome(patients, post="phq9_post", pre="phq9_pre").summary()
    assert words in als.fit_growth(study.sessions, patients, measure="phq9").summary()


def test_the_strip_of_probabilities(study, latent):
    states = latent.states("smoothed")
    patient = states.loc[states["rupture_open"].idxmax(), "patient"]
    own = states[states["patient"] == patient]
    axes = als.plot_patient(study.sessions, latent, patient=patient, score="alliance")
    strip = axes.collections[-1].get_paths()[0].vertices
    assert strip[:, 1].max() == pytest.approx(0.16 * own["rupture_open"].max())
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["baseline", "P(rupture open)"]
    baseline = axes.lines[-1]
    np.testing.assert_allclose(baseline.get_ydata(), own["baseline"].dropna())
    events = latent.events()
    panels = als.plot_patients(study.sessions, events, patients=[patient], score="alliance", states=latent)
    assert "rupture" in [text.get_text() for text in panels[0].figure.legends[0].get_texts()]
    assert len(panels[0].collections) == 2
    mpl.pyplot.close("all")
