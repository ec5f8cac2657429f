"""Every fit refuses a confidence level that is not between 0 and 1, wherever it is asked."""

import pytest

import alliance_stats as als


@pytest.fixture(scope="module")
def fits():
    study = als.simulate_study(n_patients=100, n_therapists=6, n_sessions=12, rupture_rate=0.15, dropout=0.4, seed=1)
    events = als.detect_ruptures(study.sessions, score="alliance", rule="running_mean_2pooled")
    patients = als.summarise_patients(study.sessions, events, endings=study.endings, measures=["phq9"])
    intervals = als.dropout_intervals(study.sessions, events, endings=study.endings)
    return [
        als.fit_mixed("phq9 ~ session + (1 | patient)", study.sessions),
        als.fit_outcome(patients, post="phq9_post", pre="phq9_pre"),
        als.fit_next_session(study.sessions, events, symptom="phq9", alliance="alliance"),
        als.fit_growth(study.sessions, patients, measure="phq9"),
        als.fit_dynamics(study.sessions, alliance="alliance", symptom="phq9"),
        als.fit_dropout("rupture_open + session", intervals),
        als.fit_dropout("rupture_open", intervals, model="cox"),
    ]


@pytest.mark.parametrize("level", [95, 0, 1, "0.95"])
def test_every_fit_refuses_a_level_that_is_no_share(fits, level):
    for fit in fits:
        with pytest.raises(ValueError, match="between 0 and 1"):
            als.tidy(fit, level=level)
        with pytest.raises(ValueError, match="between 0 and 1"):
            fit.tidy(level=level)
