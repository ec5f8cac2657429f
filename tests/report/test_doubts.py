"""The remarks before the numbers: each with its number and what to do."""

import warnings

import numpy as np

import alliance_stats as als
from alliance_stats.report.models import doubts, facts


def told(name, fit):
    return list(doubts(fit, facts(name, fit)))


def test_few_dropouts_per_coefficient_and_in_a_state_are_counted():
    study = als.simulate_study(n_patients=60, n_therapists=6, seed=4)
    events = als.detect_ruptures(study.sessions, score="alliance", rule="running_mean_2pooled")
    rows = als.dropout_intervals(study.sessions, events, endings=study.endings)
    fit = als.fit_dropout("n_ruptures_so_far + missed_last + session", rows, cluster="therapist")
    said = told("dropout", fit)
    n = fit.diagnostics["n_events"]
    assert n < 30
    assert said[0].startswith("only 6 therapists, fewer than 10")
    assert said[1].startswith(f"{n} events for 3 coefficients, fewer than 10 for each.")
    firth = als.fit_dropout("session", rows, penalty="firth")
    assert "penalty" not in told("dropout", firth)[0]


def test_a_state_in_which_too_few_events_are_to_be_expected_cannot_be_known():
    study = als.simulate_study(n_patients=60, n_therapists=12, seed=4)
    states = als.mark_ruptures(study.sessions, study.events)[["patient", "session", "rupture_open"]]
    states["rupture_open"] = 0.02 * (states["session"] % 5)
    states.attrs["prospective"] = True
    rows = als.dropout_intervals(study.sessions, states, endings=study.endings)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        fit = als.fit_dropout("rupture_open", rows)
    expected = fit.diagnostics["n_events"] * fit.data["rupture_open"].mean()
    assert 0 < expected < 5
    assert any(f"cannot be known, with {expected:.1f} events to be expected" in one for one in told("dropout", fit))
    terms = fit.tidy().set_index("term")
    assert terms.loc["rupture_open"].drop("df").isna().all()
    assert terms.loc["Intercept"].notna().all()
    assert np.isfinite(fit.predict()).all()


def test_small_patterns_and_few_open_sessions_are_said():
    study = als.simulate_study(n_patients=60, n_therapists=12, seed=4)
    events = als.detect_ruptures(study.sessions, score="alliance", rule="previous_2pooled").iloc[:2]
    patients = als.summarise_patients(study.sessions, events, measures=["phq9"])
    outcome = als.fit_outcome(patients, post="phq9_post", pre="phq9_pre")
    assert any(one.startswith("fewer than 10 patients in pattern") for one in told("outcome", outcome))
    following = als.fit_next_session(study.sessions, events, symptom="phq9", alliance="alliance", allow_lookahead=True)
    open_there = [one for one in told("next_session", following) if "open rupture" in one]
    assert len(open_there) == 1
    assert "Read its interval" in open_there[0]
