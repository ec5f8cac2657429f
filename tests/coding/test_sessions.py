"""From markers to sessions and from coders to one answer: by hand."""

import numpy as np
import pandas as pd
import pytest

import alliance_stats as als
from alliance_stats.coding import code_sessions, consensus

CODES = pd.DataFrame(
    [
        (1, 3, 1, "A", "withdrawal", "denial", 2.0, np.nan, None, "patient"),
        (1, 3, 2, "A", "confrontation", "defends self", 4.0, np.nan, None, "therapist"),
        (1, 3, 3, "A", None, None, np.nan, 4.0, "disclose", None),
        (1, 3, 3, "A", None, None, np.nan, 2.0, "redirect", None),
        (1, 4, np.nan, "A", None, None, np.nan, np.nan, None, None),
        (1, 3, 1, "B", "withdrawal", "denial", 3.0, np.nan, None, "patient"),
        (1, 4, np.nan, "B", None, None, np.nan, np.nan, None, None),
        (2, 1, 1, "A", "withdrawal", "denial", 1.0, 1.0, None, None),
        (2, 1, np.nan, "B", None, None, np.nan, np.nan, None, None),
    ],
    columns=[
        "patient",
        "session",
        "segment",
        "coder",
        "type",
        "marker",
        "significance",
        "resolution",
        "strategy",
        "initiator",
    ],
)


def test_words_that_the_book_does_not_have_are_refused():
    with pytest.raises(als.DataError, match="'withdrawl' is no type of the code book 3RS"):
        code_sessions(CODES.assign(type="withdrawl"))


def test_a_session_by_hand():
    rated = code_sessions(CODES).set_index(["patient", "session", "coder"])
    first = rated.loc[(1, 3, "A")]
    assert (first["rupture"], first["n_markers"], first["n_withdrawal"], first["n_confrontation"]) == (1, 2, 1, 1)
    assert (first["type"], first["significance"], first["resolution"]) == ("mixed", 4, 4)
    assert first["initiator"] == "therapist"  # of the graver marker
    assert first["strategies"] == "disclose; redirect"
    groups = ["strategy_expressive", "strategy_immediate_direct", "strategy_immediate_indirect"]
    assert first[groups].tolist() == [1, 1, 0]
    calm = rated.loc[(1, 4, "A")]
    assert (calm["rupture"], calm["n_markers"]) == (0, 0)
    assert pd.isna(calm["type"])
    assert (1, 5, "A") not in rated.index
    mean = code_sessions(CODES, significance="mean", resolution="mean").set_index(["patient", "session", "coder"])
    assert (mean.loc[(1, 3, "A"), "significance"], mean.loc[(1, 3, "A"), "resolution"]) == (3, 3)


def test_consensus_by_hand():
    rated = code_sessions(CODES)
    majority = consensus(rated).set_index(["patient", "session"])
    assert majority.loc[(1, 3), "rupture"] == 1
    assert majority.loc[(1, 3), "significance"] == 3.5
    assert majority.loc[(1, 3), "n_markers"] == 1.5
    assert majority.loc[(1, 3), "type"] == "mixed"  # mixed and withdrawal, once each
    assert majority.loc[(2, 1), ["rupture", "share", "n_coders"]].tolist() == [0, 0.5, 2]
    assert pd.isna(majority.loc[(2, 1), "significance"])
    assert consensus(rated, method="mean").set_index(["patient", "session"]).loc[(2, 1), "rupture"] == 1
    without = pd.concat(
        [rated.assign(coder=rated["coder"].replace({"A": "C"})), rated.query("patient == 1 and coder == 'A'")]
    )
    with pytest.raises(als.DataError, match="disagree in 1 session"):
        consensus(without, method="adjudicated", adjudicator="A")
    decided = consensus(rated, method="adjudicated", adjudicator="A").set_index(["patient", "session"])
    assert decided.loc[(2, 1), "rupture"] == 1
    assert decided.loc[(1, 3), "significance"] == 4


def test_row_order_does_not_matter():
    shuffled = CODES.sample(frac=1, random_state=1)
    plain = code_sessions(CODES).drop(columns="strategies")
    pd.testing.assert_frame_equal(code_sessions(shuffled).drop(columns="strategies"), plain)


def test_errors():
    with pytest.raises(als.DataError, match="no strategy of the code book"):
        code_sessions(CODES.assign(strategy="hope"))
    with pytest.raises(als.DataError, match="two rows for one session"):
        consensus(pd.concat([code_sessions(CODES)] * 2))
    with pytest.raises(als.DataError, match="There is no coder 'Z'"):
        consensus(code_sessions(CODES), method="adjudicated", adjudicator="Z")
