"""Who noticed: by hand, no look-ahead, concordance beside chance."""

import numpy as np
import pandas as pd
import pytest

import alliance_stats as als
from alliance_stats.coding import codes_against_scores, noticed, noticed_states, report_concordance

SESSIONS = pd.DataFrame(
    {
        "patient": [1] * 6 + [2] * 3,
        "session": [*range(1, 7), 1, 2, 3],
        "felt": [0, 0, 0, 1, 0, 0, np.nan, np.nan, np.nan],
        "saw": [0, 1, 1, 0, 0, 0, 0, 0, 0],
    }
)
EVENTS = pd.DataFrame(
    {
        "patient": [1, 1, 2],
        "event": [1, 2, 1],
        "onset": [3, 6, 2],
        "repaired_at": pd.array([5, pd.NA, pd.NA], dtype="Int64"),
    }
)
RATERS = {"patient": "felt", "therapist": "saw"}


def test_by_hand():
    assert noticed(EVENTS, SESSIONS, **RATERS)["noticed"].tolist()[:2] == ["both", "neither"]
    assert pd.isna(noticed(EVENTS, SESSIONS, **RATERS)["noticed"][2])  # the patient gave no report
    assert noticed(EVENTS, SESSIONS, **RATERS, within=0)["noticed"].tolist()[:2] == ["therapist", "neither"]


def test_states_are_nested_and_known_by_then():
    marked = noticed_states(SESSIONS, EVENTS, **RATERS)
    names = ["open_neither", "open_patient", "open_therapist", "open_both"]
    np.testing.assert_array_equal(marked[names].sum(axis=1), als.mark_ruptures(SESSIONS, EVENTS)["rupture_open"])
    assert marked["open_therapist"].tolist()[2:4] == [1, 0]
    assert marked["open_both"].tolist()[2:5] == [0, 1, 0]
    for until in range(1, 7):
        early = SESSIONS.assign(felt=SESSIONS["felt"].where(SESSIONS["session"] <= until, 1))
        known = noticed_states(early, EVENTS, **RATERS)
        now = (SESSIONS["session"] <= until) & (SESSIONS["patient"] == 1)
        pd.testing.assert_frame_equal(known.loc[now, names], marked.loc[now, names])


def test_concordance_is_judged_against_the_dyads_own_rates():
    rng = np.random.default_rng(1)
    n, t = 60, 12
    rate = np.where(np.arange(n) < 30, 0.05, 0.6)[:, None]  # some dyads report often: that alone is no concordance
    table = pd.DataFrame({"patient": np.repeat(np.arange(n), t), "session": np.tile(np.arange(1, t + 1), n)})
    apart = table.assign(felt=(rng.random((n, t)) < rate).ravel() * 1.0, saw=(rng.random((n, t)) < rate).ravel() * 1.0)
    found = report_concordance(apart, **RATERS, seed=1, draws=300).iloc[0]
    assert found["both"] > 0.15
    assert found["kappa"] == pytest.approx(0, abs=0.1)
    assert found["p_value"] > 0.02
    same = apart.assign(saw=apart["felt"].where(rng.random(n * t) < 0.7, apart["saw"]))
    found = report_concordance(same, **RATERS, seed=1, draws=300).iloc[0]
    assert found["kappa"] > 0.5
    assert found["p_value"] < 0.01


def test_recognition_effects_come_back_in_the_dropout_model():
    """Only ruptures that the patient alone knows of drive patients away."""
    rng = np.random.default_rng(2)
    rows, events, endings = [], [], []
    for patient in range(500):
        onset, felt, saw, last = int(rng.integers(2, 6)), rng.random() < 0.5, rng.random() < 0.5, 12
        for session in range(1, 13):
            alone = session >= onset and felt and not saw
            rows.append((patient, session, float(session == onset and felt), float(session == onset and saw)))
            if rng.random() < 1 / (1 + np.exp(3.5 - 2.0 * alone)):
                last = session
                break
        endings.append((patient, "dropout" if last < 12 else "completed"))
        if onset <= last:
            events.append((patient, 1, onset, pd.NA))
    sessions = pd.DataFrame(rows, columns=["patient", "session", "felt", "saw"])
    events = pd.DataFrame(events, columns=["patient", "event", "onset", "repaired_at"]).astype({"repaired_at": "Int64"})
    events.attrs["prospective"] = True
    marked = noticed_states(sessions, events, **RATERS)
    names = ["open_neither", "open_patient", "open_therapist", "open_both"]
    intervals = als.dropout_intervals(
        marked, endings=pd.DataFrame(endings, columns=["patient", "ending"]), covariates=names
    )
    terms = als.fit_dropout(" + ".join(names), intervals).tidy().set_index("term")["estimate"]
    assert terms["open_patient"] == pytest.approx(2.0, abs=0.6)
    assert terms[["open_neither", "open_therapist", "open_both"]].abs().max() < 0.7


def test_reports_that_are_no_yes_or_no_are_refused():
    with pytest.raises(als.DataError, match="'felt' must hold 0 and 1"):
        noticed(EVENTS, SESSIONS.assign(felt=3.0), **RATERS)
    with pytest.raises(als.DataError, match="No session has both reports"):
        report_concordance(SESSIONS.query("patient == 2"), **RATERS, seed=1)


def test_codes_against_scores_finds_the_difference_put_in():
    rng = np.random.default_rng(3)
    n, t = 60, 10
    table = pd.DataFrame({"patient": np.repeat(np.arange(n), t), "session": np.tile(np.arange(1, t + 1), n)})
    opened = (rng.random(n * t) < 0.2).astype(float)
    level = np.repeat(rng.standard_normal(n), t)
    coded = table.assign(
        n_markers=level + 1.5 * opened + rng.standard_normal(n * t), tension=opened + rng.random(n * t)
    )
    states = table.assign(rupture_open=opened, repaired_before=0.0)
    states.attrs = {"prospective": False, "rule": "latent_smoothed"}
    found = codes_against_scores(coded, states, measures=["n_markers", "tension"]).set_index("measure")
    assert found.loc["n_markers", "estimate"] == pytest.approx(1.5, abs=0.3)
    assert found.loc["n_markers", "ci_low"] > 1
    assert found.loc["n_markers", "d"] == pytest.approx(1.5 / np.sqrt(1 + 1.5**2 * 0.16), abs=0.25)
    assert found.loc["tension", ["open", "otherwise"]].tolist() == pytest.approx([1.5, 0.5], abs=0.06)
    calm = codes_against_scores(
        coded.assign(n_markers=rng.standard_normal(n * t)), states, measures=["n_markers"]
    ).set_index("measure")
    assert calm.loc["n_markers", "p_value"] > 0.01
    constant = coded.assign(n_withdrawal=0.0)
    assert codes_against_scores(constant, states)["measure"].tolist() == ["n_markers"]
    with pytest.raises(als.DataError, match="'n_withdrawal' does not vary"):
        codes_against_scores(constant, states, measures=["n_withdrawal"])
    with pytest.raises(als.DataError, match="nothing to compare"):
        codes_against_scores(coded, states.assign(rupture_open=0.0))
