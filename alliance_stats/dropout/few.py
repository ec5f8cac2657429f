"""Where there are too few events to say much: events, and clusters with events, in each state of each term."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np
import pandas as pd

from alliance_stats.dropout.design import HazardDesign
from alliance_stats.tables.arrays import Array, BoolArray
from alliance_stats.tables.states import PROBABILITIES

MIN_EVENTS = 5
"""Fewer events in a state than this are too few for a normal or t distribution of the estimate."""
MIN_CLUSTERS = 3
"""With events in fewer clusters than this the spread between clusters cannot be seen."""
WIDE = 0.6
"""A standard error of a log odds or hazard ratio above this makes an interval that spans a factor of more than ten."""


def is_baseline(name: str) -> bool:
    """Whether a column belongs to the baseline: a function of the session alone."""
    words = set(re.findall(r"[^\W\d]\w*", name))
    return ":" not in name and bool(words & {"session", "since", "start", "stop"})


def events_by_state(design: HazardDesign, event: Array, cluster: Array | None) -> pd.DataFrame:
    """Events on both sides of every term that has two values, and in all rows.

    The two sides of a factor's term are its level and the reference level.

    Returns
    -------
    DataFrame
        One row per term and state, and a last row for all: ``term, state`` (``on``, ``off`` or ``all``),
        ``n_rows, n_events, n_clusters`` (clusters with events; missing without `cluster`).
    """
    events = np.flatnonzero(event > 0)

    def row(term: str, state: str, here: BoolArray) -> tuple[str, str, int, int, float]:
        own = events[here[events]]
        clusters = np.nan if cluster is None else float(len(np.unique(cluster[own])))
        return term, state, int(here.sum()), len(own), clusters

    above = design.matrix > design.matrix.min(axis=0)
    rows = []
    for columns in design.columns_by_term():
        reference = ~above[:, columns].any(axis=1)
        for j in columns:
            values = design.matrix[:, j]
            two_values = len(np.unique(values[:1000])) <= 2 and len(np.unique(values[above[:, j]])) == 1
            if two_values and not is_baseline(design.names[j]):
                rows += [row(design.names[j], "on", above[:, j]), row(design.names[j], "off", reference)]
    rows.append(row("", "all", np.ones(len(event), dtype=bool)))
    return pd.DataFrame(rows, columns=["term", "state", "n_rows", "n_events", "n_clusters"])


def unknowable(data: pd.DataFrame, event: Array, terms: Sequence[str], error: Array) -> dict[str, float]:
    """The states known as probabilities whose effect so few events cannot tell, with the events to be expected in them.

    Expected if the state made no difference: all events times its mean probability. Fewer than 5 per variable are too
    few (Vittinghoff & McCulloch, 2007), unless an effect is so strong that the interval says something all the same.

    >>> rows = pd.DataFrame({"rupture_open": [0.9, 0.5, 0.2, 0.4]})
    >>> unknowable(rows, np.array([1.0, 0, 1, 0]), ["rupture_open", "age"], np.array([0.8, 0.1]))
    {'rupture_open': 1.0}
    """
    wide = {term for term, one in zip(terms, error, strict=True) if not one <= WIDE}
    values = {term: data[term].to_numpy(dtype=np.float64) for term in PROBABILITIES if term in wide and term in data}
    expected = {term: float(p.mean() * event.sum()) for term, p in values.items() if not np.isin(p, (0.0, 1.0)).all()}
    return {term: n for term, n in expected.items() if round(n, 1) < MIN_EVENTS}  # as it is printed


def thin_states(states: pd.DataFrame, *, events: int = MIN_EVENTS) -> pd.DataFrame:
    """The rows of `events_by_state` with fewer than 5 `events`, or with events in fewer than 3 clusters."""
    return states[(states["n_events"] < events) | (states["n_clusters"] < MIN_CLUSTERS)]


def thin_terms(thin: pd.DataFrame, names: list[str]) -> BoolArray:
    """Which terms rest on too few events."""
    everything = bool((thin["state"] == "all").any())
    return np.array([everything or name in set(thin["term"]) for name in names])


def few_events_notes(
    thin: pd.DataFrame, unknown: dict[str, float], cluster: str | None, advice: str
) -> tuple[str, ...]:
    """One sentence per thin state, and per state of which nothing can be known."""
    notes = [
        f"few events: the effect of {term} cannot be known, with {n:.1f} events to be expected in that state "
        f"(fewer than {MIN_EVENTS}) and an interval that spans a factor of more than ten"
        for term, n in unknown.items()
    ]
    for term, state, n_rows, n_events, n_clusters in thin.itertuples(index=False):
        where = {"all": "in all", "on": f"with {term}", "off": f"without {term}"}[state]
        within = "" if np.isnan(n_clusters) else f", in {n_clusters:.0f} of the clusters by {cluster}"
        words = "event" if n_events == 1 else "events"
        notes.append(f"few events: {n_events} {words} {where} ({n_rows} intervals{within}). {advice}")
    return tuple(notes)
