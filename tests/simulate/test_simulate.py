"""Simulated studies: the truth is what the parameters say, and the tables are what every step expects."""

import numpy as np
import pandas as pd
import pytest

import alliance_stats as als
from alliance_stats.simulate.observation import fit_scale
from alliance_stats.tables.schema import ATTENDANCES, ENDINGS, EVENTS_COLUMNS, check_sessions

QUIET = {"rupture_rate": 0.0, "growth": 0.0, "growth_sd": 0.0, "missing": 0.0, "missed": 0.0, "dropout": 0.0}
WHOLE = {"n_sessions": 5, "sessions_sd": 0, "transferred": 0.0, "ongoing": 0.0, "therapist_change": 0.0}


@pytest.fixture(scope="module")
def study():
    return als.simulate_study(n_patients=150, n_therapists=10, seed=3)


def test_same_seed_same_study_and_a_generator_goes_on(study):
    again = als.simulate_study(n_patients=150, n_therapists=10, seed=3)
    for name in ("sessions", "items", "therapist_items", "events", "endings"):
        pd.testing.assert_frame_equal(getattr(study, name), getattr(again, name))
    rng = np.random.default_rng(3)
    first = als.simulate_study(n_patients=20, seed=rng)
    second = als.simulate_study(n_patients=20, seed=rng)
    assert not first.sessions["alliance"].equals(second.sessions["alliance"])


def test_tables_are_what_every_step_expects(study):
    check_sessions(study.sessions, ["alliance", "alliance_therapist", "phq9"])
    assert set(study.sessions["attendance"]) <= set(ATTENDANCES)
    assert set(study.endings["ending"]) <= set(ENDINGS)
    assert list(study.events)[: len(EVENTS_COLUMNS)] == list(EVENTS_COLUMNS)
    last = study.sessions.groupby("patient")["session"].max()
    assert (study.endings.set_index("patient")["last_session"] == last).all()
    counts = study.sessions.groupby("patient")["session"].agg(["min", "max", "size"])
    assert (counts["min"] == 1).all()
    assert (counts["size"] == counts["max"]).all()
    assert study.sessions.groupby("patient")["date"].is_monotonic_increasing.all()


def test_score_is_the_mean_of_the_items_the_instrument_scores(study):
    columns = [f"wai_{item}" for item in range(1, 13)]
    scored = als.score_items(study.items, "WAI-SR", items="wai_{item}", into="alliance")
    np.testing.assert_allclose(scored["alliance"], study.sessions["alliance"])
    answers = study.items[columns].to_numpy()
    answers = answers[~np.isnan(answers)]
    assert set(np.unique(answers)) <= {1.0, 2.0, 3.0, 4.0, 5.0}
    phq9 = study.sessions["phq9"].dropna()
    assert phq9.between(0, 27).all()
    assert (phq9 % 1 == 0).all()


def test_missed_sessions_carry_no_ratings_and_the_first_is_attended(study):
    missed = study.sessions["attendance"].isin(["cancelled", "no-show"])
    assert study.sessions.loc[missed, ["alliance", "alliance_therapist", "phq9"]].isna().all().all()
    assert not missed[study.sessions["session"] == 1].any()


def test_truth_adds_up(study):
    truth = study.truth.sessions
    np.testing.assert_allclose(truth["level"] + truth["growth"] + truth["state"] + truth["shift"], truth["alliance"])
    assert truth[["patient", "session"]].equals(study.sessions[["patient", "session"]])


def test_events_and_session_truth_tell_the_same_story():
    """Rebuild acute, open and repaired states of every session from EVENTS in a plain loop."""
    study = als.simulate_study(n_patients=60, n_therapists=5, seed=3, rupture_rate=0.08)
    truth = study.truth.sessions
    opened, repaired = [], []
    for patient, session in zip(truth["patient"], truth["session"], strict=True):
        own = study.events[(study.events["patient"] == patient) & (study.events["onset"] <= session)]
        healed = own["repaired_at"].notna() & (own["repaired_at"].fillna(0) <= session)
        opened.append(int((~healed).any()))
        repaired.append(int(healed.any()))
    assert (truth["rupture_open"] == opened).all()
    assert (truth["repaired_before"] == repaired).all()
    onsets = set(zip(study.events["patient"], study.events["onset"], strict=True))
    acute = truth["in_rupture"].to_numpy()
    for row in np.flatnonzero([pair in onsets for pair in zip(truth["patient"], truth["session"], strict=True)]):
        assert acute[row]
        fall = study.events.loc[
            (study.events["patient"] == truth["patient"][row]) & (study.events["onset"] == truth["session"][row]),
            "drop",
        ].iloc[0]
        assert truth["shift"][row] == pytest.approx(truth["shift"][row - 1] - fall)


def test_ruptures_end_as_their_resolution_says():
    study = als.simulate_study(
        n_patients=400, n_sessions=40, sessions_sd=0, seed=5, dropout=0, transferred=0, ongoing=0, rupture_rate=0.02
    )
    shift = study.truth.sessions.set_index(["patient", "session"])["shift"]
    unit = study.truth.parameters["rupture_unit"]
    for row in study.events[study.events["event"] == 1].itertuples():
        if row.status == "repaired":
            gain = 0.5 * unit if row.resolution == "past" else 0.0
            assert shift[(row.patient, row.repaired_at)] == pytest.approx(gain)
            assert row.repair_score == pytest.approx(row.baseline + gain)
        if row.resolution == "never":
            assert shift[(row.patient, 40)] == pytest.approx(-row.drop)
    shares = study.events.loc[study.events["onset"] < 20, "resolution"].value_counts(normalize=True)
    assert shares[["past", "to", "short", "never"]].to_numpy() == pytest.approx([0.38, 0.20, 0.22, 0.20], abs=0.08)
    repaired = study.events[study.events["status"] == "repaired"]
    assert (repaired["repaired_at"] - repaired["onset"]).equals(repaired["sessions_to_repair"])


@pytest.mark.parametrize("world", [{}, {"reliability": 0.7, "alliance_mean": 3.0}, {"bounded": False}, {"halo": 0.0}])
def test_realised_reliability_is_the_stated_one(world):
    """Var(true score) / Var(score), and the squared correlation, over 40,000 ratings without ruptures and growth."""
    study = als.simulate_study(n_patients=8000, n_therapists=400, seed=7, **QUIET, **WHOLE, **world)
    score, true = study.sessions["alliance"], study.truth.sessions["expected_score"]
    stated = world.get("reliability", 0.9)
    assert true.var() / score.var() == pytest.approx(stated, abs=0.01)
    assert np.corrcoef(score, true)[0, 1] ** 2 == pytest.approx(stated, abs=0.01)


def test_reliability_by_quadrature_matches_brute_force():
    """The same ratio from a million simulated forms, written without the code under test."""
    scale = fit_scale(
        low=1.0,
        high=5.0,
        subscale=(0, 0, 1, 1),
        specific_sd=0.3,
        halo=0.4,
        bounded=True,
        mean=4.2,
        sd=0.6,
        reliability=0.8,
    )
    rng = np.random.default_rng(1)
    n = 1_000_000
    alliance = 4.2 + 0.6 * rng.standard_normal(n)
    specific = 0.3 * rng.standard_normal((n, 2))

    def form():
        shared = scale.shared_sd * rng.standard_normal(n)
        items = []
        for item, subscale in enumerate([0, 0, 1, 1]):
            unique = scale.unique_sd * rng.standard_normal(n)
            value = alliance + specific[:, subscale] + scale.easiness[item] + shared + unique
            items.append(np.clip(np.round(value), 1, 5))
        return np.mean(items, axis=0)

    assert np.corrcoef(form(), form())[0, 1] == pytest.approx(0.8, abs=0.003)  # parallel forms


def test_variances_and_raters_are_as_stated():
    study = als.simulate_study(
        n_patients=6000, n_therapists=600, seed=11, **QUIET, **{**WHOLE, "n_sessions": 8}, bounded=False
    )
    truth, world = study.truth.sessions, study.truth.parameters
    assert truth["alliance"].std() == pytest.approx(world["alliance_sd"], rel=0.03)
    assert truth["state"].var() / truth["alliance"].var() == pytest.approx(world["within_share"], rel=0.05)
    before = truth.groupby("patient")["state"].shift()
    assert truth["state"].corr(before) == pytest.approx(world["autocorrelation"], abs=0.02)
    own, theirs = study.sessions["alliance"], study.sessions["alliance_therapist"]
    assert own.corr(theirs) == pytest.approx(world["rater_agreement"], abs=0.03)
    assert (own.mean() - theirs.mean()) / own.std() == pytest.approx(world["rater_gap"], abs=0.05)
    between = own.groupby(study.sessions["patient"]).transform("mean")
    within = (own - between).var() * 8 / 7
    assert 1 - within / own.var() == pytest.approx(0.77, abs=0.02)  # generalisability of one session


def test_symptoms_follow_the_stated_equation():
    study = als.simulate_study(
        n_patients=300, seed=13, bounded=False, symptom_noise=0.0, therapist_change=0.0, symptom_feedback=0.0
    )
    world, patients = study.truth.parameters, study.truth.patients.set_index("patient")
    truth = study.truth.sessions.merge(study.sessions[["patient", "session", "therapist"]], on=["patient", "session"])
    lines = patients.loc[truth["patient"]].reset_index()
    own = lines["symptom_intercept"] + lines["symptom_slope"] * (truth["session"] - 1)
    therapist = truth["therapist"].map(study.truth.therapists.set_index("therapist")["symptom"])
    y = truth["symptom"] - own - therapist
    before = truth.assign(y=y, a=truth["alliance"] - truth["level"]).groupby("patient").shift()
    expected = world["symptom_carry"] * before["y"] + world["alliance_effect"] * before["a"]
    expected += world["rupture_effect"] * before["rupture_open"] + world["repair_effect"] * before["repaired_before"]
    later = truth["session"] > 1
    np.testing.assert_allclose(y[later], expected[later], atol=1e-9)


def test_symptom_feedback_moves_the_next_alliance():
    without = als.simulate_study(n_patients=50, seed=13, dropout=0.0)
    fed = als.simulate_study(n_patients=50, seed=13, dropout=0.0, symptom_feedback=-0.05)
    moved = fed.truth.sessions["state"] - without.truth.sessions["state"]
    assert (moved[fed.truth.sessions["session"] == 1] == 0).all()
    assert moved[fed.truth.sessions["session"] > 1].abs().mean() > 0.05


def test_dropout_share_and_hazard():
    study = als.simulate_study(n_patients=6000, n_therapists=300, seed=17, transferred=0.0, ongoing=0.0)
    dropped = study.endings["ending"] == "dropout"
    assert dropped.mean() == pytest.approx(0.197, abs=0.015)
    truth, world = study.truth.sessions, study.truth.parameters
    frailty = study.sessions["therapist"].map(study.truth.therapists.set_index("therapist")["dropout"])
    standing = truth["patient"].map(study.truth.patients.set_index("patient")["level"]) / world["level_sd"]
    odds = world["dropout_intercept"] + truth["rupture_open"] - 0.3 * truth["repaired_before"] + frailty
    odds += world["dropout_level"] * standing
    planned = truth["patient"].map(study.truth.patients.set_index("patient")["planned"])
    at_risk = truth["session"] <= planned
    np.testing.assert_allclose(truth["hazard"], 1 / (1 + np.exp(-odds)))
    assert at_risk.all()
    struck = dropped[pd.Index(study.endings["patient"]).get_indexer(truth["patient"])].to_numpy()
    last = truth.groupby("patient")["session"].transform("max") == truth["session"]
    assert truth["hazard"].sum() == pytest.approx((struck & last).sum(), rel=0.08)  # expected and observed dropouts


def test_therapist_changes_are_real():
    study = als.simulate_study(n_patients=300, n_therapists=8, seed=19, therapist_change=0.5)
    moved = study.sessions.groupby("patient")["therapist"].nunique()
    assert (moved == 2).mean() > 0.2
    assert moved.max() == 2
    one = study.truth.sessions.assign(therapist=study.sessions["therapist"])
    effects = one["therapist"].map(study.truth.therapists.set_index("therapist")["alliance"])
    own = one["patient"].map(study.truth.patients.set_index("patient")["level"])
    np.testing.assert_allclose(one["level"], 4.1 + own + effects)


def test_missing_forms_follow_the_ruptures():
    study = als.simulate_study(
        n_patients=3000, seed=23, missing=0.05, missing_rupture=0.4, missed=0.1, missed_rupture=0.3
    )
    acute = study.truth.sessions["in_rupture"] == 1
    came = study.sessions["attendance"].isin(["attended", "late"])
    gone = study.sessions["alliance"].isna()
    assert gone[came & ~acute].mean() == pytest.approx(0.05, abs=0.01)
    assert gone[came & acute].mean() == pytest.approx(0.45, abs=0.05)
    assert study.sessions["phq9"].isna()[came & acute].mean() == pytest.approx(0.05, abs=0.03)
    later = study.sessions["session"] > 1
    assert (~came)[acute & later].mean() == pytest.approx(0.4, abs=0.04)
    assert (~came)[~acute & later].mean() == pytest.approx(0.1, abs=0.01)


def test_observation_does_not_touch_the_truth():
    seen = als.simulate_study(n_patients=40, seed=29)
    holes = als.simulate_study(n_patients=40, seed=29, missing=0.4, missed=0.3)
    pd.testing.assert_frame_equal(seen.truth.sessions, holes.truth.sessions)


def test_worlds_the_detectors_need():
    calm = als.simulate_study(n_patients=50, seed=1, rupture_rate=0.0)
    assert calm.events.empty
    assert list(calm.events)[:3] == ["patient", "event", "onset"]
    assert (calm.truth.sessions["shift"] == 0).all()
    slow = als.simulate_study(n_patients=50, seed=1, fall_sessions=3, rupture_length=6, rupture_rate=0.1)
    long = slow.events[slow.events["nadir"] == slow.events["onset"] + 2]
    assert len(long) > 5
    some = als.simulate_study(n_patients=500, seed=1, rupture_prone=0.2, rupture_rate=0.2)
    assert some.events["patient"].nunique() < 130
    heavy = als.simulate_study(n_patients=2000, seed=1, tails=3.0, rupture_rate=0.0).truth.sessions["state"]
    assert heavy.kurtosis() > 1
    assert heavy.std() == pytest.approx(als.simulate_study(seed=1).truth.parameters["state_sd"], rel=0.1)


def test_courses_that_saturate_calm_down_and_lean():
    quiet = QUIET | {"seed": 1, "n_patients": 3000, "n_sessions": 12, "sessions_sd": 0, "bounded": False}
    rise = als.simulate_study(**quiet, early_growth=0.5, early_growth_sd=0.3).truth.sessions
    late = rise[rise["session"] == 12]["growth"]
    assert (rise[rise["session"] == 1]["growth"] == 0).all()
    assert late.mean() == pytest.approx(0.5, abs=0.02)
    assert late.std() == pytest.approx(0.3, abs=0.02)

    calmer = als.simulate_study(**quiet, narrowing=0.5)
    score = calmer.sessions.merge(calmer.truth.sessions, on=["patient", "session"])
    error = (score["alliance_x"] - score["expected_score"]).groupby(score["session"]).std()
    state = score["state"].groupby(score["session"]).std()
    expected = 0.5 + 0.5 * np.exp(-11 / 4)
    assert error[12] / error[1] == pytest.approx(expected, rel=0.06)
    assert state[12] / state[1] == pytest.approx(expected, rel=0.06)

    leaning = als.simulate_study(**quiet, skew=-1.5, autocorrelation=0.0).truth.sessions["state"]
    assert leaning.skew() == pytest.approx(-1.5, abs=0.15)
    assert leaning.mean() == pytest.approx(0, abs=0.01)


def test_other_instruments():
    study = als.simulate_study(n_patients=300, seed=2, instrument="ARM-5", item_name="arm_{item}")
    assert study.items.drop(columns=["patient", "session"]).max().max() == 7
    scored = als.score_items(study.items, "ARM-5", items="arm_{item}", into="alliance")
    np.testing.assert_allclose(scored["alliance"], study.sessions["alliance"])


def test_one_patient_one_session_one_therapist():
    study = als.simulate_study(n_patients=1, n_therapists=1, n_sessions=1, sessions_sd=0, seed=1)
    assert len(study.sessions) == 1
    assert study.endings["ending"].tolist() == ["completed"]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("n_patients", 0),
        ("reliability", 0.0),
        ("alliance_sd", 0.0),
        ("autocorrelation", 1.0),
        ("repair", (0.5, 0.5, 0.5, 0.5)),
        ("dropout", 1.0),
        ("dropout_lag", 0),
        ("tails", 2.0),
        ("narrowing", 0.0),
        ("rater_agreement", 0.95),
        ("therapist_share", 0.9),
        ("n_sessions", 100),
        ("missed", -0.1),
    ],
)
def test_impossible_parameters_are_refused_by_name(name, value):
    with pytest.raises(ValueError, match=name):
        als.simulate_study(seed=1, **{name: value})


@pytest.mark.slow
def test_stated_dropout_odds_are_what_the_hazard_model_recovers():
    """100 studies of 300 patients: the person-period model on the true states returns the log-odds put in."""
    estimates = []
    for seed in range(100):
        study = als.simulate_study(
            n_patients=300, n_therapists=20, seed=seed, dropout_therapist_sd=0.0, dropout_level=0.0, rupture_rate=0.06
        )
        intervals = als.dropout_intervals(study.sessions, study.events, endings=study.endings)
        fit = als.fit_dropout("rupture_open + repaired_before", intervals)
        terms = fit.tidy().set_index("term")["estimate"]
        estimates.append([terms["rupture_open"], terms["repaired_before"]])
    error = np.std(estimates, axis=0) / 10
    assert np.all(np.abs(np.mean(estimates, axis=0) - [1.0, -0.3]) < 3 * error + 0.03)
