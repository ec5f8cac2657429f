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
    gain = gains.groupby("assumed")["gain"].agg(["min", "max", "size"])
    text = " ".join(README.split())
    low, high, n = gain.loc[True]
    assert f"finds {low:.1f} to {high:.1f} times as many true ruptures" in text
    assert f"in the {n:.0f} worlds whose kind it assumes" in text
    low, high, n = gain.loc[False]
    assert f"{low:.1f} to {high:.1f} times as many in the {n:.0f} it does not" in text
    share = 100 * gains["share_of_limit"]
    assert f"reaches {share.min():.0f} to {share.max():.0f} % of it" in text
    further = pd.read_csv(ROOT / "figures/detector_validation.csv")
    low, high = further["gain"].min(), further["gain"].max()
    assert f"{low:.1f} to {high:.1f} times as many as the best rule" in text
    low, high = further["gain_prospective"].min(), further["gain_prospective"].max()
    assert f"{low:.1f} to {high:.1f} times as many as the best prospective rule" in text


def test_what_the_readme_says_of_the_multiverse_is_in_its_table():
    joint = pd.read_csv(ROOT / "figures/multiverse_joint.csv", index_col=["term", "statistic"])
    p = joint.loc[("repaired - none", "mean z"), "p_value"]
    assert f"all specifications together give p = {p:.2f} (`multiverse.joint_test`)".replace("0.", ".") in " ".join(
        README.split()
    )
