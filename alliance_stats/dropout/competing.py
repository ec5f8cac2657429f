"""All endings in one call: a cause-specific hazard for each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from alliance_stats.dropout.fit import fit_dropout
from alliance_stats.dropout.intervals import ENDED
from alliance_stats.dropout.result import HazardFit
from alliance_stats.tables.schema import ENDING, DataError, require_columns


@dataclass(frozen=True, repr=False)
class EndingsFit(Mapping[str, HazardFit]):
    """One `HazardFit` per ending, a mapping by the ending's name; tables carry a column ``ending``."""

    fits: dict[str, HazardFit]

    def __getitem__(self, ending: str) -> HazardFit:
        return self.fits[ending]

    def __iter__(self) -> Any:
        return iter(self.fits)

    def __len__(self) -> int:
        return len(self.fits)

    def tidy(self, *, level: float = 0.95) -> pd.DataFrame:
        """TERMS of all endings."""
        return pd.concat([fit.tidy(level=level).assign(ending=name) for name, fit in self.items()], ignore_index=True)

    def glance(self) -> pd.DataFrame:
        """One row per ending."""
        return pd.concat([fit.glance() for fit in self.values()], ignore_index=True)

    def variances(self) -> pd.DataFrame:
        """VARIANCES of all endings."""
        parts = [fit.variances().assign(ending=name) for name, fit in self.items() if fit.random is not None]
        return pd.concat(parts, ignore_index=True) if parts else next(iter(self.values())).variances()

    def summary(self) -> str:
        """The fits as text, one below the other."""
        return "\n\n".join(fit.summary() for fit in self.values())

    def __repr__(self) -> str:
        return self.summary()

    def _repr_html_(self) -> str:
        return "".join(fit._repr_html_() for fit in self.values())


def fit_endings(
    formula: str | Mapping[str, str], intervals: pd.DataFrame, *, endings: Sequence[str] = ENDED, **options: Any
) -> EndingsFit:
    """The cause-specific hazards of several endings, each against all else (Prentice et al. 1978).

    Parameters
    ----------
    formula : str or mapping of str to str
        One right-hand side for all endings, or one for each.
    intervals : DataFrame
        INTERVALS.
    endings : sequence of str
        Default: dropout, completion and transfer.
    **options
        As for `fit_dropout`.

    Raises
    ------
    DataError
        If an ending does not happen at all; leave it out of `endings`.
    """
    require_columns(intervals, [ENDING], table_name="intervals")
    fits = {}
    for ending in endings:
        if not (intervals[ENDING] == ending).any():
            raise DataError(
                f"Nobody's therapy ends by {ending!r} in these intervals.", remedy="Leave it out of endings=."
            )
        rhs = formula if isinstance(formula, str) else formula[ending]
        fits[ending] = fit_dropout(rhs, intervals, ending=ending, **options)
    return EndingsFit(fits)
