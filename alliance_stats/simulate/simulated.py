"""The verb: a study from the parameters of its world."""

from __future__ import annotations

from alliance_stats.simulate.build import build_study
from alliance_stats.simulate.codes import Coding, with_codes
from alliance_stats.simulate.study import Study, World
from alliance_stats.tables.schema import Seed, generator

NOT_OF_WORLD = ("seed", "instrument", "item_name", "codes")
"""Arguments that say how the world is drawn and written down, not what it is like."""


def simulate_study(
    *,
    seed: Seed,
    n_patients: int = 200,
    n_therapists: int = 20,
    n_sessions: float = 16,
    sessions_sd: float = 10,
    max_sessions: int = 60,
    instrument: str = "WAI-SR",
    item_name: str = "wai_{item}",
    alliance_mean: float = 4.1,
    alliance_sd: float = 0.7,
    within_share: float = 0.145,
    therapist_share: float = 0.05,
    growth: float = 0.01,
    growth_sd: float = 0.01,
    early_growth: float = 0.0,
    early_growth_sd: float = 0.0,
    narrowing: float = 1.0,
    autocorrelation: float = 0.3,
    tails: float | None = None,
    skew: float = 0.0,
    reliability: float = 0.9,
    halo: float = 0.5,
    subscale_sd: float = 0.2,
    bounded: bool = True,
    rater_agreement: float = 0.36,
    rater_gap: float = 0.63,
    rupture_rate: float = 0.04,
    rupture_prone: float = 1.0,
    rupture_depth: float = 2.0,
    rupture_depth_sd: float = 0.5,
    rupture_length: float = 2.0,
    fall_sessions: int = 1,
    repair: tuple[float, float, float, float] = (0.38, 0.20, 0.22, 0.20),
    repair_gain: float = 0.5,
    partial_recovery: float = 0.6,
    symptom_start: float = 15.5,
    symptom_sd: float = 4.3,
    symptom_slope: float = -0.25,
    symptom_slope_sd: float = 0.15,
    symptom_noise: float = 2.5,
    symptom_carry: float = 0.3,
    symptom_therapist_sd: float = 1.0,
    alliance_effect: float = -1.5,
    level_effect: float = -0.5,
    rupture_effect: float = 0.5,
    repair_effect: float = -0.3,
    symptom_feedback: float = 0.0,
    dropout: float = 0.197,
    dropout_rupture: float = 1.0,
    dropout_repair: float = -0.3,
    dropout_level: float = -0.3,
    dropout_therapist_sd: float = 0.45,
    dropout_lag: int = 1,
    transferred: float = 0.04,
    ongoing: float = 0.08,
    therapist_change: float = 0.05,
    missed: float = 0.08,
    missed_rupture: float = 0.10,
    late: float = 0.06,
    missing: float = 0.05,
    missing_rupture: float = 0.10,
    codes: bool | Coding = False,
) -> Study:
    """Simulate a psychotherapy study whose truth is known.

    Defaults without a source are chosen: no published figure is behind them. For a world without ruptures set
    ``rupture_rate=0``; without effects set the ``*_effect`` and ``dropout_*`` parameters (but ``dropout``) to 0; for
    a linear world, in which models are exactly right, set ``bounded=False``.

    Parameters
    ----------
    seed : int or numpy.random.Generator
        Where the random numbers come from; the same seed gives the same study.
    n_patients, n_therapists : int
        Size of the study; caseloads are uneven.
    n_sessions, sessions_sd, max_sessions : float, float, int
        Mean, SD (0: the same number for all) and maximum of the *planned* sessions, log-normal. Mean numbers of
        sessions ran from 10.0 to 19.6 over five decades of one clinic's files (Kinsey, 1999); spread chosen.
    instrument, item_name : str
        Name in ``INSTRUMENTS`` and pattern of the item columns. The score is the mean of the items.
    alliance_mean : float
        True alliance of the average patient in session 1, in points. Chosen so that about a tenth of the ratings
        reach the ceiling: client-rated alliance shows moderate to large ceilings (Meier & Feeley, 2022; 37 studies,
        N = 6,439).
    alliance_sd : float
        SD of the true alliance over patients and sessions, ruptures and growth apart, in points.
    within_share : float
        Share of that variance that is the session's state. With ``reliability=0.9`` it puts .77 of a single rating's
        variance between patients, the generalisability of one session found by Crits-Christoph et al. (2011).
    therapist_share : float
        Share that is the therapist's. About 5 % of outcome variance lies between therapists; for the alliance, chosen.
    growth, growth_sd : float
        Mean and SD over patients of the alliance's change per session, in points.
    autocorrelation : float
        Of the state from one session number to the next.
    early_growth, early_growth_sd : float
        Mean and SD over patients of an early rise that saturates, ``early_growth * (1 - exp(-(session - 1) / 2))``, in
        points on top of the line. Chosen.
    narrowing : float
        SD of state and error late in therapy as a multiple of the SD in the first session; reached as
        ``exp(-(session - 1) / 4)`` fades. Below 1: the scores calm down. ``reliability`` and ``rupture_unit`` are those
        of the first session.
    tails : float, optional
        Degrees of freedom of t-distributed states instead of normal ones; unit variance is kept.
    skew : float
        Skewness of the shocks to the state, gamma-distributed with unit variance. Below 0: falls are larger than rises.
    reliability : float
        Share of the variance of one session's score, over patients and sessions without ruptures and growth, that is
        not measurement error; exact, rounding and ceiling included. Alpha of the WAI-SR exceeds .80 in both samples
        of Munder et al. (2010); .90 chosen.
    halo : float
        Share of the error that all items of a session share, as in forms with one answer throughout (seen by Meier,
        2022). Chosen.
    subscale_sd : float
        SD of a patient's stable deviation on each subscale, in points.
    bounded : bool
        Whether answers are rounded to the instrument's range and symptoms to 0-27.
    rater_agreement : float
        Correlation of patient's and therapist's score in a session: r = .36 over 53 studies (Tryon, Blackwell &
        Hammel, 2007).
    rater_gap : float
        How far therapists rate below patients, in SD of the score: d = .63 (Tryon et al., 2007).
    rupture_rate : float
        Probability that a rupture begins in a session from the third on where none is under way. .04 makes about a
        third of 16-session therapies have one; published shares of patients run from 22 to 50 % and are
        uncorrected for chance.
    rupture_prone : float
        Share of patients who can have ruptures at all.
    rupture_depth, rupture_depth_sd : float
        Mean and SD of the full depth, in within-patient SD of a score without ruptures (``rupture_unit`` in the
        truth); at least a quarter of the mean.
    rupture_length : float
        Mean number of sessions until a rupture ends, geometric; a rupture that never ends has none.
    fall_sessions : int
        Sessions over which the fall accumulates.
    repair : tuple of 4 floats
        Shares of ruptures that end past the baseline, at it, short of it, never. In Larsson et al. (2018) 14.7 of
        25.4 % with a rupture were repaired, that is .58; the split within is chosen.
    repair_gain : float
        What a rupture repaired past the baseline adds for good, in within-patient SD.
    partial_recovery : float
        Share of the fall regained where recovery stays short.
    symptom_start, symptom_sd : float
        Mean and SD over patients of the symptom score at the start: PHQ-9 of 15.5 (SD 4.3) in the currently depressed
        patients of five English services (PubMed Central EMS82827, table 3).
    symptom_slope, symptom_slope_sd : float
        Change per session along the undisturbed line. The same patients ended at 10.8, that is -0.3 per session over
        16 sessions; the rest comes from the alliance. SD chosen.
    symptom_noise, symptom_carry : float
        SD of a session's shock, and the share of a deviation that carries over to the next session.
    symptom_therapist_sd : float
        SD between therapists: about 5 % of the variance between patients of outcome.
    alliance_effect : float
        Symptom points per point of true alliance above the patient's own level, one session later. The default is
        about -.16 in standard units on the score, the lower end of .16 to .21 in Falkenström et al. (2019).
    level_effect : float
        Symptom points per SD of the patient's true alliance level.
    rupture_effect, repair_effect : float
        Symptom points while a rupture was open, or once one had been repaired, in the session before, beyond what
        the fall of the alliance itself does. Direction as in Rubel et al. (2018); size chosen.
    symptom_feedback : float
        Points of alliance per symptom point above the patient's line in the session before.
    dropout : float
        Expected share of patients who drop out, other endings apart: 19.7 % (Swift & Greenberg, 2012).
    dropout_rupture : float
        Log-odds of dropout while a rupture is open. 1.0 is the d = .55 between alliance and dropout (Sharf et al.,
        2010) as a log odds ratio; no figure for score-detected ruptures was found in print.
    dropout_repair, dropout_level : float
        Log-odds once a rupture has been repaired, and per SD of the patient's alliance level.
    dropout_therapist_sd : float
        SD between therapists in log-odds: 5.7 % of the latent variance.
    dropout_lag : {1, 2}
        How many sessions before the one the patient fails to come to the rupture state is known that decides: 1, the
        last session's; 2, the one before it. It is the ``lag`` of `dropout_intervals`.
    transferred, ongoing, therapist_change : float
        Shares of patients referred on, or still in treatment when the study ends, at a random session; and of those
        whose later sessions are with another therapist of the study.
    missed, missed_rupture, late : float
        Probability that a session is cancelled or not attended, what a rupture adds to it, and that of coming late.
    missing, missing_rupture : float
        Probability that a form is missing at random, and what a rupture adds for the patient's alliance form.
    codes : bool or Coding
        Whether sessions are coded by observers and reported by patients and therapists; a
        :class:`alliance_stats.simulate.Coding` says how. The rest of the study is the same with and without.

    Returns
    -------
    Study
        ``.sessions``, ``.items``, ``.therapist_items``, ``.events``, ``.endings``, ``.truth``, ``.codes``.

    Raises
    ------
    ValueError
        For an impossible parameter.

    Examples
    --------
    >>> study = simulate_study(n_patients=30, n_therapists=4, seed=1)
    >>> study
    Study(simulated: 30 patients, 4 therapists, ... sessions, ... true ruptures)
    >>> list(study.sessions)
    ['patient', 'therapist', 'session', 'date', 'attendance', 'alliance', 'alliance_therapist', 'phq9']
    """
    world = World(**{name: value for name, value in locals().items() if name not in NOT_OF_WORLD})
    rng = generator(seed)
    study = build_study(world, instrument=instrument, item_name=item_name, rng=rng)
    if codes is False:
        return study
    return with_codes(study, Coding() if codes is True else codes, rng.spawn(1)[0])
