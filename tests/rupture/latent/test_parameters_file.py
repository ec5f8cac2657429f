"""Parameters in a file, and what they say of one patient's ratings so far."""

import dataclasses
import json

import numpy as np
import pandas as pd
import pytest
from detector_study.worlds import WORLDS, simulate_world

import alliance_stats as als
from alliance_stats.rupture.latent.parameters import LatentParameters
from alliance_stats.tables.schema import DataError

PARAMETERS = LatentParameters(
    onset_rate=0.06,
    repair_rate=0.3,
    depth=1.8,
    depth_cv=0.3,
    autocorrelation=0.3,
    state_share=0.5,
    within_sd=1.0,
    within_sd_df=9.0,
    level=5.0,
    level_sd=1.2,
    trend=0.02,
    trend_sd=0.03,
    centre=8.5,
    ceiling=5.8,
    max_length=6,
    never_ends=0.2,
)


def test_a_file_gives_back_every_digit(tmp_path):
    path = tmp_path / "clinic.json"
    odd = dataclasses.replace(PARAMETERS, depth=1 / 3, trend=-1e-17, floor=-np.inf)
    odd.save(path)
    assert als.rupture.read_parameters(path) == odd
    assert [item.name for item in tmp_path.iterdir()] == ["clinic.json"]
    PARAMETERS.save(path)  # over an older one
    assert als.rupture.read_parameters(path) == PARAMETERS


def test_a_failed_write_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "clinic.json"
    PARAMETERS.save(path)
    monkeypatch.setattr("pathlib.Path.replace", lambda *_: (_ for _ in ()).throw(OSError("disk full")))
    with pytest.raises(OSError, match="disk full"):
        dataclasses.replace(PARAMETERS, depth=9.0).save(path)
    assert als.rupture.read_parameters(path) == PARAMETERS
    assert len(list(tmp_path.iterdir())) == 1


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"format": "other"}, "does not hold latent parameters"),
        ({"version": 99}, "version 99"),
        ({"depth": None}, "has depth=None"),
        ({"depth": "deep"}, "has depth='deep'"),
        ({"onset_rate": 1.5}, "has onset_rate=1.5"),
        ({"min_ratings": 2.5}, "has min_ratings=2.5"),
        ({"within_sd": float("nan")}, "has within_sd=nan"),
        ({"level_sd": "missing"}, "lacks level_sd"),
        ({"other": 1}, "unknown parameter other"),
        ({"floor": 6.0}, "not below ceiling"),
    ],
)
def test_a_wrong_file_is_named(tmp_path, change, message):
    path = tmp_path / "clinic.json"
    PARAMETERS.save(path)
    content = json.loads(path.read_text())
    for name, value in change.items():
        where = content if name in content else content["parameters"]
        where[name] = value
        if value == "missing":
            del where[name]
    path.write_text(json.dumps(content))
    with pytest.raises(DataError, match=message):
        als.rupture.read_parameters(path)


def test_a_file_from_before_ruptures_could_last_is_read_as_none_do(tmp_path):
    path = tmp_path / "clinic.json"
    PARAMETERS.save(path)
    content = json.loads(path.read_text())
    del content["parameters"]["never_ends"]
    path.write_text(json.dumps(content))
    assert als.rupture.read_parameters(path) == dataclasses.replace(PARAMETERS, never_ends=0.0)


def test_what_is_no_json_is_said_to_be_none(tmp_path):
    path = tmp_path / "clinic.json"
    path.write_text("onset_rate: 3")
    with pytest.raises(DataError, match="not a JSON file"):
        als.rupture.read_parameters(path)


def test_a_patient_s_ratings_so_far_give_the_filtered_states_of_the_study():
    """Session by session, each patient alone: the states of the whole study, scores at the ceiling included."""
    study = simulate_world(WORLDS["long, ceiling"], n_patients=40, seed=3).sessions
    drop = np.random.default_rng(1).random(len(study)) < 0.15
    study = study.assign(alliance=study["alliance"].mask(drop))
    whole = als.detect_latent(study, score="alliance", parameters=PARAMETERS, seed=9).states("filtered")
    assert (study["alliance"] == 5.8).mean() > 0.1
    for patient in (0, 7, 31):
        rows = study[study["patient"] == patient]
        expected = whole[whole["patient"] == patient].reset_index(drop=True)
        for last in range(1, len(rows) + 1):
            if rows["alliance"].iloc[:last].isna().all():
                continue
            so_far = als.rupture.states_so_far(rows.iloc[:last], score="alliance", parameters=PARAMETERS)
            pd.testing.assert_frame_equal(so_far, expected.iloc[:last], rtol=0, atol=1e-8, check_exact=False)
            assert so_far["baseline"].isna().equals(rows["alliance"].iloc[:last].isna().reset_index(drop=True))
            assert so_far["baseline"].dropna().between(2, 5.8).all()


def test_given_parameters_the_probabilities_depend_on_no_seed():
    study = simulate_world(WORLDS["brief, ceiling"], n_patients=12, seed=4).sessions
    first, second = (als.detect_latent(study, score="alliance", parameters=PARAMETERS, seed=k) for k in (1, 2))
    pd.testing.assert_frame_equal(first.probabilities, second.probabilities)


def test_one_rating_is_a_level_and_no_rupture():
    first = pd.DataFrame({"patient": [3], "session": [1], "alliance": [4.0]})
    row = als.rupture.states_so_far(first, score="alliance", parameters=PARAMETERS).iloc[0]
    assert row["rupture_open"] == row["repaired_before"] == 0
    assert 4.0 < row["baseline"] < 5.0
