"""The rows of a binary regression far out, where a trial step of the optimiser may put them."""

import numpy as np
import pytest

from alliance_stats.hazard.binary import row_terms
from alliance_stats.hazard.quadrature import curvature


@pytest.mark.parametrize("link", ["logit", "cloglog"])
def test_far_rows_are_finite_and_without_a_warning(link):
    linear = np.array([-900.0, -40.0, 0.0, 40.0, 360.0, 900.0])
    for y in (np.zeros(6), np.ones(6)):
        for found in (*row_terms(linear, y, link), curvature(linear, y, link)):
            assert np.isfinite(found).all()
