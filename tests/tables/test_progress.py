"""Bars: on a terminal, once, and never in a pipe, a worker, a thread, or where they are not wanted."""

import io
import sys
import threading
import types
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

import pytest

from alliance_stats.tables import progress


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.fixture
def terminal(monkeypatch):
    """stderr as a terminal on which bars appear at once."""
    pytest.importorskip("tqdm", reason="tqdm is not installed here; `make test` installs it")
    stream = Terminal()
    monkeypatch.setattr(progress, "sys", types.SimpleNamespace(stderr=stream, stdout=sys.stdout, modules={}))
    monkeypatch.setattr(progress, "DELAY", 0.0)
    return stream


def count(show=True):
    with progress.bar("Counting", 2, show=show):
        progress.advance(now="the first")
        progress.advance()


def test_a_bar_on_a_terminal_counts_and_goes(terminal):
    count()
    shown = terminal.getvalue()
    assert "Counting" in shown
    assert "0/2" in shown
    assert shown.endswith("\r")
    assert not shown.split("\r")[-2].strip(), "the bar is wiped when it is done"


def test_a_bar_inside_a_bar_is_not_shown_and_does_not_count(terminal):
    with progress.bar("Outer", 3, show=True):
        for _ in range(3):
            count()
            progress.advance()
    shown = terminal.getvalue()
    assert "Counting" not in shown
    assert "0/3" in shown
    assert "4/3" not in shown


def test_after_an_error_the_next_bar_is_shown(terminal):
    with pytest.raises(KeyError), progress.bar("Broken", 1, show=True):
        raise KeyError
    count()
    assert "Counting" in terminal.getvalue()


def test_nothing_where_it_is_not_wanted_or_nobody_sees_it(terminal, monkeypatch, capfd):
    count(show=False)
    thread = threading.Thread(target=count)
    thread.start()
    thread.join()
    assert terminal.getvalue() == ""
    monkeypatch.setattr(progress.sys, "stderr", io.StringIO())
    count()
    assert capfd.readouterr().err == ""


def test_nothing_from_a_worker(capfd):
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        assert pool.submit(where).result() is None
    assert capfd.readouterr().err == ""


def where():
    sys.stderr.isatty = lambda: True
    return progress._screen()


def test_a_notebook_takes_the_cell_output(terminal):
    shell = types.SimpleNamespace(kernel=object())
    progress.sys.modules["IPython"] = types.SimpleNamespace(get_ipython=lambda: shell)
    assert progress._screen() is progress.sys.stdout


@pytest.mark.parametrize("hidden", [True, False])
def test_results_do_not_depend_on_the_bar(hidden, terminal):
    from alliance_stats import chance_level, simulate_study

    sessions = simulate_study(n_patients=20, seed=1).sessions
    chance = chance_level(sessions, score="alliance", rule="own_mean_2sd", draws=100, seed=1, progress=not hidden)
    assert ("studies without ruptures" in terminal.getvalue()) is not hidden
    again = chance_level(sessions, score="alliance", rule="own_mean_2sd", draws=100, seed=1)
    assert chance.table.equals(again.table)
