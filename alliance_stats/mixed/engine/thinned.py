"""A model over some of its groups: where a search of a large study begins.

The variance parameters of a few thousand groups are near those of all, and cost a fraction to find; the search over
all groups then needs few evaluations. The result is that of all groups.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from alliance_stats.mixed.engine.model import Model
from alliance_stats.mixed.engine.nested import NestedSpec
from alliance_stats.mixed.engine.pairs import Pairs
from alliance_stats.mixed.engine.products import Products
from alliance_stats.tables.arrays import IntArray

_GROUPS = 4000
"""About so many groups are kept; fewer than four times as many are not worth thinning."""


def thinned(model: Model) -> Model | None:
    """The model over every k-th group, or every k-th outer level with its groups; None where that saves nothing.

    Sums that are known over all groups only are taken in proportion to the rows.
    """
    m = model.design.grouping.n_inner
    step = m // _GROUPS
    if step < 4 or model.design.grouping.crossed:
        return None
    spec = model.spec
    if isinstance(spec, NestedSpec):
        if len(spec.counts) < 20 * step:
            return None
        levels = np.arange(0, len(spec.counts), step)
        counts = spec.counts[levels]
        starts = np.cumsum(counts) - counts
        chosen = np.repeat(spec.starts[levels] - starts, counts) + np.arange(counts.sum())
        spec = NestedSpec(spec.columns, starts, counts)
    else:
        chosen = np.arange(0, m, step)
    share = float(model.products.counts[chosen].sum()) / model.design.n
    pairs = None if model.pairs is None else _pairs_of(model.pairs, chosen, m, share)
    return replace(model, products=_products_of(model.products, chosen, share), pairs=pairs, spec=spec, share=share)


def _products_of(products: Products, chosen: IntArray, share: float) -> Products:
    basis = products.basis
    return replace(
        products,
        basis=replace(basis, rows=[], upper=basis.upper[..., chosen], pivots=basis.pivots[:, chosen]),
        gram=products.gram[..., chosen],
        det=products.det[chosen] if len(products.det) else products.det,
        coef=products.coef[..., chosen],
        total=products.total * share,
        starts=products.starts[chosen],
        counts=products.counts[chosen],
        log_weights=products.log_weights * share,
    )


def _pairs_of(pairs: Pairs, chosen: IntArray, m: int, share: float) -> Pairs:
    place = np.full(m, -1)
    place[chosen] = np.arange(len(chosen))
    group = np.repeat(place[pairs.groups], np.diff(pairs.entry_starts, append=len(pairs.gap_of_entry)))
    left = np.flatnonzero(group >= 0)
    entry_starts = np.flatnonzero(np.diff(group[left], prepend=-1))
    dense = pairs.dense.reshape(len(pairs.dense), len(pairs.own), m)[..., chosen]
    return replace(
        pairs,
        count=pairs.count * share,
        dense=dense.reshape(len(dense), len(pairs.own) * len(chosen)),
        gap_of_entry=pairs.gap_of_entry[left],
        groups=group[left][entry_starts],
        entry_starts=entry_starts,
        own=pairs.own[:, left],
        lagged=pairs.lagged[:, left],
        total_own=pairs.total_own * share,
        total_lagged=pairs.total_lagged * share,
    )
