"""figures/ holds what the scripts in analyses/ write, byte for byte."""

import importlib.util
from importlib.metadata import version
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
LOCK = dict(line.split("==") for line in (ROOT / "requirements.lock").read_text(encoding="utf-8").split())
DRAWING = ("matplotlib", "numpy", "pandas", "scipy", "pillow")

pytestmark = pytest.mark.skipif(
    any(version(package) != LOCK[package] for package in DRAWING),
    reason="figures/ was drawn with the versions of requirements.lock",
)


@pytest.mark.parametrize(
    "name",
    [
        "10_data",
        "20_ruptures",
        "30_outcome",
        "35_dropout",
        "57_rupture_states",
        "65_power",
        "70_answers",
        pytest.param("60_multiverse", marks=pytest.mark.slow),
    ],
)
def test_the_script_writes_the_committed_figures(name, tmp_path, monkeypatch):
    monkeypatch.setattr("matplotlib.pyplot.subplots", quiet_subplots)
    spec = importlib.util.spec_from_file_location(name, ROOT / f"analyses/{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    module.main(tmp_path)
    written = sorted(tmp_path.iterdir())
    assert len(written) >= 2
    changed = [path.name for path in written if path.read_bytes() != (ROOT / "figures" / path.name).read_bytes()]
    assert changed == [], "run make figures, and look at what changed"


def quiet_subplots(*args, figsize=None, **options):
    """As pyplot's, but the figure is nobody's: many tests do not pile up open figures."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=figsize)
    return figure, figure.subplots(*args, **options)
