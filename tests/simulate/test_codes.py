"""Codes of simulated studies: nothing else changes, coders agree as stated, and codes follow the truth."""

import numpy as np
import pandas as pd
import pytest

import alliance_stats as als
from alliance_stats.coding import code_sessions, coder_reliability, consensus, noticed, repair_intervals
from alliance_stats.load import read_codes
from alliance_stats.simulate import Coding

CLEAN = {"missed": 0.0, "missed_rupture": 0.0, "missing": 0.0, "missing_rupture": 0.0}
ENDS = {"rupture_rate": 0.08, "repair": (0.5, 0.3, 0.0, 0.2), "rupture_length": 3.0}
RATERS = {"patient": "rupture_patient", "therapist": "rupture_therapist"}


@pytest.fixture(scope="module")
def study():
    return als.simulate_study(n_patients=150, n_therapists=10, seed=3, codes=True)


def test_nothing_else_changes(study):
    bare = als.simulate_study(n_patients=150, n_therapists=10, seed=3)
    assert bare.codes is None
    for name in ("items", "therapist_items", "events", "endings"):
        pd.testing.assert_frame_equal(getattr(bare, name), getattr(study, name))
    pd.testing.assert_frame_equal(bare.sessions, study.sessions[list(bare.sessions)])
    pd.testing.assert_frame_equal(bare.truth.sessions, study.truth.sessions)
    assert list(study.sessions)[len(bare.sessions.columns) :] == [*RATERS.values(), "missed_by"]


def test_the_reader_of_codes_accepts_them(study, tmp_path):
    study.codes.to_csv(tmp_path / "codes.csv", index=False)
    read = read_codes(tmp_path / "codes.csv", study.sessions)
    pd.testing.assert_frame_equal(read, study.codes)
    assert read.attrs["book"] == study.codes.attrs["book"] == "3RS"
    held = study.sessions.loc[study.sessions["attendance"].isin(["attended", "late"]), ["patient", "session"]]
    assert len(study.codes[["patient", "session", "coder"]].drop_duplicates()) == 2 * len(held)


def test_without_error_the_codes_are_the_truth():
    coding = Coding(coders=1, agreement=1.0, false_report=0.0, noticed=(1.0, 0.0))
    study = als.simulate_study(n_patients=150, seed=1, codes=coding, **CLEAN, **ENDS)
    coded = consensus(code_sessions(study.codes))
    np.testing.assert_array_equal(coded["rupture"], study.truth.sessions["in_rupture"])
    events = als.events_from_codes(coded, study.sessions)
    same = ["patient", "event", "onset", "repaired_at"]
    pd.testing.assert_frame_equal(events[same], study.events[same])
    assert (noticed(events, study.sessions, **RATERS)["noticed"] == "patient").all()


def test_reports_and_reasons(study):
    sessions, inside = study.sessions, study.truth.sessions["in_rupture"] == 1
    for name, form in zip(RATERS.values(), ("alliance", "alliance_therapist"), strict=True):
        assert (sessions[name].isna() == sessions[form].isna()).all()
        assert sessions.loc[~inside, name].mean() == pytest.approx(0.03, abs=0.02)
    assert sessions.loc[inside, "rupture_therapist"].mean() > 0.4
    assert sessions["missed_by"].isna().equals(sessions["attendance"] == "attended")
    assert set(sessions.loc[sessions["attendance"] == "no-show", "missed_by"]) == {"patient"}
    assert set(sessions.loc[inside, "missed_by"].dropna()) == {"patient"}


def test_ruptures_without_codes_and_impossible_codings():
    none = als.simulate_study(n_patients=20, seed=1, rupture_rate=0.0, codes=Coding(agreement=0.0, use=0.0))
    assert none.codes["type"].isna().all()
    for wrong in ({"coders": 0}, {"agreement": 1.2}, {"noticed": (0.5, 2.0)}):
        with pytest.raises(ValueError, match=next(iter(wrong))):
            Coding(**wrong)


def reliability(seed, agreement=0.6):
    study = als.simulate_study(n_patients=60, seed=seed, codes=Coding(agreement=agreement), rupture_rate=0.1)
    found = coder_reliability(study.codes, seed=1, draws=400, measures=["type", "n_markers"])
    found = found.set_index(["measure", "coefficient"])
    rows = found.loc[[("type", "kappa"), ("type", "alpha"), ("n_markers", "ICC(2,1)")]]
    return rows[["estimate", "ci_low", "ci_high"]].to_numpy()


def test_coders_agree_as_stated():
    assert np.mean([reliability(seed)[:, 0] for seed in range(6)], axis=0) == pytest.approx(0.6, abs=0.05)


@pytest.mark.slow
def test_reliability_is_unbiased_and_covered():
    """300 studies of 60 patients (.6 put in): bias below 5 %, coverage .92 to .97 (percentiles of 60 patients)."""
    found = np.array([reliability(seed) for seed in range(300)])
    assert found[:, :, 0].mean(axis=0) == pytest.approx(0.6, abs=0.03)
    covered = ((found[:, :, 1] <= 0.6) & (found[:, :, 2] >= 0.6)).mean(axis=0)
    assert covered.min() >= 0.92
    assert covered.max() <= 0.975


EFFECTS = {
    "used_expressive": 1.0, "saw": 0.8, "used_immediate_direct": 0.0, "used_immediate_indirect": 0.0, "felt": 0.0,
}  # fmt: skip


def effects(seed, n_patients):
    """From codes to repair: estimate, interval and p of what was put in, and of what has no effect."""
    coding = Coding(coders=1, agreement=1.0, false_report=0.0, expressive_effect=1.0, noticed_effect=0.8)
    study = als.simulate_study(n_patients=n_patients, seed=seed, codes=coding, **CLEAN, **ENDS)
    coded = consensus(code_sessions(study.codes))
    events = noticed(als.events_from_codes(coded, study.sessions), study.sessions, **RATERS, within=0)
    rows = repair_intervals(study.sessions, events, coded=coded)
    rows = rows.assign(
        saw=rows["noticed"].isin(["therapist", "both"]) * 1, felt=rows["noticed"].isin(["patient", "both"]) * 1
    )
    formula = " + ".join(EFFECTS)
    fit = als.fit_dropout(formula, rows, ending="repaired", baseline="dummies", cluster="patient")
    return fit.tidy().set_index("term").loc[list(EFFECTS), ["estimate", "ci_low", "ci_high", "p_value"]].to_numpy()


def test_effects_of_strategies_and_recognition_come_back():
    found = np.mean([effects(seed, 400)[:, 0] for seed in range(4)], axis=0)
    assert found == pytest.approx(list(EFFECTS.values()), abs=0.35)


@pytest.mark.slow
def test_effects_of_strategies_and_recognition_are_unbiased_and_covered():
    """250 studies of 300 patients (about 220 ruptures): bias below 5 %, coverage .93 to .97, size about .05.

    Over all five effects; one effect alone is uncertain by .014.
    """
    found, truth = np.array([effects(seed, 300) for seed in range(250)]), np.array(list(EFFECTS.values()))
    assert np.abs(found[:, :, 0].mean(axis=0) - truth).max() < 0.05
    covered = ((found[:, :, 1] <= truth) & (truth <= found[:, :, 2])).mean(axis=0)
    assert 0.93 <= covered.mean() <= 0.97
    assert covered.min() >= 0.915
    assert 0.03 <= (found[:, 2:, 3] < 0.05).mean() <= 0.07
