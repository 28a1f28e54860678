"""The house rules that a machine can check: import directions, names, file and function sizes."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.rooms import OWN, SAME_IDEA, THIRD_PARTY
from tests.support.paths import ROOT

SOURCE = ROOT / "src" / "worker_vllm"
MODULES = sorted(SOURCE.rglob("*.py"))
TESTS = sorted((ROOT / "tests").rglob("*.py"))
PAGE = ROOT / "docs" / "architecture.md"

FORBIDDEN = ("vllm", "torch", "runpod")
MAY_IMPORT_VLLM = SOURCE / "engine" / "child"


def imports(path: Path) -> Iterator[str]:
    """Every module that a file imports, wherever in the file the import stands."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            for alias in node.names:
                full = f"{node.module}.{alias.name}"
                yield full if is_module(full) else node.module


def is_module(dotted: str) -> bool:
    """Whether a dotted name is a module or package of ours."""
    path = ROOT / "src" / Path(*dotted.split("."))
    return dotted.startswith("worker_vllm.") and (path.with_suffix(".py").is_file() or path.is_dir())


def within(module: str, room: str) -> bool:
    """Whether a module is a room or inside it."""
    return module == room or module.startswith(f"{room}.")


def dotted(path: Path) -> str:
    """A file's module name below the package."""
    return ".".join(path.relative_to(SOURCE).with_suffix("").parts).removesuffix(".__init__")


def rule(module: str, rooms: dict[str, tuple[str, ...]] | dict[str, frozenset[str]]) -> str | None:
    """The most specific room that a module belongs to."""
    return max((room for room in rooms if within(module, room)), key=len, default=None)


def name(path: Path) -> str:
    return str(path.relative_to(ROOT))


@pytest.mark.parametrize("path", [path for path in MODULES if dotted(path) != "__init__"], ids=name)
def test_a_room_imports_only_what_it_may_know(path: Path) -> None:
    """Every room has its rule; arrows point down, and the pure rooms stay free of third parties."""
    me = dotted(path)
    room = rule(me, OWN)
    assert room is not None or me in ("engine", "jobs"), f"{me}: the table has no rule for it"
    packages = rule(me, THIRD_PARTY)
    for module in imports(path):
        top, _, rest = module.partition(".")
        if top == "worker_vllm" and rest:
            allowed = (room or "", *OWN.get(room or "", ()))
            assert any(within(rest, one) for one in allowed), f"{name(path)} imports {module}"
        elif top not in sys.stdlib_module_names and top != "worker_vllm":
            if packages is not None:
                assert top in THIRD_PARTY[packages], f"{name(path)} imports {module}"
            if MAY_IMPORT_VLLM not in path.parents:
                assert top not in FORBIDDEN, f"{name(path)} imports {module}"


def room_of(cell: str) -> str:
    """The dotted name of a room as the page writes it: `jobs/run/` or `cli.py`."""
    return cell.strip(" `/").removesuffix(".py").replace("/", ".")


def test_the_page_lists_the_same_rules_in_an_order_in_which_imports_point_down() -> None:
    """docs/architecture.md has a row for each rule; a room imports only rooms below it, or of its own folder."""
    table = PAGE.read_text().partition("## Rooms\n")[2].partition("\n## ")[0]
    rows = [line.split("|")[1:4] for line in table.splitlines() if line.startswith("| `")]
    page = {room_of(room): {room_of(cell) for cell in re.findall(r"`[^`]+`", allowed)} for room, _, allowed in rows}
    assert page == {room: set(allowed) - {room} for room, allowed in OWN.items()}
    folders = [room.split(".")[0] for room in page]
    for position, (room, allowed) in enumerate(page.items()):
        above = {one for one in allowed if one.split(".")[0] not in folders[position:]}
        assert above == set(), f"{room} imports rooms that the page lists above it"


@pytest.mark.parametrize(
    "text", ["docs/architecture.md", "CONTRIBUTING.md", "docs/contributing.md", "docs/troubleshooting.md"]
)
def test_every_path_in_a_page_exists(text: str) -> None:
    """A path that a page names below the package or the checkout is there."""
    named = re.findall(r"`((?:[\w.-]+/)+[\w.-]*)`", (ROOT / text).read_text())
    bases = [ROOT, SOURCE, *(path for path in SOURCE.iterdir() if path.is_dir())]
    missing = {
        path for path in named if not any((base / path).exists() or (base / f"{path}.py").is_file() for base in bases)
    }
    assert missing == set()


@pytest.mark.parametrize("path", sorted((ROOT / "tests" / "support").rglob("*.py")), ids=name)
def test_support_imports_no_test(path: Path) -> None:
    """Tests import their support, never the other way round."""
    for module in imports(path):
        assert not module.startswith("tests.") or module.startswith("tests.support"), f"{name(path)} imports {module}"


@pytest.mark.parametrize("path", MODULES + TESTS, ids=name)
def test_files_stay_under_300_lines(path: Path) -> None:
    """One idea a file."""
    assert len(path.read_text().splitlines()) <= 300


@pytest.mark.parametrize("path", MODULES, ids=name)
def test_functions_stay_small(path: Path) -> None:
    """At most 40 lines, at most five parameters besides self."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            length = (node.end_lineno or node.lineno) - node.lineno + 1
            assert length <= 40, f"{name(path)}:{node.lineno} {node.name} has {length} lines"
            every = node.args.posonlyargs + node.args.args + node.args.kwonlyargs
            count = len([a for a in every if a.arg not in ("self", "cls")])
            assert count <= 5, f"{name(path)}:{node.lineno} {node.name} has {count} parameters"


def test_a_file_name_stands_once() -> None:
    """A stem in two rooms is one idea in both, or it is renamed."""
    stems = Counter(path.stem for path in MODULES)
    assert {stem for stem, count in stems.items() if count > 1} - SAME_IDEA == set()


def test_a_class_name_stands_once() -> None:
    """A reader who searches for a class finds one."""
    classes = Counter(
        node.name
        for path in MODULES
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.ClassDef)
    )
    assert {name for name, count in classes.items() if count > 1} == set()


@pytest.mark.parametrize("folder", sorted({path.parent for path in MODULES + TESTS}), ids=name)
def test_a_folder_is_looked_over_at_once(folder: Path) -> None:
    """At most 15 modules in a folder; `engine` itself holds at most four."""
    own = [path for path in folder.glob("*.py") if path.stem != "__init__"]
    assert len(own) <= (4 if folder == SOURCE / "engine" else 15)


@pytest.mark.parametrize("path", sorted((SOURCE / "settings").rglob("*.py")), ids=name)
def test_settings_never_read_the_environment(path: Path) -> None:
    """The environment is an argument."""
    assert "environ" not in [n.attr for n in ast.walk(ast.parse(path.read_text())) if isinstance(n, ast.Attribute)]
    assert "getenv" not in path.read_text()


def test_help_imports_nothing_heavy() -> None:
    """`worker-vllm --help` and the error tree load the standard library alone."""
    probe = (
        "import sys, worker_vllm.cli as cli, worker_vllm.errors\n"
        "try: cli.main(['--help'])\n"
        "except SystemExit: pass\n"
        "print(sorted({m.split('.')[0] for m in sys.modules} & {'aiohttp', 'pydantic', 'fastapi', 'rich', 'vllm'}))"
    )
    done = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, check=True, timeout=10)
    assert done.stdout.splitlines()[-1] == "[]"
