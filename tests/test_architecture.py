"""The house: imports point downwards, no circles, heavy imports wait, every public name is listed once."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "alliance_stats"
FLOORS = {
    **dict.fromkeys(["tables", "lazy"], 0),  # the ground that everything may use
    **dict.fromkeys(["instruments", "mixed", "hazard", "dynamics"], 1),
    **dict.fromkeys(
        ["load", "score", "reliability", "coding", "rupture", "features", "outcome", "dropout", "simulate", "figures"],
        2,
    ),
    **dict.fromkeys(["multiverse", "power", "monitoring", "report", "explorer"], 3),
    **dict.fromkeys(["commands", "cli", "__init__", "__main__"], 4),
}
BESIDE = {("report", "multiverse")}
"""Rooms of one floor of which the first may show what the second found."""
# Rooms within a room: what each may import of the others beside it. Files directly in the room sit above them.
SUB_ROOMS = {
    "rupture": {"rules": (), "latent": (), "chance": ("rules",), "describe": ("rules",)},
    "mixed": {"design": (), "engine": ("design",), "answers": ("design", "engine")},
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
    "tqdm",
    "panel",
    "openpyxl",
}
MODULES = sorted(PACKAGE.rglob("*.py"))
STUBS = sorted(PACKAGE.rglob("*.pyi"))


def room(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def module_name(path: Path) -> str:
    parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


NAMES = {module_name(path) for path in MODULES}


def imported(tree: ast.AST) -> list[str]:
    """The names imported anywhere in a module: inside functions and for type checkers too."""
    names = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are written absolutely"
            names += [f"{node.module}.{alias.name}" for alias in node.names]
    return names


def modules_imported(path: Path) -> set[str]:
    """The modules of the package that a file imports."""
    names = imported(ast.parse(path.read_text(encoding="utf-8")))
    modules = (
        name if name in NAMES else name.rpartition(".")[0] for name in names if name.startswith("alliance_stats.")
    )
    return {name for name in modules if name != "alliance_stats"}  # the root's own constants


def ids(path):
    return str(path.relative_to(PACKAGE))


@pytest.mark.parametrize("path", MODULES, ids=ids)
def test_imports_point_downwards(path):
    here = room(path)
    assert here in FLOORS, f"{here} has no floor: give it one in this test and in ARCHITECTURE.md"
    for name in modules_imported(path):
        there = name.split(".")[1]
        below = FLOORS[there] < FLOORS[here] or FLOORS[here] == 4
        assert there == here or below or (here, there) in BESIDE, f"{path.name}: {name}"


@pytest.mark.parametrize("path", [path for path in MODULES if room(path) in SUB_ROOMS], ids=ids)
def test_rooms_within_a_room_build_in_one_direction(path):
    here, inside = path.relative_to(PACKAGE).parts[:2]
    if inside not in SUB_ROOMS[here]:
        return
    for name in modules_imported(path):
        parts = name.split(".")
        if parts[1] == here:
            assert len(parts) > 3, f"{path.name} imports {name}, which sits above it"
            assert parts[2] == inside or parts[2] in SUB_ROOMS[here][inside], f"{path.name}: {name}"


def test_every_sub_room_is_known():
    for name in FLOORS:
        found = {folder.parent.name for folder in (PACKAGE / name).glob("*/__init__.py")}
        assert found == set(SUB_ROOMS.get(name, {})), name


def test_there_are_no_import_circles():
    arrows = {module_name(path): modules_imported(path) - {module_name(path)} for path in MODULES}
    done: set[str] = set()
    while free := {name for name, targets in arrows.items() if name not in done and targets <= done}:
        done |= free
    assert set(arrows) == done, f"circle among {sorted(set(arrows) - done)}"


@pytest.mark.parametrize("path", MODULES, ids=ids)
def test_heavy_imports_wait(path):
    """At module level only the standard library, numpy and pandas (engines: scipy without scipy.stats)."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    top = ast.Module([node for node in tree.body if isinstance(node, ast.Import | ast.ImportFrom)], [])
    for name in imported(top):
        allowed = name.split(".")[0] not in HEAVY | {"scipy"}
        engine = FLOORS[room(path)] == 1 and name.startswith("scipy.") and not name.startswith("scipy.stats")
        assert allowed or engine, f"{path.name} imports {name} at module level"


def test_every_public_name_loads_and_is_listed_once():
    import alliance_stats

    seen: dict[str, str] = {}
    for place in [
        alliance_stats,
        *(getattr(alliance_stats, stub.parent.name) for stub in STUBS if stub.parent != PACKAGE),
    ]:
        for name in place.__all__:
            assert getattr(place, name) is not None
            assert name not in seen, f"{name} is public in {seen[name]} and in {place.__name__}"
            seen[name] = place.__name__
    assert 30 <= len([name for name in alliance_stats.__all__ if name not in FLOORS]) <= 51


def test_no_module_has_the_name_of_a_root_function():
    import alliance_stats

    top = {path.stem for path in PACKAGE.iterdir()}
    assert not top & {name for name in alliance_stats.__all__ if callable(getattr(alliance_stats, name))}


def test_a_name_asked_for_in_the_wrong_place_says_where_it_is():
    import alliance_stats

    with pytest.raises(AttributeError, match=r"It is alliance_stats\.mixed\.anova"):
        alliance_stats.anova  # noqa: B018
    with pytest.raises(AttributeError, match=r"It is alliance_stats\.fit_mixed"):
        alliance_stats.mixed.fit_mixed  # noqa: B018


def test_importing_the_package_imports_nothing_heavy():
    code = "import sys, alliance_stats; print(*{name.split('.')[0] for name in sys.modules})"
    loaded = set(
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    )
    assert not loaded & (HEAVY | {"scipy"})
