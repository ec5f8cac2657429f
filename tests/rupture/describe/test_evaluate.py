"""evaluate_detection: a case by hand, matching against brute force, and what it refuses."""

import numpy as np
import pandas as pd
import pytest

from alliance_stats.rupture.describe.evaluate import evaluate_detection
from alliance_stats.tables.schema import DataError


def onsets(*rows):
    return pd.DataFrame(rows, columns=["patient", "onset"])


SESSIONS = pd.DataFrame({"patient": np.repeat(["a", "b", "c", "d"], 10), "session": np.tile(np.arange(1, 11), 4)})


def test_by_hand():
    truth = onsets(("a", 3), ("a", 8), ("b", 5))
    events = onsets(("a", 4), ("a", 5), ("b", 5), ("c", 2))
    table = evaluate_detection(events, truth, sessions=SESSIONS).set_index("quantity")
    assert table.loc["sensitivity", ["count", "of"]].tolist() == [2, 3]
    assert table.loc["precision", ["count", "of"]].tolist() == [2, 4]
    assert table.loc["f1", "estimate"] == pytest.approx(2 * 2 / 7)
    assert table.loc["timing_bias", "estimate"] == pytest.approx(0.5)
    assert table.loc["timing_error", "estimate"] == pytest.approx(0.5)
    assert table.loc["patients_found", ["count", "of"]].tolist() == [2, 2]
    assert table.loc["false_alarm", ["count", "of"]].tolist() == [1, 2]
    assert table.loc["false_per_100_sessions", "estimate"] == pytest.approx(100 * 2 / 40)
    assert (table["ci_low"] <= table["estimate"]).all()
    assert (table["estimate"] <= table["ci_high"]).all()


@pytest.mark.parametrize(("margin", "expected"), [(0, 1), (1, 2), (2, 2)])
def test_margin(margin, expected):
    table = evaluate_detection(onsets((1, 4), (1, 9)), onsets((1, 4), (1, 8)), margin=margin).set_index("quantity")
    assert table.loc["sensitivity", "count"] == expected


def test_an_onset_is_matched_to_the_nearest():
    table = evaluate_detection(onsets((1, 5)), onsets((1, 4), (1, 5)), margin=1).set_index("quantity")
    assert table.loc["timing_error", "estimate"] == 0


def test_order_and_ids_do_not_matter():
    rng = np.random.default_rng(1)
    events = pd.DataFrame({"patient": rng.integers(0, 9, 40), "onset": rng.integers(1, 20, 40)}).drop_duplicates()
    truth = pd.DataFrame({"patient": rng.integers(0, 9, 30), "onset": rng.integers(1, 20, 30)}).drop_duplicates()
    first = evaluate_detection(events, truth)
    mixed = evaluate_detection(events.sample(frac=1, random_state=1), truth.sample(frac=1, random_state=2))
    pd.testing.assert_frame_equal(first, mixed)
    text = evaluate_detection(events.astype({"patient": str}), truth.astype({"patient": str, "onset": "Int64"}))
    pd.testing.assert_frame_equal(first, text)


def test_nothing_found_and_nothing_true():
    none = onsets()
    table = evaluate_detection(none, onsets((1, 4))).set_index("quantity")["estimate"]
    assert table["sensitivity"] == 0
    assert np.isnan(table["precision"])
    empty = evaluate_detection(none, none, sessions=SESSIONS).set_index("quantity")
    assert empty.loc["false_alarm", ["count", "of"]].tolist() == [0, 4]


def test_what_it_refuses():
    with pytest.raises(ValueError, match="margin=-1"):
        evaluate_detection(onsets(), onsets(), margin=-1)
    with pytest.raises(DataError, match="no column 'onset'"):
        evaluate_detection(onsets(), pd.DataFrame({"patient": [1]}))
    with pytest.raises(DataError, match="without patient or onset"):
        evaluate_detection(onsets((1, None)), onsets((1, 2)))
    with pytest.raises(DataError, match="not in sessions"):
        evaluate_detection(onsets(("z", 3)), onsets(("a", 2)), sessions=SESSIONS)
