"""The residual's structure: independent, AR(1) over integer times, CAR(1) over continuous ones, unequal variances.

With correlation rho^gap between neighbours of one group the inverse correlation matrix is tridiagonal. A pair of
neighbouring rows (previous p, current k) a time g apart, with s = rho^g, adds to the identity

    s^2/(1 - s^2) (kk' + pp')  -  s/(1 - s^2) (kp' + pk')

so cross-products are summed once per group and gap, and a new rho costs no pass over the rows. A gap that many groups
have is *common*: its sums are held for every group, side by side, and a new rho costs one matrix product over them all.
The sums of the other gaps are *entries*, one for each group and gap that occurs. Integer gaps give a few common ones;
continuous times give up to one entry a row, by the same code.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from alliance_stats.mixed.engine.products import Products
from alliance_stats.mixed.engine.small import determinant, group_blocks, segment_sum, triangle_places
from alliance_stats.tables.arrays import FloatArray, IntArray
from alliance_stats.tables.schema import DataError


@dataclass(frozen=True)
class Whitened:
    """What the likelihood needs from the residual's structure R at given parameters."""

    gram: FloatArray  # (a, a, m): A'R^-1 A
    det: FloatArray  # (m,): its determinant
    cross: FloatArray | None  # (a, moving, m) or None: A'R^-1 E; None where it is zero (independent residuals)
    total: FloatArray  # (moving, moving): E'R^-1 E
    log_det: float  # log|R|


@dataclass(frozen=True)
class Change:
    """The derivative of a :class:`Whitened` with respect to one residual parameter (None: zero)."""

    gram: FloatArray
    cross: FloatArray | None
    total: FloatArray
    log_det: float
    information: float


def whiten(products: Products, pairs: Pairs | None, rho: float) -> tuple[Whitened, Change | None]:
    """The cross-products under R at serial correlation `rho` (per unit of gap), and their derivative by it."""
    if pairs is None:
        return Whitened(products.gram, products.det, None, products.total, -products.log_weights), None
    s, slope = _powers(pairs.gaps, rho)
    left = (1 - s) * (1 + s)
    own = np.array([s * s / left, 2 * s / left**2 * slope])  # the weights of the module's formula, and their slopes
    lagged = np.array([s / left, (1 + s * s) / left**2 * slope])
    (gram, gram_change), (cross, cross_change), (total, total_change) = _combine(products, pairs, own, lagged)
    gram += products.gram
    log_det = float(pairs.count @ np.log(left)) - products.log_weights
    white = Whitened(gram, determinant(gram), cross, total + products.total, log_det)
    log_det_change = float(pairs.count @ (-2 * s / left * slope))
    information = float(pairs.count @ ((1 + s * s) / left**2 * slope**2))
    return white, Change(gram_change, cross_change, total_change, log_det_change, information)


def _powers(gaps: FloatArray, rho: float) -> tuple[FloatArray, FloatArray]:
    """rho^gap and its derivative."""
    if rho == 0:
        return np.zeros(len(gaps)), (gaps == 1).astype(np.float64)
    s = np.power(rho, gaps)
    return s, gaps * s / rho


def _combine(
    products: Products, pairs: Pairs, own: FloatArray, lagged: FloatArray
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Sum own * (kk' + pp') - lagged * (kp' + pk') by group, for each row of weights: A'.A, A'.E and E'.E."""
    a, moving, m = products.coef.shape
    several, triangle = len(own), a * (a + 1) // 2
    sums = np.concatenate([own[:, pairs.common], -lagged[:, pairs.common]], axis=1) @ pairs.dense
    sums = sums.reshape(several, len(pairs.own), m)
    if len(pairs.gap_of_entry):
        for out, mine, other in zip(sums, own, lagged):
            rare = pairs.own * mine[pairs.gap_of_entry] - pairs.lagged * other[pairs.gap_of_entry]
            if len(pairs.entry_starts) < rare.shape[1]:
                rare = segment_sum(rare, pairs.entry_starts)
            out[:, pairs.groups] += rare
    gram = sums[:, triangle_places(a)]
    cross = sums[:, triangle:].reshape(several, a, moving, m)
    totals = np.tensordot(own, pairs.total_own, 1) - np.tensordot(lagged, pairs.total_lagged, 1)
    return gram, cross, totals


_MOST_COMMON = 12  # How many gaps at most are held for every group


@dataclass(frozen=True)
class Pairs:
    """Neighbouring rows of one group, their cross-products summed by group and gap.

    The products are those of the upper triangle of A'A, then of A'E: (products,) below.
    """

    gaps: FloatArray  # (g,): the distinct gaps, in units of `unit`
    count: FloatArray  # (g,): pairs of each gap
    common: IntArray  # (c,): the gaps whose sums are held for every group
    dense: FloatArray  # (2 c, products * m): sums of kk' + pp', then of kp' + pk', for the common gaps
    gap_of_entry: IntArray  # (entries,): the other gaps, one entry per group and gap
    # groups, entry_starts: the groups with entries, and the first entry of each
    groups: IntArray
    entry_starts: IntArray
    # own, lagged: (products, entries); sums of kk' + pp' and kp' + pk'
    own: FloatArray
    lagged: FloatArray
    # total_own, total_lagged: (g, moving, moving); the same for E'E, by gap
    total_own: FloatArray
    total_lagged: FloatArray
    unit: float  # What one unit of gap is in the time variable (1 for AR(1))


def build_pairs(products: Products, time: FloatArray, *, continuous: bool) -> Pairs:
    """Sum the neighbours' cross-products by group and gap; rows are sorted by time within groups, no time twice.

    Raises ``DataError`` if no group has two rows, or AR(1) meets a time that is no whole number.
    """
    step = _steps(products, time, continuous=continuous)
    unit = float(np.quantile(step[step > 0], 0.1, method="lower")) if continuous else 1.0
    gaps, code, count = _codes(step if unit == 1 else step / unit)
    m, size = len(products.starts), len(products.columns)
    common = np.sort(np.argsort(-count, kind="stable")[:_MOST_COMMON])
    common = common[2 * count[common] >= m]  # at least every other group has one
    place = np.full(len(gaps) + 1, len(common))  # the last code is that of a pair of two groups
    place[common] = np.arange(len(common))
    place_of_pair = place[code]
    width = size * (size + 1) // 2 + size * len(products.rest)
    dense = np.empty((2, len(common), width, m))
    total = np.zeros((2, len(gaps), len(products.rest), len(products.rest)))
    for groups, rows in group_blocks(products.starts, len(time)):
        _add_common(products, place_of_pair, common, groups, rows, dense, total)
    rare = np.flatnonzero(place_of_pair == len(common)) if len(common) < len(gaps) else np.empty(0, dtype=np.int64)
    rare = rare[code[rare] < len(gaps)]
    group = np.searchsorted(products.starts, rare, side="right") - 1
    key, entry = _numbered(group * len(gaps) + code[rare])
    own, lagged = _sum_rare(products, rare, code[rare], entry, len(key), total)
    group_of_entry, gap_of_entry = np.divmod(key, len(gaps))
    entry_starts = np.flatnonzero(np.diff(group_of_entry, prepend=-1))
    return Pairs(
        gaps=gaps,
        count=count.astype(np.float64),
        common=common,
        dense=dense.reshape(2 * len(common), width * m),
        gap_of_entry=gap_of_entry,
        groups=group_of_entry[entry_starts],
        entry_starts=entry_starts,
        own=own,
        lagged=lagged,
        total_own=total[0],
        total_lagged=total[1],
        unit=unit,
    )


def _steps(products: Products, time: FloatArray, *, continuous: bool) -> FloatArray:
    """The gaps between neighbouring rows; zero where they are of two groups."""
    step = np.diff(time)
    step[products.starts[1:] - 1] = 0.0
    if len(time) == len(products.starts):
        raise DataError(
            "No group has two rows, so a serial correlation cannot be estimated.", remedy="Fit without correlation=."
        )
    if not continuous and not (_whole(step) and _whole(time[products.starts])):
        raise DataError(
            "correlation='ar1' needs whole numbers as time.",
            value=time[np.floor(time) != time][0],
            remedy="Use session numbers, or correlation='car1' for continuous time.",
        )
    return step


def _whole(values: FloatArray) -> bool:
    return bool((np.floor(values) == values).all())


def _codes(gap: FloatArray) -> tuple[FloatArray, IntArray, IntArray]:
    """The distinct gaps, the number of each pair's gap among them (the last for none), and the pairs of each."""
    largest = gap.max()
    if largest <= 10_000 and _whole(gap):
        whole = gap.astype(np.int64)
        count = np.bincount(whole)
        count[0] = 0
        gaps = np.flatnonzero(count)
        number = np.full(len(count), len(gaps))
        number[gaps] = np.arange(len(gaps))
        return gaps.astype(np.float64), number[whole], count[gaps]
    inside = np.flatnonzero(gap)
    gaps, code, count = np.unique(gap[inside], return_inverse=True, return_counts=True)
    out = np.full(len(gap), len(gaps))
    out[inside] = code
    return np.asarray(gaps, dtype=np.float64), out, count


def _numbered(key: IntArray) -> tuple[IntArray, IntArray]:
    """The distinct keys in order, and the number of each among them."""
    fresh = np.diff(key, prepend=-1)
    if (fresh >= 0).all():
        return key[fresh > 0], np.cumsum(fresh > 0) - 1
    found, number = np.unique(key, return_inverse=True)
    return found, number


def _combinations(size: int, moving: int) -> Iterator[tuple[int, int]]:
    """The products of A'A (upper triangle) and A'E, as numbers of the columns of (A, E)."""
    yield from ((i, j) for i in range(size) for j in range(i, size))
    yield from ((i, size + j) for i in range(size) for j in range(moving))


def _add_common(
    products: Products,
    place: IntArray,
    common: IntArray,
    groups: slice,
    rows: slice,
    dense: FloatArray,
    total: FloatArray,
) -> None:
    """The sums of the common gaps over a block of groups, by group into `dense`, over groups added to `total`.

    For every gap g and group: sum of kk' + pp' and of kp' + pk' over the pairs (previous p, current k) that are g
    apart: the two sums of the tridiagonal inverse above (Pinheiro & Bates 2000, section 5.3, for AR(1)). ``bincount``
    over slot = group + gap * groups forms all of them.
    """
    if not len(common):
        return
    columns = [column[rows] for column in (*products.columns, *products.rest)]
    size, c, m = len(products.columns), len(common), groups.stop - groups.start
    code = place[rows.start : rows.stop - 1]
    slot = np.repeat(np.arange(m), products.counts[groups])[1:] + code * m

    def by_group(values: FloatArray | None) -> FloatArray:
        sums = np.bincount(slot, weights=values, minlength=(c + 1) * m)
        return np.asarray(sums[: c * m].reshape(c, m), dtype=np.float64)

    for number, (i, j) in enumerate(_combinations(size, len(products.rest))):
        left, right = columns[i], columns[j]
        if i == 0 and products.basis.ones:  # 1 k + p 1 and k 1 + 1 p are the same
            both = by_group(None) * 2.0 if j == 0 else by_group(right[1:] + right[:-1])
            dense[:, :, number, groups] = both
        else:
            dense[0, :, number, groups] = by_group(_own(left, right))
            dense[1, :, number, groups] = by_group(_lagged(left, right))
    masks = (code == np.arange(c)[:, None]).astype(np.float64)
    for i in range(len(products.rest)):
        for j in range(i, len(products.rest)):
            for kind, values in enumerate((_own, _lagged)):
                total[kind, common, i, j] += masks @ values(columns[size + i], columns[size + j])
                total[kind, common, j, i] = total[kind, common, i, j]


def _own(left: FloatArray, right: FloatArray) -> FloatArray:
    square = left * right
    return np.asarray(square[1:] + square[:-1])


def _lagged(left: FloatArray, right: FloatArray) -> FloatArray:
    product = left[1:] * right[:-1]
    product += product if left is right else left[:-1] * right[1:]
    return np.asarray(product)


def _sum_rare(
    products: Products, pairs: IntArray, code: IntArray, entry: IntArray, n_entries: int, total: FloatArray
) -> tuple[FloatArray, FloatArray]:
    """The sums of the other gaps by entry; over entries added to `total`."""
    size, moving = len(products.columns), len(products.rest)
    width = size * (size + 1) // 2 + size * moving
    sums = np.empty((2, width, n_entries))
    if not len(pairs):
        return sums[0], sums[1]
    before = [column[pairs] for column in (*products.columns, *products.rest)]
    after = [column[pairs + 1] for column in (*products.columns, *products.rest)]

    def both(i: int, j: int) -> tuple[FloatArray, FloatArray]:
        return after[i] * after[j] + before[i] * before[j], after[i] * before[j] + before[i] * after[j]

    single = n_entries == len(pairs) and bool((entry[1:] > entry[:-1]).all())
    for number, (i, j) in enumerate(_combinations(size, moving)):
        for kind, values in enumerate(both(i, j)):
            sums[kind, number] = values if single else np.bincount(entry, weights=values, minlength=n_entries)
    for i in range(moving):
        for j in range(i, moving):
            for kind, values in enumerate(both(size + i, size + j)):
                total[kind, :, i, j] += np.bincount(code, weights=values, minlength=total.shape[1])
                total[kind, :, j, i] = total[kind, :, i, j]
    return sums[0], sums[1]
