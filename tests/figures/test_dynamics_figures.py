"""The figures of reciprocal effects draw what the tables say."""

import numpy as np
import pandas as pd
import pytest

import alliance_stats as als

TERMS = pd.DataFrame(
    {
        "outcome": ["alliance", "alliance", "phq9", "phq9"],
        "term": ["alliance_lag", "phq9_lag", "alliance_lag", "phq9_lag"],
        "estimate": [0.3, -0.03, -1.5, 0.4],
        "ci_low": [0.2, -0.05, -2.0, 0.3],
        "ci_high": [0.4, 0.01, -1.0, 0.5],
    }
)


def test_one_path_for_each_coefficient_dashed_where_the_interval_holds_zero():
    ax = als.figures.plot_dynamics(TERMS, labels={"phq9": "symptoms"})
    texts = [text.get_text() for text in ax.texts]
    assert sum("symptoms" in text for text in texts) == 2
    assert sum("[" in text for text in texts) == 4
    styles = [text.arrow_patch.get_linestyle() for text in ax.texts if getattr(text, "arrow_patch", None) is not None]
    assert sorted(styles) == ["-", "-", "-", "--"]
    with pytest.raises(ValueError, match="several groups"):
        als.figures.plot_dynamics(pd.concat([TERMS, TERMS]))


def test_the_response_of_one_outcome():
    response = pd.DataFrame(
        {
            "outcome": ["phq9"] * 6,
            "impulse": ["alliance"] * 3 + ["phq9"] * 3,
            "session": [0, 1, 2] * 2,
            "estimate": [0.0, -0.5, -0.2, 2.5, 1.0, 0.4],
        }
    ).assign(ci_low=lambda t: t["estimate"] - 0.1, ci_high=lambda t: t["estimate"] + 0.1)
    ax = als.figures.plot_response(response)
    line = ax.lines[0]
    np.testing.assert_allclose(line.get_ydata(), [0.0, -0.5, -0.2])
    assert len(ax.get_legend().get_texts()) == 1
    with pytest.raises(ValueError, match="2 outcomes"):
        als.figures.plot_response(pd.concat([response, response.assign(outcome="alliance")]))
