"""What the uncertainty of a rupture state does to its coefficient, and regression calibration, which undoes it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from alliance_stats.tables.arrays import FloatArray
from alliance_stats.tables.schema import PATIENT, SESSION
from alliance_stats.tables.states import PROBABILITIES, are_states, events_or_states, rupture_states

WORDS = (
    "The column attenuation is the share of an effect of ruptures that the marks of the rule show, by the "
    "probabilities of the detector: a coefficient with .40 is to be expected at 40 % of the effect."
)


def expected_attenuation(
    data: pd.DataFrame, matrix: Any, terms: Sequence[str], states: Any, *, lag: int = 0, weight: Any = None
) -> dict[str, float]:
    """For each rupture state among the terms of a model, its coefficient in a regression of the probability on them.

    A model with the state X* in place of the state X has the coefficient beta times that of X* in the regression of P(X
    = 1 | scores) on X* and the model's other covariates, if P is calibrated and X* says nothing of the outcome beyond X
    (Carroll, Ruppert, Stefanski & Crainiceanu, 2006, section 2.2); in a model of the hazard to first order, with the
    weights of that model. `data` and `matrix` are rows and design of the model, `terms` the names of its columns; its
    state is known `lag` sessions before the row's.
    """
    found = events_or_states(states, so_far=False)
    if not are_states(found):
        raise TypeError("states must be STATES or a detector's result: events have no probabilities.")
    rows = data[[PATIENT, SESSION]].reset_index(drop=True)
    chances = rupture_states(rows, found[found[PATIENT].isin(rows[PATIENT])], lag=lag)
    root = np.ones(len(rows)) if weight is None else np.sqrt(np.asarray(weight, dtype=np.float64))
    names = [name for name in PROBABILITIES if name in terms and name in chances]
    wanted = np.column_stack([chances[name] * root for name in names]) if names else np.empty((len(rows), 0))
    solution = np.linalg.lstsq(np.asarray(matrix) * root[:, None], wanted, rcond=None)[0]
    return {name: float(solution[list(terms).index(name), k]) for k, name in enumerate(names)}


def calibrated(fit: Any, data: pd.DataFrame, states: pd.DataFrame) -> dict[str, FloatArray]:
    """The rupture states among the terms of a mixed model as predicted by all of them: P(state | model's covariates).

    A probability given the ratings so far is right on average for each of its values, but not for each value of it
    *and* of the other covariates: a patient whose later ratings speak of ruptures had more of them before, too. What
    the model needs is the probability given all its covariates (Carroll et al., 2006, chapter 4): the prediction of
    the probability given the whole course, which `states` hold, in the rows `data` of `fit`. It is made with the
    weights of the model itself; ordinary least squares leans more on differences between patients than the model does.

    A rupture counts as open until the level is back: the probability that one has ended ``short`` of it is added.
    """
    rows, order = data[[PATIENT, SESSION]].reset_index(drop=True), fit.design.kept
    whole = rupture_states(rows, states[states[PATIENT].isin(rows[PATIENT])])
    whole["rupture_open"] = np.minimum(whole["rupture_open"] + whole.pop("short", 0.0), 1.0)
    found = {name: whole[name] for name in PROBABILITIES if name in fit.terms and name in whole}
    for values in found.values():
        values[order] = fit.projected(values[order])
    return found


def beside(table: pd.DataFrame, attenuation: dict[str, float] | None) -> pd.DataFrame:
    """TERMS with a column ``attenuation``, where it is known."""
    return table.assign(attenuation=table["term"].map(attenuation)) if attenuation else table
