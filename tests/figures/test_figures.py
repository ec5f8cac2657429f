"""Figures show what the tables say (their artists are read back), and are written with the same bytes twice."""

import os
import re
import subprocess
import sys

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure

import alliance_stats as als
from alliance_stats.figures.style import COLOURS, styled

SESSIONS = pd.DataFrame(
    {
        "patient": ["a"] * 7 + ["b"] * 3,
        "session": [1, 2, 3, 4, 6, 7, 8, 1, 2, 3],
        "attendance": ["attended"] * 3 + ["late"] + ["attended"] * 3 + ["attended", "cancelled", "no-show"],
        "alliance": [5.0, 5.5, 3.0, 4.0, np.nan, 6.0, 5.0, 4.0, np.nan, np.nan],
    }
)
EVENTS = pd.DataFrame(
    {
        "patient": ["a"],
        "event": [1],
        "onset": [3],
        "nadir": [3],
        "repaired_at": pd.array([7], dtype="Int64"),
        "status": ["repaired"],
        "baseline": [5.5],
        "nadir_score": [3.0],
        "repair_score": [6.0],
        "drop": [2.5],
        "drop_units": [2.5],
        "sessions_to_repair": pd.array([4], dtype="Int64"),
        "score": ["alliance"],
        "rule": ["by hand"],
    }
)


@pytest.fixture
def ax():
    return Figure().subplots()


def points(ax, marker):
    """Where the drawn points of one marker stand (legend samples are empty)."""
    lines = [line for line in ax.lines if line.get_marker() == marker and len(line.get_xdata())]
    found = [(float(x), float(y)) for line in lines for x, y in zip(*line.get_data(), strict=True)]
    return [(x, y) for x, y in found if not np.isnan([x, y]).any()]


def test_a_patient_shows_scores_onset_baseline_and_repair(ax):
    assert als.plot_patient(SESSIONS, EVENTS, patient="a", score="alliance", ax=ax) is ax
    assert points(ax, "o") == [(1, 5), (2, 5.5), (3, 3), (4, 4), (7, 6), (8, 5)]
    assert points(ax, "v") == [(3, 3)]
    assert points(ax, "^") == [(7, 6)]
    baseline = next(line for line in ax.lines if line.get_linestyle() == "--" and len(line.get_xdata()))
    assert list(baseline.get_xdata()) == [2.5, 7]
    assert list(baseline.get_ydata()) == [5.5, 5.5]
    solid = next(line for line in ax.lines if line.get_linestyle() == "-")
    broken = np.isnan(np.asarray(solid.get_ydata(), dtype=float))
    assert list(np.asarray(solid.get_xdata())[broken]) == [5, 6], "the line breaks where nothing was rated"


def test_an_undecided_rupture_is_hollow_and_has_no_repair(ax):
    censored = EVENTS.assign(repaired_at=pd.array([pd.NA], dtype="Int64"), status="censored")
    als.plot_patient(SESSIONS, censored, patient="a", score="alliance", ax=ax)
    mark = next(line for line in ax.lines if line.get_marker() == "v" and len(line.get_xdata()))
    assert mark.get_markerfacecolor() == "white"
    assert points(ax, "^") == []


def test_small_multiples_share_their_limits_and_may_hide_ids():
    axes = Figure().subplots(1, 2)
    drawn = als.plot_patients(
        SESSIONS, EVENTS, patients=["b", "a"], score="alliance", labels={"a": "P1", "b": "P2"}, axes=axes
    )
    assert [panel.get_title(loc="left") for panel in drawn] == ["P2", "P1"]
    assert drawn[0].get_ylim() == drawn[1].get_ylim()
    assert drawn[0].get_xlim() == drawn[1].get_xlim()


def test_a_dollar_sign_is_a_dollar_sign(tmp_path):
    axes = Figure().subplots()
    als.plot_patient(SESSIONS, EVENTS, patient="a", score="alliance", label="$5 and $_{", ax=axes)
    assert als.save_figure(axes, tmp_path / "x", formats=["svg"])[0].exists()


def test_an_unknown_patient_is_named(ax):
    with pytest.raises(als.DataError, match="no patient 'c'"):
        als.plot_patient(SESSIONS, EVENTS, patient="c", score="alliance", ax=ax)


def test_onset_aligned_draws_the_table(ax):
    course = als.rupture.onset_aligned(SESSIONS, EVENTS, score="alliance")
    als.plot_onset_aligned(course, score="alliance", at_least=1, ax=ax)
    assert points(ax, "o") == [(-2, -0.5), (-1, 0), (0, -2.5), (1, -1.5), (4, 0.5), (5, -0.5)]
    assert "repaired (n = 1)" in [text.get_text() for text in ax.get_legend().get_texts()]


def test_onset_aligned_says_where_too_few_patients_are_left(ax):
    course = als.rupture.onset_aligned(SESSIONS, EVENTS, score="alliance")
    als.plot_onset_aligned(course, score="alliance", ax=ax)
    assert points(ax, "o") == []
    assert "repaired (n = 1, too few to show)" in [text.get_text() for text in ax.get_legend().get_texts()]


def test_onset_aligned_with_certain_states_equals_that_of_events():
    states = SESSIONS[["patient", "session"]].assign(rupture_open=0.0, rupture_begins=0.0, baseline=np.nan)
    onsets = EVENTS.set_index(["patient", "onset"])["baseline"]
    there = pd.MultiIndex.from_frame(states[["patient", "session"]])
    states = states.assign(
        rupture_begins=there.isin(onsets.index).astype(float), baseline=onsets.reindex(there).to_numpy()
    )
    by_events = als.rupture.onset_aligned(SESSIONS, EVENTS.assign(status="repaired"), score="alliance")
    by_states = als.rupture.onset_aligned(SESSIONS, states, score="alliance")
    assert set(by_states["status"]) == {"probable"}
    pd.testing.assert_frame_equal(by_states.iloc[:, 1:], by_events.iloc[:, 1:], check_dtype=False)


def test_onset_aligned_weighs_sessions_by_the_probability_that_a_rupture_begins_there():
    sessions = pd.DataFrame({"patient": [1, 1, 2, 2], "session": [1, 2, 1, 2], "alliance": [4.0, 6.0, 1.0, 5.0]})
    states = sessions.assign(rupture_open=0.5, rupture_begins=[0.5, 0.0, 0.25, 0.25], baseline=5.0)
    course = als.rupture.onset_aligned(sessions, states, score="alliance", before=1, after=1).set_index("offset")
    assert course["n_ruptures"].to_dict() == {-1: 0.25, 0: 1.0, 1: 0.75}
    assert course["n_patients"].to_dict() == {-1: 0.25, 0: 1.0, 1: 0.75}
    assert course["mean"].to_numpy() == pytest.approx([-4.0, 0.5 * -1 + 0.25 * -4, (0.5 * 1 + 0.25 * 0) / 0.75])
    with pytest.raises(als.DataError, match="rupture_begins"):
        als.rupture.onset_aligned(sessions, states.drop(columns="rupture_begins"), score="alliance")


FEW = pd.DataFrame({"session": [9], "n_rated": [1], "n_at_risk": [1]})


def test_prevalence_draws_observed_over_chance(ax):
    rates = {"observed_rate": [0.25, 0.5], "expected_rate": 0.1, "low_rate": [0.0, 0.05], "high_rate": [0.2, 0.2]}
    table = pd.concat([pd.DataFrame({"session": [2, 3], "n_rated": [40, 20], **rates}), FEW.assign(observed_rate=1.0)])
    als.plot_prevalence(table, ax=ax)
    assert points(ax, "o") == [(2, 25), (3, 50)], "one patient alone is not shown"
    chance = next(line for line in ax.lines if line.get_linestyle() == "--")
    assert set(chance.get_ydata()) == {10.0}
    edges = ax.collections[0].get_paths()[0].vertices
    assert edges[:, 1].max() == 20
    assert ax.get_ylabel() == "Ruptures beginning (% of patients rated)"


def test_prevalence_without_chance_draws_intervals(ax):
    rates = {"onset_rate": [0.25, 0.5], "ci_low": [0.1, 0.1], "ci_high": [0.6, 0.9]}
    als.plot_prevalence(pd.DataFrame({"session": [2, 3], "n_at_risk": [40, 20], **rates}), ax=ax)
    assert points(ax, "o") == [(2, 25), (3, 50)]
    first = ax.collections[0].get_segments()[0]
    assert first[:, 1] == pytest.approx([10, 60])
    assert ax.get_ylabel() == "Ruptures beginning (% of patients at risk)"


def test_onset_aligned_interval_is_clustered_by_patient():
    """Twice the same patient's information must not narrow the interval."""
    rng = np.random.default_rng(3)
    frames, events = [], []
    for patient in range(8):
        score = 5 + rng.normal(size=6).round(2)
        frames.append(pd.DataFrame({"patient": patient, "session": range(1, 7), "alliance": score}))
        events.append(EVENTS.assign(patient=patient, onset=3, baseline=5.0))
    once = als.rupture.onset_aligned(pd.concat(frames), pd.concat(events), score="alliance")
    doubled = pd.concat(events + [event.assign(event=2) for event in events])
    twice = als.rupture.onset_aligned(pd.concat(frames), doubled, score="alliance")
    columns = ["mean", "ci_low", "ci_high"]
    pd.testing.assert_frame_equal(once[columns], twice[columns])
    values = np.array([frame["alliance"].iloc[2] - 5.0 for frame in frames])
    at_onset = once.loc[once["offset"] == 0].iloc[0]
    half = 2.364624 * values.std(ddof=1) / np.sqrt(8)  # one rupture each: the ordinary t interval
    assert at_onset["ci_high"] - at_onset["mean"] == pytest.approx(half, rel=1e-6)


def test_distribution_marks_the_ends_of_the_scale(ax):
    sessions = pd.DataFrame({"patient": 1, "session": range(1, 9), "alliance": [7, 7, 7, 6.5, 6.5, 6, 5, 2.5]})
    table = als.reliability.score_distribution(sessions, score="alliance")
    assert table["n"].sum() == 8
    assert table.loc[table["value"] == 7, "share"].item() == 3 / 8
    als.figures.plot_distribution(table, score="alliance", floor=1, ceiling=7, ax=ax)
    assert [text.get_text() for text in ax.texts] == ["37.5 %"]
    coloured = [bar for bar in ax.patches if bar.get_facecolor() == mpl.colors.to_rgba(COLOURS["orange"])]
    assert [bar.get_x() + bar.get_width() / 2 for bar in coloured] == [7]


def test_scores_without_a_grid_fall_into_equal_bars():
    rng = np.random.default_rng(0)
    sessions = pd.DataFrame({"patient": 1, "session": range(500), "alliance": rng.normal(size=500)})
    table = als.reliability.score_distribution(sessions, score="alliance")
    assert 20 <= len(table) <= 42
    assert np.allclose(np.diff(table["low"]), 0.2)
    assert (table["high"] == table["low"] + 0.2).all()
    assert table["value"].isna().all()
    assert table["n"].sum() == 500


@pytest.mark.parametrize("scores", [[3.0, 3.0], [np.nan, np.nan], [np.nan, 4.0]])
def test_distribution_of_constant_or_empty_scores(ax, scores):
    sessions = pd.DataFrame({"patient": 1, "session": [1, 2], "alliance": scores})
    table = als.reliability.score_distribution(sessions, score="alliance")
    als.figures.plot_distribution(table, ceiling=7, ax=ax)
    assert table["n"].sum() == np.isfinite(scores).sum()


def test_attendance_colours_each_cell_by_its_state(ax):
    als.figures.plot_attendance(
        SESSIONS, score="alliance", endings=pd.DataFrame({"patient": ["b"], "ending": ["dropout"]}), ax=ax
    )
    cells = ax.images[0].get_array().filled(-1)
    #            rated=0 late=1 held=2 cancelled=3 no-show=4 no record=5, -1 after the end
    assert cells[0].tolist() == [0, 0, 0, 1, 5, 2, 0, 0]
    assert cells[1].tolist() == [0, 3, 4, -1, -1, -1, -1, -1]
    assert points(ax, "x") == [(3.85, 1)]


def test_terms_show_estimates_and_intervals_in_the_order_of_the_table(ax):
    terms = pd.DataFrame(
        {"term": ["late", "early"], "estimate": [0.5, -0.2], "ci_low": [0.1, -0.4], "ci_high": [0.9, 0.0]}
    )
    als.plot_terms(terms, labels={"late": "Late sessions"}, ax=ax)
    assert points(ax, "o") == [(0.5, 0), (-0.2, 1)]
    assert [label.get_text() for label in ax.get_yticklabels()] == ["Late sessions", "early"]
    assert ax.get_ylim()[0] > ax.get_ylim()[1], "the first term stands on top"


def test_terms_as_ratios_stand_on_a_log_axis_around_one(ax):
    terms = pd.DataFrame({"term": ["x"], "estimate": [np.log(2.0)], "ci_low": [0.0], "ci_high": [np.log(4.0)]})
    als.plot_terms(terms, ratio=True, ax=ax)
    assert ax.get_xscale() == "log"
    assert points(ax, "o")[0] == (pytest.approx(2.0), 0)


def test_functions_never_change_their_tables_nor_the_settings(ax):
    sessions, events, before = SESSIONS.copy(), EVENTS.copy(), dict(mpl.rcParams)
    als.plot_patient(sessions, events, patient="a", score="alliance", ax=ax)
    als.figures.plot_attendance(sessions, score="alliance", ax=Figure().subplots())
    pd.testing.assert_frame_equal(sessions, SESSIONS)
    pd.testing.assert_frame_equal(events, EVENTS)
    assert dict(mpl.rcParams) == before


BACKEND = """
import matplotlib
from matplotlib.backends.backend_agg import *
matplotlib.interactive(True)  # as Jupyter's backend does when it starts
matplotlib.rcParams["figure.figsize"] = (1, 2)  # as its configuration may
"""
DRAW_FIRST = """
import alliance_stats as als, matplotlib as mpl, pandas as pd
sessions = pd.DataFrame({{"patient": ["a"] * 3, "session": [1, 2, 3], "alliance": [5.0, 3.0, 4.0]}})
events = pd.DataFrame({{"patient": [], "onset": [], "repaired_at": [], "status": [], "baseline": []}})
before = dict(mpl.rcParams)
als.{call}
assert mpl.is_interactive(), "the notebook would not show it"
assert list(mpl.rcParams["figure.figsize"]) == [1, 2]
assert mpl.get_backend() == "module://backend_of_a_notebook"
import matplotlib.pyplot as plt
assert len(plt.get_fignums()) == 1
changed = {{name for name, value in mpl.rcParams.items() if before[name] != value}}
assert changed <= {{"interactive", "figure.figsize"}}, changed
"""


@pytest.mark.parametrize(
    "call",
    [
        "plot_patient(sessions, events, patient='a', score='alliance')",
        "plot_patients(sessions, events, patients=['a'], score='alliance')",
    ],
)
def test_the_first_figure_of_a_notebook_is_shown_and_its_backend_keeps_its_settings(tmp_path, call):
    (tmp_path / "backend_of_a_notebook.py").write_text(BACKEND)
    where = {**os.environ, "MPLBACKEND": "module://backend_of_a_notebook"}
    where["PYTHONPATH"] = os.pathsep.join([str(tmp_path), *sys.path])
    subprocess.run([sys.executable, "-c", DRAW_FIRST.format(call=call)], check=True, env=where)


def test_endings_differ_by_line_and_not_by_colour_alone(ax):
    table = pd.DataFrame({"time": [1, 2] * 2, "state": ["completed"] * 2 + ["dropout"] * 2, "estimate": 0.1})
    als.plot_incidence(table.assign(ci_low=0.0, ci_high=0.2), ax=ax)
    assert len({line.get_linestyle() for line in ax.lines}) == 2


DRAW_AND_SAVE = """
import sys, pandas as pd, alliance_stats as als
import matplotlib; matplotlib.use("Agg")
sessions = pd.DataFrame({"patient": ["a"] * 3, "session": [1, 2, 3], "alliance": [5.0, 3.0, 4.0]})
events = pd.DataFrame({"patient": [], "onset": [], "repaired_at": [], "status": [], "baseline": []})
ax = als.plot_patient(sessions, events, patient="a", score="alliance")
als.save_figure(ax, sys.argv[1], formats=["png", "svg", "pdf"])
"""


def test_the_same_figure_gives_the_same_bytes_in_another_process(tmp_path):
    for name in ("one", "two"):
        subprocess.run([sys.executable, "-c", DRAW_AND_SAVE, str(tmp_path / name)], check=True)
    for suffix in ("png", "svg", "pdf"):
        first, second = ((tmp_path / f"{name}.{suffix}").read_bytes() for name in ("one", "two"))
        assert len(first) > 1000
        assert first == second
    assert b"dc:date" not in (tmp_path / "one.svg").read_bytes()


def test_the_last_bit_of_a_coordinate_does_not_change_the_bytes(tmp_path):
    files = []
    for left in (0.1, 0.1 + 1e-16, 0.1 + 2e-13):  # processors round layouts differently in the last bits
        with styled():
            figure = Figure(layout="none")
            axes = figure.add_axes((left, 0.1, 0.3, 0.8)), figure.add_axes((left + 0.5, 0.1, 0.3, 0.8))
            for part in axes:
                part.plot([1, 2, 3], [1, 3, 2], "o-")
        files += als.save_figure(figure, tmp_path / f"at_{left}", formats=["svg"])
    first, second, third = (file.read_bytes() for file in files)
    assert first == second == third
    ids = re.findall(rb' id="([^"]+)"', first)
    assert len(set(ids)) == len(ids)
    assert set(re.findall(rb'"#([^"]+)"|url\(#([^)]+)\)', first)) <= {(i, b"") for i in ids} | {(b"", i) for i in ids}


def test_the_users_settings_do_not_change_the_bytes(tmp_path):
    with styled():
        figure = Figure()
        figure.subplots().plot([1, 2])
    (plain,) = als.save_figure(figure, tmp_path / "plain", formats=["svg"])
    with mpl.rc_context({"svg.hashsalt": None, "savefig.facecolor": "red", "svg.fonttype": "none"}):
        (changed,) = als.save_figure(figure, tmp_path / "changed", formats=["svg"])
    assert plain.read_bytes() == changed.read_bytes()


def test_axes_in_a_part_of_a_figure_save_the_whole(tmp_path):
    figure = Figure()
    left, _ = figure.subfigures(1, 2)
    axes = left.subfigures(2, 1)[0].subplots()
    for part in (figure, left, axes):
        (saved,) = als.save_figure(part, tmp_path / "saved", formats=["png"], dpi=100)
        height, width = mpl.image.imread(saved).shape[:2]
        assert [width, height] == pytest.approx(100 * figure.get_size_inches(), abs=1)
    with pytest.raises(TypeError, match="not str"):
        als.save_figure("figure", tmp_path / "none", formats=["png"])


def test_a_failing_save_leaves_no_file_and_the_old_one_whole(tmp_path, monkeypatch):
    target = tmp_path / "figure.png"
    target.write_bytes(b"old")
    monkeypatch.setattr("os.fdopen", lambda *_: (_ for _ in ()).throw(OSError("disk full")))
    with pytest.raises(OSError, match="disk full"):
        als.save_figure(Figure(), target, formats=["png"])
    assert [path.name for path in tmp_path.iterdir()] == ["figure.png"]
    assert target.read_bytes() == b"old"


def test_an_unknown_format_is_refused_with_the_nearest(tmp_path):
    with pytest.raises(ValueError, match="Did you mean 'png'"):
        als.save_figure(Figure(), tmp_path / "x", formats=["pnk"])


def test_the_multiverse_has_a_line_for_every_rule_estimated_or_not(ax):
    table = pd.DataFrame(
        {
            "rule": ["a", "a", "b", "c"],
            "target": ["past", "to", "past", "past"],
            "term": ["x", "x", "x", ""],
            "estimate": [1.0, 2.0, -1.0, np.nan],
            "ci_low": [0.0, 1.0, -2.0, np.nan],
            "ci_high": [2.0, 3.0, 0.0, np.nan],
        }
    )
    als.figures.plot_multiverse(table, term="x", ax=ax)
    assert [label.get_text() for label in ax.get_yticklabels()] == ["a", "b", "c"]
    assert sorted(x for x, _ in points(ax, "o") + points(ax, "s")) == [-1, 1, 2]
    with pytest.raises(ValueError, match="Known: 'x'"):
        als.figures.plot_multiverse(table, term="z", ax=ax)


def test_power_has_a_line_and_a_panel_for_each_other_size():
    sizes = pd.MultiIndex.from_product(
        [[50, 100], [6, 12, 24], [5, 10]], names=["n_patients", "n_sessions", "n_therapists"]
    )
    table = sizes.to_frame(index=False).assign(n_studies=9, power=np.linspace(0, 1, 12))
    table = table.assign(ci_low=table["power"] - 0.1, ci_high=table["power"] + 0.1)
    axes = als.figures.plot_power(table.sample(frac=1, random_state=1)).axes
    assert [ax.get_title(loc="left") for ax in axes] == ["5 therapists", "10 therapists"]
    assert [text.get_text() for text in axes[0].get_legend().get_texts()] == [
        "6 sessions",
        "12 sessions",
        "24 sessions",
    ]
    shown = table.query("n_therapists == 10 and n_sessions == 12").sort_values("n_patients")
    np.testing.assert_array_equal(axes[1].lines[1].get_xydata(), shown[["n_patients", "power"]])
    with pytest.raises(ValueError, match="five lines"):
        als.figures.plot_power(table.assign(n_sessions=range(12)))


def test_attendance_has_the_same_bytes_in_any_order_of_rows(tmp_path):
    study = als.simulate_study(n_patients=30, n_therapists=4, seed=2)
    written = []
    for seed in (1, 2):
        sessions = study.sessions.sample(frac=1, random_state=seed)
        endings = study.endings.sample(frac=1, random_state=seed)
        axes = als.figures.plot_attendance(sessions, score="alliance", endings=endings)
        written.append([path.read_bytes() for path in als.save_figure(axes, tmp_path / f"attendance{seed}")])
    assert written[0] == written[1]
