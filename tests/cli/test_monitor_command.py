"""``alliance-stats monitor``: parameters from one study, a table and pages of another, pseudonyms throughout."""

import io

import pandas as pd
import pytest

from alliance_stats.cli import main
from alliance_stats.report.writing import demo_study
from alliance_stats.rupture.latent.parameters import read_parameters

STUDY = str(demo_study())


@pytest.fixture(scope="module")
def parameters(tmp_path_factory):
    path = tmp_path_factory.mktemp("clinic") / "clinic.json"
    assert main(["monitor", STUDY, "--estimate", str(path)]) == 0
    return path


def test_every_patient_likeliest_rupture_first(parameters, tmp_path, capsys):
    assert read_parameters(parameters).depth > 0
    assert main(["monitor", STUDY, "--parameters", str(parameters), "--sessions", "8"]) == 0
    said = capsys.readouterr()
    table = pd.read_csv(io.StringIO(said.out))
    assert table["p_open"].is_monotonic_decreasing
    assert table["patient"].str.fullmatch(r"P\d+").all()
    assert "not a diagnosis" in said.err


def test_one_patient_with_a_page(parameters, tmp_path, capsys):
    out = tmp_path / "pages"
    command = ["monitor", STUDY, "--parameters", str(parameters), "--sessions", "8", "--patient", "p001"]
    assert main([*command, "--out", str(out)]) == 0
    assert len(pd.read_csv(io.StringIO(capsys.readouterr().out))) == 1
    assert sorted(path.suffix for path in out.iterdir()) == [".csv", ".png", ".svg"]


def test_what_is_missing_is_one_line(parameters, capsys):
    assert main(["monitor", STUDY]) == 2
    assert main(["monitor", STUDY, "--parameters", str(parameters), "--patient", "nobody"]) == 1
    assert main(["monitor", STUDY, "--parameters", STUDY]) == 1
    said = capsys.readouterr().err.splitlines()
    assert [line.split(":")[0] for line in said] == ["alliance-stats"] * 3
    assert "does not hold latent parameters" in said[2] or "is not a JSON file" in said[2]
