"""Every broken file gives one clear error that names the place, or the correct result; never a traceback."""

import importlib.util
from pathlib import Path

import pytest

import alliance_stats as als

spec = importlib.util.spec_from_file_location("bad_files", Path(__file__).with_name("bad_files.py"))
corpus = importlib.util.module_from_spec(spec)
import sys  # noqa: E402

sys.modules["bad_files"] = corpus
spec.loader.exec_module(corpus)
CASES = corpus.BAD_FILES


def test_the_corpus_is_large_and_its_names_are_distinct():
    assert len(CASES) >= 60
    assert len({case.name for case in CASES}) == len(CASES)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_bad_file(case, tmp_path):
    path = case.write(tmp_path)
    if case.good is not None:
        sessions = als.read_sessions(path, **case.options)
        assert case.good(sessions)
        assert (als.check_file(path, **case.options)["severity"] != "error").all()
        return
    with pytest.raises(als.DataError) as raised:
        als.read_sessions(path, **case.options)
    message = str(raised.value)
    for part in case.error:
        assert part in message, message
    found = als.check_file(path, **case.options)
    assert (found["severity"] == "error").any()
    assert raised.value.problem in set(found["problem"])
