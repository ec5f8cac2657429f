"""Four pictures that show whether a mixed model's assumptions hold (Pinheiro & Bates 2000, section 4.3)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from scipy.special import ndtri

from alliance_stats.mixed.answers.effects import random_effects
from alliance_stats.mixed.answers.marginal import whitened_residuals
from alliance_stats.mixed.answers.predict import fitted as fitted_values
from alliance_stats.mixed.answers.predict import residuals
from alliance_stats.mixed.engine.fitted import Fitted
from alliance_stats.tables.arrays import FloatArray

PANELS = ("residuals against fitted values", "residuals", "random effects", "autocorrelation")
_MOST_POINTS = 5000
_INK, _LINE, _SOFT = "#1b3a57", "#b5472f", "#9aa7b1"


def plot_diagnostics(fit: Fitted, *, ax: Sequence[Any] | None = None) -> Any:
    """Residuals against fitted values, normal quantiles of residuals and random effects, autocorrelation left over.

    Parameters
    ----------
    fit : MixedFit
    ax : sequence of four Axes, optional
        In the order of the panels named above; by default a new 2 x 2 figure.

    Returns
    -------
    (4,) array of Axes
        The first panel shows conditional residuals (freed of the modelled serial correlation, over sigma; their SD is
        below 1, as the random effects took up a share). The second and fourth show *whitened* ones, which a true model
        makes independent and standard normal within a group: L^-1 (y - X beta) with V = L L' (Fitzmaurice, Laird &
        Ware 2011, chapter 10), of at most 2,000 groups. At most 5,000 points are drawn a panel, spread evenly.

    Examples
    --------
    >>> import matplotlib; matplotlib.use("agg")
    >>> from alliance_stats import fit_mixed
    >>> import numpy as np, pandas as pd
    >>> data = pd.DataFrame({"g": np.repeat(list("abcd"), 3), "y": [1.0, 2, 3, 3, 4, 6, 5, 7, 6, 2, 2, 4]})
    >>> axes = plot_diagnostics(fit_mixed("y ~ 1 + (1 | g)", data))
    >>> axes[0].get_xlabel()
    'fitted value'
    """
    axes = _axes(ax)
    fitted = fitted_values(fit, None).to_numpy()
    residual = residuals(fit, "normalised", None).to_numpy()
    _against_fitted(axes[0], fitted, residual)
    white = whitened_residuals(fit)
    _quantiles(axes[1], {"": np.concatenate(white)}, "whitened residual")
    _quantiles(axes[2], _standardised_effects(fit), "random effect / its SD")
    _autocorrelation(axes[3], white)
    return axes


def _axes(ax: Sequence[Any] | None) -> Any:
    if ax is None:
        from matplotlib import pyplot

        _, panels = pyplot.subplots(2, 2, figsize=(8.6, 6.8), layout="constrained")  # a notebook shows pyplot's figures
        return np.ravel(panels)
    axes = np.ravel(np.array(ax, dtype=object))
    if len(axes) != len(PANELS):
        raise ValueError(f"ax has {len(axes)} Axes; {len(PANELS)} are needed: {', '.join(PANELS)}.")
    return axes


def _tidy(axis: Any, title: str, x: str, y: str) -> None:
    axis.set_title(title, loc="left", fontsize=10)
    axis.set_xlabel(x)
    axis.set_ylabel(y)
    axis.spines[["top", "right"]].set_visible(False)


def _thinned(count: int) -> Any:
    """Positions of at most _MOST_POINTS of `count` sorted values, evenly spread, both ends among them."""
    return np.unique(np.linspace(0, count - 1, min(count, _MOST_POINTS)).astype(np.int64))


def _against_fitted(axis: Any, fitted: FloatArray, residual: FloatArray) -> None:
    order = np.argsort(fitted, kind="stable")
    shown = order[_thinned(len(order))]
    axis.axhline(0, color=_SOFT, linewidth=1, zorder=1)
    axis.plot(fitted[shown], residual[shown], ".", color=_INK, alpha=0.35, markersize=4, markeredgewidth=0, zorder=2)
    parts = [part for part in np.array_split(order, min(20, max(len(order) // 15, 1))) if len(part)]
    centre = [float(fitted[part].mean()) for part in parts]
    axis.plot(centre, [float(residual[part].mean()) for part in parts], color=_LINE, linewidth=1.6, label="mean")
    spread = [float(residual[part].std()) for part in parts]
    axis.plot(centre, spread, color=_LINE, linewidth=1.2, linestyle="--", label="SD")
    axis.legend(frameon=False, fontsize=8)
    _tidy(axis, "Residuals against fitted values", "fitted value", "normalised residual")


def _quantiles(axis: Any, samples: dict[str, FloatArray], name: str) -> None:
    """Sorted values against the normal quantiles they are expected at."""
    colours = (_INK, _LINE, "#4f7f4a", "#7b5ea7", "#8a6d1f", "#3f8f96", "#a03e7d", "#555555")
    reach = 1.0
    for colour, (label, sample) in zip(colours, samples.items()):
        values = np.sort(sample)
        expected = ndtri((np.arange(1, len(values) + 1) - 0.375) / (len(values) + 0.25))
        shown = _thinned(len(values))
        size = 4 if len(values) > 50 else 6
        style = {"color": colour, "alpha": 0.6, "markersize": size, "markeredgewidth": 0, "label": label}
        axis.plot(expected[shown], values[shown], ".", **style)
        reach = max(reach, float(np.abs(expected).max()))
    axis.plot([-reach, reach], [-reach, reach], color=_SOFT, linewidth=1, zorder=1)
    if samples and any(samples):
        axis.legend(frameon=False, fontsize=8, markerscale=2, loc="upper left")
    if not samples:
        axis.text(0.5, 0.5, "every random-effect variance is zero", ha="center", va="center", transform=axis.transAxes)
    _tidy(axis, f"Normal quantiles: {name}", "expected under normality", name)


def _standardised_effects(fit: Fitted) -> dict[str, FloatArray]:
    """Conditional modes over their own spread (the SD of a mode is smaller than that of the effect: shrinkage)."""
    found = {}
    for factor, table in random_effects(fit).items():
        for name in [column for column in table if f"{column}_sd" in table]:
            values = table[name].to_numpy()
            spread = float(values.std())
            if spread > 0:
                found[f"{name} | {factor}"] = (values - values.mean()) / spread
    return found


def _autocorrelation(axis: Any, groups: list[FloatArray]) -> None:
    """Correlation of whitened residuals a given number of rows apart, within groups."""
    longest = max(len(group) for group in groups)
    square = float(np.mean(np.concatenate(groups) ** 2))
    lags, correlations, bounds = [], [], []
    for lag in range(1, min(10, longest - 1) + 1):
        products = np.concatenate([group[lag:] * group[:-lag] for group in groups if len(group) > lag])
        if len(products) < 10:
            break
        lags.append(lag)
        correlations.append(float(products.mean()) / square)
        bounds.append(1.96 / np.sqrt(len(products)))
    axis.axhline(0, color=_SOFT, linewidth=1)
    if lags:
        axis.vlines(lags, 0, correlations, color=_INK, linewidth=3)
        axis.fill_between(lags, -np.array(bounds), bounds, color=_SOFT, alpha=0.25, linewidth=0, label="95 % if none")
        axis.set_xticks(lags)
        axis.legend(frameon=False, fontsize=8)
    _tidy(axis, "Autocorrelation left over", "rows apart, within a group", "correlation")
