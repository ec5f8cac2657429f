"""Every number of the paper's validation comes from a table in figures/."""

import re
from pathlib import Path

import pandas as pd

import alliance_stats as als

ROOT = Path(__file__).parents[2]
PAPER = " ".join((ROOT / "paper/paper.md").read_text(encoding="utf-8").split())


def table(name):
    return pd.read_csv(ROOT / "figures" / f"{name}.csv")


def test_the_detector():
    worlds = table("detector_validation")
    assert len(worlds) == 9
    gain, ahead = worlds["gain"], worlds["gain_prospective"]
    assert f"found {gain.min():.1f} to {gain.max():.1f} times as many true ruptures as the best rule" in PAPER
    assert f"{ahead.min():.1f} to {ahead.max():.1f} times as many as the best prospective rule" in PAPER


def test_immortal_time():
    fixed, lagged = table("immortal_time_bias").to_dict("records")
    assert f"hazard ratio of {fixed['mean_ratio']:.2f}" in PAPER
    assert f"in {100 * fixed['false_alarms']:.0f} % of studies" in PAPER
    assert f"gave {lagged['mean_ratio']:.2f} and {100 * lagged['false_alarms']:.0f} %" in PAPER


def test_feedback():
    rows = table("feedback_bias").query("term == 'feedback -0.06'").set_index("model")["coverage"]
    one, both = rows["next session, patient's mean"], rows["both directions"]
    assert f"covered the true effect in {100 * one:.0f} % of studies" in PAPER
    assert f"both directions in {100 * both:.0f} %" in PAPER


def test_counts_of_what_is_in_it():
    words = {19: "nineteen", 20: "Twenty"}
    assert f"{words[len(als.RULES)]} named members" in PAPER
    assert f"scores {words[len(als.INSTRUMENTS)]} instruments" in PAPER
    cited = set(re.findall(r"@(\w+)", PAPER.split("# Summary")[1]))
    known = set(re.findall(r"@article\{(\w+)", (ROOT / "paper/paper.bib").read_text(encoding="utf-8")))
    assert cited == known
