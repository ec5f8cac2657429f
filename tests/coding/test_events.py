"""Coded ruptures as EVENTS: by hand, by a naive loop, and through the steps that take EVENTS."""

import numpy as np
import pandas as pd
import pytest

import alliance_stats as als
from alliance_stats.tables.schema import EVENTS_COLUMNS

SESSIONS = pd.DataFrame(
    {"patient": ["a"] * 8, "session": range(1, 9), "alliance": [4.0, 4.0, 2.0, 2.5, 4.5, 4.0, 3.0, np.nan]}
)
CODED = pd.DataFrame(
    {
        "patient": ["a"] * 5,
        "session": [2, 3, 4, 6, 7],
        "rupture": [0, 1, 1, 0, 1],
        "type": [None, "withdrawal", "confrontation", None, "withdrawal"],
        "significance": [np.nan, 3, 5, np.nan, 2],
        "resolution": [np.nan, 2, 2, 4, 5],
        "strategies": ["", "disclose", "redirect; disclose", "validate", "redirect"],
    }
)


def test_by_hand_with_resolution_ratings():
    events = als.events_from_codes(CODED, SESSIONS, score="alliance")
    assert list(events)[: len(EVENTS_COLUMNS)] == list(EVENTS_COLUMNS)
    first, second = events.to_dict("records")
    assert (first["onset"], first["nadir"], first["repaired_at"], first["status"]) == (3, 3, 6, "repaired")
    assert (first["baseline"], first["nadir_score"], first["drop"], first["repair_score"]) == (4, 2, 2, 4)
    assert (first["type"], first["significance"], first["sessions_to_repair"]) == ("withdrawal", 3, 3)
    assert first["strategies"] == "disclose; redirect; validate"
    assert (second["onset"], second["repaired_at"], second["sessions_to_repair"]) == (7, 7, 0)
    assert events.attrs == {"rule": "coded", "prospective": True, "score": "alliance"}


def test_the_nadir_of_a_rupture_resolved_in_its_own_session_is_that_session():
    coded = pd.DataFrame({"patient": "a", "session": [2], "rupture": [1], "resolution": [5.0]})
    event = als.events_from_codes(coded, SESSIONS, score="alliance").iloc[0]
    assert (event["nadir"], event["nadir_score"], event["drop"]) == (2, 4.0, 0.0)


def test_the_other_ways_to_repair():
    ends = {
        way: als.events_from_codes(CODED, SESSIONS, score="alliance", repair=way)["repaired_at"].tolist()
        for way in ("score", "either", "both")
    }
    assert ends["score"][0] == 5
    assert ends["either"][0] == 5
    assert ends["both"][0] == 6
    last = als.events_from_codes(CODED, SESSIONS, score="alliance", repair="score").iloc[-1]
    assert (last["onset"], last["status"]) == (7, "censored")


def test_not_repaired_is_censored_only_if_it_began_at_the_last_session():
    never = CODED.assign(resolution=np.nan)
    assert als.events_from_codes(never)["status"].tolist() == ["unrepaired"]
    only = never.iloc[[-1]]
    assert als.events_from_codes(only)["status"].tolist() == ["censored"]
    assert als.events_from_codes(only, SESSIONS)["status"].tolist() == ["unrepaired"]
    assert als.events_from_codes(CODED.assign(rupture=0)).empty


def test_a_rupture_resolved_in_its_own_session_is_not_open_afterwards():
    marked = als.mark_ruptures(SESSIONS, als.events_from_codes(CODED, SESSIONS), for_prediction=True)
    assert marked["rupture_open"].tolist() == [0, 0, 1, 1, 1, 0, 0, 0]
    assert marked["n_ruptures_so_far"].tolist() == [0, 0, 1, 1, 1, 1, 2, 2]


def test_no_later_code_changes_what_is_known_before():
    rng = np.random.default_rng(1)
    sessions = pd.DataFrame({"patient": np.repeat(range(40), 10), "session": np.tile(range(1, 11), 40)})
    coded = sessions.assign(
        rupture=(rng.random(400) < 0.3).astype(int), resolution=rng.integers(1, 6, 400).astype(float)
    ).loc[rng.random(400) < 0.8]
    whole = als.mark_ruptures(sessions, als.events_from_codes(coded, sessions))
    for until in (3, 6, 9):
        early = als.events_from_codes(coded.loc[coded["session"] <= until], sessions)
        known = als.mark_ruptures(sessions, early)
        now = sessions["session"] <= until
        for name in ("rupture_open", "repaired_before", "n_ruptures_so_far"):
            np.testing.assert_array_equal(known.loc[now, name], whole.loc[now, name])


def test_the_definition_as_a_loop():
    rng = np.random.default_rng(2)
    for _ in range(30):
        n = 12
        coded = pd.DataFrame(
            {"patient": 1, "session": np.arange(1, n + 1), "rupture": (rng.random(n) < 0.35).astype(int),
             "resolution": rng.integers(1, 6, n).astype(float)}
        ).loc[rng.random(n) < 0.85]  # fmt: skip
        if coded.empty:
            continue
        expected, is_open = [], False
        for row in coded.itertuples():
            if row.rupture and not is_open:
                expected.append([row.session, None])
                is_open = True
            if is_open and row.resolution >= 4:
                expected[-1][1] = row.session
                is_open = False
        events = als.events_from_codes(coded)
        ends = [None if pd.isna(end) else int(end) for end in events["repaired_at"]]
        found = [list(pair) for pair in zip(events["onset"], ends, strict=True)]
        assert found == expected


def test_they_feed_the_steps_that_take_events():
    study = als.simulate_study(n_patients=80, seed=1, missing=0.0, missed=0.0, missing_rupture=0.0, missed_rupture=0.0)
    truth = study.truth.sessions
    rating = np.where(truth["repaired_before"] == 1, 5.0, 1.0)
    coded = truth.assign(rupture=truth["in_rupture"], resolution=rating)
    events = als.events_from_codes(coded, study.sessions, score="alliance", repair="either")
    assert als.summarise_patients(study.sessions, events, endings=study.endings)["n_ruptures"].sum() == len(events)
    assert len(als.describe_ruptures(study.sessions, events))
    assert als.fit_next_session(study.sessions, events, symptom="phq9", alliance="alliance").fit.diagnostics[
        "converged"
    ]
    intervals = als.dropout_intervals(study.sessions, events, endings=study.endings)
    assert "rupture_open" in als.fit_dropout("rupture_open", intervals).tidy()["term"].tolist()
    als.plot_patient(study.sessions, events, patient=events["patient"].iloc[0], score="alliance")


def test_several_coders_become_one_by_majority():
    codes = pd.DataFrame(
        {"patient": 1, "session": [2, 2, 2, 3, 3, 3], "coder": list("ABC") * 2,
         "type": ["withdrawal", "withdrawal", None, None, None, "mixed"], "resolution": [1.0, 2, 1, 5, 4, 4]}
    )  # fmt: skip
    events = als.events_from_codes(codes)
    assert events[["onset", "repaired_at", "type"]].values.tolist() == [[2, 3, "withdrawal"]]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"repair": "score"}, "needs the alliance score"),
        ({"score": "alliance"}, "needs the sessions"),
        ({"repair": "luck"}, "repair"),
    ],
)
def test_options_that_need_what_is_not_there(options, message):
    with pytest.raises(ValueError, match=message):
        als.events_from_codes(CODED, **options)


def test_codes_that_cannot_be_placed():
    with pytest.raises(als.DataError, match="needs resolution ratings"):
        als.events_from_codes(CODED.drop(columns="resolution"))
    with pytest.raises(als.DataError, match=r"1 coded session.* not in the sessions.*session 6"):
        als.events_from_codes(CODED, SESSIONS.query("session != 6"))
    with pytest.raises(als.DataError, match="several coders"):
        als.events_from_codes(pd.concat([CODED, CODED]))


def test_coded_ruptures_at_sessions_without_a_rating_are_described_over_the_coded_sessions():
    study = als.simulate_study(n_patients=60, seed=1, codes=True, rupture_rate=0.1, missing_rupture=0.5)
    coded = als.coding.consensus(als.coding.code_sessions(study.codes))
    events = als.events_from_codes(coded, study.sessions)
    found = als.describe_ruptures(coded, events, score="rupture").set_index("quantity")
    assert found.loc["onsets per rated session", ["count", "of"]].tolist() == [len(events), len(coded)]
    by_session = als.rupture.ruptures_by_session(coded, events, score="rupture")
    assert by_session["n_onsets"].sum() == len(events)
    known = study.sessions.merge(coded[["patient", "session", "rupture"]], on=["patient", "session"], how="left")
    signals = als.rupture.attendance_markers(known, events, score="rupture", by="missed_by", seed=1, draws=50)
    assert "cancelled by patient" in set(signals["signal"])
    with pytest.raises(als.DataError, match=r"do not say which score.*score='rupture'"):
        als.describe_ruptures(study.sessions, events)
    with pytest.raises(als.DataError, match=r"without a rating of 'alliance'.*over the coded sessions"):
        als.describe_ruptures(study.sessions, events, score="alliance")
    rated = study.sessions.dropna(subset="alliance").set_index(["patient", "session"]).index
    seen = events.loc[pd.MultiIndex.from_frame(events[["patient", "onset"]]).isin(rated)]
    assert len(als.rupture.onset_aligned(study.sessions, seen, score="alliance"))
