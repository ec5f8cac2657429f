"""Whether the null says that it fits, and that it cannot tell ruptures from skewed noise."""

import numpy as np
import pytest
from calm import as_sessions, world

from alliance_stats.rupture.chance.chance import chance_level
from alliance_stats.rupture.chance.fit_check import CHECKED, FITS, INSEPARABLE, MISFIT, VERDICTS, check_fit
from alliance_stats.rupture.chance.frame import frame_of
from alliance_stats.rupture.chance.null_fit import fit_null

SKEWED = {
    "skewed": {"noise_law": "skewed", "bounds": (-50.0, 60.0), "step": 0.0},
    "skewed, bounded": {"noise_law": "skewed"},
    "dips": {"noise_law": "dips"},
}
SYMMETRIC = {
    "calm": {},
    "narrowing": {"narrowing": 0.8},
    "rise that saturates": {"rise": 1.2, "rise_sd": 0.6, "bounds": (-9.0, 19.0)},
    "clear ruptures": {"ruptured": 0.5, "longest": -3, "fixed": True},
}


def verdict_of(seed, options):
    options = {"patients": 150} | options
    rng = np.random.default_rng(seed)
    frame = frame_of(world(rng, **options), bounds=options.get("bounds", (1.0, 7.0)), step=options.get("step"))
    return check_fit(frame, fit_null(frame, rng), rng)


@pytest.mark.parametrize("name", SKEWED)
def test_skewed_noise_cannot_be_told_from_ruptures(name):
    verdicts = [verdict_of(seed, SKEWED[name])[1] for seed in (300, 301)]
    assert verdicts == [INSEPARABLE, INSEPARABLE]


@pytest.mark.parametrize("name", SYMMETRIC)
def test_symmetric_noise_can_be_told_from_ruptures(name):
    assert INSEPARABLE not in [verdict_of(seed, SYMMETRIC[name])[1] for seed in (1, 2)]


def test_the_verdict_is_in_the_tables_and_takes_the_place_of_p():
    series = world(np.random.default_rng(1), patients=150, noise_law="skewed")
    result = chance_level(as_sessions(series), score="alliance", rule="own_mean_2sd", draws=100, seed=1)
    assert result.verdict == INSEPARABLE == result.by_session.attrs["verdict"]
    assert (result.table["verdict"] == INSEPARABLE).all()
    assert result.table["p_value"].isna().all()
    assert result.table["ratio"].notna().all()
    assert "cannot be told apart" in str(result)
    assert result.fit["quantity"].tolist() == list(CHECKED)
    assert result.fit["z"].iloc[-1] > 2


def test_near_a_ceiling_nothing_is_told_apart():
    series = world(np.random.default_rng(1), patients=60, level=6.4)
    result = chance_level(
        as_sessions(series), score="alliance", rule="previous_1point", draws=100, seed=1, bounds=(1, 7)
    )
    assert result.verdict == INSEPARABLE
    near = np.mean(series.score >= 7 - frame_of(series, bounds=(1, 7), step=None).scale)
    assert f"{near:.0%} of the ratings lie within one SD of the highest score" in result.verdict_words
    assert result.table["p_value"].isna().all()


def test_below_that_the_verdict_says_what_cut_items_add():
    frame = frame_of(world(np.random.default_rng(1), items=12, level=6.2, sd=0.4), bounds=(1.0, 7.0), step=None)
    _, verdict, words = check_fit(frame, fit_null(frame, np.random.default_rng(1)), np.random.default_rng(1))
    assert verdict == FITS
    assert words.endswith("finds up to an eighth more than expected without any rupture.")


def test_what_does_not_fit_is_named():
    """A step in the middle of therapy is no smooth course."""
    series = world(np.random.default_rng(1), patients=200, fixed=True, missing=0.0, bounds=(-50.0, 60.0), step=0.0)
    odd = series.score + 1.0 * (series.session % 4 == 0)
    frame = frame_of(series.with_scores(odd), bounds=None, step=None)
    rng = np.random.default_rng(1)
    table, verdict, words = check_fit(frame, fit_null(frame, rng), rng)
    assert verdict == MISFIT
    assert not table["fits"].all()
    assert table.loc[~table["fits"], "quantity"].iloc[0] in words
    assert set(VERDICTS) == {FITS, MISFIT, INSEPARABLE}


@pytest.mark.slow
def test_the_verdict_over_many_studies():
    """In 9 of 10 studies with skewed noise, and in at most 2 of 10 with symmetric noise."""
    for worlds, low, high in ((SKEWED, 0.9, 1.0), (SYMMETRIC, 0.0, 0.2)):
        for name, options in worlds.items():
            share = np.mean([verdict_of(310 + seed, options)[1] == INSEPARABLE for seed in range(20)])
            print(f"{name}: {share:.2f}")
            assert low <= share <= high
