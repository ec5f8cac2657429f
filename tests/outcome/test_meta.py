"""A row for a meta-analysis: the variances of metafor's escalc, by hand."""

import numpy as np
import pytest

from alliance_stats.outcome.meta import meta_row


def test_by_hand():
    row = meta_row(-0.5, n=28, study="a", k_sessions=16, rule="own_mean_2sd", reliability=0.9).iloc[0]
    assert row["vi"] == pytest.approx(0.75**2 / 27)
    assert row["zi"] == pytest.approx(0.5 * np.log(0.5 / 1.5))
    assert row["vzi"] == pytest.approx(1 / 25)
    assert meta_row(0.5, n=30, study="a", n_covariates=2)["vi"][0] == pytest.approx(row["vi"])


@pytest.mark.parametrize(("r", "n"), [(1.0, 50), (np.nan, 50), (0.3, 3)])
def test_impossible_rows_are_refused(r, n):
    with pytest.raises(ValueError, match=r"r=|n="):
        meta_row(r, n=n, study="a")
