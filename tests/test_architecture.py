"""The house stands: a module imports only from floors below its own, and heavy imports wait until they are used."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "alliance_stats"
FLOORS = {
    **dict.fromkeys(["schema", "episodes", "kept"], 0),  # the ground everything may stand on
    **dict.fromkeys(["instruments", "patterns", "tidying", "panel", "states", "mixed", "hazard"], 1),
    **dict.fromkeys(
        ["load", "score", "reliability", "rupture", "features", "outcome", "dropout", "simulate", "courses", "figures"],
        2,
    ),
    **dict.fromkeys(["multiverse", "power", "report"], 3),
    **dict.fromkeys(["cli", "__init__", "__main__"], 4),
}
HEAVY = {
    "statsmodels",
    "matplotlib",
    "pingouin",
    "formulaic",
    "seaborn",
    "sklearn",
    "pyreadstat",
    "pyarrow",
    "openpyxl",
}


def room(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imported(tree: ast.AST) -> list[str]:
    names = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are written absolutely"
            names += [f"{node.module}.{alias.name}" for alias in node.names]
    return names


MODULES = sorted(PACKAGE.rglob("*.py"))


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_point_downwards(path):
    here = room(path)
    assert here in FLOORS, f"{here} has no floor: give it one in this test and in the README"
    for name in imported(ast.parse(path.read_text(encoding="utf-8"))):
        if not name.startswith("alliance_stats."):
            continue
        there = name.split(".")[1]
        if there not in FLOORS:
            continue
        assert there == here or FLOORS[there] < FLOORS[here] or FLOORS[here] == 4, f"{path.name}: {name}"


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_heavy_imports_wait(path):
    """At module level only the standard library, numpy and pandas (engines: scipy without scipy.stats)."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    top = ast.Module([node for node in tree.body if isinstance(node, ast.Import | ast.ImportFrom)], [])
    for name in imported(top):
        allowed = name.split(".")[0] not in HEAVY | {"scipy"}
        engine = FLOORS[room(path)] == 1 and name.startswith("scipy.") and not name.startswith("scipy.stats")
        assert allowed or engine, f"{path.name} imports {name} at module level"


def test_every_public_name_loads():
    import alliance_stats

    for name in alliance_stats.__all__:
        assert getattr(alliance_stats, name) is not None


def test_importing_the_package_imports_nothing_heavy():
    code = "import sys, alliance_stats; print(*{name.split('.')[0] for name in sys.modules})"
    loaded = set(
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    )
    assert not loaded & (HEAVY | {"scipy"})


def test_type_checkers_see_the_same_names():
    import alliance_stats

    stub = ast.parse((PACKAGE / "__init__.pyi").read_text(encoding="utf-8"))
    seen = {(node.module, alias.name) for node in stub.body if isinstance(node, ast.ImportFrom) for alias in node.names}
    assert seen == {(f"alliance_stats.{module}", name) for name, module in alliance_stats._MODULE_OF.items()}
