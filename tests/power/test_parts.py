"""Parts of a power analysis: the bytes of one run, and a plain word where parts are missing, mixed or damaged."""

import json

import pytest

import alliance_stats as als
from alliance_stats.cli import main
from alliance_stats.power.simulated import work_of
from alliance_stats.tables.parts import read_parts, write_part

DESIGN = """
[power]
analysis = "next_session"
term = "alliance_within"
seed = 1
n_studies = 3
wanted = 0.3

[vary]
n_patients = [20, 40]
n_sessions = [6, 12]

[world]
sessions_sd = 2
n_therapists = 4
alliance_effect = -3.0
"""


@pytest.fixture
def design(tmp_path):
    path = tmp_path / "design.toml"
    path.write_text(DESIGN)
    return path


def run(*arguments):
    return main([str(argument) for argument in arguments])


def written(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.suffix != ".json"}


def test_merged_parts_are_one_run_to_the_byte(design, tmp_path, capsys):
    parts = tmp_path / "parts"
    assert run("power", design, "--out", tmp_path / "whole", "--jobs", 2) == 0
    for part in ("3/3", "1/3"):
        assert run("power", design, "--part", part, "--out", parts) == 0
    capsys.readouterr()
    assert run("merge", parts) == 1
    assert "1 of 3 parts are missing" in (said := capsys.readouterr().err)
    assert "--array=2" in said
    assert not written(parts)
    again = (parts / "part-1-of-3.json").read_bytes()
    for part in ("2/3", "1/3"):  # one may be run again
        assert run("power", design, "--part", part, "--out", parts) == 0
    assert (parts / "part-1-of-3.json").read_bytes() == again
    assert run("merge", parts, "--out", tmp_path / "merged") == 0
    assert written(tmp_path / "merged") == written(tmp_path / "whole")
    assert set(written(tmp_path / "whole")) == {"power.csv", "smallest.csv", "power.png", "power.svg"}
    assert len(list(parts.iterdir())) == 3, "nothing half-written is left"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda part: part["design"].update(n_studies=4), "n_studies 4, but 3"),
        (lambda part: part["versions"].update(numpy="0.1"), "numpy 0.1, but "),
        (lambda part: part.update(of=3), "of 3, but 2"),
        (lambda part: part.pop("answers"), "is damaged"),
    ],
)
def test_parts_that_do_not_belong_together(design, tmp_path, change, message):
    for part in ("1/2", "2/2"):
        assert run("power", design, "--part", part, "--out", tmp_path) == 0
    second = tmp_path / "part-2-of-2.json"
    content = json.loads(second.read_text())
    change(content)
    second.write_text(json.dumps(content))
    with pytest.raises(als.DataError, match=message):
        read_parts(tmp_path)


def test_a_folder_without_parts(tmp_path):
    with pytest.raises(als.DataError, match="holds no parts"):
        read_parts(tmp_path)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("n_studies", "n_studie", "unknown key 'n_studie'"),
        ("seed = 1", "", "no key 'seed'"),
        ("[20, 40]", "20", "n_patients=20 must be a list"),
        ("[20, 40]", '["a"]', "n_patients='a' must be a number"),
        ("[20, 40]", "[0]", "n_patients=0 must be at least 1"),
        ("n_therapists = 4", "n_patients = 4", "n_patients is in both"),
        ("-3.0", '"x"', "alliance_effect"),
        ("wanted = 0.3", "wanted = 3", "wanted=3"),
        ("[power]", "[powr]", "no section called [powr]"),
        ("[power]", "[world.codes]\nx = 1\n[power]", "cannot be simulated"),
        ("seed = 1", 'seed = "one"', "seed='one'"),
        ("n_studies = 3", "n_studies = 2.5", "n_studies=2.5"),
        ('"next_session"', "3", "analysis=3"),
        ('"alliance_within"', "3", "term=3"),
    ],
)
def test_a_wrong_design_is_one_line_before_anything_is_simulated(design, tmp_path, capsys, old, new, message):
    design.write_text(DESIGN.replace(old, new))
    assert run("power", design, "--part", "1/2", "--out", tmp_path / "parts") == 2
    said = capsys.readouterr().err
    assert message in said
    assert said.count("\n") == 1
    assert not (tmp_path / "parts").exists()


def test_a_part_of_what_a_file_cannot_say(tmp_path):
    design = als.power.Design(analysis=lambda study, events: events, term="x", seed=1)
    with pytest.raises(ValueError, match="must say what it is of"):
        write_part(work_of(design), 1, 2, tmp_path / "parts")
    assert not (tmp_path / "parts").exists()


@pytest.mark.parametrize("part", ["3", "0/2", "3/2", "a/b"])
def test_a_wrong_part(design, tmp_path, capsys, part):
    assert run("power", design, "--part", part, "--out", tmp_path / "parts") == 2
    assert "part" in capsys.readouterr().err
