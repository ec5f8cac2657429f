"""The answer table: the studies of its worlds, the answers, and how a cell is judged."""

import numpy as np
import pandas as pd
import pytest
from answers.questions import ASKED, ask
from answers.summary import HOLDS, MISSES, UNKNOWN, UNSETTLED, answer_table
from answers.worlds import VERSIONS, WORLDS


def cell(estimates, *, said="", width=0.5, null=()):
    rows = [
        {"version": "effects", "truth": 1.0, "estimate": value, "ci_low": value - width, "ci_high": value + width,
         "p_value": 0.01, "said": said}
        for value in estimates
    ]  # fmt: skip
    rows += [{"version": "alliance only", "truth": 0.0, "estimate": 0.0, "p_value": p, "said": ""} for p in null]
    return pd.DataFrame(rows).assign(world="w", question="q", way="report")


@pytest.mark.parametrize(
    ("rows", "judgement"),
    [
        (cell([0.95, 1.0, 1.05, 1.0, 1.0]), HOLDS),
        (cell([0.5, 0.55, 0.45, 0.5, 0.5]), MISSES),
        (cell([0.2, 1.9], width=2.0), UNSETTLED),
        (cell([0.95, 1.0, 1.05, 1.0] * 5, width=0.01), MISSES),  # intervals that do not cover
        (cell([1.0, 1.0, 1.0, 0.99], null=[0.01] * 10), MISSES),  # false alarms
        (cell([1.0, 1.0, 0.99, 1.01], said="none"), UNKNOWN),
        (cell([0.4, 0.5, 0.6, 0.5], width=0.0).assign(ci_high=np.inf), HOLDS),  # a lower bound
        (cell([1.4, 1.5, 1.6, 0.5], width=0.0).assign(ci_high=np.inf), MISSES),
    ],
)
def test_a_cell_is_judged_by_bias_coverage_and_false_alarms(rows, judgement):
    assert answer_table(rows)["judgement"].tolist() == [judgement]


def test_every_world_gives_a_study_with_the_truth_it_states():
    for world in WORLDS.values():
        study = world.study("effects", seed=1)
        assert study.truth.parameters["rupture_effect"] == VERSIONS["effects"]["rupture_effect"]
        assert study.sessions["alliance"].notna().mean() > 0.6
    assert set(WORLDS["five-point scores"].study("effects", seed=1).sessions["alliance"].dropna()) <= {1, 2, 3, 4, 5}


def test_one_study_answers_every_question_three_ways():
    found = ask("40 patients", "effects", ASKED["effects"], seed=3)
    assert found.groupby("way")["question"].nunique().to_dict() == {"practice": 6, "report": 6, "true states": 4}
    true = found.set_index(["way", "question"]).loc["true states"]
    assert true.loc["share repaired", "estimate"] == pytest.approx(true.loc["share repaired", "truth"])
    assert np.isfinite(found.loc[found["said"] == "", "estimate"]).all()
