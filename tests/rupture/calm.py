"""Studies without ruptures, or with a known share of them, for tests of the chance level."""

import numpy as np
import pandas as pd

from alliance_stats.rupture.rules.criterion import judge
from alliance_stats.rupture.rules.series import Series

FIVE_POINTS = {"step": 1.0, "bounds": (1.0, 5.0), "level": 4.2, "between": 0.6, "sd": 0.5}


def world(
    rng,
    *,
    patients=100,
    length=16,
    fixed=False,
    sd=0.6,
    ar=0.3,
    noise=0.3,
    spread=0.3,
    slope=0.02,
    slope_sd=0.02,
    level=5.2,
    between=0.7,
    bounds=(1.0, 7.0),
    step=1 / 12,
    missing=0.1,
    ruptured=0.0,
    depth=2.5,
    items=0,
    rise=0.0,
    rise_sd=0.0,
    narrowing=0.0,
    noise_law="normal",
    longest=4,
):
    """Scores of a study as a Series; a share `ruptured` of patients has one rupture of 1 to 4 sessions.

    With `rise` (and its SD over patients) the mean course rises and saturates within three sessions or so; with
    `narrowing` the spread falls from the first to the last sessions by that power of e. `noise_law` is "normal",
    "skewed" (centred exponential, downwards) or "dips" (6 % of ratings lie three SD lower).

    With `items`, the score is the mean of so many whole answers, each of them cut at the bounds: a soft ceiling.
    """
    lengths = np.full(patients, length) if fixed else np.clip(rng.geometric(1 / length, patients) + 3, 3, 3 * length)
    scores, sessions, counts = [], [], []
    for n in lengths:
        own = sd * np.exp(spread * rng.standard_normal() - spread**2)
        time = np.arange(n)
        state = rng.standard_normal(n)
        for k in range(1, n):
            state[k] = ar * state[k - 1] + np.sqrt(1 - ar**2) * state[k]
        line = (
            level + between * rng.standard_normal() + (slope + slope_sd * rng.standard_normal()) * (time - time.mean())
        )
        line = line + (rise + rise_sd * rng.standard_normal()) * (1 - np.exp(-time / 1.5)) if rise or rise_sd else line
        width = np.exp(-narrowing * (1 - np.exp(-time / 5))) if narrowing else 1.0
        if noise_law == "skewed":
            state = 1 - rng.exponential(size=n)
        error = np.sqrt(1 - noise) * state + np.sqrt(noise) * rng.standard_normal(n)
        if noise_law == "dips":
            error -= 3.0 * (rng.random(n) < 0.06)
        y = line + own * width * error
        if rng.random() < ruptured:
            onset = rng.integers(1, n)
            y[onset : onset + (rng.integers(1, longest + 1) if longest > 0 else -longest)] -= depth * sd
        kept = rng.random(n) >= missing
        kept[0] |= not kept.any()
        if items:
            own_item = 0.5 * rng.standard_normal(items)
            y = np.clip(np.rint(y[:, None] + own_item + 0.6 * rng.standard_normal((n, items))), *bounds).mean(axis=1)
        y = np.rint(y / step) * step if step else y
        scores.append(np.clip(y, *bounds)[kept])
        sessions.append(time[kept] + 1)
        counts.append(kept.sum())
    counts = np.array(counts)
    return Series(
        score=np.concatenate(scores),
        session=np.concatenate(sessions).astype(np.int64),
        start=np.cumsum(counts) - counts,
        length=counts,
        study=np.zeros(patients, dtype=np.int64),
    )


def as_sessions(series):
    return pd.DataFrame({"patient": series.owner, "session": series.session, "alliance": series.score})


def noise(patients, length, *, ar=0.0, rng=None):
    """Standard normal courses without any rupture, as in the noise-only table."""
    rng = rng or np.random.default_rng(7)
    scores = rng.standard_normal((patients, length))
    for k in range(1, length):
        scores[:, k] = ar * scores[:, k - 1] + np.sqrt(1 - ar**2) * scores[:, k]
    counts = np.full(patients, length)
    return Series(
        score=scores.ravel(),
        session=np.tile(np.arange(1, length + 1), patients),
        start=np.cumsum(counts) - counts,
        length=counts,
        study=np.zeros(patients, dtype=np.int64),
    )


def flagged(series, rule):
    """Share of patients with a fall, and share of sessions."""
    fires = judge(series, rule).fires
    return (series.total(fires) > 0).mean(), fires.mean()


def two_raters(seed=1, patients=60, t=12):
    """Sudden falls in 8 of 100 sessions, seen by both raters."""
    rng = np.random.default_rng(seed)
    alliance = np.round(rng.normal(5, 0.4, (patients, t)), 1)
    alliance[rng.random((patients, t)) < 0.08] -= 2.5
    therapist = np.round(alliance + rng.normal(0, 0.5, (patients, t)), 1)
    return pd.DataFrame(
        {
            "patient": np.repeat([f"p{number:02d}" for number in range(patients)], t),
            "session": np.tile(np.arange(1, t + 1), patients),
            "alliance": alliance.ravel(),
            "alliance_therapist": therapist.ravel(),
        }
    )
