"""The shape of the code: small folders, one class a name, no circles between rooms. Imports between packages and the
layers inside them are held by the import linter."""

import ast
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from itertools import chain
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = ("api", "workers", "scoring")
MOST_MODULES = 25  # in one folder
MOST_LINES = 400  # of a test module


def trees(package: str) -> Iterator[tuple[str, ast.Module]]:
    """The modules of a package, dotted and parsed."""
    for path in sorted((ROOT / package).rglob("*.py")):
        module = ".".join(path.relative_to(ROOT).with_suffix("").parts)
        yield module.removesuffix(".__init__"), ast.parse(path.read_text())


def room(module: str) -> str:
    """The first-level folder or module that a module lies in."""
    return ".".join(module.split(".")[:2])


def imports(tree: ast.Module, package: str) -> Iterator[str]:
    """The modules of the same package that a module imports; a name may be a module or something in one."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] == package:
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


@pytest.mark.parametrize("package", [*PACKAGES, "tests"])
def test_folders_are_small(package: str) -> None:
    folders = [ROOT / package, *(path for path in (ROOT / package).rglob("*") if path.is_dir())]
    sizes = {str(folder): len([path for path in folder.glob("*.py") if path.stem != "__init__"]) for folder in folders}
    assert {folder: size for folder, size in sizes.items() if size > MOST_MODULES} == {}


def test_test_modules_are_small() -> None:
    lengths = {str(path): len(path.read_text().splitlines()) for path in (ROOT / "tests").rglob("*.py")}
    assert {path: lines for path, lines in lengths.items() if lines > MOST_LINES} == {}


def test_a_class_name_stands_once() -> None:
    """In all packages: the same name for an answer of the API and for a thing below it would be two things to know."""
    places = defaultdict(list)
    for module, tree in chain.from_iterable(map(trees, PACKAGES)):
        for node in ast.walk(tree):
            if isinstance(node, ast.ClassDef):
                places[node.name].append(module)
    assert {name: modules for name, modules in places.items() if len(modules) > 1} == {}


@pytest.mark.parametrize("package", PACKAGES)
def test_rooms_import_in_no_circle(package: str) -> None:
    arrows: dict[str, set[str]] = defaultdict(set)
    for module, tree in trees(package):
        for imported in imports(tree, package):
            if room(imported) != room(module) and imported.count("."):
                arrows[room(module)].add(room(imported))
    try:
        list(TopologicalSorter(arrows).static_order())
    except CycleError as error:
        pytest.fail(f"rooms import each other: {' ← '.join(error.args[1])}")


@pytest.mark.parametrize(
    ("module", "heavy"),
    [
        ("api.cli", ["numpy", "httpx2", "jinja2", "rq"]),
        ("api.up.command", ["numpy", "httpx2", "jinja2"]),
        ("workers.ingest.ingest", ["httpx2", "jinja2", "scoring.score"]),
        ("workers.risk.rescore", ["httpx2", "scoring.learning.backtest"]),
    ],
)
def test_a_process_imports_no_more_than_it_needs(module: str, heavy: list[str]) -> None:
    """Each of them lives as long as the service, and so does what it has imported."""
    code = f"import sys, {module}; print(*sorted(set({heavy}) & set(sys.modules)))"
    assert (
        subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True).stdout
        == "\n"
    )
