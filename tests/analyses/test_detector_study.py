"""The simulated worlds are what they say, and the comparison counts what it says."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from detector_study.comparison import (
    COLUMNS,
    EARLIER,
    EARLIER_RULE,
    FAMILY,
    KNOWN,
    LATENT,
    LATENT_FILTERED,
    LATENT_PLAIN,
    _roc_area,
    compare_detectors,
    gains,
    summarise_comparison,
)
from detector_study.worlds import FURTHER_WORLDS, SHAPES, WORLDS, DetectorWorld, _share, simulate_world

from alliance_stats.rupture.rules.criterion import judge
from alliance_stats.rupture.rules.series import read_series
from alliance_stats.tables.schema import check_sessions

ROOT = Path(__file__).parents[2]
SMALL = DetectorWorld(name="small", n_sessions=10, depth=3.0, lengths="long", onset_rate=0.08)


def wide(sessions):
    return sessions.pivot_table(index="patient", columns="session", values="alliance").to_numpy()


def test_a_calm_world_has_the_stated_variances():
    world = DetectorWorld(name="w", reliability=0.7, autocorrelation=0.5)
    scores = wide(simulate_world(world, n_patients=20_000, seed=1, ruptures=False).sessions)
    rest = scores - scores.mean(axis=1, keepdims=True)
    near = np.mean((scores[:, 1:] - scores[:, :-1]) ** 2)
    far = np.mean((scores[:, 12:] - scores[:, :-12]) ** 2)
    assert far / 2 == pytest.approx(1.0 + (12 * 0.0361) ** 2 / 2, rel=0.04)  # trend: .02 mean and .03 SD per session
    assert near / 2 == pytest.approx(0.75 + 0.25 * 0.5, rel=0.03)
    assert np.var(scores.mean(axis=1)) == pytest.approx(1.5, rel=0.1)
    assert abs(rest.mean()) < 1e-9


@pytest.mark.parametrize(("lengths", "mean"), [("brief", 2.0), ("long", 5.5)])
def test_ruptures_have_the_stated_rate_depth_and_length(lengths, mean):
    world = DetectorWorld(name="w", n_sessions=200, lengths=lengths)
    truth = simulate_world(world, n_patients=500, seed=2).truth
    inner = truth[truth["onset"] < 180]
    assert (inner["last"] - inner["onset"] + 1).mean() == pytest.approx(mean, rel=0.03)
    assert truth["depth"].mean() == pytest.approx(2.0, rel=0.02)
    assert truth["onset"].min() == 3
    cycle = 1 / 0.05 + mean
    assert len(truth) / 500 == pytest.approx(198 / cycle, rel=0.05)


def test_truth_and_sessions_tell_the_same():
    study = simulate_world(WORLDS["brief, holes, unequal lengths"], n_patients=200, seed=3)
    marked = study.sessions.merge(study.truth, on="patient", how="left")
    inside = marked["session"].between(marked["onset"], marked["last"])
    covered = inside.groupby([marked["patient"], marked["session"]]).any()
    expected = study.sessions.set_index(["patient", "session"])["in_rupture"]
    assert (covered == expected).all()
    assert len(study.sessions) < 200 * 16 * 0.75


def test_only_some_patients_are_susceptible_and_ceilings_hold():
    some = simulate_world(WORLDS["one patient in four, brief"], n_patients=2000, seed=4).truth
    assert 0.15 < some["patient"].nunique() / 2000 < 0.25
    capped = simulate_world(WORLDS["brief, ceiling"], n_patients=500, seed=4).sessions["alliance"]
    assert capped.max() == 5.8
    assert 0.15 < (capped == 5.8).mean() < 0.35
    coarse = simulate_world(DetectorWorld(name="w", step=0.5), n_patients=50, seed=4).sessions["alliance"]
    assert ((coarse * 2) % 1 == 0).all()


def test_the_shares_of_the_depth_session_by_session():
    since, length = np.arange(1, 5), np.array([[4], [2]])
    shape = {name: _share(DetectorWorld(name="w", shape=name), since, length) for name in SHAPES}
    assert (shape["step"] == 1).all()
    np.testing.assert_allclose(shape["recovery"][0], [1, 0.75, 0.5, 0.25])
    np.testing.assert_allclose(shape["recovery"][1, :2], [1, 0.5])
    np.testing.assert_allclose(shape["slow"][0], [1 / 2.4, 2 / 2.4, 1, 1])


def test_further_worlds_are_what_they_say():
    medium = simulate_world(DetectorWorld(name="w", n_sessions=200, lengths="medium"), n_patients=500, seed=2).truth
    inner = medium[medium["onset"] < 160]
    assert (inner["last"] - inner["onset"] + 1).mean() == pytest.approx(4.0, rel=0.03)
    depth = simulate_world(FURTHER_WORLDS["depths log-normal, CV .6"], n_patients=3000, seed=3).truth["depth"]
    assert depth.mean() == pytest.approx(2.0, rel=0.04)
    assert depth.std() / depth.mean() == pytest.approx(0.6, rel=0.08)
    assert (
        simulate_world(FURTHER_WORLDS["ruptures from the second session"], n_patients=300, seed=4).truth["onset"].min()
        == 2
    )
    points = simulate_world(FURTHER_WORLDS["five points"], n_patients=300, seed=4).sessions["alliance"]
    assert sorted(points.unique()) == [3, 4, 5, 6, 7]
    calm = wide(simulate_world(FURTHER_WORLDS["early rise"], n_patients=20_000, seed=5, ruptures=False).sessions)
    line = wide(
        simulate_world(DetectorWorld(name="w", n_sessions=12), n_patients=20_000, seed=5, ruptures=False).sessions
    )
    rise = (calm - line).mean(axis=0)
    np.testing.assert_allclose(rise, 1.5 * (np.log(np.arange(1, 13)) / np.log(12) - 0.5), atol=1e-9)
    varied = wide(
        simulate_world(
            DetectorWorld(name="w", n_sessions=200, different_sd=0.385), n_patients=2000, seed=6, ruptures=False
        ).sessions
    )
    spread = np.diff(varied, axis=1).std(axis=1)
    assert spread.std() / spread.mean() == pytest.approx(0.4, abs=0.03)


def test_a_world_that_cannot_be_is_refused():
    with pytest.raises(ValueError, match="lengths='brif'"):
        DetectorWorld(name="w", lengths="brif")
    with pytest.raises(ValueError, match="reliability"):
        DetectorWorld(name="w", reliability=0.4)
    with pytest.raises(ValueError, match="course='curved'"):
        DetectorWorld(name="w", course="curved")


@pytest.fixture(scope="module")
def results():
    rules = {name: FAMILY[name] for name in ("previous, own_sd", "own_median, pooled_sd", "running_mean, pooled_sd")}
    return compare_detectors([SMALL], rules=rules, n_patients=120, n_free=200, replicates=2, seed=1)


def test_the_comparison_is_complete_and_repeatable(results):
    assert len(results) == 2 * (3 + 1 + 4 + 1)
    shares = results[["sensitivity", "precision", "event_sensitivity", "event_precision", "roc_area", "pr_area"]]
    assert ((shares >= 0) & (shares <= 1)).all(axis=None)
    by_name = results.groupby("detector")["sensitivity"].mean()
    assert by_name[LATENT] > by_name["own_median, pooled_sd"] > by_name["previous, own_sd"]
    assert results.loc[results["detector"] == LATENT_FILTERED, "prospective"].all()
    summary = summarise_comparison(results)
    row = summary.set_index("detector").loc[LATENT]
    assert row["sensitivity"] == pytest.approx(by_name[LATENT])
    gain = gains(results).iloc[0]
    rules = by_name[~by_name.index.str.startswith(("latent", "two"))]
    assert gain["best_rule"] == rules.idxmax()
    assert gain["gain"] == pytest.approx(by_name[LATENT] / rules.max())
    assert gain["limit"] == pytest.approx(by_name[KNOWN] / rules.max())
    assert gain["share_of_limit"] == pytest.approx(by_name[LATENT] / by_name[KNOWN])
    assert gain["best_prospective_rule"] in ("running_mean, pooled_sd", EARLIER)


def test_thresholds_flag_one_patient_in_twenty():
    """Counted anew from scores, for a rule simple enough to write out: a fall from the previous score in points."""
    rules = {"previous, pooled_sd": FAMILY["previous, pooled_sd"]}
    results = compare_detectors([SMALL], rules=rules, n_patients=60, n_free=300, replicates=1, seed=2)
    rng = np.random.default_rng([2, 0, *SMALL.name.encode()])
    study = simulate_world(SMALL, n_patients=60, seed=rng)
    calm = simulate_world(SMALL, n_patients=300, seed=rng, ruptures=False)
    both = np.vstack([wide(study.sessions), wide(calm.sessions)])
    rest = both - both.mean(axis=1, keepdims=True)
    depth = -np.diff(both, axis=1) / np.sqrt((rest**2).sum() / (360 * 9))
    with_rupture = np.zeros(360, dtype=bool)
    with_rupture[study.truth["patient"]] = True
    limit = np.quantile(depth[~with_rupture].max(axis=1), 0.95, method="higher")
    assert results["threshold"].iloc[0] == pytest.approx(limit)
    flagged = np.zeros(both.shape, dtype=bool)
    flagged[:, 1:] = depth > limit
    hits = [flagged[p, o - 1 : o + 1].any() for p, o in zip(study.truth["patient"], study.truth["onset"])]
    assert results["sensitivity"].iloc[0] == pytest.approx(np.mean(hits))


def test_fall_below_earlier_ratings_as_a_loop():
    study = simulate_world(WORLDS["brief, holes, unequal lengths"], n_patients=30, seed=6)
    series, _ = read_series(check_sessions(study.sessions, ["alliance"]), "alliance")
    squares = sum(((s - s.mean()) ** 2).sum() for _, s in study.sessions.groupby("patient")["alliance"])
    pooled = squares / (len(study.sessions) - 30)
    expected = []
    for _, scores in study.sessions.groupby("patient")["alliance"]:
        for t, score in enumerate(scores):
            past = scores.to_numpy()[:t]
            if t < 2:
                expected.append(-np.inf)
                continue
            variance = (((past - past.mean()) ** 2).sum() + 4 * pooled) / (t - 1 + 4)
            expected.append((past.mean() - score) / np.sqrt(variance))
    np.testing.assert_allclose(judge(series, EARLIER_RULE).depth(), expected)


def test_roc_area_by_pairs():
    rng = np.random.default_rng(5)
    a, b = rng.integers(0, 9, 40), rng.integers(0, 7, 30)
    pairs = (a[:, None] > b) + 0.5 * (a[:, None] == b)
    assert _roc_area(a, b) == pytest.approx(pairs.mean())


def test_the_figure_shows_every_world_and_detector(results):
    from detector_study.figure import plot_detectors

    gain = gains(results).assign(best_own_sd_rule="previous, own_sd")
    ax = plot_detectors(summarise_comparison(results), gain)
    assert [label.get_text() for label in ax.get_yticklabels()] == ["small"]
    assert len(ax.get_legend().get_texts()) == 6
    ticks = [line for line in ax.lines if line.get_marker() == "|" and len(line.get_xdata())]
    known = results.loc[results["detector"] == KNOWN, "sensitivity"].mean()
    assert [line.get_xdata()[0] for line in ticks] == pytest.approx([100 * known])
    without = summarise_comparison(results[results["detector"] != KNOWN])
    bare = plot_detectors(without, gain)
    assert not [line for line in bare.lines if line.get_marker() == "|" and len(line.get_xdata())]
    import matplotlib.pyplot as plt

    plt.close(ax.figure)
    plt.close(bare.figure)


@pytest.mark.slow
@pytest.mark.parametrize(("name", "least"), [("brief, 16 sessions", 1.2), ("long, 16 sessions", 1.6)])
def test_the_latent_detector_beats_the_best_rule(name, least):
    results = compare_detectors([WORLDS[name]], n_patients=600, n_free=1500, replicates=2, seed=77)
    gain = gains(results).iloc[0]
    assert gain["gain"] > least
    assert gain["gain_prospective"] > 1


def test_the_frozen_comparison_is_what_the_script_writes():
    """The tables in figures/ follow from the saved runs, which cover every world; no detector is left out."""
    runs = pd.read_csv(ROOT / "figures/detector_comparison_runs.csv")
    assert list(runs["world"].unique()) == list(WORLDS)
    assert set(runs["detector"]) == {*FAMILY, EARLIER, LATENT, LATENT_FILTERED, LATENT_PLAIN, KNOWN, "two thresholds"}
    summary = pd.read_csv(ROOT / "figures/detector_comparison.csv")
    pd.testing.assert_frame_equal(summarise_comparison(runs).round(4), summary, atol=2e-4)
    gain = pd.read_csv(ROOT / "figures/detector_gains.csv")
    pd.testing.assert_frame_equal(gains(runs).round(3), gain, atol=2e-3)


def test_the_frozen_validation_is_what_the_script_writes():
    runs = pd.read_csv(ROOT / "figures/detector_validation_runs.csv")
    assert list(runs["world"].unique()) == list(FURTHER_WORLDS)
    gain = pd.read_csv(ROOT / "figures/detector_validation.csv")
    pd.testing.assert_frame_equal(gains(runs).round(3), gain, atol=2e-3)


def test_errors_count_the_replicates_of_each_world():
    runs = pd.DataFrame({"world": [*"aaab"], "replicate": [0, 1, 2, 0], "sensitivity": [0.2, 0.4, 0.6, 0.5]})
    fixed = {"assumed": True, "lengths": "brief", "detector": "d", "prospective": False, "own_sd": False, "n_true": 9}
    others = dict.fromkeys([name for name in COLUMNS if name != "sensitivity"], 0.5) | {"threshold": 1.0}
    summary = summarise_comparison(runs.assign(**fixed, **others))
    assert summary["sensitivity_se"].iloc[0] == pytest.approx(0.2 / np.sqrt(3))
    assert np.isnan(summary["sensitivity_se"].iloc[1])


def test_the_frozen_plug_in_table_is_what_the_script_writes():
    from detector_study.calibration import summarise_plug_in

    runs = pd.read_csv(ROOT / "figures/detector_plug_in_runs.csv")
    table = pd.read_csv(ROOT / "figures/detector_plug_in.csv")
    pd.testing.assert_frame_equal(summarise_plug_in(runs).round(3), table, atol=2e-3)


def test_calibration_counts_sessions_in_bins():
    from detector_study.calibration import _log_odds, _within_slope, calibration

    table = calibration([SMALL], n_patients=60, replicates=1)
    assert table.groupby("version")["n"].sum().tolist() == [600, 600]
    assert table["stated"].between(table["low"], table["high"]).all()
    assert table["observed"].between(0, 1).all()
    rng = np.random.default_rng(1)
    state, patient = rng.random(4000), pd.Series(np.repeat(np.arange(400), 10))
    assert _within_slope(patient, state, 2 * state + patient.to_numpy()) == pytest.approx(2.0)
    leaves = rng.random(4000) < 1 / (1 + np.exp(1 - 1.5 * state))
    assert _log_odds(state, np.tile(np.arange(10.0), 400), leaves) == pytest.approx(1.5, abs=0.3)


def test_a_rupture_is_found_by_each_criterion():
    """One rupture over sessions 5 to 7: flagged beside it, at its end, and at its onset."""
    from detector_study.comparison import _measures, _study

    sessions = pd.DataFrame({"patient": 0, "session": range(1, 11), "alliance": np.arange(10.0), "in_rupture": False})
    sessions.loc[4:6, "in_rupture"] = True
    calm = sessions.assign(patient=1, in_rupture=False)
    truth = pd.DataFrame({"patient": [0], "event": [1], "onset": [5], "last": [7], "depth": [2.0]})
    study = _study(pd.concat([sessions, calm], ignore_index=True), truth, 1)
    for flag, expected in {2: (0, 0, 0), 3: (0, 1, 0), 4: (1, 1, 1 / 3), 6: (0, 1, 1 / 3), 7: (0, 1, 0)}.items():
        flagged = np.arange(20) == flag
        found = _measures(study, flagged.astype(float), flagged, np.array([flag]))
        assert (found["sensitivity"], found["any_sensitivity"], found["session_sensitivity"]) == pytest.approx(expected)
