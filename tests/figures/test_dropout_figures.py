"""Figures of dropout show their tables."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import alliance_stats as als
from alliance_stats.dropout.fit import fit_dropout
from alliance_stats.figures.dropout import plot_hazard, plot_incidence, plot_paths

FORMULA = "rupture_open + repaired_before + x"


@pytest.fixture(scope="module")
def data():
    return pd.read_csv(Path(__file__).parents[1] / "reference" / "hazard" / "sessions.csv", keep_default_na=False)


@pytest.fixture(autouse=True)
def _close():
    yield
    import matplotlib.pyplot as plt

    plt.close("all")


def test_incidence(data):
    found = als.cumulative_incidence(data)
    ax = plot_incidence(found)
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["completed", "dropout", "transferred"]
    line = ax.get_lines()[1]
    np.testing.assert_allclose(line.get_ydata()[1:-1], found.loc[found["state"] == "dropout", "estimate"])
    groups = plot_incidence(als.cumulative_incidence(data, by="group"), states=["dropout"])
    assert len(groups.get_lines()) == 2


def test_hazard_and_paths(data, tmp_path):
    fit = fit_dropout(FORMULA + " + session", data)
    assert len(plot_hazard(als.dropout.check_calibration(fit)).get_lines()) == 2
    paths = {"repaired at 6": als.dropout.rupture_path(15, onset=4, repaired_at=6, x=0.0)}
    table = als.dropout.predict_paths(fit, paths | {"never repaired": als.dropout.rupture_path(15, onset=4, x=0.0)})
    for show in ("incidence", "survival", "hazard"):
        ax = plot_paths(table, show=show)
        assert [text.get_text() for text in ax.get_legend().get_texts()] == list(dict.fromkeys(table["path"]))
    first, second = (als.save_figure(plot_paths(table), tmp_path / name) for name in ("a", "b"))
    for one, two in zip(first, second, strict=True):
        assert one.read_bytes() == two.read_bytes()
    with pytest.raises(ValueError, match="show='risk'"):
        plot_paths(table, show="risk")
