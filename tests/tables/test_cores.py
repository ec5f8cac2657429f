"""Pieces on several cores: the same numbers on any, errors and interrupts that leave nothing running, a cluster."""

import os
import signal
import subprocess
import sys
import textwrap
import time

import numpy as np
import pytest

from alliance_stats.tables.progress import run_pieces, streams


def drawn(stream):
    matrix = stream.normal(size=(120, 120))
    return np.linalg.inv(matrix @ matrix.T + np.eye(120))


def fails(piece):
    if piece == 3:
        raise ValueError("piece 3")
    return piece


def test_the_same_bytes_on_any_number_of_workers():
    one, two, three = (run_pieces(drawn, streams(5, 7), n_jobs=n) for n in (None, 2, 3))
    for a, b, c in zip(one, two, three):
        assert a.tobytes() == b.tobytes() == c.tobytes()


def test_joblibs_configuration_is_honoured():
    from joblib import parallel_config

    with parallel_config(backend="threading", n_jobs=2):
        found = run_pieces(drawn, streams(5, 4), n_jobs=None)
    assert [a.tobytes() for a in found] == [a.tobytes() for a in run_pieces(drawn, streams(5, 4), n_jobs=None)]


def test_an_error_of_a_piece_comes_through():
    for n_jobs in (None, 2):
        with pytest.raises(ValueError, match="piece 3"):
            run_pieces(fails, range(6), n_jobs=n_jobs)
    for n_jobs in (0, 1.5, True):
        with pytest.raises(ValueError, match="number of workers"):
            run_pieces(fails, [1], n_jobs=n_jobs)


@pytest.mark.skipif(os.name != "posix", reason="sends a signal")
def test_an_interrupt_leaves_nothing_running():
    code = textwrap.dedent(
        """
        import os, signal, sys, time
        from alliance_stats.tables.progress import run_pieces
        signal.signal(signal.SIGINT, signal.default_int_handler)  # a job in a shell's background starts without it
        def work(piece):
            os.write(1, f"{os.getpid()}\\n".encode())  # at once: two workers share the pipe
            time.sleep(60)
        try:
            run_pieces(work, range(4), n_jobs=2)
        except KeyboardInterrupt:
            sys.exit(7)
        """
    )
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, start_new_session=True)
    workers = [int(process.stdout.readline()) for _ in range(2)]
    process.send_signal(signal.SIGINT)
    assert process.wait(timeout=30) == 7
    process.stdout.close()
    deadline = time.monotonic() + 10
    while any(alive(worker) for worker in workers) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not any(alive(worker) for worker in workers)


def alive(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


@pytest.mark.slow
def test_on_a_dask_cluster():
    distributed = pytest.importorskip("distributed", reason="the extra 'cluster' is not installed")
    from joblib import parallel_config

    with (
        distributed.LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as cluster,
        distributed.Client(cluster),
        parallel_config(backend="dask"),
    ):
        found = run_pieces(drawn, streams(5, 7), n_jobs=None)
    assert [a.tobytes() for a in found] == [a.tobytes() for a in run_pieces(drawn, streams(5, 7), n_jobs=None)]
