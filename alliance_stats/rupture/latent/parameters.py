"""The parameters of the latent model, and the small file in which one study's estimates serve another's patients."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import MISSING, dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np

from alliance_stats.rupture.latent.courses import Floats
from alliance_stats.tables.schema import DataError

DEPTH_NODES = np.array([-1.81, -0.905, 0.0, 0.905, 1.81])  # mean 0 and variance 1 with the weights of -1.6, ..., 1.6
DEPTH_WEIGHTS = np.array([0.278, 0.726, 1.0, 0.726, 0.278]) / 3.008
FORMAT, VERSION = "alliance_stats latent parameters", 1
WITHIN = {  # what a parameter read from a file may be: more than the first, at most the second
    "onset_rate": (0.0, 0.9999),
    "repair_rate": (0.0, 0.9999),
    "depth": (0.0, np.inf),
    "depth_cv": (0.0, np.inf),
    "autocorrelation": (-1e-12, 0.9999),
    "state_share": (-1e-12, 1.0),
    "within_sd": (0.0, np.inf),
    "within_sd_df": (2.0, np.inf),
    "level_sd": (-1e-12, np.inf),
    "trend_sd": (-1e-12, np.inf),
    "never_ends": (-1e-12, 0.9999),
    "min_ratings": (0.0, np.inf),
    "max_length": (0.0, np.inf),
    "step": (-1e-12, np.inf),
    "rise_sd": (-1e-12, np.inf),
    "rise_time": (0.0, np.inf),
}


@dataclass(frozen=True)
class LatentParameters:
    """What :func:`detect_latent` estimates, in points of the score and in sessions.

    `never_ends` and `rise_lifts` are 0 in files of earlier versions.

    Attributes
    ----------
    onset_rate, repair_rate : float
        Chance, per session, that a rupture begins where none is open, and that an open one ends unless it never does.
    never_ends : float
        Share of ruptures that last to the end of therapy however long it is.
    depth, depth_cv : float
        Median depth of ruptures in points, and their spread (coefficient of variation; depths are log-normal).
    autocorrelation, state_share : float
        Of the patient's true fluctuation between sessions one apart; its share of the within-patient variance, the rest
        being measurement noise.
    within_sd, within_sd_df : float
        Typical within-patient SD in points, ruptures and trends apart, and how similar patients are in it: degrees of
        freedom of an inverse-gamma distribution (large: similar).
    narrowing : float
        The within-patient SD is proportional to (session - first + 1) ** -narrowing; 0: it stays the same.
    level, level_sd, trend, trend_sd : float
        Score at session `centre` and change per session: mean over patients and SD between them.
    rise, rise_sd, rise_time : float
        By how much scores in session `first` lie below the line they approach, mean and SD between patients; sessions
        after which 63 % of that early rise are over (its time constant).
    rise_lifts : float
        Where a patient with a larger early rise differs: 0, in the first session (lower); 1, in the level approached
        (higher).
    centre, first : float
        The session number at which `level` and `within_sd` hold, the early rise being over; that with which therapy
        begins.
    floor, ceiling, step : float
        Scores at these values are read as "this or beyond"; minus and plus infinity where there is no such bound. The
        distance between neighbouring scores: a score at a bound is read as half a step inside it, or beyond.
    min_ratings, max_length : int
        Ratings a patient must have before a rupture can begin, and the longest rupture, in rated sessions, that ends
        within the series. Stated, not estimated.
    """

    onset_rate: float
    repair_rate: float
    depth: float
    depth_cv: float
    autocorrelation: float
    state_share: float
    within_sd: float
    within_sd_df: float
    level: float
    level_sd: float
    trend: float
    trend_sd: float
    centre: float
    floor: float = -np.inf
    ceiling: float = np.inf
    min_ratings: int = 2
    max_length: int = 10
    step: float = 0.0
    rise: float = 0.0
    rise_sd: float = 0.0
    rise_time: float = 2.0
    narrowing: float = 0.0
    first: float = 1.0
    never_ends: float = 0.0
    rise_lifts: float = 0.0

    @property
    def mean_length(self) -> float:
        """Mean length, in sessions, of the ruptures that end."""
        return 1.0 / self.repair_rate

    def depths(self) -> Floats:
        """The depths the scan averages over, in points, with weights ``DEPTH_WEIGHTS``."""
        return np.asarray(self.depth * np.exp(np.sqrt(np.log1p(self.depth_cv**2)) * DEPTH_NODES))

    def in_words(self, *, ruptures: bool) -> list[str]:
        """Lines of an account: of ruptures (if asked for), of the spread of scores, and of bounds."""
        lines = []
        if ruptures:
            lines += [
                f"  onset {self.onset_rate:.3f} per session without rupture, mean length {self.mean_length:.1f} "
                f"sessions; {100 * self.never_ends:.0f} % never end",
                f"  depth {self.depth:.2f} points = {self.depth / self.within_sd:.1f} within-patient SD",
            ]
        lines += [
            f"  within-patient SD {self.within_sd:.2f} points, between {self.level_sd:.2f}; autocorrelation of the "
            f"true fluctuation {self.autocorrelation:.2f}, its share of the within-patient variance "
            f"{self.state_share:.2f}"
        ]
        for bound, word in ((self.floor, "lower"), (self.ceiling, "higher")):
            if np.isfinite(bound):
                lines += [f"  scores of {bound:g} were read as 'this or {word}'"]
        return lines

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the parameters to a small JSON file; :func:`read_parameters` reads it back to the last digit.

        The file is written beside its place first and then moved there, so that a reader never sees half of it.
        """
        target = Path(path)
        values = {item.name: getattr(self, item.name) for item in fields(self)}
        finite = {name: value if np.isfinite(value) else None for name, value in values.items()}
        content = {"format": FORMAT, "version": VERSION, "parameters": finite}
        beside = target.with_name(f".{target.name}.{os.getpid()}")
        try:
            beside.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8", newline="\n")
            beside.replace(target)
        finally:
            beside.unlink(missing_ok=True)


def read_parameters(path: str | os.PathLike[str]) -> LatentParameters:
    """Parameters that :meth:`LatentParameters.save` wrote, for `detect_latent(parameters=)` or `states_so_far`.

    Raises
    ------
    DataError
        If the file is not such a file, was written by a later version, or lacks or misstates a parameter.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> path = Path(tempfile.mkdtemp()) / "clinic.json"
    >>> parameters = LatentParameters(
    ...     onset_rate=0.05, repair_rate=0.4, depth=1.2, depth_cv=0.3, autocorrelation=0.3, state_share=0.5,
    ...     within_sd=0.6, within_sd_df=8, level=5, level_sd=0.9, trend=0.02, trend_sd=0.03, centre=8, ceiling=7.0)
    >>> parameters.save(path)
    >>> read_parameters(path) == parameters
    True
    """
    try:
        content = json.loads(Path(path).read_text(encoding="utf-8"))
    except ValueError as error:
        raise DataError(f"{str(path)!r} is not a JSON file: {error}.", remedy=_REMEDY) from error
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise DataError(f"{str(path)!r} does not hold latent parameters.", remedy=_REMEDY)
    version, values = content.get("version"), content.get("parameters")
    if version != VERSION or not isinstance(values, dict):
        raise DataError(
            f"{str(path)!r} has version {version!r} of the format; this package reads version {VERSION}.",
            remedy="Update alliance_stats, or save the parameters again with this version.",
        )
    return _checked(values, str(path))


_REMEDY = "Write the file with latent.parameters.save(path)."


def _checked(values: Mapping[str, Any], path: str) -> LatentParameters:
    """The parameters from the values of a file, each a number in its range."""
    known = {item.name: item for item in fields(LatentParameters)}
    required = [name for name, item in known.items() if item.default is MISSING]
    wrong = [f"lacks {name}" for name in required if name not in values]
    wrong += [f"has the unknown parameter {name}" for name in values if name not in known]
    read: dict[str, Any] = {}
    for name in (name for name in known if name in values):
        value: Any = _UNBOUNDED.get(name) if values[name] is None else values[name]
        low, high = WITHIN.get(name, (-np.inf, np.inf))
        whole = isinstance(known[name].default, int)
        number = isinstance(value, (int, float)) and not isinstance(value, bool) and value == value
        if not number or (whole and value != int(value)) or not (low < value <= high or name in _UNBOUNDED):
            wrong.append(f"has {name}={values[name]!r}")
        else:
            read[name] = int(value) if whole else float(value)
    if not wrong and not read.get("floor", -np.inf) < read.get("ceiling", np.inf):
        wrong.append(f"has floor={read['floor']!r}, which is not below ceiling={read['ceiling']!r}")
    if wrong:
        raise DataError(f"{path!r} {'; '.join(wrong)}.", remedy=_REMEDY)
    return LatentParameters(**read)


_UNBOUNDED = {"floor": -np.inf, "ceiling": np.inf}


PARAMETER_WORDS = (
    ("onset_rate", "per session", "chance that a rupture begins where none is open"),
    ("repair_rate", "per session", "chance that an open rupture ends, unless it never does"),
    ("mean_length", "sessions", "mean length of a rupture that ends"),
    ("never_ends", "", "share of ruptures that last to the end of therapy"),
    ("depth", "points", "median depth of a rupture"),
    ("depth_cv", "", "coefficient of variation of depth"),
    ("autocorrelation", "", "of the true fluctuation, between sessions one apart"),
    ("state_share", "", "share of the within-patient variance that is true fluctuation"),
    ("within_sd", "points", "typical within-patient SD, ruptures and trend apart"),
    ("within_sd_df", "", "how similar patients are in that SD; large: similar"),
    ("level", "points", "mean over patients at the central session"),
    ("level_sd", "points", "SD between patients"),
    ("trend", "points per session", "mean change"),
    ("trend_sd", "points per session", "SD of the change between patients"),
    ("rise", "points", "mean early rise: by how much the first session lies below the line approached"),
    ("rise_sd", "points", "SD of the early rise between patients"),
    ("rise_lifts", "", "whether a larger rise means a lower start (0) or a higher level approached (1)"),
    ("rise_time", "sessions", "after which 63 % of the early rise are over"),
    ("narrowing", "", "the within-patient SD goes with (session - first + 1) ** -narrowing"),
    ("first", "session", "with which therapy begins"),
    ("centre", "session", "where the mean level and the within-patient SD hold"),
    ("floor", "points", "scores at this value are read as this or lower"),
    ("ceiling", "points", "scores at this value are read as this or higher"),
    ("step", "points", "between a bound and the next score: half of it is read as the bound"),
    ("min_ratings", "ratings", "needed before a rupture can begin; stated, not estimated"),
    ("max_length", "ratings", "longest rupture that ends within the series; stated, not estimated"),
)
"""Each parameter with its unit and meaning, for tables."""
