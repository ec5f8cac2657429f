"""Sudden gains and losses: by hand, the definition on random data with holes, and the example data of R suddengains."""

import statistics

import numpy as np
import pandas as pd
import pytest
from shared_data import real_data

from alliance_stats.rupture.rules.sudden import sudden_gain, sudden_loss

CRITICAL = {2: 4.302652729911275, 3: 3.182446305284263, 4: 2.7764451051977987}


def naive_gains(sessions, cutoff, percent, *, falls, criterion_3=True):
    """Sudden changes between neighbouring sessions from the definition, all six sessions looked up one by one."""
    found = []
    for patient, part in sessions.dropna(subset=["y"]).groupby("patient"):
        course = dict(zip(part["session"], part["y"], strict=True))
        for n in sorted(course):
            if n + 1 not in course:
                continue
            change = course[n] - course[n + 1] if falls else course[n + 1] - course[n]
            if change < cutoff or (percent is not None and change < percent / 100 * abs(course[n])):
                continue
            before = [course[s] for s in (n - 2, n - 1, n) if s in course]
            after = [course[s] for s in (n + 1, n + 2, n + 3) if s in course]
            if criterion_3:
                if len(before) < 2 or len(after) < 2:
                    continue
                df = len(before) + len(after) - 2
                ss = statistics.variance(before) * (len(before) - 1) + statistics.variance(after) * (len(after) - 1)
                gap = statistics.fmean(before) - statistics.fmean(after)
                if not (gap if falls else -gap) > CRITICAL[df] * (ss / df) ** 0.5:
                    continue
            found.append((patient, n))
    return found


def random_sessions(seed):
    rng = np.random.default_rng(seed)
    n, t = 60, 14
    scores = np.round(
        rng.normal(25, 4, (n, t))
        - np.where(rng.random((n, t)) < 0.15, 12, 0).cumsum(axis=1) * rng.choice([-1, 1], (n, 1))
    )
    scores[rng.random((n, t)) < 0.2] = np.nan
    table = pd.DataFrame(
        {"patient": np.repeat(np.arange(n), t), "session": np.tile(np.arange(1, t + 1), n), "y": scores.ravel()}
    )
    return table[rng.random(len(table)) > 0.05]  # some sessions missing altogether


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("falls", [True, False])
def test_the_definition_on_random_data_with_holes(seed, falls):
    sessions = random_sessions(seed)
    found = sudden_gain(sessions.sample(frac=1, random_state=1), score="y", cutoff=7, higher_is_better=not falls)
    expected = naive_gains(sessions, 7, 25, falls=falls)
    assert list(zip(found["patient"], found["session"], strict=True)) == expected
    assert len(expected) > 3
    lost = sudden_loss(sessions, score="y", cutoff=7, higher_is_better=falls)
    pd.testing.assert_frame_equal(lost, found)


def test_each_criterion_can_be_switched_off():
    sessions = random_sessions(9)
    off = sudden_loss(sessions, score="y", cutoff=7, percent=None, higher_is_better=False)
    assert list(zip(off["patient"], off["session"], strict=True)) == naive_gains(sessions, 7, None, falls=False)
    alone = sudden_loss(sessions, score="y", cutoff=7, percent=None, alpha=None, include_first=True)
    assert list(zip(alone["patient"], alone["session"], strict=True)) == naive_gains(
        sessions, 7, None, falls=True, criterion_3=False
    )
    later = sudden_loss(sessions, score="y", cutoff=7, percent=None, alpha=None)
    assert later["session"].min() > 1
    assert len(later) == (alone["session"] > 1).sum()
    with pytest.raises(ValueError, match="At least one"):
        sudden_loss(sessions, score="y", cutoff=None, percent=None, alpha=None)
    with pytest.raises(ValueError, match="cutoff=-7"):
        sudden_loss(sessions, score="y", cutoff=-7)


def test_numbers_by_hand():
    sessions = pd.DataFrame({"patient": 1, "session": [1, 2, 3, 4, 6], "y": [30.0, 28, 29, 14, 12]})
    row = sudden_gain(sessions, score="y", cutoff=7, higher_is_better=False).iloc[0]
    assert row[["session", "before", "after", "change", "n_before", "n_after"]].tolist() == [3, 29, 14, -15, 3, 2]
    assert row["mean_before"] == pytest.approx(29)
    assert row["mean_after"] == pytest.approx(13)
    assert row["pooled_sd"] == pytest.approx(((2 + 2) / 3) ** 0.5)
    assert row["critical_t"] == pytest.approx(CRITICAL[3])


def test_the_example_data_of_suddengains():
    """24 gains and 3 losses, as R suddengains reports for bdi_s1 .. bdi_s12 with cut-off 7."""
    wide = pd.read_csv(real_data("sgdata_wide.csv"))
    names = [f"bdi_s{session}" for session in range(1, 13)]
    sessions = wide.melt(id_vars="id", value_vars=names, var_name="session", value_name="bdi")
    sessions = sessions.rename(columns={"id": "patient"}).assign(session=sessions["session"].str[5:].astype(int))
    assert len(sudden_gain(sessions, score="bdi", cutoff=7, higher_is_better=False)) == 24
    losses = sudden_loss(sessions, score="bdi", cutoff=7, percent=None, higher_is_better=False)
    assert list(zip(losses["patient"], losses["session"], strict=True)) == [(4, 9), (34, 7), (35, 7)]
    with_percent = sudden_loss(sessions, score="bdi", cutoff=7, higher_is_better=False)
    assert len(with_percent) <= 3
