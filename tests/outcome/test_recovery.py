"""The truth is recovered: coverage, size and bias over simulated studies (slow), and the immortal-time bias shown."""

import numpy as np
import pandas as pd
import pytest

import alliance_stats as als
from alliance_stats.outcome.growth import fit_growth
from alliance_stats.outcome.next_session import fit_next_session
from alliance_stats.outcome.patterns import fit_outcome

LINEAR = {
    "bounded": False,
    "n_patients": 60,
    "n_therapists": 8,
    "n_sessions": 14,
    "sessions_sd": 5,
    "rupture_rate": 0.06,
    "therapist_change": 0.0,
    "missing": 0.03,
    "missed": 0.03,
}
NO_EFFECTS = {"alliance_effect": 0.0, "level_effect": 0.0, "rupture_effect": 0.0, "repair_effect": 0.0}
NEXT = {"symptom": "phq9", "alliance": "alliance"}


def next_session_terms(n_studies, world, **options):
    """TERMS of `n_studies` fitted studies, one block each."""
    tables = []
    for seed in range(n_studies):
        study = als.simulate_study(seed=seed, **{**LINEAR, **world})
        fit = fit_next_session(study.sessions, study.events, **NEXT, **options)
        tables.append(fit.tidy().assign(study=seed))
    return pd.concat(tables).set_index(["term", "study"])


def coverage(terms, term, truth):
    own = terms.loc[term]
    return float(((own["ci_low"] <= truth) & (truth <= own["ci_high"])).mean())


@pytest.mark.slow
def test_next_session_effects_are_covered():
    """400 studies of 60 patients without measurement error: 95 % intervals, within three Monte Carlo errors."""
    terms = next_session_terms(400, {"reliability": 1.0})
    for term, truth in {"phq9": 0.3, "alliance_within": -1.5, "rupture_open": 0.5, "repaired_before": -0.3}.items():
        assert 0.917 <= coverage(terms, term, truth) <= 0.983, term
        own = terms.loc[term]
        error = own["estimate"].std() / 20
        assert abs(own["estimate"].mean() - truth) < 3 * error + 0.05 * abs(truth), term
        assert own["std_error"].mean() == pytest.approx(own["estimate"].std(), rel=0.12)
    assert terms.loc["phq9", "estimate"].mean() == pytest.approx(0.3, abs=0.015)


@pytest.mark.slow
def test_no_effect_is_found_as_often_as_the_level_says():
    """400 studies with items, ceiling, measurement error and rounding, and no effect at all."""
    terms = next_session_terms(400, {**NO_EFFECTS, "bounded": True})
    for term in ("alliance_within", "rupture_open", "repaired_before"):
        rejected = float((terms.loc[term, "p_value"] < 0.05).mean())
        assert 0.017 <= rejected <= 0.083, term


@pytest.mark.slow
def test_conditioning_on_the_first_score_matters():
    """Without it the carry-over is overestimated; with it not."""
    world = {"reliability": 1.0}
    with_first = next_session_terms(100, world).loc["phq9", "estimate"].mean()
    without = next_session_terms(100, world, initial=False).loc["phq9", "estimate"].mean()
    assert without > 0.33
    assert with_first == pytest.approx(0.3, abs=0.02)


@pytest.mark.slow
def test_measurement_error_attenuates_as_its_size_says():
    clean = next_session_terms(100, {"reliability": 1.0, "rupture_rate": 0.0, "growth_sd": 0.0, "growth": 0.0})
    noisy_world = {"reliability": 0.9, "rupture_rate": 0.0, "growth_sd": 0.0, "growth": 0.0}
    noisy = next_session_terms(100, noisy_world)
    within = als.simulate_study(seed=1, **{**LINEAR, **noisy_world}).truth.parameters["within_reliability"]
    ratio = noisy.loc["alliance_within", "estimate"].mean() / clean.loc["alliance_within", "estimate"].mean()
    assert ratio == pytest.approx(within, abs=0.12)


@pytest.mark.slow
def test_pattern_effect_sizes_are_covered():
    """1,000 studies of 80 patients in 8 therapists from the patient-level model itself."""
    rng = np.random.default_rng(1)
    covered = {"difference": 0, "d": 0, "r": 0}
    n_studies, effect, noise = 1000, 2.0, 4.0
    share = np.array([0.5, 0.25, 0.25])
    for _ in range(n_studies):
        code = rng.choice(3, 80, p=share)
        pre = rng.normal(15, 4, 80)
        therapist = np.arange(80) % 8
        post = 0.5 * pre + effect * (code == 2) + rng.normal(0, 1, 8)[therapist] + rng.normal(0, noise, 80)
        table = pd.DataFrame(
            {
                "patient": range(80),
                "therapist": therapist,
                "pattern": np.array(["none", "repaired", "unrepaired"])[code],
                "n_rated": rng.integers(5, 25, 80),
                "post": post,
                "pre": pre,
            }
        )
        rows = fit_outcome(table, post="post", pre="pre").effects()
        row = rows[(rows["contrast"] == "repaired - unrepaired") & rows["adjusted"]].iloc[0]
        total = np.sqrt(0.25 * 16 + 1 + noise**2)
        truth = {
            "difference": -effect,
            "d": -effect / total,
            # two groups of a quarter each: the contrast's variance is noise^2 * 8 / n
            "r": effect / np.sqrt(effect**2 + 8 * noise**2),
        }
        for name, (low, high) in {
            "difference": ("ci_low", "ci_high"),
            "d": ("d_low", "d_high"),
            "r": ("r_low", "r_high"),
        }.items():
            covered[name] += row[low] <= truth[name] <= row[high]
    for name, count in covered.items():
        assert 0.93 <= count / n_studies <= 0.97, name


@pytest.mark.slow
def test_immortal_time_misleads_the_pattern_and_not_the_state():
    """No rupture, repair or alliance effect at all, symptoms falling over therapy: patients with a repair still look
    better at the end, because they stayed longer. The number of sessions takes most of it away, and the repair state of
    the next-session model shows nothing."""
    differences, states = [], []
    for seed in range(60):
        study = als.simulate_study(seed=seed, n_patients=300, n_therapists=20, rupture_rate=0.06, **NO_EFFECTS)
        events = als.detect_ruptures(study.sessions, score="alliance", rule="previous_2pooled")
        patients = als.summarise_patients(study.sessions, events, measures=["phq9"])
        effects = fit_outcome(patients, post="phq9_post", pre="phq9_pre").effects().set_index(["contrast", "adjusted"])
        differences.append([effects.loc[("repaired - none", choice), "r"] for choice in (False, True)])
        states.append(
            fit_next_session(study.sessions, events, **NEXT).tidy().set_index("term")["statistic"]["repaired_before"]
        )
    naive, adjusted = np.mean(differences, axis=0)
    error = np.std(differences, axis=0) / np.sqrt(len(differences))
    assert naive > 0.05
    assert naive > 5 * error[0]
    assert abs(adjusted) < 0.5 * naive
    assert abs(np.mean(states)) < 3 / np.sqrt(len(states))


@pytest.mark.slow
def test_growth_slopes_are_covered():
    rng = np.random.default_rng(2)
    covered, n_studies = 0, 400
    for _ in range(n_studies):
        n, length = 60, 12
        pattern = np.array(["none", "repaired", "unrepaired"])[np.arange(n) % 3]
        slope = -0.3 + 0.2 * (pattern == "unrepaired") + rng.normal(0, 0.1, n)
        start = rng.normal(15, 4, n) + rng.normal(0, 1, 6)[np.arange(n) % 6]
        session = np.tile(np.arange(1, length + 1), n)
        who = np.repeat(np.arange(n), length)
        sessions = pd.DataFrame(
            {
                "patient": who,
                "session": session,
                "therapist": who % 6,
                "phq9": start[who] + slope[who] * (session - 1) + rng.normal(0, 2.5, len(who)),
            }
        )
        patients = pd.DataFrame({"patient": np.arange(n), "pattern": pattern})
        slopes = fit_growth(sessions, patients, measure="phq9").slopes()
        row = slopes[(slopes["pattern"] == "unrepaired") & (slopes["kind"] == "difference")].iloc[0]
        covered += row["ci_low"] <= 0.2 <= row["ci_high"]
    assert 0.917 <= covered / n_studies <= 0.983


FEEDBACK = {"reliability": 1.0, "n_patients": 100, "symptom_feedback": -0.06}


@pytest.mark.slow
def test_feedback_misleads_the_whole_course_and_hardly_the_mean_so_far():
    """150 studies in which symptoms also lower the later alliance (docs/dynamics.md has 400)."""
    so_far, whole = (next_session_terms(150, FEEDBACK, centre=centre) for centre in ("so_far", "patient"))
    assert so_far.loc["alliance_within", "estimate"].mean() == pytest.approx(-1.37, abs=0.12)
    assert coverage(so_far, "alliance_within", -1.5) > 0.86
    assert whole.loc["alliance_within", "estimate"].mean() > -1.1
    assert coverage(whole, "alliance_within", -1.5) < 0.7
    for term, truth in {"rupture_open": 0.5, "repaired_before": -0.3}.items():
        assert so_far.loc[term, "estimate"].mean() == pytest.approx(truth, abs=0.2), term
        assert coverage(so_far, term, truth) > 0.88, term
    assert whole.loc["rupture_open", "estimate"].mean() > 0.68


@pytest.mark.slow
def test_feedback_makes_patterns_differ_without_any_effect_of_ruptures():
    """100 studies without effects on symptoms: groups by pattern differ where symptoms lower the alliance, the rupture
    state of the next-session model does not."""
    found = []
    for seed in range(100):
        study = als.simulate_study(seed=seed, **{**LINEAR, **FEEDBACK, **NO_EFFECTS})
        events = als.detect_ruptures(study.sessions, score="alliance", rule="running_mean_2pooled")
        patients = als.summarise_patients(study.sessions, events, measures=["phq9"])
        slopes = fit_growth(study.sessions, patients, measure="phq9").slopes().set_index(["pattern", "kind"])
        effects = fit_outcome(patients, post="phq9_post", pre="phq9_pre").effects().set_index(["contrast", "adjusted"])
        state = fit_next_session(study.sessions, events, **NEXT).tidy().set_index("term")
        found.append(
            [
                slopes.loc[("unrepaired", "difference"), "estimate"],
                effects.loc[("unrepaired - none", True), "difference"],
                state.loc["rupture_open", "estimate"],
            ]
        )
    growth, outcome, state_ = np.mean(found, axis=0) / (np.std(found, axis=0) / 10)
    assert growth > 4
    assert outcome > 2
    assert abs(state_) < 4
