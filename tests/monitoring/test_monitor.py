"""The monitor of a running therapy: what is known so far, alarms at their stated rate, its record in a past study."""

import dataclasses

import numpy as np
import pandas as pd
import pytest

import alliance_stats as als
from alliance_stats.rupture.latent.parameters import LatentParameters

PARAMETERS = LatentParameters(
    onset_rate=0.05, repair_rate=0.35, depth=1.5, depth_cv=0.3, autocorrelation=0.3, state_share=0.5, within_sd=0.5,
    within_sd_df=12.0, level=4.0, level_sd=0.6, trend=0.01, trend_sd=0.01, centre=8.0, ceiling=5.0,
)  # fmt: skip
SCORES = [4.0, 4.2, 4.1, np.nan, 4.3, 1.9, 2.0, 4.2, 4.4]


def therapy(scores=SCORES, patient="p1"):
    return pd.DataFrame({"patient": patient, "session": range(1, len(scores) + 1), "alliance": scores})


def test_a_deep_fall_gives_alarm_and_the_missing_form_carries_forward():
    found = als.monitor(therapy(), patient="p1", parameters=PARAMETERS)
    table = found.table
    assert table["session"].tolist() == list(range(1, 10))
    assert table.loc[table["alarm"], "session"].tolist() == [6, 7]
    assert found.alarms == [6]
    assert table["p_open"][3] == table["p_open"][2]
    assert table["expected"].between(3.6, 4.6).all()
    assert "not a diagnosis" in found.summary()
    assert "Alarms began at session: 6" in found._repr_html_()


def test_it_is_the_filtered_posterior_whatever_comes_later_and_whoever_else_is_there():
    others = als.simulate_study(n_patients=20, seed=1).sessions[["patient", "session", "alliance"]]
    together = pd.concat([others, therapy(patient="me")], ignore_index=True)
    filtered = als.detect_latent(together, score="alliance", parameters=PARAMETERS).states("filtered")
    expected = filtered.loc[filtered["patient"] == "me", "rupture_open"].to_numpy()
    whole = als.monitor(together, patient="me", parameters=PARAMETERS, threshold=0.5)
    np.testing.assert_allclose(whole.table["p_open"], expected, atol=1e-10)
    for last in range(1, len(SCORES) + 1):
        so_far = als.monitor(therapy(SCORES[:last]), patient="p1", parameters=PARAMETERS, threshold=0.5)
        np.testing.assert_allclose(so_far.table["p_open"], expected[:last], atol=1e-8)


def test_false_alarms_come_at_the_stated_rate_in_therapies_that_were_not_used():
    threshold = als.monitoring.alarm_threshold(PARAMETERS, n_sessions=12, false_alarm=0.1)
    calm = dataclasses.replace(PARAMETERS, onset_rate=0.05)
    other = als.monitoring.alarm_threshold(calm, n_sessions=12, false_alarm=0.1, seed=2)
    assert other == pytest.approx(threshold, abs=0.08)
    rng = np.random.default_rng(3)
    n, t = 400, 12
    state = rng.standard_normal((n, t))
    for k in range(1, t):
        state[:, k] = 0.3 * state[:, k - 1] + np.sqrt(1 - 0.09) * state[:, k]
    sd = 0.5 * np.sqrt(12 / rng.chisquare(12, (n, 1)))
    own = np.sqrt(0.5) * state + np.sqrt(0.5) * rng.standard_normal((n, t))
    score = np.minimum(4 + 0.6 * rng.standard_normal((n, 1)) + 0.01 * (np.arange(1, t + 1) - 8) + sd * own, 5)
    table = pd.DataFrame(
        {"patient": np.repeat(np.arange(n), t), "session": np.tile(np.arange(1, t + 1), n), "alliance": score.ravel()}
    )
    none = als.detect_ruptures(table, score="alliance", rule="own_mean_2sd").iloc[:0]
    record = als.monitoring.alarm_record(table, none, parameters=PARAMETERS, threshold=threshold)
    assert record["n_ruptures"][0] == 0
    assert record["therapies_false"][0] == pytest.approx(0.1, abs=0.045)


def test_the_record_by_hand():
    """Two ruptures: one seen at its onset; one of a calm patient's scores, not seen. One alarm without a rupture."""
    sessions = pd.concat([therapy(), therapy([4.0, 4.1, 4.0, 3.9, 4.0], "p2"), therapy(patient="p3")])
    events = pd.DataFrame(
        {"patient": ["p1", "p2"], "onset": [5, 3], "repaired_at": pd.array([8, pd.NA], dtype="Int64"), "rule": "coded"}
    )
    record = als.monitoring.alarm_record(sessions, events, parameters=PARAMETERS, threshold=0.5).iloc[0]
    assert (record["n_ruptures"], record["n_seen"], record["seen"]) == (2, 1, 0.5)
    assert record["delay"] == 1
    assert (record["n_alarms"], record["n_false"]) == (2, 1)
    assert record["therapies_false"] == 1
    calm = 8 - 3 + 2 + 8  # rated sessions without an open rupture
    assert record["false_per_100"] == pytest.approx(100 / calm)


def test_what_cannot_be_watched_says_so():
    with pytest.raises(als.DataError, match="There is no patient 'p9'"):
        als.monitor(therapy(), patient="p9", parameters=PARAMETERS)
    with pytest.raises(als.DataError, match="no rating of 'alliance' yet"):
        als.monitor(therapy([np.nan, np.nan]), patient="p1", parameters=PARAMETERS)
    with pytest.raises(ValueError, match="false_alarm"):
        als.monitor(therapy(), patient="p1", parameters=PARAMETERS, false_alarm=1.5)


def test_the_page_marks_the_alarms():
    axes = als.monitor(therapy(), patient="p1", parameters=PARAMETERS, threshold=0.5).plot()
    alarms = next(line for line in axes.lines if line.get_label() == "alarm")
    assert alarms.get_xdata().tolist() == [6, 7]
    assert axes.figure.axes[1].get_ylabel() == "P(rupture open)"
