"""The notebooks, run again in a real kernel: the same text and the same pictures as those that are kept."""

import pytest

pytestmark = pytest.mark.site

nbformat = pytest.importorskip("nbformat", reason="needs the environment of the documentation")
import importlib.util  # noqa: E402
from pathlib import Path  # noqa: E402

ROOT = Path(__file__).parents[2] / "notebooks"
NOTEBOOKS = sorted(ROOT.glob("*.ipynb"))
KINDS = ("image/png", "text/html", "text/plain")

spec = importlib.util.spec_from_file_location("run_notebooks", ROOT / "run.py")
runner = importlib.util.module_from_spec(spec)
spec.loader.exec_module(runner)


def shown(cell):
    """What a reader sees below a cell: text, and each output in its richest form."""
    outputs = cell.get("outputs", [])
    text = "".join(output["text"] for output in outputs if output["output_type"] == "stream")
    rich = [output["data"] for output in outputs if output["output_type"] in ("display_data", "execute_result")]
    return [text, *(next(data[kind] for kind in KINDS if kind in data) for data in rich)]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_gives_the_same_again(path):
    kept = nbformat.read(path, as_version=4)
    again = runner.run(path)
    for number, (old, new) in enumerate(zip(kept.cells, again.cells, strict=True)):
        assert shown(old) == shown(new), f"{path.name}, cell {number}: run `make notebooks`"


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_every_plotting_cell_holds_a_picture_and_none_an_error(path):
    for cell in nbformat.read(path, as_version=4).cells:
        if cell.cell_type != "code":
            continue
        kinds = {kind for output in cell.outputs for kind in output.get("data", {})}
        assert not any(output.output_type == "error" or output.get("name") == "stderr" for output in cell.outputs)
        if "plot_" in cell.source:
            assert "image/png" in kinds, cell.source


def test_there_are_notebooks():
    assert len(NOTEBOOKS) >= 6
