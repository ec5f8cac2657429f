"""The bias of "ever repaired", and its figure."""

from pandas.testing import assert_frame_equal

import alliance_stats as als
from alliance_stats.figures.dropout import plot_immortal_time


def test_immortal_time():
    bias = als.dropout.immortal_time_bias(n_patients=150, repetitions=12, seed=1)
    naive, lagged = bias.summary["mean_ratio"]
    assert naive < 0.5 < 0.8 < lagged < 1.25
    assert_frame_equal(bias.estimates, als.dropout.immortal_time_bias(n_patients=150, repetitions=12, seed=1).estimates)
    figure = plot_immortal_time(bias.estimates, bias.curves)
    assert len(figure.axes[1].get_lines()) == 3
