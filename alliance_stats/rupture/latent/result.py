"""What the latent detector returns: probabilities, events at a chosen rate of false alarms, and an account in words."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd

from alliance_stats.rupture.latent.courses import Courses, Floats, Ints
from alliance_stats.rupture.latent.endings import ended_short, most_likely, rupture_endings
from alliance_stats.rupture.latent.flagging import statistic
from alliance_stats.rupture.latent.null import null_series
from alliance_stats.rupture.latent.parameters import PARAMETER_WORDS, LatentParameters
from alliance_stats.rupture.latent.posterior import Posterior
from alliance_stats.rupture.latent.tables import events_table, pattern_table, recovery_table, states_table
from alliance_stats.rupture.latent.verdict import EMPTY, SUPPORTED, VERDICTS
from alliance_stats.tables.rendering import as_html
from alliance_stats.tables.schema import PATIENT, require_choice
from alliance_stats.tables.shares import check_level

VERSIONS = ("smoothed", "filtered")
RATES = ("patient", "session")


@dataclass(frozen=True, eq=False)
class LatentRuptures:
    """What :func:`detect_latent` found.

    Attributes
    ----------
    probabilities : DataFrame
        One row per row of SESSIONS, sorted: ``patient``, ``session``, the score, ``p_smoothed`` and ``p_filtered``
        (probability that a rupture is open, given all the patient's ratings, and given those so far), ``p_onset`` (that
        one begins here, given all), ``baseline`` (the score expected without a rupture) and ``evidence_smoothed``,
        ``evidence_filtered`` (natural log of the odds that the patient has, or has had, any rupture, plus one). NaN
        where the session has no score, or the patient too few for a rupture to begin (fewer than three, by default).
    parameters : LatentParameters
        Rates of onset and repair, depth, autocorrelation and the rest, in points and sessions.
    verdict : str
        ``supported``: ruptures improve the fit by BIC, and falls explain more than rises would.
        ``ambiguous``: rises of the same kind explain as much, as noise with heavy tails would have it.
        ``none``: the data do not support ruptures. ``untested``: the parameters were given. Where the question cannot
        be answered, the reason: ``cannot be separated from a change of level``, ``scores too skewed``,
        ``scores too coarse``, ``too few sessions`` (what each rests on: `diagnostics` and ``docs/latent.md``).
    diagnostics : DataFrame
        ``quantity``, ``value``, ``meaning``: the fit, the tests behind `verdict`, and what was left out.
    """

    score: str
    probabilities: pd.DataFrame
    parameters: LatentParameters
    verdict: str
    diagnostics: pd.DataFrame
    _courses: Courses = field(repr=False)
    _posterior: Posterior = field(repr=False)
    _rows: Ints = field(repr=False)
    _seed: int = field(repr=False)

    @property
    def supported(self) -> bool:
        """Whether the data support ruptures."""
        return self.verdict == SUPPORTED

    @property
    def verdict_words(self) -> str:
        """The verdict as a sentence."""
        return VERDICTS[self.verdict]

    def events(
        self,
        *,
        false_alarm: float = 0.05,
        per: str = "patient",
        version: str = "smoothed",
        session_probability: float = 0.3,
        even_if_unsupported: bool = False,
    ) -> pd.DataFrame:
        """Ruptures at a chosen rate of false alarms.

        A session is flagged if the patient's evidence for any rupture exceeds a threshold and, given that there is one,
        it is open at the session with more than `session_probability`; neighbouring flagged sessions make one rupture.
        The threshold is the one that series simulated without ruptures exceed at the rate `false_alarm`: simulated from
        the fitted model at the patients' own sessions, with bounds, and with noise as heavy-tailed as the observed
        upward errors.

        Parameters
        ----------
        false_alarm : float
            Share of patients without a rupture (or of their sessions) that may be flagged, in (0, 1).
        per : {"patient", "session"}
            What `false_alarm` counts.
        version : {"smoothed", "filtered"}
            ``filtered`` uses no later session and may feed models that look ahead.
        session_probability : float
            In [0, 1), given that the patient has a rupture: lower finds more sessions of a flagged patient, with less
            precision.
        even_if_unsupported : bool
            Give events even where `verdict` is "none" or "too few sessions"; they are then what chance gives.

        Returns
        -------
        DataFrame
            EVENTS. ``onset`` is the first flagged session, ``baseline`` the score expected there without a rupture.
            ``repaired_at`` is the first later session that is not flagged and whose score exceeds the baseline (or is
            at the ceiling); until then further flagged sessions belong to the rupture. Never repaired, it is
            ``unrepaired``, or ``censored`` if it began at the last rating. ``drop_units`` is the drop in typical
            within-patient SD. ``attrs`` hold ``rule``, ``score``, ``prospective``, ``false_alarm``, ``threshold`` and
            ``verdict``.
        """
        require_choice(version, VERSIONS, name="version")
        threshold = self.threshold(
            false_alarm=false_alarm, per=per, version=version, session_probability=session_probability
        )
        if self.verdict in EMPTY and not even_if_unsupported:
            flagged = np.zeros_like(self._courses.rated)
        else:
            flagged = statistic(self._posterior, self._courses, version, session_probability) > threshold
        level = self._posterior.baseline if version == "smoothed" else self._posterior.baseline_so_far
        rule = f"latent_{version}"
        events = events_table(flagged, self._courses, level, self.parameters, self._patients(), self.score, rule)
        events.attrs.update(
            rule=rule,
            score=self.score,
            prospective=version == "filtered",
            false_alarm=false_alarm,
            per=per,
            threshold=threshold,
            verdict=self.verdict,
        )
        return events

    def threshold(
        self,
        *,
        false_alarm: float = 0.05,
        per: str = "patient",
        version: str = "smoothed",
        session_probability: float = 0.3,
    ) -> float:
        """The log evidence that series without ruptures exceed at the rate `false_alarm`."""
        require_choice(version, VERSIONS, name="version")
        require_choice(per, RATES, name="per")
        if not 0 < false_alarm < 1:
            raise ValueError(f"false_alarm={false_alarm!r} must lie between 0 and 1.")
        if not 0 <= session_probability < 1:
            raise ValueError(f"session_probability={session_probability!r} must be at least 0 and below 1.")
        found, courses, _ = self._null
        values = statistic(found, courses, version, session_probability)
        values = values.max(axis=1) if per == "patient" else values[courses.rated]
        limit = float(np.quantile(values, 1 - false_alarm, method="higher"))
        return max(limit, 0.0)

    @property
    def noise_df(self) -> float:
        """Degrees of freedom of the noise behind :meth:`threshold`: infinite if its tails are normal."""
        return self._null[2]

    @cached_property
    def _null(self) -> tuple[Posterior, Courses, float]:
        """Series without ruptures, what the model says of them, and the tails of their noise."""
        return null_series(self.parameters, self._courses, self._posterior, self._seed)

    def states(self, version: str = "filtered") -> pd.DataFrame:
        """What is known of ruptures at each session, as probabilities: STATES for models and figures.

        Parameters
        ----------
        version : {"filtered", "smoothed"}
            ``filtered``: given the ratings up to and including the session, for whatever predicts. ``smoothed``: given
            the whole course, for description.

        Returns
        -------
        DataFrame
            STATES, one row per row of SESSIONS: ``patient``, ``session`` and, in [0, 1], the probability that

            - ``rupture_open``: a rupture is open;
            - ``repaired_to_baseline``: one has ended, the level being back;
            - ``repaired_before``: one has ended, and a score since then has exceeded the baseline at its onset;
            - ``unrepaired``: one has ended, and no score since then has;
            - ``short`` (smoothed only): one has ended, and the level has stayed below where it was;
            - ``rupture_begins`` (smoothed only): one begins here;

            and ``baseline``, the score expected without a rupture (NaN where the session has no score).

            Sessions without a score carry the latest values forward; 0 before the first rating that can be judged. For
            sessions that follow no rating they are what was known then. ``attrs`` hold ``prospective``, ``rule``,
            ``score``, ``verdict``, the share of scores ``at_bound``, the ``inflation`` of the variance of expected
            numbers, and of the parameters ``depth`` and ``within_sd``, in points.
        """
        require_choice(version, VERSIONS, name="version")
        short = self._short if version == "smoothed" else None
        table = states_table(self.probabilities, self.score, self.parameters, self._courses, self._posterior, short)
        table.attrs = {
            "prospective": version == "filtered",
            "rule": f"latent_{version}",
            "score": self.score,
            "verdict": self.verdict,
            "depth": self.parameters.depth,
            "within_sd": self.parameters.within_sd,
            "at_bound": self._at_bound,
            "inflation": float(self._told.get("inflation", 1.0)),
        }
        return table

    @cached_property
    def _short(self) -> Floats:
        return ended_short(self._most_likely, self._courses)

    @cached_property
    def _most_likely(self) -> Any:
        """What the states of the whole course and the table of endings both rest on."""
        return most_likely(self.parameters, self._courses)

    def patterns(self) -> pd.DataFrame:
        """The probability of each rupture pattern of PATIENTS, given the whole course.

        Returns
        -------
        DataFrame
            One row per rated patient: ``patient``, ``p_pattern_none``, ``p_pattern_repaired``,
            ``p_pattern_unrepaired``, ``p_pattern_mixed``, ``p_pattern_censored``; they sum to 1.

        Notes
        -----
        As if a patient had two ruptures at most: with N the expected number of ruptures and P the probability of any,
        two have the probability N - P. Their endings are taken to be independent.
        """
        return pattern_table(self._posterior, self._patients())

    def recovery(
        self, events: pd.DataFrame | None = None, *, band: float | None = None, level: float = 0.95
    ) -> pd.DataFrame:
        """For each rupture, where the latent level lies afterwards: past, at or short of the level before.

        One score above the baseline is mostly noise; this compares all ratings after the rupture with the patient's
        course before it, allowing for noise and for fluctuation that carries over. It looks at the whole course and may
        not feed a model that predicts.

        Parameters
        ----------
        events : DataFrame, optional
            What :meth:`events` returned; by default its ruptures at 5 % false alarms.
        band : float, optional
            How far from the level before still counts as at it, in points; by default half the within-patient SD.
        level : float
            Of the interval.

        Returns
        -------
        DataFrame
            One row per rupture: ``patient``, ``event``, ``onset``, ``last_open`` (the last session at which it was
            more likely open than not), ``n_after`` (ratings behind the answer), ``level_before`` (expected without a
            rupture, at the onset), ``difference`` (level after minus before, trend apart) with ``ci_low`` and
            ``ci_high``, ``p_past``, ``p_at``, ``p_short`` (they sum to 1), ``band`` and ``level``. NaN where no rating
            follows.

        Notes
        -----
        Of single ruptures; for the share repaired see :meth:`endings`: those found, and ended, are no random sample.
        Given which sessions the ruptures took; scores at a bound enter as they were recorded, so that at a ceiling a
        rise past the level before may not show.
        """
        check_level(level)
        band = 0.5 * self.parameters.within_sd if band is None else float(band)
        if not band >= 0:
            raise ValueError(f"band={band!r} must be 0 or more points.")
        events = self.events() if events is None else events
        owner = pd.Index(self._patients()).get_indexer(pd.Index(events[PATIENT])).astype(np.int64)
        return recovery_table(self.parameters, self._courses, self._posterior, events, owner, band, level)

    def endings(self, *, level: float = 0.95) -> pd.DataFrame:
        """How ruptures end: the shares repaired, short of the level before, and open when therapy ends.

        Of all ruptures that begin before a patient's last rating, found or not; not of the events, among which lasting
        ruptures are too many because they are found more easily. Estimated by maximum likelihood from all series, given
        the parameters of the scores (:func:`~alliance_stats.rupture.latent.endings.rupture_endings`).

        Parameters
        ----------
        level : float
            Of the intervals. They allow for what the scores do not tell, and are wide: whether the level came back has
            to be read from a few noisy ratings per rupture.

        Returns
        -------
        DataFrame
            ``ending`` (``repaired``: over in therapy, with the level where it was before or higher; ``short``: over,
            with the level below; ``open``: not over at the last rating), ``estimate``, ``ci_low``, ``ci_high``,
            ``meaning``. NaN where `verdict` is that there are no ruptures, or too few sessions to tell.
        """
        check_level(level)
        table = rupture_endings(self._most_likely, level=level)
        if self.verdict in EMPTY:
            table[["estimate", "ci_low", "ci_high"]] = np.nan
        return table

    @property
    def _at_bound(self) -> float:
        """The share of ratings read as 'this or beyond'."""
        return float(self._told["at_ceiling"] + self._told["at_floor"])

    @cached_property
    def _told(self) -> pd.Series:
        """The values of `diagnostics` by quantity."""
        return self.diagnostics.set_index("quantity")["value"]

    def _patients(self) -> pd.Series:
        """The rated patients, one for each row of the arrays."""
        return self.probabilities[PATIENT].iloc[self._rows].reset_index(drop=True)

    def tidy_parameters(self) -> pd.DataFrame:
        """The estimates as a table: ``parameter``, ``value``, ``unit``, ``meaning``."""
        rows = [(name, getattr(self.parameters, name), unit, meaning) for name, unit, meaning in PARAMETER_WORDS]
        return pd.DataFrame(rows, columns=["parameter", "value", "unit", "meaning"])

    def summary(self) -> str:
        """A short account in words and numbers."""
        patients = int((self._courses.n_rated > self.parameters.min_ratings).sum())
        title = f"Latent ruptures in {self.score!r}: {patients} patients, {int(self._courses.n_rated.sum())} ratings"
        words = self.parameters.in_words(ruptures=self.verdict not in EMPTY)
        return "\n".join([title, f"  {self.verdict_words}", *words])

    def __str__(self) -> str:
        return self.summary()

    __repr__ = __str__

    def _repr_html_(self) -> str:
        title, *lines = self.summary().splitlines()
        tables = {"Estimates": self.tidy_parameters(), "Diagnostics": self.diagnostics}
        return as_html([title, *(line.strip() for line in lines)], tables)
