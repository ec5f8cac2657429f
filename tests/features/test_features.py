"""Within and between, lags and rupture states: by hand, against plain loops, and unmoved by what should not matter."""

import time

import numpy as np
import pandas as pd
import pytest

import alliance_stats as als
from alliance_stats.tables.schema import EVENTS_COLUMNS


def random_sessions(seed, n_patients=40, ids="text"):
    """Patients of 1 to 12 sessions with missed session numbers and unrated sessions, in random row order."""
    rng = np.random.default_rng(seed)
    rows = []
    for number in range(n_patients):
        patient = f"p{number:02d}" if ids == "text" else number
        for session in np.flatnonzero(rng.random(12) < 0.8) + 1:
            score = np.nan if rng.random() < 0.25 else round(4 + rng.standard_normal(), 3)
            rows.append((patient, int(session), score, f"t{rng.integers(3)}"))
    table = pd.DataFrame(rows, columns=["patient", "session", "alliance", "therapist"])
    return table.sample(frac=1, random_state=seed)


def random_events(sessions, seed, prospective=True):
    rng = np.random.default_rng(seed)
    rows = []
    for patient, own in sessions.groupby("patient"):
        for onset in own["session"].sample(min(2, len(own)), random_state=seed):
            repaired = onset + int(rng.integers(1, 5)) if rng.random() < 0.6 else pd.NA
            rows.append({"patient": patient, "onset": onset, "repaired_at": repaired, "rule": "r"})
    events = pd.DataFrame(rows).astype({"repaired_at": "Int64"})
    events.attrs["prospective"] = prospective
    return events


# -- split_within_between -------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(5))
def test_split_against_a_loop(seed):
    sessions = random_sessions(seed)
    plain = als.split_within_between(sessions, "alliance")
    flat = als.split_within_between(sessions, "alliance", detrend=True)
    so_far = als.split_within_between(sessions, "alliance", centre="so_far")
    for _, own in plain.groupby("patient"):
        rated = own["alliance"].dropna()
        mean = rated.mean() if len(rated) else np.nan
        np.testing.assert_allclose(own["alliance_between"], mean)
        np.testing.assert_allclose(own["alliance_within"], own["alliance"] - mean)
        other = flat.loc[own.index]
        np.testing.assert_allclose(other["alliance_between"], mean)
        if len(rated) >= 3:
            slope, intercept = np.polyfit(own.loc[rated.index, "session"], rated, 1)
            np.testing.assert_allclose(
                other["alliance_within"], own["alliance"] - intercept - slope * own["session"], atol=1e-10
            )
        else:
            assert other["alliance_within"].isna().all()
        for row in own.index:
            known = own.loc[:row, "alliance"].dropna()
            expected = known.mean() if len(known) else np.nan
            np.testing.assert_allclose(so_far.loc[row, "alliance_between_so_far"], expected)
            away = own.loc[row, "alliance"] - expected
            np.testing.assert_allclose(so_far.loc[row, "alliance_within_so_far"], away, atol=1e-12)
    counts = flat.attrs["within_between"]
    assert counts["alliance_rows_without_within"] == flat["alliance_within"].isna().sum()
    assert (
        counts["alliance_rows_too_few_for_trend"] == (flat["alliance_within"].isna() & flat["alliance"].notna()).sum()
    )


def test_so_far_never_knows_the_future():
    sessions = random_sessions(1)
    changed = sessions.assign(alliance=sessions["alliance"].where(sessions["session"] <= 6, 99.0))
    kept = ["patient", "session", "alliance_within_so_far", "alliance_between_so_far"]

    def early(table):
        split = als.split_within_between(table, "alliance", centre="so_far")
        return split.loc[split["session"] <= 6, kept].reset_index(drop=True)

    pd.testing.assert_frame_equal(early(sessions), early(changed))


def test_parts_add_up_with_therapist_level_and_grand_mean():
    sessions = random_sessions(2)
    split = als.split_within_between(sessions, "alliance", therapist=True)
    total = split["alliance_within"] + split["alliance_between"] + split["alliance_therapist"]
    rated = split["alliance"].notna()
    np.testing.assert_allclose(total[rated], split["alliance"][rated])
    for therapist, own in split[rated].groupby("therapist"):
        means = [split.loc[split["patient"] == patient, "alliance"].mean() for patient in own["patient"].unique()]
        np.testing.assert_allclose(split.loc[split["therapist"] == therapist, "alliance_therapist"], np.mean(means))
    centred = als.split_within_between(sessions, "alliance", grand_mean=True)
    per_patient = centred.groupby("patient")["alliance_between"].mean()
    assert per_patient.mean() == pytest.approx(0, abs=1e-12)


def test_detrended_within_is_free_of_a_patients_line():
    sessions = random_sessions(3)
    sloped = sessions.assign(alliance=sessions["alliance"] + 0.7 * sessions["session"] - 3)
    columns = ["patient", "session", "alliance_within"]
    one = als.split_within_between(sessions, "alliance", detrend=True)[columns]
    two = als.split_within_between(sloped, "alliance", detrend=True)[columns]
    pd.testing.assert_frame_equal(one, two)


def test_split_holds_precision_far_from_zero():
    sessions = random_sessions(4)
    near = als.split_within_between(sessions, "alliance", centre="so_far")["alliance_within_so_far"]
    far = als.split_within_between(sessions.assign(alliance=sessions["alliance"] + 1e6), "alliance", centre="so_far")[
        "alliance_within_so_far"
    ]
    np.testing.assert_allclose(near, far, atol=1e-8)


# -- lag ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("by", [1, 2, -1, 11, 40])
@pytest.mark.parametrize("across", [False, True])
def test_lag_against_a_loop(by, across):
    sessions = random_sessions(5)
    table = als.lag(sessions, ["alliance", "therapist"], by=by, across_gaps=across)
    name = f"_lag{by}" if by > 0 else f"_lead{-by}"
    for _, own in table.groupby("patient"):
        for row in own.itertuples():
            for column in ("alliance", "therapist"):
                if across:
                    rated = own[own[column].notna()]
                    others = rated[rated["session"] < row.session] if by > 0 else rated[rated["session"] > row.session]
                    position = -by if by > 0 else -by - 1
                    found = others[column].iloc[position] if len(others) >= abs(by) else None
                else:
                    hit = own.loc[own["session"] == row.session - by, column]
                    found = hit.iloc[0] if len(hit) else None
                value = getattr(row, column + name)
                assert pd.isna(value) if found is None or pd.isna(found) else value == found


def test_lag_of_every_kind_of_column():
    sessions = pd.DataFrame(
        {
            "patient": [1, 1],
            "session": [1, 2],
            "whole": pd.array([3, 4], dtype="Int64"),
            "plain": [3, 4],
            "flag": [True, False],
            "text": ["a", "b"],
            "kind": pd.Categorical(["x", "y"]),
            "date": pd.to_datetime(["2024-01-01", "2024-01-08"]),
        }
    )
    columns = list(sessions)[2:]
    lagged = als.lag(sessions, columns)
    for column in columns:
        assert pd.isna(lagged[f"{column}_lag1"][0])
        assert lagged[f"{column}_lag1"][1] == sessions[column][0]


@pytest.mark.parametrize("by", [0, 1.5, True])
def test_lag_by_must_be_a_whole_number(by):
    with pytest.raises(ValueError, match="by="):
        als.lag(random_sessions(1), "alliance", by=by)


# -- mark_ruptures --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("lag", [0, 1, 3])
def test_marks_against_a_loop(lag):
    sessions = random_sessions(6)
    events = random_events(sessions, 6)
    marked = als.mark_ruptures(sessions, events, lag=lag)
    for row in marked.itertuples():
        now = row.session - lag
        own = events[(events["patient"] == row.patient) & (events["onset"] <= now)]
        closed = events[(events["patient"] == row.patient) & (events["repaired_at"].fillna(10**6) <= now)]
        assert row.n_ruptures_so_far == len(own)
        assert row.n_repaired_so_far == len(closed)
        assert row.rupture_open == int(len(own) > len(closed))
        assert row.repaired_before == int(len(closed) > 0)
        state = "none" if own.empty else ("open" if len(own) > len(closed) else "repaired")
        assert row.rupture_state == state
        since = np.nan if own.empty else now - own["onset"].max()
        np.testing.assert_equal(row.sessions_since_onset, since)


def test_marks_agree_with_the_simulated_truth():
    study = als.simulate_study(n_patients=80, seed=4)
    marked = als.mark_ruptures(study.sessions, study.events, for_prediction=True)
    assert (marked["rupture_open"] == study.truth.sessions["rupture_open"]).all()
    assert (marked["repaired_before"] == study.truth.sessions["repaired_before"]).all()
    assert marked.attrs["marked"] == {"rule": "truth", "lag": 0, "prospective": True}


def test_a_rule_that_looks_ahead_is_refused_by_name():
    sessions = random_sessions(7)
    ahead = random_events(sessions, 7, prospective=False).assign(rule="own_mean_2sd")
    ahead.attrs["prospective"] = False
    with pytest.raises(ValueError, match=r"'own_mean_2sd' looks ahead"):
        als.mark_ruptures(sessions, ahead, for_prediction=True)
    allowed = als.mark_ruptures(sessions, ahead, for_prediction=True, allow_lookahead=True)
    pd.testing.assert_frame_equal(allowed, als.mark_ruptures(sessions, ahead))
    silent = ahead.copy()
    silent.attrs = {}
    with pytest.raises(ValueError, match="does not say whether it looks ahead"):
        als.mark_ruptures(sessions, silent, for_prediction=True)


def test_events_that_do_not_fit():
    sessions = random_sessions(8)
    events = random_events(sessions, 8)
    with pytest.raises(als.DataError, match="patient that sessions does not have"):
        als.mark_ruptures(sessions, events.assign(patient="nobody"))
    two = pd.concat([events, events.assign(rule="other")])
    with pytest.raises(als.DataError, match="2 rules"):
        als.mark_ruptures(sessions, two)
    with pytest.raises(als.DataError, match="onset that is missing"):
        als.mark_ruptures(sessions, events.assign(onset=np.nan))


def test_no_events_leave_every_session_unmarked():
    empty = als.simulate_study(n_patients=5, seed=1, rupture_rate=0.0)
    assert list(empty.events)[: len(EVENTS_COLUMNS)] == list(EVENTS_COLUMNS)
    marked = als.mark_ruptures(empty.sessions, empty.events, for_prediction=True)
    assert (marked["rupture_state"] == "none").all()


# -- what must not matter -------------------------------------------------------------------------------------

STEPS = [
    lambda table, events: als.split_within_between(table, "alliance"),
    lambda table, events: als.split_within_between(table, "alliance", detrend=True, grand_mean=True),
    lambda table, events: als.split_within_between(table, "alliance", centre="so_far"),
    lambda table, events: als.split_within_between(table, "alliance", therapist=True),
    lambda table, events: als.lag(table, "alliance", by=2),
    lambda table, events: als.lag(table, "alliance", across_gaps=True),
    lambda table, events: als.mark_ruptures(table, events),
]


@pytest.mark.parametrize("step", STEPS)
def test_invariances(step):
    sessions = random_sessions(9)
    events = random_events(sessions, 9)
    before = sessions.copy(deep=True)
    result = step(sessions, events)
    pd.testing.assert_frame_equal(sessions, before)
    pd.testing.assert_frame_equal(step(sessions.sample(frac=1, random_state=1), events), result)
    indexed = sessions.set_index(["therapist"], append=True, drop=False)
    pd.testing.assert_frame_equal(step(indexed, events.sample(frac=1, random_state=2)), result)
    codes = {patient: int(patient[1:]) for patient in sessions["patient"].unique()}
    numbered = step(
        sessions.assign(patient=sessions["patient"].map(codes)), events.assign(patient=events["patient"].map(codes))
    )
    pd.testing.assert_frame_equal(numbered.drop(columns="patient"), result.drop(columns="patient"))
    nullable = sessions.astype({"alliance": "Float64", "session": "Int64"})
    columns = [name for name in result if name not in ("alliance", "session")]
    again = step(nullable, events)[columns]
    pd.testing.assert_frame_equal(again, result[columns], check_dtype=False)
    more = pd.concat([sessions, sessions.head(1).assign(patient="zz", alliance=4.0)])
    if step is not STEPS[1] and step is not STEPS[3]:  # these two centre on all patients
        pd.testing.assert_frame_equal(step(more, events).iloc[:-1], result)


def test_one_rating_one_patient():
    one = pd.DataFrame({"patient": ["a"], "session": [3], "alliance": [4.0]})
    assert als.split_within_between(one, "alliance")["alliance_within"].tolist() == [0.0]
    assert als.split_within_between(one, "alliance", detrend=True)["alliance_within"].isna().all()
    assert als.lag(one, "alliance")["alliance_lag1"].isna().all()
    unrated = one.assign(alliance=np.nan)
    assert als.split_within_between(unrated, "alliance")["alliance_between"].isna().all()


def test_million_rows_take_a_moment():
    n, length = 60_000, 20
    rng = np.random.default_rng(1)
    sessions = pd.DataFrame(
        {
            "patient": np.repeat(np.arange(n), length),
            "session": np.tile(np.arange(1, length + 1), n),
            "alliance": rng.standard_normal(n * length),
        }
    )
    for step in (
        lambda: als.split_within_between(sessions, "alliance"),
        lambda: als.split_within_between(sessions, "alliance", detrend=True),
        lambda: als.lag(sessions, "alliance"),
    ):
        start = time.process_time()
        step()
        assert time.process_time() - start < 2.0  # a plain loop takes minutes; measured about 0.2 s
