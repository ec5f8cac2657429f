"""One p value for a whole multiverse (Simonsohn, Simmons & Nelson 2020), the null imposed by flipping residuals.

Every specification is fitted without the effect in question; the residuals of each patient or therapist are then
multiplied by a random sign, the same one in all specifications, and the effect is estimated again. The alliance, its
ruptures and everything else that predicts the outcome stay as they are, and so does the correlation of residuals within
a patient or therapist (Hemerik, Goeman & Finos 2020: the sign-flipping score test; with the standardisation of De
Santis, Goeman, Hemerik & Finos 2022 for the estimated other coefficients).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from alliance_stats.dropout.result import HazardFit
from alliance_stats.hazard.binary import fit_binary, mean
from alliance_stats.mixed.result import MixedFit
from alliance_stats.multiverse.fit import (
    FITTING,
    TARGETS,
    AnyFit,
    Piece,
    Specification,
    estimates,
    multiverse_table,
    specifications,
)
from alliance_stats.outcome.next_session_fit import STATES
from alliance_stats.outcome.patterns import CONTRASTS, OutcomeFit
from alliance_stats.rupture.rules.rule import Rule
from alliance_stats.tables.arrays import FloatArray, IntArray
from alliance_stats.tables.progress import bar, run_pieces
from alliance_stats.tables.rendering import Shown
from alliance_stats.tables.schema import (
    PATIENT,
    SESSION,
    THERAPIST,
    DataError,
    Seed,
    check_sessions,
    generator,
    require_choice,
)

MIN_THERAPISTS = 8
"""With fewer there are too few ways to flip signs: 2^7 = 128."""
CRITICAL = 1.959963984540054


@dataclass(frozen=True, eq=False, repr=False)
class JointTest(Shown):
    """Inference over all specifications of a multiverse together.

    Attributes
    ----------
    table : DataFrame
        As `fit_multiverse`, with ``null_low`` and ``null_high``: where 95 % of this specification's estimates lie when
        there is no effect.
    joint : DataFrame
        Per term and statistic: ``term, statistic, n_specifications, observed, null_low, null_high, p_value``. The p
        value to report is that of ``mean z`` (all specifications together); ``median estimate`` and ``significant``
        (specifications with abs(z) > 1.96 in the more frequent direction) are the other two of Simonsohn et al. (2020).
    unit : str
        Whose residuals were flipped together: ``therapist`` or ``patient``.
    n_units, draws : int
    """

    table: pd.DataFrame
    joint: pd.DataFrame
    unit: str
    n_units: int
    draws: int
    notes: tuple[str, ...] = field(default=())

    def _shown(self) -> tuple[list[str], dict[str, pd.DataFrame], list[str]]:
        title = f"Joint test of a multiverse: {self.draws} draws, residuals flipped by {self.unit} ({self.n_units})"
        return [title], {"All specifications together": self.joint}, list(self.notes)


class _Score(NamedTuple):
    """The effective score of one term in one specification, taken apart by unit.

    Attributes
    ----------
    parts : (units,) array
        a_g' e_g: what each unit adds to the estimate; a are the weights that make the estimate of the outcome, e the
        residuals of the model without the term (both whitened).
    span : (p, units) array
        Q_g' a_g, with Q an orthonormal basis of all columns.
    own : (units,) array
        a_g' a_g / |a|.
    """

    term: str
    parts: FloatArray
    span: FloatArray
    own: FloatArray

    def flipped(self, signs: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Estimates and z under each row of `signs` (draws, units)."""
        estimate = signs @ self.parts
        length = float(self.own.sum()) ** 2  # |a|^2
        # De Santis et al. (2022): |a|^2 - |H W a|^2, H the projection on the columns other than a
        left = length - (np.square(signs @ self.span.T).sum(axis=1) - np.square(signs @ self.own))
        scale = np.sqrt(np.square(self.parts).sum() * np.maximum(left, 1e-9 * length) / length)
        return estimate, estimate / scale


def joint_test(
    sessions: pd.DataFrame,
    *,
    score: str,
    question: str,
    seed: Seed,
    symptom: str | None = None,
    endings: pd.DataFrame | None = None,
    rules: Iterable[str | Rule] | None = None,
    targets: Iterable[str] = tuple(TARGETS),
    better: str = "lower",
    allow_lookahead: bool = False,
    unit: str | None = None,
    draws: int = 999,
    level: float = 0.95,
    n_jobs: int | None = None,
    progress: bool = True,
) -> JointTest:
    """One p value per effect for all detection rules and repair targets together.

    Parameters
    ----------
    sessions, score, question, symptom, endings, rules, targets, better, allow_lookahead, level, n_jobs, progress
        As in `fit_multiverse`.
    seed : int or numpy.random.Generator
        Of the signs.
    unit : {None, "therapist", "patient"}
        Whose residuals get one sign together; they may be correlated within and must be independent between units.
        By default therapists where there are 8 or more, otherwise patients (a note says so).
    draws : int
        Random sign vectors.

    Returns
    -------
    JointTest

    Raises
    ------
    DataError
        If no specification can be fitted.

    Notes
    -----
    A draw costs no new fit: with variances (outcome, next session) or weights (dropout) held at their estimates, the
    estimate is a sum over units. The null says that the term has no effect in any specification. Under ``dropout`` the
    estimates are one step of Newton's method from the model without the term.

    Examples
    --------
    >>> from alliance_stats.simulate.simulated import simulate_study
    >>> study = simulate_study(n_patients=80, n_therapists=10, seed=1)
    >>> test = joint_test(study.sessions, score="alliance", question="next_session", symptom="phq9", seed=1, draws=99,
    ...                   rules=["previous_2pooled", "running_mean_2pooled"], targets=["past baseline"])
    >>> test.joint["statistic"].unique().tolist(), bool(test.joint["p_value"].between(0.01, 1).all())
    (['mean z', 'median estimate', 'significant'], True)
    """
    plan = plan_joint(
        sessions,
        score=score,
        question=question,
        seed=seed,
        symptom=symptom,
        endings=endings,
        rules=rules,
        targets=targets,
        better=better,
        allow_lookahead=allow_lookahead,
        unit=unit,
        draws=draws,
        level=level,
    )
    with bar(FITTING, len(plan.pieces), show=progress):
        return joint_of(run_pieces(plan.work, plan.pieces, n_jobs=n_jobs), plan.told)


class JointPlan(NamedTuple):
    """The specifications of a joint test, not yet fitted, and what :func:`joint_of` needs beside them."""

    work: Callable[[Piece], Specification]
    pieces: list[Piece]
    told: dict[str, Any]


def plan_joint(
    sessions: pd.DataFrame,
    *,
    score: str,
    question: str,
    seed: Seed,
    unit: str | None = None,
    draws: int = 999,
    level: float = 0.95,
    **given: Any,
) -> JointPlan:
    """What :func:`joint_test` is to fit; the arguments are its own, `given` those of `specifications`."""
    if draws < 19:
        raise ValueError(f"draws={draws!r} must be at least 19.")
    unit_of, unit, n_units, notes = _units(check_sessions(sessions, [score]), unit)
    work, pieces = specifications(
        sessions,
        score=score,
        question=question,
        read=partial(_read, level=level, unit_of=unit_of, n_units=n_units),
        **given,
    )
    told = {"score": score, "question": question, "seed": seed, "draws": draws, "level": level}
    return JointPlan(work, pieces, {**told, "unit": unit, "n_units": n_units, "notes": notes})


def joint_of(answers: Sequence[Any], told: Mapping[str, Any]) -> JointTest:
    """The joint test from the fitted specifications, or from what a file has kept of them."""
    draws, n_units = told["draws"], told["n_units"]
    found = [
        Specification(
            head, own and (own[0], [_Score(term, *map(np.asarray, arrays)) for term, *arrays in own[1]]), status
        )
        for head, own, status in answers
    ]
    scores = [(one.head, score) for one in found if one.found is not None for score in one.found[1]]
    if not scores:
        raise DataError("No specification gives an estimate.", remedy="See the column status of fit_multiverse.")
    signs = np.vstack([np.ones(n_units), generator(told["seed"]).choice([-1.0, 1.0], size=(draws, n_units))])
    rows, bands = [], []
    for term in dict.fromkeys(one.term for _, one in scores):
        own = [(head, one) for head, one in scores if one.term == term]
        drawn, z = (np.array(values) for values in zip(*(one.flipped(signs) for _, one in own), strict=True))
        low, high = np.quantile(drawn[:, 1:], [0.025, 0.975], axis=1)
        bands += [
            {"rule": head["rule"], "target": head["target"], "term": term, "null_low": a, "null_high": b}
            for (head, _), a, b in zip(own, low, high, strict=True)
        ]
        rows += [{"term": term, **row} for row in _joint(drawn, z)]
    rest = [one._replace(found=one.found and one.found[0]) for one in found]
    table = multiverse_table(rest, question=told["question"], score=told["score"], level=told["level"])
    attrs = table.attrs
    table = table.merge(pd.DataFrame(bands), on=["rule", "target", "term"], how="left")
    table.attrs = attrs
    return JointTest(table, pd.DataFrame(rows), told["unit"], n_units, draws, tuple(told["notes"]))


def _joint(estimates: FloatArray, z: FloatArray) -> list[dict[str, Any]]:
    """The statistics of Simonsohn et al. (2020); the first column is the data, the others are draws."""
    significant = np.maximum((z > CRITICAL).sum(axis=0), (z < -CRITICAL).sum(axis=0))
    rows = []
    for name, values, size in (
        ("mean z", z.mean(axis=0), np.abs(z.mean(axis=0))),
        ("median estimate", np.median(estimates, axis=0), np.abs(np.median(estimates, axis=0))),
        ("significant", significant, significant),
    ):
        as_large = int((size[1:] >= size[0] - 1e-9 * abs(size[0])).sum())
        low, high = np.quantile(values[1:], [0.025, 0.975])
        rows.append(
            {
                "statistic": name,
                "n_specifications": len(z),
                "observed": float(values[0]),
                "null_low": float(low),
                "null_high": float(high),
                "p_value": (1 + as_large) / len(size),
            }
        )
    return rows


def _units(table: pd.DataFrame, unit: str | None) -> tuple[pd.Series, str, int, tuple[str, ...]]:
    """The unit number of each patient (by id), its kind, how many there are, and remarks."""
    require_choice(unit, (None, THERAPIST, PATIENT), name="unit")
    known = table.dropna(subset=[THERAPIST]) if THERAPIST in table else table.iloc[:0]
    n_therapists = len(known[THERAPIST].unique()) if len(known) else 0
    if unit == THERAPIST and n_therapists < 2:
        raise DataError("There are no therapists to flip residuals by.", remedy="Pass unit='patient'.")
    notes: tuple[str, ...] = ()
    if unit is None:
        unit = THERAPIST if n_therapists >= MIN_THERAPISTS else PATIENT
        if 1 < n_therapists < MIN_THERAPISTS:
            text = f"{n_therapists} therapists are too few to flip signs by: patients are taken as independent."
            notes = (text,)
    patients = pd.Index(table[PATIENT].unique())
    if unit == PATIENT:
        return pd.Series(np.arange(len(patients)), index=patients), unit, len(patients), notes
    counts = known.groupby([PATIENT, THERAPIST], sort=True).size().reset_index(name="n")
    main = counts.sort_values("n", ascending=False, kind="stable").drop_duplicates(PATIENT).set_index(PATIENT)
    codes, names = pd.factorize(main[THERAPIST].reindex(patients).to_numpy(), sort=True)
    alone = codes < 0  # a patient without a therapist is a unit of their own
    codes[alone] = len(names) + np.arange(int(alone.sum()))
    return pd.Series(codes, index=patients), unit, int(codes.max()) + 1, notes


def _read(fit: AnyFit, *, level: float, unit_of: pd.Series, n_units: int) -> tuple[list[dict[str, Any]], list[_Score]]:
    return estimates(fit, level), _scores(fit, unit_of, n_units)


def _scores(fit: AnyFit, unit_of: pd.Series, n_units: int) -> list[_Score]:
    unit = unit_of.loc[fit.data[PATIENT]].to_numpy()
    if isinstance(fit, HazardFit):
        terms = [name for name in STATES if name in fit.terms]
        return [_score(name, *_hazard(fit, name), unit, n_units) for name in terms]
    names = list(fit.fit.terms)
    data = fit.data
    x = np.column_stack([np.ones(len(data)) if name == "Intercept" else data[name.strip("`")] for name in names])
    y = data[fit.post if isinstance(fit, OutcomeFit) else fit.outcome].to_numpy(dtype=np.float64)
    x, y = _whitened(fit.fit, data, x.astype(np.float64), y)
    result = []
    for term, contrast in _contrasts(fit, names).items():
        weights = x @ np.linalg.solve(x.T @ x, contrast)  # the estimate is weights' y
        basis = np.linalg.qr(x)[0]
        unexplained = y - basis @ (basis.T @ y) + weights * (weights @ y) / (weights @ weights)
        result.append(_score(term, weights, unexplained, basis, unit, n_units))
    return result


def _contrasts(fit: Any, names: list[str]) -> dict[str, FloatArray]:
    """What is estimated, as contrasts of the coefficients."""
    if not isinstance(fit, OutcomeFit):
        return {name: np.eye(len(names))[names.index(name)] for name in STATES if name in names}
    found = {}
    for first, second in CONTRASTS:
        if {first, second} <= set(fit.diagnostics["patterns"]):
            contrast = np.zeros(len(names))
            for name, sign in ((first, 1.0), (second, -1.0)):
                if name != fit.reference:
                    contrast[names.index(f"pattern_{name}")] = sign
            found[f"{first} - {second}"] = contrast
    return found


def _hazard(fit: HazardFit, term: str) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Weights, residuals and basis of a discrete hazard, from the model without the term."""
    x, column = fit.design.matrix, fit.terms.index(term)
    smaller = fit_binary(fit.event, np.delete(x, column, axis=1), link=fit.link)
    hazard = mean(smaller.linear, fit.link)
    root = np.sqrt(hazard * (1 - hazard))
    wide = x * root[:, None]
    weights = wide @ np.linalg.solve(wide.T @ wide, np.eye(x.shape[1])[column])
    return weights, (fit.event - hazard) / root, np.linalg.qr(wide)[0]


def _score(
    term: str, weights: FloatArray, residual: FloatArray, basis: FloatArray, unit: IntArray, n_units: int
) -> _Score:
    def by_unit(values: FloatArray) -> FloatArray:
        return np.bincount(unit, weights=values, minlength=n_units).astype(np.float64)

    span = np.array([by_unit(column * weights) for column in basis.T])
    own = by_unit(weights**2) / np.linalg.norm(weights)
    return _Score(term, by_unit(weights * residual), span, own)


def _whitened(model: Any, data: pd.DataFrame, x: FloatArray, y: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Rows multiplied by V^-1/2 of their patient (or therapist, where patients are the rows), V as estimated.

    The weights decide how precise the estimate is, not whether the test is valid: random effects of therapists are left
    out where patients have several rows, since signs are flipped by whole therapists anyway.
    """
    if not isinstance(model, MixedFit):
        return x, y
    variances = model.variances()
    residual = float(variances.loc[variances["group"] == "residual", "variance"].iloc[0])
    group = PATIENT if (variances["group"] == PATIENT).any() else THERAPIST
    own = variances[variances["group"] == group]
    names = list(own.loc[own["term_2"].fillna("") == "", "term"])
    spread = np.zeros((len(names), len(names)))
    for row in own.to_dict("records"):
        i, j = names.index(row["term"]), names.index(row["term_2"] or row["term"])
        spread[i, j] = spread[j, i] = row["variance"]
    z = np.column_stack([data[SESSION] if name == SESSION else np.ones(len(data)) for name in names]).astype(np.float64)
    both = np.column_stack([x, y])
    codes = pd.factorize(data[group])[0]
    order, sizes = np.argsort(codes, kind="stable"), np.bincount(codes[codes >= 0])
    first = (codes < 0).sum() + np.cumsum(sizes) - sizes
    for size in np.unique(sizes):  # groups of one size side by side
        rows = order[first[sizes == size][:, None] + np.arange(size)]
        covariance = z[rows] @ spread @ z[rows].transpose(0, 2, 1) + residual * np.eye(size)
        both[rows] = np.linalg.solve(np.linalg.cholesky(covariance), both[rows])
    return both[:, :-1], both[:, -1]
