"""detect_latent: what it promises about tables, invariance, null data, false alarms and recovery of the truth."""

import dataclasses
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from detector_study.worlds import WORLDS, DetectorWorld, simulate_world

import alliance_stats as als
from alliance_stats.rupture.latent.courses import Courses
from alliance_stats.rupture.latent.detect import detect_latent
from alliance_stats.rupture.latent.flagging import episodes_of, statistic
from alliance_stats.tables.schema import EVENTS_COLUMNS, EVENTS_DTYPES, DataError

BASE = WORLDS["brief, 16 sessions"]
DEEP = DetectorWorld(name="deep", n_sessions=10, depth=3.0, lengths="long")


@pytest.fixture(scope="module")
def study():
    return simulate_world(DEEP, n_patients=90, seed=1)


@pytest.fixture(scope="module")
def fit(study):
    return detect_latent(study.sessions, score="alliance")


def test_probabilities_are_a_table_of_the_sessions(study, fit):
    table = fit.probabilities
    assert table[["patient", "session", "alliance"]].equals(study.sessions[["patient", "session", "alliance"]])
    for name in ("p_smoothed", "p_filtered", "p_onset"):
        assert table[name].between(0, 1).all()
    assert fit.verdict == "supported"
    assert fit.supported
    inside = study.sessions["in_rupture"].to_numpy()
    assert table.loc[inside, "p_smoothed"].mean() > 0.6 > 0.15 > table.loc[~inside, "p_smoothed"].mean()


def test_the_caller_s_frame_stays(study):
    before = study.sessions.copy()
    detect_latent(study.sessions.head(300), score="alliance")
    pd.testing.assert_frame_equal(study.sessions, before)


def test_events_keep_the_contract(study, fit):
    events = fit.events(false_alarm=0.05)
    assert tuple(events.columns) == EVENTS_COLUMNS
    for name, dtype in EVENTS_DTYPES.items():
        assert str(events[name].dtype) == dtype, name
    assert events["patient"].dtype == study.sessions["patient"].dtype
    assert events.attrs["prospective"] is False
    assert events.attrs["rule"] == "latent_smoothed"
    assert fit.events(version="filtered").attrs["prospective"] is True
    assert events.equals(events.sort_values(["patient", "onset"], ignore_index=True))
    assert (events["event"] == events.groupby("patient").cumcount() + 1).all()
    scores = study.sessions.set_index(["patient", "session"])["alliance"]
    at = list(zip(events["patient"], events["nadir"]))
    np.testing.assert_array_equal(events["nadir_score"], scores.loc[at])
    np.testing.assert_allclose(events["drop"], events["baseline"] - events["nadir_score"])
    repaired = events["status"] == "repaired"
    assert set(events["status"]) == {"repaired", "unrepaired", "censored"}
    assert (events.loc[repaired, "repair_score"] > events.loc[repaired, "baseline"]).all()
    assert events["repaired_at"].isna().equals(~repaired)
    last = study.sessions.groupby("patient")["session"].max()
    assert (events["onset"] == events["patient"].map(last)).equals(events["status"] == "censored")
    assert (events.loc[repaired, "onset"] < events.loc[repaired, "repaired_at"]).all()
    assert (events.loc[repaired, "repaired_at"] <= events.loc[repaired, "patient"].map(last)).all()


def test_events_find_the_truth(study, fit):
    table = als.rupture.evaluate_detection(fit.events(), study.truth, sessions=study.sessions).set_index("quantity")
    assert table.loc["sensitivity", "estimate"] > 0.7
    assert table.loc["precision", "estimate"] > 0.7


def test_more_false_alarms_allowed_give_more_events(fit):
    counts = [len(fit.events(false_alarm=rate)) for rate in (0.01, 0.05, 0.2)]
    assert counts == sorted(counts)
    assert counts[0] < counts[-1]


def test_row_order_ids_and_index_change_nothing(study, fit):
    sessions = study.sessions
    shuffled = sessions.sample(frac=1, random_state=1)
    other = detect_latent(shuffled, score="alliance")
    pd.testing.assert_frame_equal(other.probabilities, fit.probabilities)
    names = {k: f"{(k * 7919) % 1000:03d}" for k in sessions["patient"].unique()}
    renamed = sessions.assign(patient=sessions["patient"].map(names)).set_index("session", drop=False)
    by_name = detect_latent(renamed, score="alliance")
    assert by_name.parameters == fit.parameters
    merged = by_name.probabilities.set_index(["patient", "session"])["p_smoothed"]
    expected = fit.probabilities.assign(patient=sessions["patient"].map(names)).set_index(["patient", "session"])
    pd.testing.assert_series_equal(merged, expected["p_smoothed"].sort_index(), rtol=1e-9)


def test_shift_and_scale_move_points_only(study, fit):
    other = detect_latent(study.sessions.assign(alliance=study.sessions["alliance"] * 12 - 7), score="alliance")
    np.testing.assert_allclose(other.parameters.depth, 12 * fit.parameters.depth, rtol=0.02)
    np.testing.assert_allclose(other.parameters.autocorrelation, fit.parameters.autocorrelation, atol=0.02)
    difference = (other.probabilities["p_smoothed"] - fit.probabilities["p_smoothed"]).abs()
    assert difference.max() < 0.05


def test_unrated_rows_equal_absent_rows(study, fit):
    sessions = study.sessions
    drop = np.random.default_rng(2).random(len(sessions)) < 0.1
    blank = sessions.assign(alliance=sessions["alliance"].mask(drop).astype("Float64"))
    with_blanks = detect_latent(blank, score="alliance", parameters=fit.parameters)
    without = detect_latent(sessions[~drop], score="alliance", parameters=fit.parameters)
    assert with_blanks.probabilities.loc[drop, "p_smoothed"].isna().all()
    left = with_blanks.probabilities[~drop].reset_index(drop=True).astype({"alliance": float})
    pd.testing.assert_frame_equal(left, without.probabilities)
    unrated = with_blanks.diagnostics.set_index("quantity").loc["sessions_unrated", "value"]
    assert unrated == drop.sum()


def test_a_patient_with_too_few_ratings_is_said_to_be_unknown(fit):
    sessions = pd.DataFrame({"patient": [*"abbccc"], "session": [1, 1, 2, 1, 2, 3], "alliance": [5.0, 5, 4, 5, 5, 3]})
    table = detect_latent(sessions, score="alliance", parameters=fit.parameters).probabilities
    assert table["p_smoothed"].isna().tolist() == [True] * 3 + [False] * 3
    assert table["p_smoothed"].iloc[3:5].tolist() == [0, 0]
    from_the_second = dataclasses.replace(fit.parameters, min_ratings=1)
    table = detect_latent(sessions, score="alliance", parameters=from_the_second).probabilities
    assert table["p_smoothed"].isna().tolist() == [True] + [False] * 5
    assert table["p_smoothed"].iloc[4] > 0


@pytest.mark.parametrize("least", [1, 2, 4])
def test_no_rupture_begins_before_the_patient_has_ratings_enough(study, fit, least):
    early = study.sessions.assign(alliance=study.sessions["alliance"] - 6 * (study.sessions["session"] > least))
    parameters = dataclasses.replace(fit.parameters, min_ratings=least, depth=6.0)
    found = detect_latent(early, score="alliance", parameters=parameters)
    chance = found.probabilities.groupby("session")[["p_smoothed", "p_filtered"]].mean()
    assert (chance.loc[:least] == 0).all(axis=None)
    assert (chance.loc[least + 1] > 0.5).all()
    assert found.events()["onset"].min() == least + 1
    assert found.tidy_parameters().set_index("parameter").loc["min_ratings", "value"] == least


@pytest.mark.parametrize("least", [0, 1.5, True])
def test_min_ratings_must_be_a_whole_number(study, least):
    with pytest.raises(ValueError, match="min_ratings"):
        detect_latent(study.sessions, score="alliance", min_ratings=least)


def test_states_are_probabilities_to_the_last_bit(fit):
    """Sums of evidence may end a rounding above 1, and models refuse what is no probability."""
    found = fit._posterior
    over = replace(
        found, ended_so_far=found.ended_so_far + 1.0 + 2e-16, past_so_far=found.past_so_far * 0 + 1.0 + 2e-16
    )
    states = replace(fit, _posterior=over).states("filtered")
    assert states[["rupture_open", "repaired_to_baseline", "repaired_before", "unrepaired"]].max().max() == 1.0


def test_intervals_of_expected_numbers_allow_for_parameters_that_were_estimated(study, fit):
    """Given parameters are taken as known; estimated ones make the variance larger, by `inflation`."""
    known = als.detect_latent(study.sessions, score="alliance", parameters=fit.parameters)
    estimated, given = (als.describe_ruptures(study.sessions, found).set_index("quantity") for found in (fit, known))
    row = "patients with a rupture"
    assert estimated.loc[row, "estimate"] == pytest.approx(given.loc[row, "estimate"])

    def odds_width(table):
        low, high = table.loc[row, ["ci_low", "ci_high"]].astype(float)
        return np.log(high / (1 - high)) - np.log(low / (1 - low))

    inflation = fit.diagnostics.set_index("quantity").loc["inflation", "value"]
    assert 1.3 < inflation < 10
    assert odds_width(estimated) / odds_width(given) == pytest.approx(np.sqrt(inflation), rel=0.1)


def test_no_ruptures_here():
    """Without ruptures the verdict is none and no event is given, unless asked for."""
    calm = simulate_world(WORLDS["brief, 8 sessions"], n_patients=100, seed=3, ruptures=False).sessions
    fit = detect_latent(calm, score="alliance")
    assert fit.verdict == "none"
    assert fit.events().empty
    assert tuple(fit.events().columns) == EVENTS_COLUMNS
    assert "No sign of ruptures" in fit.summary()
    assert fit.events(even_if_unsupported=True)["patient"].nunique() <= 0.12 * 100


def test_a_ceiling_is_found_and_reported():
    study = simulate_world(WORLDS["long, ceiling"], n_patients=30, seed=4)
    fit = detect_latent(study.sessions, score="alliance")
    assert fit.parameters.ceiling == 5.8
    assert np.isinf(fit.parameters.floor)
    share = (study.sessions["alliance"] == 5.8).mean()
    assert fit.diagnostics.set_index("quantity").loc["at_ceiling", "value"] == pytest.approx(share)
    again = detect_latent(study.sessions, score="alliance")
    pd.testing.assert_frame_equal(again.probabilities, fit.probabilities)


def test_summary_and_html_say_the_same(fit):
    assert "The data support ruptures" in str(fit)
    assert "The data support ruptures" in fit._repr_html_()
    values = fit.tidy_parameters().set_index("parameter")["value"]
    assert values["mean_length"] == pytest.approx(1 / fit.parameters.repair_rate)


def test_wrong_arguments_are_named(study, fit):
    with pytest.raises(ValueError, match="Did you mean 'filtered'"):
        fit.events(version="filterd")
    with pytest.raises(ValueError, match="false_alarm=5"):
        fit.events(false_alarm=5)
    with pytest.raises(ValueError, match="session_probability"):
        fit.events(session_probability=1.0)
    with pytest.raises(ValueError, match="max_length"):
        detect_latent(study.sessions, score="alliance", max_length=0)
    with pytest.raises(ValueError, match="bounds"):
        detect_latent(study.sessions, score="alliance", bounds=(7, 1))
    with pytest.raises(DataError, match="outside bounds"):
        detect_latent(study.sessions, score="alliance", bounds=(4, 5))
    with pytest.raises(DataError, match="Did you mean 'alliance'"):
        detect_latent(study.sessions, score="alliences")
    few = study.sessions[study.sessions["patient"] < 4]
    with pytest.raises(DataError, match=r"4 patients with 3 ratings"):
        detect_latent(few, score="alliance")
    with pytest.raises(DataError, match="no value"):
        detect_latent(study.sessions.assign(alliance=np.nan), score="alliance")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "length", "least"),
    [("brief, 16 sessions", 2.0, 0.65), ("long, 16 sessions", 5.5, 0.65), ("brief, ceiling", 2.0, 0.55)],
)
def test_the_truth_is_recovered(name, length, least):
    """Depth within 15 %, mean length within 25 %; the onset rate is known to be off by up to a third.

    At a ceiling by up to 45 %: the draws beyond it add their own scatter (of this study .030, the truth being .05).
    """
    rate, depth = 0.05, 2.0
    study = simulate_world(WORLDS[name], n_patients=800, seed=5)
    p = detect_latent(study.sessions, score="alliance").parameters
    assert least * rate < p.onset_rate < 1.2 * rate
    assert p.depth == pytest.approx(depth, rel=0.15)
    assert p.mean_length == pytest.approx(length, rel=0.25)
    assert p.autocorrelation == pytest.approx(0.3, abs=0.12)
    assert p.level_sd == pytest.approx(np.sqrt(1.5), rel=0.1)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["brief, 16 sessions", "long, 16 sessions", "brief, ceiling", "brief, 8 sessions"])
def test_the_false_alarm_rate_is_what_was_asked_for(name):
    """Threshold from the fitted model, rate among 2,500 patients without ruptures: 5 % within 2 points."""
    study = simulate_world(WORLDS[name], n_patients=800, seed=6)
    calm = simulate_world(WORLDS[name], n_patients=2500, seed=7, ruptures=False)
    fit = detect_latent(study.sessions, score="alliance")
    other = detect_latent(calm.sessions, score="alliance", parameters=fit.parameters)
    for version in ("smoothed", "filtered"):
        threshold = fit.threshold(false_alarm=0.05, version=version)
        flagged = statistic(other._posterior, other._courses, version, 0.3) > threshold
        assert flagged.any(axis=1).mean() == pytest.approx(0.05, abs=0.02)


@pytest.mark.parametrize("varying", [0, 1, 9])
@pytest.mark.parametrize("slope", [0.0, 0.2])
def test_courses_without_any_spread_are_refused(study, varying, slope):
    """Courses that are constant, or straight, tell nothing of the within-patient SD."""
    patient, session = study.sessions["patient"], study.sessions["session"]
    score = 4.0 + 0.1 * (patient % 20) + slope * session
    score = score.where((patient >= varying) | (session != 4), score - 1.0)
    with pytest.raises(DataError, match=f"{varying} patients with 3 ratings or more that do not lie"):
        detect_latent(study.sessions.assign(alliance=score), score="alliance")


def test_a_few_courses_with_spread_are_enough(study):
    score = study.sessions["alliance"].where(study.sessions["patient"] < 12, 4.0)
    assert 0 < detect_latent(study.sessions.assign(alliance=score), score="alliance").parameters.within_sd < 1


def test_the_summary_names_the_bounds_that_there_are(study):
    ceiling = study.sessions.assign(alliance=study.sessions["alliance"].clip(upper=5.0))
    text = detect_latent(ceiling, score="alliance").summary()
    assert "scores of 5 were read as 'this or higher'" in text
    assert "inf" not in text


@pytest.mark.slow
def test_null_data_are_seldom_taken_for_ruptures():
    """Of 18 studies without ruptures, with ceiling, autocorrelation or heavy tails, at most two are 'supported'."""
    verdicts = []
    for k in range(18):
        world = [BASE, WORLDS["brief, ceiling"], WORLDS["heavy-tailed noise, brief"]][k % 3]
        calm = simulate_world(world, n_patients=100, seed=100 + k, ruptures=False)
        verdicts.append(detect_latent(calm.sessions, score="alliance").verdict)
    assert verdicts.count("supported") <= 2
    assert verdicts[::3].count("none") >= 5


@pytest.mark.slow
def test_ruptures_are_seldom_missed_altogether():
    supported = 0
    for k in range(6):
        study = simulate_world(WORLDS["long, 16 sessions"], n_patients=100, seed=200 + k)
        supported += detect_latent(study.sessions, score="alliance").verdict == "supported"
    assert supported >= 5


def test_events_by_hand():
    """A flagged run, a score that stays below, a second run of the same rupture, then one past the baseline."""
    score = np.array([[5.0, 3.0, 4.5, 3.2, 5.5, 3.0], [5.0, 5.0, 3.0, 3.0, 4.0, 0.0], [5.0, 5.0, 5.0, 3.0, 0.0, 0.0]])
    courses = Courses(score, np.tile(np.arange(1.0, 7.0), (3, 1)), np.array([6, 5, 4]))
    flagged = score == 3.0
    flagged[0, 3] = True
    owner, onset, repaired = episodes_of(flagged, courses, np.full((3, 6), 5.0), np.inf)
    assert owner.tolist() == [0, 0, 1, 2]
    assert onset.tolist() == [1, 5, 2, 3]
    assert repaired.tolist() == [4, -1, -1, -1]
    assert episodes_of(flagged, courses, np.full((3, 6), 6.0), 5.5)[2].tolist() == [4, -1, -1, -1]  # at the ceiling


def test_states_are_probabilities_known_at_the_session(study, fit):
    for version in ("filtered", "smoothed"):
        states = fit.states(version)
        assert states.attrs["prospective"] is (version == "filtered")
        assert states.attrs["rule"] == f"latent_{version}"
        assert states[["patient", "session"]].equals(study.sessions[["patient", "session"]])
        columns = states.drop(columns=["patient", "session", "baseline"])
        assert ((columns >= 0) & (columns <= 1)).all(axis=None)
        assert (states["repaired_before"] <= states["repaired_to_baseline"] + 1e-12).all()
        assert np.allclose(states["rupture_open"], fit.probabilities[f"p_{version}"].fillna(0.0))
    by_patient = fit.states("smoothed").groupby("patient")[["repaired_to_baseline", "repaired_before"]]
    assert (by_patient.diff().fillna(0.0) >= -1e-9).all(axis=None)  # what has happened by a session stays


def test_filtered_states_do_not_look_ahead(study, fit):
    """Cutting every course after session 6 changes no state up to there."""
    early = study.sessions[study.sessions["session"] <= 6].reset_index(drop=True)
    cut = detect_latent(early, score="alliance", parameters=fit.parameters).states("filtered")
    whole = fit.states("filtered")
    pd.testing.assert_frame_equal(cut, whole[whole["session"] <= 6].reset_index(drop=True))


def test_states_carry_over_missed_sessions(study, fit):
    holes = study.sessions.assign(alliance=study.sessions["alliance"].where(study.sessions["session"] != 5))
    states = detect_latent(holes, score="alliance", parameters=fit.parameters).states()
    states = states.drop(columns="baseline")  # a level, not a state
    at = states.set_index(["patient", "session"]).xs(5, level="session")
    before = states.set_index(["patient", "session"]).xs(4, level="session")
    assert at.equals(before)


def test_pattern_probabilities_sum_to_one_and_follow_the_truth(study, fit):
    patterns = fit.patterns().set_index("patient")
    assert np.allclose(patterns.sum(axis=1), 1.0)
    assert (patterns >= 0).all(axis=None)
    ruptured = patterns.index.isin(study.truth["patient"])
    assert patterns.loc[ruptured, "p_pattern_none"].mean() < 0.4 < patterns.loc[~ruptured, "p_pattern_none"].mean()


def test_expected_endings_agree_with_the_states(fit):
    found = fit._posterior
    last = fit._courses.n_rated - 1
    at_end = found.past[np.arange(len(last)), last]
    assert np.allclose(np.minimum(found.outcomes[:, 0], 1.0), at_end)
    assert (found.outcomes.sum(axis=1) >= -np.expm1(-found.evidence) - 1e-9).all()
