"""Every plot function in a real kernel, with and without `%matplotlib inline`: each cell holds a picture."""

import pytest

pytestmark = pytest.mark.site

nbformat = pytest.importorskip("nbformat", reason="needs the environment of the documentation")
from nbclient import NotebookClient  # noqa: E402

SETUP = """
import alliance_stats as als
study = als.simulate_study(n_patients=60, n_therapists=6, seed=3)
sessions, endings = study.sessions, study.endings
events = als.detect_ruptures(sessions, score="alliance", rule="running_mean_2pooled")
chance = als.chance_level(sessions, score="alliance", rule="running_mean_2pooled", draws=100, seed=1)
course = als.rupture.onset_aligned(sessions, events, score="alliance")
intervals = als.dropout_intervals(sessions, events, endings=endings)
hazard = als.fit_dropout("rupture_open + session", intervals, cluster="therapist")
following = als.fit_next_session(sessions, events, symptom="phq9", alliance="alliance")
both = als.fit_dynamics(sessions, alliance="alliance", symptom="phq9")
distribution = als.reliability.score_distribution(sessions, score="alliance")
table = als.fit_multiverse(sessions, score="alliance", question="next_session", symptom="phq9",
                           rules=["previous_2pooled", "running_mean_2pooled"])
first, second = sessions["patient"].unique()[:2]
"""
PLOTS = {
    "plot_patient": "als.plot_patient(sessions, events, patient=first, score='alliance')",
    "plot_patients": "als.plot_patients(sessions, events, patients=[first, second], score='alliance')",
    "plot_prevalence": "als.plot_prevalence(chance.by_session)",
    "plot_onset_aligned": "als.plot_onset_aligned(course, score='alliance')",
    "plot_terms": "als.plot_terms(als.tidy(following))",
    "plot_incidence": "als.plot_incidence(als.cumulative_incidence(intervals))",
    "plot_distribution": "als.figures.plot_distribution(distribution, score='alliance')",
    "plot_attendance": "als.figures.plot_attendance(sessions, score='alliance', endings=endings)",
    "plot_flow": "als.figures.plot_flow(als.flow(following))",
    "plot_multiverse": "als.figures.plot_multiverse(table, term='rupture_open')",
    "plot_dynamics": "als.figures.plot_dynamics(als.tidy(both))",
    "plot_diagnostics": "als.mixed.plot_diagnostics(following.fit)",
}
"""A cell for each plot function whose input costs little; the others draw through the same door (`styled_figure`)."""
BEFORE = "import matplotlib as mpl\nbefore = dict(mpl.rcParams)"
AFTER = "print({k for k in before if before[k] != mpl.rcParams[k]})"


def execute(cells):
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in cells])
    NotebookClient(notebook, timeout=300, kernel_name="python3").execute()
    return notebook.cells


@pytest.mark.parametrize("first", ["", "%matplotlib inline", "import matplotlib.pyplot as plt"])
def test_every_plotting_cell_holds_a_picture_and_settings_stay(first):
    # The first figure starts the backend, which sets rcParams of its own: compare from there on.
    start = [first, SETUP, PLOTS["plot_patient"], BEFORE]
    cells = execute([*start, *PLOTS.values(), AFTER])
    without = [
        name
        for name, cell in zip(PLOTS, cells[len(start) :], strict=False)
        if not any("image/png" in output.get("data", {}) for output in cell.outputs)
    ]
    assert not without, f"no picture: {without}"
    assert any("image/png" in output.get("data", {}) for output in cells[2].outputs), "the first one"
    assert cells[-1].outputs[0]["text"].strip() == "set()"


def test_a_picture_is_shown_once_and_on_the_users_own_axes_too():
    own = "import matplotlib.pyplot as plt\nfig, ax = plt.subplots()\n" + PLOTS["plot_prevalence"][:-1] + ", ax=ax);"
    cells = execute([SETUP, PLOTS["plot_prevalence"] + ";", own])
    for cell in cells[1:]:
        assert ["image/png" in output.get("data", {}) for output in cell.outputs] == [True]


def test_progress_is_shown_in_a_cell_and_off_with_one_argument():
    call = "from alliance_stats.tables import progress\nprogress.DELAY = 0.0\n"
    call += "als.chance_level(sessions, score='alliance', rule='own_mean_2sd', draws=200, seed=1{});"
    cells = execute([SETUP, call.format(""), call.format(", progress=False")])
    shown, silent = ("".join(output.get("text", "") for output in cell.outputs) for cell in cells[1:])
    assert "Drawing studies" in shown
    assert not silent
    assert not any(output.get("name") == "stderr" for output in cells[1].outputs)


def test_completion_offers_what_matters():
    cells = execute([SETUP, "print(*dir(als))", "print(*(n for n in dir(following) if not n.startswith('_')))"])
    root, fit = (cell.outputs[0]["text"].split() for cell in cells[1:])
    assert {"read_sessions", "detect_ruptures", "chance_level", "explore", "mixed"} <= set(root)
    assert not {"lazy", "annotations", "public"} & set(root)
    assert {"summary", "predict", "diagnostics", "tidy"} <= set(fit)
