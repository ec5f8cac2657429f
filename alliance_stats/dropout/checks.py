"""Does the model hold: residuals, calibration, discrimination, proportional hazards."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from alliance_stats.dropout.result import HazardFit


def residuals(fit: HazardFit, kind: str) -> Any:
    """Residuals of the rows used."""
    raise NotImplementedError(kind)
