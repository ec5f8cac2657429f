"""The README's example prints what the README says, and the README's links lead somewhere."""

import importlib.util
import re
from operator import attrgetter
from pathlib import Path

import pandas as pd
import pytest

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def script(name):
    spec = importlib.util.spec_from_file_location(name, ROOT / f"analyses/{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_example_prints_what_the_readme_says():
    printed, said = script("90_readme_output").run(README)
    assert printed == said, "run analyses/90_readme_output.py (make figures) and read what changed"


def test_the_study_file_in_the_readme_is_a_study_file(tmp_path):
    from alliance_stats.report.sections import open_study

    toml = re.search(r"```toml\n(.*?)```", README, re.DOTALL)[1]
    (tmp_path / "study.toml").write_text(toml, encoding="utf-8")
    study = open_study(tmp_path / "study.toml")
    assert study.section("detect")["score"] == "alliance"


@pytest.mark.parametrize(
    "path", sorted(set(re.findall(r"\]\((figures/[^)]+)\)|`((?:tests|data|benchmarks)/[\w/]*)`", README)))
)
def test_what_the_readme_names_is_there(path):
    assert (ROOT / (path[0] or path[1])).exists()


def test_the_functions_the_readme_names_exist():
    import alliance_stats as als

    table = README.split("## What is in it")[1].split("## Your own study")[0]
    names = {name.split("(")[0] for name in re.findall(r"`([a-zA-Z_.]+)(?:\(fit\))?`", table)}
    assert names
    for name in sorted(names):
        assert attrgetter(name)(als) is not None


def test_what_the_readme_says_of_the_detectors_is_in_their_table():
    gains = pd.read_csv(ROOT / "figures/detector_gains.csv")
    further = pd.read_csv(ROOT / "figures/detector_validation.csv")
    assumed, others = gains[gains["assumed"]], gains[~gains["assumed"]]
    text = " ".join(README.split())
    assert (
        f"| {len(assumed)} worlds whose kind it assumes | {len(others)} it does not | {len(further)} of validation |"
        in text
    )
    rows = ["gain", "gain_any", "gain_sessions", "gain_event", "gain_prospective"]
    for name in rows:
        first, *rest = (f"{t[name].min():.1f} to {t[name].max():.1f}" for t in (assumed, others, further))
        row = f"| {first} ({assumed[name].median():.1f}) | {rest[0]} | {rest[1]} |"
        assert row.replace(" 0.", " .") in text.replace("(median ", "("), name
    share = 100 * pd.concat([gains, further])["share_of_limit"]
    assert f"reaches {share.min():.0f} to {share.max():.0f} % of it" in text
    five = 100 * further.set_index("world").loc["five points", ["latent_sensitivity", "best_rule_sensitivity"]]
    assert f"finds {five.iloc[0]:.0f} % of the onsets, the best rule {five.iloc[1]:.0f} %" in text


def test_what_the_readme_says_of_the_multiverse_is_in_its_table():
    joint = pd.read_csv(ROOT / "figures/multiverse_joint.csv", index_col=["term", "statistic"])
    p = joint.loc[("repaired - none", "mean z"), "p_value"]
    assert f"all specifications together give p = {p:.2f} (`multiverse.joint_test`)".replace("0.", ".") in " ".join(
        README.split()
    )
