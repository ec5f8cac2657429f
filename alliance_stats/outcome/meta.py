"""One study's effect as one row of a meta-analysis."""

from __future__ import annotations

import numpy as np
import pandas as pd

from alliance_stats.tables.schema import require_whole


def meta_row(
    r: float,
    *,
    n: int,
    study: str,
    k_sessions: float | None = None,
    rule: str | None = None,
    reliability: float | None = None,
    n_covariates: int = 0,
) -> pd.DataFrame:
    """A correlation and its variance, named as R's metafor names them.

    Parameters
    ----------
    r : float
        The (partial) correlation, for instance of :meth:`OutcomeFit.effects`.
    n : int
        Patients.
    study : str
        The label of the row.
    k_sessions : float, optional
        Mean number of rated sessions.
    rule : str, optional
        How ruptures were found.
    reliability : float, optional
        Of the score.
    n_covariates : int
        Variables partialled out; they lower the degrees of freedom.

    Returns
    -------
    DataFrame
        ``study``, ``yi`` (r) and ``vi`` ((1 - r^2)^2 / (n - covariates - 1), metafor's ``COR``), ``zi`` and ``vzi``
        (Fisher's z and 1 / (n - covariates - 3), metafor's ``ZCOR``), ``ni``, ``k_sessions``, ``rule``,
        ``reliability``.

    Raises
    ------
    ValueError
        If `r` is not between -1 and 1, or `n` leaves no degrees of freedom.

    Examples
    --------
    >>> meta_row(0.29, n=130, study="ours")[["yi", "vi", "zi", "vzi"]].round(4)
         yi      vi      zi     vzi
    0  0.29  0.0065  0.2986  0.0079
    """
    require_whole(n, name="n", low=1)
    require_whole(n_covariates, name="n_covariates", low=0)
    if not -1 < r < 1:
        raise ValueError(f"r={r!r} must lie between -1 and 1.")
    if n - n_covariates < 4:
        raise ValueError(f"n={n!r} patients with {n_covariates} covariates leave no degrees of freedom.")
    return pd.DataFrame(
        {
            "study": [study],
            "yi": [float(r)],
            "vi": [(1 - r**2) ** 2 / (n - n_covariates - 1)],
            "zi": [float(np.arctanh(r))],
            "vzi": [1 / (n - n_covariates - 3)],
            "ni": [n],
            "k_sessions": [np.nan if k_sessions is None else float(k_sessions)],
            "rule": [rule],
            "reliability": [np.nan if reliability is None else float(reliability)],
        }
    )
