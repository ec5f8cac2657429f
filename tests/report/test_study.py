"""A study file is data: nothing in it is run."""

import json

import pandas as pd
import pytest

from alliance_stats.cli import main
from alliance_stats.report.sections import in_section, open_study
from alliance_stats.report.steps import read_and_score
from alliance_stats.report.study import StudyError

GOOD = """
[read]
file = "s.csv"
patient = "patient"
session = "session"
[detect]
score = "alliance"
rule = "previous_2pooled"
[chance]
draws = 100
"""


def study(folder, text=GOOD):
    rows = [f"p{p},{s},{5 + (p + s) % 2 + 0.1 * (p == 1)},{10 + s % 3 + p}" for p in range(8) for s in range(1, 9)]
    (folder / "s.csv").write_text("\n".join(["patient,session,alliance,phq9", *rows]))
    endings = [f"p{p},{'dropout' if p % 3 == 0 else 'completed'}" for p in range(8)]
    (folder / "e.csv").write_text("\n".join(["patient,ending", *endings]))
    (folder / "study.toml").write_text(text)
    return folder / "study.toml"


def test_data_may_be_kept_elsewhere(tmp_path):
    """Patient data are often on a drive of their own."""
    (tmp_path / "protected").mkdir()
    for name in ("../protected/s.csv", str(tmp_path / "protected/s.csv")):
        path = study(tmp_path, GOOD)
        (tmp_path / "s.csv").replace(tmp_path / "protected/s.csv")
        (tmp_path / "analysis").mkdir(exist_ok=True)
        path.replace(tmp_path / "analysis/study.toml")
        path = tmp_path / "analysis/study.toml"
        path.write_text(GOOD.replace('"s.csv"', f'"{name}"'))
        assert main(["check", str(path)]) == 0


def test_a_folder_below_is_fine(tmp_path):
    (tmp_path / "data").mkdir()
    path = study(tmp_path, GOOD.replace('"s.csv"', '"./data/../data/s.csv"'))
    (tmp_path / "s.csv").rename(tmp_path / "data/s.csv")
    assert main(["check", str(path)]) == 0


def attacks(marker):
    code = f"I(__import__('os').system('touch {marker}'))"
    calls = [
        code,
        f"np.add(1, {code})",
        f"C(phq9, contr.treatment(base={code}))",
        f"{{{code}}}",
        f"I(session.to_csv('{marker}'))",
        f"np.savetxt('{marker}', session)",
        f"I(open('{marker}', 'w').write('x'))",
        f"session + {code}:session",
    ]
    return {
        f"formula {k}": f'[endings]\nfile = "e.csv"\n[dropout]\nformula = """{one}"""\n' for k, one in enumerate(calls)
    } | {
        "covariate of the outcome": f'[outcome]\nsymptom = "phq9"\ncovariates = ["""{code}"""]\n',
        "covariate with a backtick": f'[outcome]\nsymptom = "phq9"\ncovariates = ["""x` + {code} + `y"""]\n',
        "symptom": f'[outcome]\nsymptom = """{code}"""\n',
        "covariate of the next session": f'[outcome]\nsymptom = "phq9"\n[next_session]\ncovariates = ["""{code}"""]\n',
        "measure of dropout": f'[endings]\nfile = "e.csv"\n[dropout]\nformula = "session"\nmeasures = ["""{code}"""]\n',
        "cluster": f'[endings]\nfile = "e.csv"\n[dropout]\nformula = "session"\ncluster = """{code}"""\n',
        "keep": f'[[keep]]\ncolumn = "session"\nequals = """{code}"""\nbecause = """{code}"""\n',
        "flip": f'[[flip]]\ncolumn = "phq9"\ninto = """{code}"""\nlow = 0\nhigh = 27\n',
        "title": f'[study]\ntitle = """{code} <script>$\\\\frac{{$</script>"""\n',
    }


@pytest.mark.parametrize("name", attacks("x"))
def test_nothing_in_a_study_file_is_run(name, tmp_path, capsys):
    marker = tmp_path / "it_ran"
    path = study(tmp_path, GOOD + attacks(marker)[name])
    status = main(["report", str(path), "--out", str(tmp_path / "out")])
    assert not marker.exists()
    assert status in (0, 1, 2)
    assert "Traceback" not in capsys.readouterr().err


def test_a_column_named_like_code_is_only_a_name(tmp_path, capsys):
    marker = tmp_path / "it_ran"
    code = f"I(__import__('os').system('touch {marker}'))"
    path = study(tmp_path, GOOD + f'[outcome]\nsymptom = """{code}"""\n[next_session]\n[growth]\n')
    text = (tmp_path / "s.csv").read_text().replace("phq9", f'"{code}"', 1)
    (tmp_path / "s.csv").write_text(text)
    main(["report", str(path), "--out", str(tmp_path / "out")])
    assert not marker.exists()
    assert "Traceback" not in capsys.readouterr().err


def test_a_mistake_in_a_section_names_the_study_file(tmp_path):
    known = open_study(study(tmp_path))
    with pytest.raises(StudyError, match=r"study\.toml: \[flip\] high must be a number"):
        in_section(known, "flip", lambda: (_ for _ in ()).throw(ValueError("high must be a number")))


MORE = """
[[merge]]
file = "ther.csv"
patient = "id"
session = "nr"
[patients]
file = "who.csv"
patient = "id"
[[keep]]
column = "alliance"
min_sessions = 4
because = "four ratings"
[outcome]
symptom = "phq9"
covariates = ["age"]
exposure = "n_rated"
"""


def test_a_second_rater_and_a_file_of_patients(tmp_path):
    path = study(tmp_path, GOOD + MORE)
    (tmp_path / "ther.csv").write_text(
        "\n".join(["id,nr,alliance", *(f"p{p},{s},{4 + s % 3}" for p in range(8) for s in (1, 3))])
    )
    (tmp_path / "who.csv").write_text("\n".join(["id,age", *(f"p{p},{20 + 3 * p % 7}" for p in range(8))]))
    assert main(["check", str(path)]) == 0
    sessions = read_and_score(open_study(path))
    assert {"alliance", "alliance_therapist", "age"} <= set(sessions)
    assert sessions["alliance_therapist"].notna().sum() == 16
    main(["report", str(path), "--out", str(tmp_path / "out")])
    assert len(set(pd.read_csv(tmp_path / "out/tables/patients.csv")["age"])) > 1, "a covariate of the outcome model"
    manifest = json.loads((tmp_path / "out/manifest.json").read_text())
    assert [one["file"] for one in manifest["inputs"]] == ["study.toml", "s.csv", "ther.csv", "who.csv"]


def test_an_export_of_redcap(tmp_path):
    rows = [f"{p},session_{s}_arm_1,{5 + (p + s) % 2}" for p in range(1, 5) for s in range(1, 7)]
    (tmp_path / "r.csv").write_text("\n".join(["record_id,redcap_event_name,wai", *rows]))
    (tmp_path / "study.toml").write_text(
        '[redcap]\nfile = "r.csv"\nevent = "session_{session}_arm_1"\n'
        '[detect]\nscore = "wai"\nrule = "previous_2pooled"\n'
    )
    assert main(["check", str(tmp_path / "study.toml")]) == 0
    assert len(read_and_score(open_study(tmp_path / "study.toml"))) == 24
