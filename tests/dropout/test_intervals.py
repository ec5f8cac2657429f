"""INTERVALS: a case by hand, the definition as a naive loop, nothing from the future, and what is refused."""

import numpy as np
import pandas as pd
import pytest
from pandas.testing import assert_frame_equal

import alliance_stats as als
from alliance_stats.dropout.fit import fit_dropout
from alliance_stats.dropout.intervals import dropout_intervals
from alliance_stats.tables.schema import DataError

ENDED = ("completed", "dropout", "transferred")


def prospective(events, **more):
    events = events.copy()
    events.attrs |= {"prospective": True} | more
    return events


@pytest.fixture
def study():
    """One patient by hand: six sessions with 4 missed, a rupture at 2 repaired at 5, one at 6 open when they leave."""
    sessions = pd.DataFrame(
        {
            "patient": ["a"] * 5,
            "therapist": ["t1", "t1", "t2", "t2", "t2"],
            "session": [1, 2, 3, 5, 6],
            "attendance": ["attended", "late", "attended", "attended", "no-show"],
            "alliance": [5.0, 3.0, np.nan, 5.0, 2.0],
            "age": [30, 30, 30, 30, 30],
        }
    )
    events = prospective(pd.DataFrame({"patient": ["a", "a"], "onset": [2, 6], "repaired_at": [5, np.nan]}))
    endings = pd.DataFrame({"patient": ["a"], "ending": ["dropout"]})
    return sessions, events, endings


def test_by_hand(study):
    sessions, events, endings = study
    found = dropout_intervals(sessions, events, endings=endings, measures=["alliance"], fixed=["age"])
    assert found["start"].tolist() == [1, 2, 3, 4, 5, 6]
    assert found["stop"].tolist() == [2, 3, 4, 5, 6, 7]
    assert found["session"].tolist() == found["start"].tolist()
    assert found["ending"].astype(str).tolist() == [""] * 5 + ["dropout"]
    assert found["therapist"].tolist() == ["t1", "t1", "t2", "t2", "t2", "t2"]
    assert found["rupture_state"].astype(str).tolist() == ["none", "open", "open", "open", "repaired", "open"]
    assert found["rupture_open"].tolist() == [0, 1, 1, 1, 0, 1]
    assert found["repaired_before"].tolist() == [0, 0, 0, 0, 1, 1]
    assert found["n_ruptures_so_far"].tolist() == [0, 1, 1, 1, 1, 2]
    assert found["n_repaired_so_far"].tolist() == [0, 0, 0, 0, 1, 1]
    np.testing.assert_array_equal(found["sessions_since_onset"], [np.nan, 0, 1, 2, 3, 0])
    assert found["missed_last"].tolist() == [0, 0, 0, 1, 0, 1]
    assert found["n_missed_so_far"].tolist() == [0, 0, 0, 1, 1, 2]
    assert found["late_last"].tolist() == [0, 1, 0, 0, 0, 0]
    np.testing.assert_array_equal(found["alliance"], [5, 3, np.nan, np.nan, 5, 2])
    np.testing.assert_allclose(found["alliance_between_so_far"], [5, 4, 4, 4, 13 / 3, 15 / 4])
    np.testing.assert_allclose(found["alliance_within_so_far"], [0, -1, np.nan, np.nan, 2 / 3, -7 / 4])
    np.testing.assert_allclose(found["alliance_change"], [np.nan, -2, np.nan, np.nan, np.nan, -3])
    assert found["age"].tolist() == [30] * 6
    assert found.attrs["endings"] == {"completed": 0, "dropout": 1, "transferred": 0, "ongoing": 0}


def test_values_are_carried_only_as_far_as_asked(study):
    sessions, _, endings = study
    one = dropout_intervals(sessions, endings=endings, measures=["alliance"], carry=1)
    np.testing.assert_array_equal(one["alliance"], [5, 3, 3, np.nan, 5, 2])
    free = dropout_intervals(sessions, endings=endings, measures=["alliance"], carry=None)
    np.testing.assert_array_equal(free["alliance"], [5, 3, 3, 3, 5, 2])
    np.testing.assert_array_equal(free["alliance_change"], [np.nan, -2, -2, -2, 2, -3])


def test_a_longer_lag_knows_less(study):
    sessions, events, endings = study
    found = dropout_intervals(sessions, events, endings=endings, lag=2, measures=["alliance"])
    assert found["rupture_open"].tolist() == [0, 0, 1, 1, 1, 0]
    np.testing.assert_array_equal(found["alliance"], [np.nan, 5, 3, np.nan, np.nan, 5])
    np.testing.assert_array_equal(found["missed_last"], [np.nan, 0, 0, 0, 1, 0])


def random_study(seed, n_patients=40):
    random = np.random.default_rng(seed)
    sessions, events, endings = [], [], []
    for patient in range(n_patients):
        entry, length = int(random.integers(0, 4)), int(random.integers(1, 14))
        for session in range(entry, entry + length):
            if session > entry and random.random() < 0.2:
                continue
            sessions.append(
                {
                    "patient": f"p{patient:02d}",
                    "therapist": f"t{random.integers(3)}" if random.random() < 0.9 else None,
                    "session": session,
                    "attendance": random.choice(["attended", "late", "cancelled", "no-show"]),
                    "alliance": random.normal() if random.random() < 0.8 else np.nan,
                    "phq9": float(random.integers(27)) if random.random() < 0.8 else np.nan,
                }
            )
        recorded = [row["session"] for row in sessions if row["patient"] == f"p{patient:02d}"]
        for onset in sorted(set(random.choice(recorded, size=min(2, len(recorded))).tolist())):
            later = [session for session in recorded if session > onset]
            repaired = float(random.choice(later)) if later and random.random() < 0.6 else np.nan
            events.append({"patient": f"p{patient:02d}", "onset": onset, "repaired_at": repaired})
        endings.append(
            {
                "patient": f"p{patient:02d}",
                "ending": random.choice(["completed", "dropout", "transferred", "ongoing"]),
                "last_session": int(max(recorded) + random.integers(-1, 3)) if random.random() < 0.3 else np.nan,
            }
        )
        endings[-1]["last_session"] = max(endings[-1]["last_session"], entry)
    return pd.DataFrame(sessions), prospective(pd.DataFrame(events)), pd.DataFrame(endings)


def naive(sessions, events, endings, *, lag, carry):
    """The definition, cell by cell."""
    rows = []
    for patient, own in sessions.groupby("patient"):
        own = own.set_index("session")
        end = endings.set_index("patient").loc[patient]
        last = own.index.max() if np.isnan(end["last_session"]) else int(end["last_session"])
        for s in range(own.index.min(), last + 1):
            if s == last and end["ending"] == "ongoing":
                continue
            known = s + 1 - lag  # the session up to which the covariates of (s, s + 1] are known
            past = own[own.index <= known]
            seen = own[own.index <= s]["therapist"].dropna()
            mine = events[(events["patient"] == patient) & (events["onset"] <= known)]
            repaired = mine[mine["repaired_at"] <= known]
            row = {
                "patient": patient,
                "therapist": seen.iloc[-1] if len(seen) else np.nan,
                "start": s,
                "stop": s + 1,
                "ending": end["ending"] if s == last else "",
                "rupture_open": int(len(mine) > len(repaired)),
                "repaired_before": int(len(repaired) > 0),
                "n_ruptures_so_far": len(mine),
                "n_repaired_so_far": len(repaired),
                "sessions_since_onset": known - mine["onset"].max() if len(mine) else np.nan,
            }
            held = range(own.index.min(), known + 1)
            away = [t for t in held if t not in own.index or own.loc[t, "attendance"] in ("cancelled", "no-show")]
            row["missed_last"] = float(known in away) if len(held) else np.nan
            row["n_missed_so_far"] = len(away)
            row["n_late_so_far"] = int((past["attendance"] == "late").sum())

            def value(column, at, own=own):
                for back in range((10**6 if carry is None else carry) + 1):
                    if at - back < own.index.min():
                        return np.nan
                    if at - back in own.index and not np.isnan(own.loc[at - back, column]):
                        return own.loc[at - back, column]
                return np.nan

            def change(at, own=own, value=value):
                for back in range((10**6 if carry is None else carry) + 1):
                    t = at - back
                    if t < own.index.min():
                        return np.nan
                    if t in own.index and not np.isnan(own.loc[t, "alliance"]):
                        before = value("alliance", t - 1)
                        if not np.isnan(before):
                            return own.loc[t, "alliance"] - before
                return np.nan

            row["alliance"] = value("alliance", known)
            row["alliance_between_so_far"] = past["alliance"].mean()
            row["alliance_within_so_far"] = row["alliance"] - row["alliance_between_so_far"]
            row["alliance_change"] = change(known)
            row["phq9"] = value("phq9", known)
            rows.append(row)
    return pd.DataFrame(rows)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize(("lag", "carry"), [(1, 0), (1, 2), (2, None), (3, 1)])
def test_the_fast_code_is_the_definition(seed, lag, carry):
    sessions, events, endings = random_study(seed, n_patients=12)
    expected = naive(sessions, events, endings, lag=lag, carry=carry)
    found = dropout_intervals(
        sessions, events, endings=endings, lag=lag, carry=carry, measures=["alliance"], covariates=["phq9"]
    )
    found["ending"] = found["ending"].astype(str)
    expected["ending"] = expected["ending"].astype(str)
    columns = [name for name in expected if name != "therapist"]
    assert_frame_equal(found[columns], expected[columns], check_dtype=False, rtol=1e-12, atol=1e-12)
    assert found["therapist"].fillna("").astype(str).tolist() == expected["therapist"].fillna("").tolist()


@pytest.mark.parametrize("seed", range(3))
def test_events_in_are_events_out(seed):
    sessions, events, endings = random_study(seed)
    found = dropout_intervals(sessions, events, endings=endings)
    counts = found["ending"].astype(str).value_counts()
    for name in ENDED:
        assert counts.get(name, 0) == (endings["ending"] == name).sum() == found.attrs["endings"][name]
    assert not found.duplicated(["patient", "start"]).any()
    last = found.groupby("patient")["start"].transform("max") == found["start"]
    assert (found.loc[found["ending"] != "", "start"].index.isin(found.index[last])).all()


@pytest.mark.parametrize("cut", [2, 4, 6])
def test_nothing_known_after_start_enters(cut):
    """Whatever is changed after session `cut`, the rows up to start = cut stay as they were."""
    sessions, events, endings = random_study(7)
    random = np.random.default_rng(1)
    stays = endings.assign(
        last_session=sessions.groupby("patient")["session"].max().reindex(endings["patient"]).to_numpy()
    )
    options = {"measures": ["alliance"], "covariates": ["phq9"], "carry": None}
    before = dropout_intervals(sessions, events, endings=stays, **options)
    later = sessions["session"] > cut
    altered = sessions.assign(
        alliance=sessions["alliance"].where(~later, random.normal(size=len(sessions)) * 100),
        phq9=sessions["phq9"].where(~later),
        attendance=sessions["attendance"].where(~later, "no-show"),
        therapist=sessions["therapist"].where(~later, "somebody else"),
    )
    repaired = events["repaired_at"].where(events["repaired_at"] <= cut)
    changed = prospective(events[events["onset"] <= cut].assign(repaired_at=repaired).dropna(subset=["onset"]))
    after = dropout_intervals(altered, changed, endings=stays, **options)
    columns = [name for name in before if name != "ending"]
    assert_frame_equal(before.loc[before["start"] <= cut, columns], after.loc[after["start"] <= cut, columns])
    assert not before.loc[before["start"] > cut, columns].equals(after.loc[after["start"] > cut, columns])


def test_row_order_and_ids_do_not_matter():
    sessions, events, endings = random_study(3)
    plain = dropout_intervals(sessions, events, endings=endings, measures=["alliance"])
    shuffled = dropout_intervals(
        sessions.sample(frac=1, random_state=1).set_index("alliance", append=True, drop=False),
        prospective(events.sample(frac=1, random_state=2)),
        endings=endings.sample(frac=1, random_state=3),
        measures=["alliance"],
    )
    assert_frame_equal(plain, shuffled)
    number = {name: index for index, name in enumerate(sorted(endings["patient"]))}

    def numbered(table):
        return table.assign(patient=table["patient"].map(number))

    other = dropout_intervals(
        numbered(sessions), prospective(numbered(events)), endings=numbered(endings), measures=["alliance"]
    )
    assert_frame_equal(plain.drop(columns="patient"), other.drop(columns="patient"))


def test_another_patient_changes_nothing_and_the_input_stays():
    sessions, events, endings = random_study(5)
    copies = sessions.copy(), events.copy(), endings.copy()
    whole = dropout_intervals(sessions, events, endings=endings, measures=["alliance"])
    for ours, copy in zip((sessions, events, endings), copies, strict=True):
        assert_frame_equal(ours, copy)
    few = [f"p{i:02d}" for i in range(10)]
    part = dropout_intervals(
        sessions[sessions["patient"].isin(few)],
        prospective(events[events["patient"].isin(few)]),
        endings=endings[endings["patient"].isin(few)],
        measures=["alliance"],
    )
    assert_frame_equal(whole[whole["patient"].isin(few)].reset_index(drop=True), part)


def test_pandas_nullable_types_work():
    sessions, events, endings = random_study(2)
    plain = dropout_intervals(sessions, events, endings=endings, measures=["alliance"])
    nullable = dropout_intervals(
        sessions.convert_dtypes(),
        prospective(events.convert_dtypes()),
        endings=endings.convert_dtypes(),
        measures=["alliance"],
    )
    for name in ("start", "rupture_open", "alliance", "n_missed_so_far"):
        np.testing.assert_array_equal(plain[name].to_numpy(dtype=float), nullable[name].to_numpy(dtype=float))


def test_days_count_from_the_first_session():
    sessions = pd.DataFrame(
        {
            "patient": [1, 1, 1, 2, 2],
            "session": [1, 2, 4, 1, 2],
            "date": pd.to_datetime(["2024-01-01", "2024-01-08", "2024-01-29", "2024-03-04", "2024-03-11"]),
        }
    )
    endings = pd.DataFrame({"patient": [1, 2], "ending": ["dropout", "completed"], "end_date": ["2024-02-10", None]})
    found = dropout_intervals(sessions, endings=endings, time="days")
    assert found[["start", "stop"]].to_numpy().tolist() == [[0, 7], [7, 28], [28, 40], [0, 7], [7, 14]]
    assert found["ending"].astype(str).tolist() == ["", "", "dropout", "", "completed"]


def test_a_rule_that_looks_ahead_is_refused_by_name():
    sessions, events, endings = random_study(1)
    events = events.assign(rule="own_mean_2sd")
    events.attrs["prospective"] = False
    with pytest.raises(ValueError, match="'own_mean_2sd' looks ahead"):
        dropout_intervals(sessions, events, endings=endings)
    assert len(dropout_intervals(sessions, events, endings=endings, allow_lookahead=True))
    events.attrs.clear()
    with pytest.raises(ValueError, match="does not say whether it looks ahead"):
        dropout_intervals(sessions, events, endings=endings)
    two = prospective(events.assign(rule=["a", *["b"] * (len(events) - 1)]))
    with pytest.raises(DataError, match="2 rules"):
        dropout_intervals(sessions, two, endings=endings)


def test_what_cannot_be_used_is_named(study):
    sessions, events, endings = study
    more = pd.concat([sessions, sessions.assign(patient="b")])
    with pytest.raises(DataError, match=r"1 patient\(s\) of sessions have no ending.*'b'"):
        dropout_intervals(more, events, endings=endings)
    with pytest.raises(DataError, match="endings names a patient that sessions does not have"):
        dropout_intervals(sessions, events, endings=endings.assign(patient="z"))
    with pytest.raises(DataError, match="must be one of completed, dropout, transferred, ongoing"):
        dropout_intervals(sessions, events, endings=endings.assign(ending="left"))
    with pytest.raises(DataError, match="twice"):
        dropout_intervals(sessions, events, endings=pd.concat([endings, endings]))
    with pytest.raises(DataError, match="neither endings= nor a column"):
        dropout_intervals(sessions, events)
    with pytest.raises(DataError, match="events names a patient"):
        dropout_intervals(sessions, prospective(events.assign(patient="z")), endings=endings)
    with pytest.raises(DataError, match="changes within a patient"):
        dropout_intervals(sessions, endings=endings, fixed=["alliance"])
    with pytest.raises(DataError, match="must be one of attended"):
        dropout_intervals(sessions.assign(attendance="came"), endings=endings)
    with pytest.raises(ValueError, match="lag=0"):
        dropout_intervals(sessions, events, endings=endings, lag=0)
    dates = sessions.assign(session=[20240101, 20240201, 20250301, 20260401, 30270501])
    with pytest.raises(DataError, match="span"):
        dropout_intervals(dates, endings=endings)


def test_endings_may_stand_in_sessions(study):
    sessions, events, endings = study
    found = dropout_intervals(sessions.assign(ending="dropout"), events)
    assert_frame_equal(found, dropout_intervals(sessions, events, endings=endings))


def missed_study(attendance):
    """Patient 1 misses session 2 and leaves after 3; patient 2 completes after 3."""
    rows = {"patient": [1, 1, 1, 2, 2, 2], "session": [1, 2, 3, 1, 2, 3], "attendance": attendance}
    return pd.DataFrame(rows)


def test_where_no_ending_can_be_recorded_there_is_no_risk():
    sessions = missed_study(["attended", "no-show", "attended", "attended", "attended", "attended"])
    derived = als.derive_endings(sessions, "before_planned_end", planned=4)
    given = pd.DataFrame({"patient": [1, 2], "ending": ["dropout", "completed"]})
    for endings in (derived, given):  # no ending of either is recorded at a missed session
        found = dropout_intervals(sessions, endings=endings)
        assert found["at_risk"].tolist() == [1, 0, 1, 1, 1, 1]
        assert found.attrs["rows_not_at_risk"] == 1
    fit = fit_dropout("session", dropout_intervals(sessions, endings=given), penalty="firth")
    assert fit.diagnostics["n_rows"] == 5
    assert any("the risk set is the sessions held: 1 interval" in note for note in fit.diagnostics["notes"])
    without = als.cumulative_incidence(dropout_intervals(sessions, endings=given))
    assert without.query("state == 'dropout'")["estimate"].iloc[-1] == 0.5


def test_an_ending_recorded_at_a_missed_session_keeps_its_rows():
    sessions = missed_study(["attended", "no-show", "no-show", "attended", "cancelled", "attended"])
    given = pd.DataFrame({"patient": [1, 2], "ending": ["dropout", "completed"]})
    assert dropout_intervals(sessions, endings=given)["at_risk"].tolist() == [1] * 6
    derived = als.derive_endings(sessions, "before_planned_end", planned=4)
    assert derived["last_session"].tolist() == [1, 3]
    known = pd.DataFrame({"patient": [1], "ending": ["transferred"], "last_session": [3]})
    moved = als.derive_endings(sessions, "before_planned_end", planned=4, known=known)
    found = dropout_intervals(sessions, endings=moved)
    assert found["at_risk"].tolist() == [1, 1, 1, 1, 0, 1]
    assert found["ending"].astype(str).tolist() == ["", "", "transferred", "", "", "dropout"]


def test_a_repair_before_its_onset_is_refused(study):
    sessions, events, endings = study
    early = prospective(events.assign(repaired_at=events["onset"] - 1.0))
    with pytest.raises(DataError, match="repaired before their onset"):
        dropout_intervals(sessions, early, endings=endings)
    same = prospective(events.assign(repaired_at=events["onset"]))  # coded as resolved in its own session
    assert (dropout_intervals(sessions, same, endings=endings)["rupture_open"] == 0).all()
