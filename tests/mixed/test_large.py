"""Large studies: rows reduced in blocks of groups."""

import numpy as np
import pandas as pd
import pytest

from alliance_stats.mixed.design.build import build_design
from alliance_stats.mixed.design.formula import parse
from alliance_stats.mixed.engine.model import build_model
from alliance_stats.mixed.engine.residual import whiten

PATIENTS = 17_000
TWO_LEVELS = "y ~ t + x + (1 + t | patient)"


@pytest.fixture(scope="module")
def study():
    random = np.random.default_rng(5)
    counts = random.integers(1, 7, PATIENTS)
    patient = np.repeat(np.arange(PATIENTS), counts)
    starts = np.cumsum(counts) - counts
    step = 1 + random.geometric(0.6, len(patient)) % 5
    session = np.cumsum(step) - np.repeat(np.cumsum(step)[starts] - 1, counts)
    x = random.standard_normal(len(patient))
    b = random.multivariate_normal([0, 0], [[2.0, 0.1], [0.1, 0.05]], PATIENTS)[patient]
    therapist = patient // 15
    c = random.normal(0, 0.7, therapist.max() + 1)[therapist]
    y = 3 + c + b[:, 0] + (b[:, 1] - 0.2) * session + 0.4 * x + random.standard_normal(len(patient))
    return pd.DataFrame({"patient": patient, "therapist": therapist, "t": session, "x": x, "y": y})


def model_of(data, formula, correlation=None):
    design = build_design(parse(formula), data, time="t" if correlation else None)
    return build_model(design, correlation=correlation, reml=True)


@pytest.mark.parametrize("correlation", ["ar1", "car1"])
def test_products_of_a_group_are_those_of_its_rows(study, correlation):
    data = study.assign(t=study["t"] * (np.pi if correlation == "car1" else 1))
    model = model_of(data, TWO_LEVELS, correlation)
    design, products = model.design, model.products
    rho = 0.45
    white, change = whiten(products, model.pairs, rho)
    for group in np.linspace(0, PATIENTS - 1, 60).astype(int):
        rows = slice(products.starts[group], products.starts[group] + products.counts[group])
        gap = np.abs(design.time[rows, None] - design.time[None, rows]) / model.pairs.unit
        inverse = np.linalg.inv(rho**gap)
        slope = -inverse @ (gap * rho ** np.maximum(gap - 1, -1.0)) @ inverse
        a, e = design.effects[:, rows], products.rest[:, rows]
        for left, found, moved in ((a, white.gram, change.gram), (e, white.cross, change.cross)):
            np.testing.assert_allclose(found[:, :, group], a @ inverse @ left.T, rtol=1e-9, atol=1e-9)
            np.testing.assert_allclose(moved[:, :, group], a @ slope @ left.T, rtol=1e-8, atol=1e-8)
