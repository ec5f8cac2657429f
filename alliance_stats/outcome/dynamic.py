"""Standard errors that are right when the last outcome is among the covariates."""

from __future__ import annotations

import numpy as np

from alliance_stats.mixed.result import MixedFit
from alliance_stats.tables.arrays import FloatArray


def dynamic_covariance(fit: MixedFit) -> FloatArray:
    """Covariance of the fixed effects that counts the uncertainty of the variance parameters, (p, p).

    Notes
    -----
    The usual covariance, (X'V^-1 X)^-1, treats the variances as known. That is right to first order where covariates
    are fixed, because effects and variances are then estimated independently. A lagged outcome is not fixed: a larger
    variance between patients goes with a smaller carry-over. To the usual covariance is added J A J', with J the
    derivative of the generalised least-squares estimate in the variance parameters and A their asymptotic covariance
    (the delta method; the same as inverting the joint observed information). Where J is near 0 nothing changes.
    """
    deviance, curvature = fit.optimum.deviance, fit.variance_curvature
    change = deviance.evaluation.curvature
    if change is None or not len(change.cross):
        return np.asarray(fit.covariance.to_numpy())
    with_outcome, with_terms = change.cross[:, :-1, -1], change.cross[:, :-1, :-1]
    moves = (with_outcome - with_terms @ deviance.beta) @ deviance.unscaled  # (parameters, p)
    spread = moves.T @ curvature.covariance[:-1, :-1] @ moves
    design = fit.design
    return np.asarray(fit.covariance.to_numpy() + design.x_map @ spread @ design.x_map.T * design.y_scale**2)
