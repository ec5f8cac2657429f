"""A folder of results: written as a whole or not at all, and nothing of anybody else's is lost."""

import contextlib
import hashlib
import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from alliance_stats.cli import main
from alliance_stats.report.folder import whole_folder
from alliance_stats.report.study import StudyError
from alliance_stats.report.writing import demo_study


def files(folder):
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def interrupted(out):
    """A run that fails after its first file."""
    with contextlib.suppress(ZeroDivisionError), whole_folder(out) as folder:
        (folder / "half.txt").write_text("half")
        raise ZeroDivisionError


def test_an_error_half_way_leaves_nothing_and_the_old_report_whole(tmp_path):
    out = tmp_path / "out"
    interrupted(out)
    assert list(tmp_path.iterdir()) == []
    with whole_folder(out) as folder:
        (folder / "manifest.json").write_text('{"outputs": [{"file": "a.txt"}]}')
        (folder / "a.txt").write_text("old")
    interrupted(out)
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
    assert (out / "a.txt").read_text() == "old"
    with whole_folder(out) as folder:
        (folder / "b.txt").write_text("new")
    assert [path.name for path in out.iterdir()] == ["b.txt"], "an earlier report is replaced as a whole"


def test_files_of_others_are_never_lost(tmp_path, capsys):
    out = tmp_path / "thesis"
    out.mkdir()
    (out / "chapter1.txt").write_text("years of work")
    with pytest.raises(StudyError, match=r"chapter1\.txt"), whole_folder(out):
        pass
    assert main(["report", str(demo_study()), "--out", str(out)]) == 2
    assert (out / "chapter1.txt").read_text() == "years of work"
    (tmp_path / "file").write_text("x")
    with pytest.raises(StudyError, match="is a file"), whole_folder(tmp_path / "file"):
        pass


def stopped_half_way(out, number):
    """A report run that is sent a signal once its first table stands in the unfinished folder."""
    command = [sys.executable, "-m", "alliance_stats", "report", str(demo_study()), "--out", str(out)]
    process = subprocess.Popen(
        command,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        # a shell lets its background jobs ignore Ctrl-C, and so would their children
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    deadline = time.monotonic() + 120
    while not list(out.parent.glob(f".{out.name}.partial-*/tables/*.csv")):
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.005)
    process.send_signal(number)
    return process.wait()


def test_a_killed_run_leaves_no_half_report_and_the_next_one_cleans_up(tmp_path):
    out = tmp_path / "out"
    with whole_folder(out) as folder:
        (folder / "manifest.json").write_text('{"outputs": []}')
    before = files(out)
    assert stopped_half_way(out, signal.SIGKILL) == -signal.SIGKILL
    assert files(out) == before, "the earlier report is whole"
    assert len(list(tmp_path.glob(".out.partial-*"))) == 1
    with whole_folder(out) as folder:
        (folder / "manifest.json").write_text('{"outputs": []}')
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_stopped_run_leaves_nothing_at_all(number, tmp_path):
    assert stopped_half_way(tmp_path / "out", number) == 128 + number
    assert list(tmp_path.iterdir()) == []


def written(out, text="as written", force=False):
    """A small report at `out`, with its manifest."""
    with whole_folder(out, force=force) as folder:
        (folder / "a.txt").write_text(text)
        entry = {"file": "a.txt", "sha256": hashlib.sha256(text.encode()).hexdigest()}
        (folder / "manifest.json").write_text(json.dumps({"outputs": [entry]}))


def test_a_report_edited_by_hand_is_replaced_only_by_force(tmp_path):
    out = tmp_path / "out"
    written(out)
    written(out, "second run")
    (out / "a.txt").write_text("my remarks")
    with pytest.raises(StudyError, match=r"1 file\(s\).*'a\.txt'.*--force"):
        written(out)
    assert (out / "a.txt").read_text() == "my remarks"
    (out / "a.txt").unlink()
    written(out)  # a file taken away is no loss
    (out / "a.txt").write_text("my remarks")
    written(out, force=True)
    assert (out / "a.txt").read_text() == "as written"
    (out / "thesis.txt").write_text("mine")
    with pytest.raises(StudyError, match=r"no report wrote"):
        written(out, force=True)


def test_the_command_line_says_how_to_replace_an_edited_report(tmp_path, capsys):
    rows = [f"p{p},{s},{5 + (p + s) % 2}" for p in range(4) for s in range(1, 7)]
    (tmp_path / "s.csv").write_text("\n".join(["patient,session,alliance", *rows]))
    (tmp_path / "study.toml").write_text(
        '[read]\nfile = "s.csv"\npatient = "patient"\nsession = "session"\n'
        '[detect]\nscore = "alliance"\nrule = "previous_2pooled"\n[chance]\ndraws = 100\n'
    )
    command = ["report", str(tmp_path / "study.toml"), "--out", str(tmp_path / "out")]
    assert main(command) == 0
    assert main(command) == 0
    page = tmp_path / "out/report.html"
    page.write_text(page.read_text(encoding="utf-8") + "<p>my remarks</p>", encoding="utf-8")
    capsys.readouterr()
    assert main(command) == 2
    assert "--force" in capsys.readouterr().err
    assert "my remarks" in page.read_text(encoding="utf-8")
    assert main([*command, "--force"]) == 0
    assert "my remarks" not in page.read_text(encoding="utf-8")


def test_a_link_is_followed_and_stays(tmp_path):
    (tmp_path / "disk").mkdir()
    (tmp_path / "out").symlink_to(tmp_path / "disk" / "results")
    written(tmp_path / "out")
    written(tmp_path / "out", "second run")
    assert (tmp_path / "out").is_symlink()
    assert (tmp_path / "disk/results/a.txt").read_text() == "second run"
    assert [path.name for path in (tmp_path / "disk").iterdir()] == ["results"]


def test_a_mount_point_is_refused_at_once_with_the_way_out(tmp_path, monkeypatch):
    (tmp_path / "out").mkdir()
    monkeypatch.setattr(Path, "is_mount", lambda path: path.name == "out")
    with pytest.raises(StudyError, match=r"mount point.*out/report"):
        written(tmp_path / "out")
    written(tmp_path / "out" / "report")
