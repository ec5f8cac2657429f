"""INTERVALS to repair and to onset: by hand, no look-ahead, recovery of the effects put in."""

import numpy as np
import pandas as pd
import pytest

import alliance_stats as als
from alliance_stats.coding import noticed, onset_intervals, repair_intervals

SESSIONS = pd.DataFrame(
    {
        "patient": [1] * 6 + [2] * 5,
        "session": [*range(1, 7), *range(1, 6)],
        "therapist": "t",
        "video": [0, 0, 0, 1, 1, 1] + [0] * 5,
    }
)
EVENTS = pd.DataFrame(
    {
        "patient": [1, 1, 2],
        "event": [1, 2, 1],
        "onset": [2, 6, 3],
        "repaired_at": pd.array([4, 6, pd.NA], dtype="Int64"),
        "type": ["withdrawal", "mixed", "confrontation"],
    }
)
CODED = pd.DataFrame({"patient": [1, 1, 2], "session": [3, 6, 4], "strategy_expressive": [1, 0, 1]})
ENDINGS = pd.DataFrame({"patient": [1, 2], "ending": ["completed", "dropout"]})


def test_repair_by_hand():
    rows = repair_intervals(SESSIONS, EVENTS, coded=CODED, endings=ENDINGS, covariates=["video"])
    first = rows.loc[(rows["patient"] == 1) & (rows["event"] == 1)]
    assert first["session"].tolist() == [2, 3, 4]
    assert first["since"].tolist() == [0, 1, 2]
    assert first["ending"].tolist() == ["", "", "repaired"]
    assert first["used_expressive"].tolist() == [0, 1, 1]
    assert first["video"].tolist() == [0, 0, 1]
    own_session = rows.loc[rows["event"] == 2]
    assert own_session[["since", "start", "stop", "ending", "used_expressive"]].values.tolist() == [
        [0, 0, 1, "repaired", 0]
    ]
    open_to_the_end = rows.loc[rows["patient"] == 2]
    assert open_to_the_end["ending"].tolist() == ["", "", "dropout"]
    assert open_to_the_end["used_expressive"].tolist() == [0, 1, 1]
    censored = repair_intervals(SESSIONS, EVENTS)
    assert censored.loc[censored["patient"] == 2, "ending"].tolist() == ["", "", ""]
    later = repair_intervals(SESSIONS, EVENTS, coded=CODED, lag=1)
    assert later.loc[(later["patient"] == 1) & (later["event"] == 1), "used_expressive"].tolist() == [0, 0, 1]


def test_recognition_rides_along_only_if_it_was_known_at_the_onset():
    reports = SESSIONS.assign(felt=[0, 1, 0, 0, 0, 0, 0, 0, 0, 1, 0], saw=0)
    seen = {within: noticed(EVENTS, reports, patient="felt", therapist="saw", within=within) for within in (0, 1)}
    rows = repair_intervals(SESSIONS, seen[0])
    assert rows.groupby(["patient", "event"])["noticed"].first().tolist() == ["patient", "neither", "neither"]
    assert "noticed" not in repair_intervals(SESSIONS, seen[1])


def test_a_lagged_strategy_of_before_the_onset_does_not_count():
    before = pd.DataFrame({"patient": [1], "session": [1], "strategy_expressive": [1]})
    rows = repair_intervals(SESSIONS, EVENTS, coded=before, lag=1)
    assert (rows["used_expressive"] == 0).all()


def test_competing_incidence():
    rows = repair_intervals(SESSIONS, EVENTS, endings=ENDINGS)
    shares = als.cumulative_incidence(rows).groupby("state")["estimate"].last()
    assert shares["repaired"] == pytest.approx(2 / 3)
    assert shares["dropout"] == pytest.approx(1 / 3)


def test_onset_by_hand():
    rows = onset_intervals(SESSIONS, EVENTS, covariates=["video"])
    first = rows.loc[rows["patient"] == 1]
    assert first["session"].tolist() == [2, 5, 6]
    assert first["ending"].tolist() == ["rupture", "", "rupture"]
    assert first["n_before"].tolist() == [0, 1, 1]
    assert first["video"].tolist() == [0, 1, 1]  # of the session before
    assert rows.loc[rows["patient"] == 2, "session"].tolist() == [2, 3]
    assert onset_intervals(SESSIONS, EVENTS, first_only=True)["session"].tolist() == [2, 2, 3]


def test_an_onset_while_another_rupture_is_open_needs_the_window():
    events = pd.DataFrame({"patient": [1, 1], "onset": [2, 5], "repaired_at": pd.array([pd.NA, pd.NA], dtype="Int64")})
    with pytest.raises(als.DataError, match="begin while an earlier one"):
        onset_intervals(SESSIONS, events)
    rows = onset_intervals(SESSIONS, events, window=1)
    first = rows.loc[rows["patient"] == 1]
    assert first["session"].tolist() == [2, 4, 5]
    assert first["ending"].tolist() == ["rupture", "", "rupture"]
    with pytest.raises(als.DataError, match="patient that sessions does not have"):
        onset_intervals(SESSIONS, events.assign(patient=9))


def test_a_level_for_each_session_since_the_onset():
    sessions, events, coded = simulated(np.random.default_rng(1), effect=0.9)
    rows = repair_intervals(sessions, events, coded=coded)
    dummies = als.fit_dropout("used_expressive", rows, ending="repaired", baseline="dummies")
    by_hand = rows.loc[~rows["since"].isin(list(dummies.settings["fixed_hazards"]))]
    written = als.fit_dropout("used_expressive + C(since)", by_hand, ending="repaired")
    pd.testing.assert_frame_equal(dummies.tidy(), written.tidy())
    assert "C(since)[T.1]" in dummies.terms


def simulated(rng, *, effect, n=150):
    """Ruptures whose repair has the logit -1.5 + `effect` once an expressive strategy was used."""
    sessions, events, coded = [], [], []
    for patient in range(n):
        last, onset = 16, int(rng.integers(3, 8))
        used, repaired = False, pd.NA
        for session in range(onset, last + 1):
            now = rng.random() < 0.25
            used |= now
            coded.append((patient, session, int(now)))
            if rng.random() < 1 / (1 + np.exp(1.5 - effect * used)):
                repaired = session
                break
        sessions += [(patient, session, f"t{patient % 10}") for session in range(1, last + 1)]
        events.append((patient, 1, onset, repaired))
    return (
        pd.DataFrame(sessions, columns=["patient", "session", "therapist"]),
        pd.DataFrame(events, columns=["patient", "event", "onset", "repaired_at"]).astype({"repaired_at": "Int64"}),
        pd.DataFrame(coded, columns=["patient", "session", "strategy_expressive"]),
    )


def fits(effect, studies, n=150):
    found = []
    for seed in range(studies):
        sessions, events, coded = simulated(np.random.default_rng([6, seed]), effect=effect, n=n)
        rows = repair_intervals(sessions, events, coded=coded)
        terms = als.fit_dropout("used_expressive", rows, ending="repaired", cluster="patient").tidy().set_index("term")
        found.append(terms.loc["used_expressive", ["estimate", "ci_low", "ci_high", "p_value"]].to_numpy(float))
    return np.array(found)


def test_a_strategy_effect_comes_back():
    found = fits(0.9, 12)
    assert found[:, 0].mean() == pytest.approx(0.9, abs=0.2)
    sessions, events, coded = simulated(np.random.default_rng(7), effect=0.9)
    rows = repair_intervals(sessions, events, coded=coded)
    cox = als.fit_dropout("used_expressive", rows, model="cox", ending="repaired", cluster="patient").tidy()
    assert cox["estimate"][0] > 0.3


@pytest.mark.slow
@pytest.mark.parametrize("effect", [0.0, 0.9])
def test_strategy_effects_are_unbiased_and_covered(effect):
    """400 studies of 150 ruptures: bias below 5 % of .9, coverage .93 to .97."""
    found = fits(effect, 400)
    assert abs(found[:, 0].mean() - effect) < 0.045
    covered = (found[:, 1] <= effect) & (effect <= found[:, 2])
    assert 0.925 <= covered.mean() <= 0.975


def test_probabilities_are_refused():
    states = SESSIONS.assign(rupture_open=0.2)
    for function in (repair_intervals, onset_intervals):
        with pytest.raises(als.DataError, match="probabilities of ruptures"):
            function(SESSIONS, states)
        with pytest.raises(als.DataError, match="probabilities of ruptures"):
            function(SESSIONS, object())


def test_unknown_patients_are_named():
    with pytest.raises(als.DataError, match="patient that sessions does not have"):
        repair_intervals(SESSIONS, EVENTS.assign(patient=9))
    with pytest.raises(als.DataError, match="no column strategy_<group>"):
        repair_intervals(SESSIONS, EVENTS, coded=CODED[["patient", "session"]])


def trained(seed, *, effect, n_therapists=12, share=0.5):
    """Ruptures whose onset has the logit -2.5 + `effect` with a trained therapist + the therapist's own deviation."""
    rng = np.random.default_rng([11, seed])
    own = np.arange(n_therapists) < share * n_therapists
    logit = -2.5 + effect * own + 0.5 * rng.standard_normal(n_therapists)
    sessions, events = [], []
    for patient in range(10 * n_therapists):
        therapist = patient % n_therapists
        onset = 1 + int(rng.geometric(1 / (1 + np.exp(-logit[therapist]))))  # from session 2 on
        sessions += [(patient, session, f"t{therapist:02d}", int(own[therapist])) for session in range(1, 13)]
        events += [(patient, 1, onset, pd.NA)] if onset <= 12 else []
    table = pd.DataFrame(sessions, columns=["patient", "session", "therapist", "training"])
    found = pd.DataFrame(events, columns=["patient", "event", "onset", "repaired_at"])
    rows = onset_intervals(table, found.astype({"repaired_at": "Int64"}), covariates=["training"], first_only=True)
    return als.fit_dropout("training", rows, ending="rupture", cluster="therapist")


def test_a_moderator_of_the_therapist_is_tested_with_as_many_df_as_there_are_therapists():
    fit = trained(1, effect=1.0)
    row = fit.tidy().set_index("term").loc["training"]
    assert row["df"] == 11
    assert row["estimate"] == pytest.approx(1.0, abs=0.8)
    plain = trained(1, effect=1.0)
    assert "jackknife" in plain.settings["errors"]


@pytest.mark.slow
@pytest.mark.parametrize("effect", [0.0, 0.8])
def test_a_moderator_of_the_therapist_is_covered(effect):
    """300 studies of 12 therapists who differ (SD .5 in log odds): bias below 5 % of .8, coverage .925 to .98."""
    tables = [trained(seed, effect=effect).tidy().set_index("term").loc["training"] for seed in range(300)]
    found = pd.DataFrame(tables)
    covered = (found["ci_low"] <= effect) & (effect <= found["ci_high"])
    assert abs(found["estimate"].mean() - effect) < 0.08
    assert 0.925 <= covered.mean() <= 0.98
