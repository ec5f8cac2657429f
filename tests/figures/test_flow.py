"""The diagram of who was kept says what the table says, and nothing lies over anything else."""

import pandas as pd
import pytest
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

import alliance_stats as als
from alliance_stats.figures.flow import WIDTH, flow_height
from alliance_stats.tables.schema import DataError

FLOW = pd.DataFrame(
    {
        "step": [
            "in the file",
            "read",
            "at risk",
            "used by a model with a name that is far too long for a single line",
        ],
        "patients": [120, 120, 119, 1],
        "sessions": [1651, 1651, 1500, 10],
        "patients_lost": [0, 0, 1, 118],
        "sessions_lost": [0, 0, 0, 1490],
        "why": ["", "", "patients without a $interval$ (1)", "no phq9 (1,000); <script> (490)"],
        "unit": ["sessions", "sessions", "intervals", "intervals"],
    }
)


def drawn(flow):
    height = flow_height(flow)
    figure = Figure(figsize=(WIDTH, height))
    ax = als.figures.plot_flow(flow, ax=figure.add_axes((0, 0, 1, 1)))
    figure.canvas.draw()
    return ax, [" ".join(text.get_text().split()) for text in ax.texts if text.get_text()]


def test_every_step_and_every_reason_is_written():
    _, texts = drawn(FLOW)
    assert texts == [
        "In the file 120 patients, 1,651 sessions",
        "Read 120 patients, 1,651 sessions",
        "Left out: 1 patient patients without a $interval$ (1)",
        "At risk 119 patients, 1,500 intervals",
        "Left out: 118 patients, 1,490 intervals no phq9 (1,000) <script> (490)",
        "Used by a model with a name that is far too long for a single line 1 patient, 10 intervals",
    ]


def test_boxes_hold_their_text_and_do_not_touch():
    ax, _ = drawn(FLOW)
    boxes = [patch.get_window_extent() for patch in ax.patches if isinstance(patch, Rectangle)]
    words = [text.get_window_extent() for text in ax.texts if text.get_text()]
    assert len(boxes) == len(words) == 6
    for box, text in zip(boxes, words, strict=True):
        assert box.x0 < text.x0
        assert text.x1 < box.x1
        assert box.y0 < text.y0
        assert text.y1 < box.y1
    assert not any(a.overlaps(b) for k, a in enumerate(boxes) for b in boxes[k + 1 :])
    whole = ax.figure.bbox
    assert all(whole.x0 <= box.x0 and box.x1 <= whole.x1 and whole.y0 <= box.y0 and box.y1 <= whole.y1 for box in boxes)


def test_counts_that_cannot_be_told_are_not_written():
    rows = {"patients": [None, 3], "sessions": [40, None], "patients_lost": [0, None], "sessions_lost": [0, None]}
    _, texts = drawn(pd.DataFrame({"step": ["at the start", "used"], **rows}).astype(dict.fromkeys(rows, "Int64")))
    assert texts == ["At the start 40 sessions", "Used 3 patients"]


def test_a_table_that_is_no_flow_is_refused():
    with pytest.raises(DataError, match="'step'"):
        als.figures.plot_flow(pd.DataFrame({"patients": [1]}))
