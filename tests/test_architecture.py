"""The house rules that a machine can check: import directions, file and function sizes."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
SOURCE = ROOT / "src" / "worker_vllm"
PAGE = ROOT / "docs" / "architecture.md"
MODULES = sorted(SOURCE.rglob("*.py"))

# room → the third-party packages it may import, and the rooms of our own that it may know
STANDARD_ONLY: frozenset[str] = frozenset()
THIRD_PARTY = {
    "errors": STANDARD_ONLY,
    "settings": STANDARD_ONLY,
    "jobs": frozenset({"pydantic"}),
    "gateway": frozenset({"httptools", "uvloop", "aiohttp", "pydantic", "prometheus_client"}),
}
OWN = {
    "errors": frozenset[str](),
    "settings": frozenset({"errors", "settings"}),
    "jobs": frozenset({"errors", "settings", "jobs"}),
    "engine": frozenset({"errors", "settings", "models", "observe", "engine"}),
    "models": frozenset({"errors", "settings", "observe", "models"}),
    "observe": frozenset({"errors", "settings", "observe"}),
    "core": frozenset({"errors", "settings", "jobs", "engine", "observe", "core"}),
    "worker": frozenset({"errors", "settings", "jobs", "engine", "observe", "core"}),
    "serverless": frozenset({"errors", "settings", "jobs", "observe", "serverless"}),
    "gateway": frozenset({"errors", "gateway"}),
    "surroundings": frozenset({"errors", "settings", "models", "engine"}),
    "local": frozenset({"errors", "settings", "surroundings", "models", "engine", "gateway", "local"}),
}
MAY_IMPORT_VLLM = {SOURCE / "engine" / "launch.py"}


def imports(path: Path) -> list[str]:
    """Every module that a file imports, wherever in the file the import stands."""
    found = []
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            if node.module == "worker_vllm":
                found += [f"worker_vllm.{alias.name}" for alias in node.names]
            else:
                found.append(node.module)
    return found


def room(path: Path) -> str:
    """The room a file belongs to: its folder, or its own name at the top."""
    return path.relative_to(SOURCE).parts[0].removesuffix(".py")


def name(path: Path) -> str:
    return str(path.relative_to(ROOT))


@pytest.mark.parametrize("path", MODULES, ids=name)
def test_a_room_imports_only_what_it_may_know(path: Path) -> None:
    """Arrows point down, and the pure rooms stay free of third parties."""
    for module in imports(path):
        top, _, rest = module.partition(".")
        if top == "worker_vllm":
            target = rest.split(".")[0]
            if target not in ("", "__version__") and room(path) in OWN:
                assert target in OWN[room(path)], f"{name(path)} imports {module}"
        elif top not in sys.stdlib_module_names:
            if room(path) in THIRD_PARTY:
                assert top in THIRD_PARTY[room(path)], f"{name(path)} imports {module}"
            if path not in MAY_IMPORT_VLLM:
                assert top not in ("vllm", "torch", "runpod"), f"{name(path)} imports {module}"


def test_the_page_tells_the_same_rooms_in_an_order_in_which_arrows_point_down() -> None:
    """docs/architecture.md has a row for each rule, and whatever a room may know stands below it."""
    rows = [line.split("|")[1:4] for line in PAGE.read_text().splitlines() if line.startswith("| `")]
    order = [(cell.strip(" `/").removesuffix(".py"), known) for names, _, known in rows for cell in names.split(", ")]
    told = {room: frozenset(re.findall(r"`(\w+)`", known)) for room, known in order if room in OWN}
    assert told == {room: known - {room} for room, known in OWN.items()}
    places = [room for room, _ in order]
    upward = [(room, other) for room in told for other in told[room] if places.index(other) < places.index(room)]
    assert upward == []


@pytest.mark.parametrize("path", MODULES + sorted((ROOT / "tests").rglob("*.py")), ids=name)
def test_files_stay_under_300_lines(path: Path) -> None:
    """One idea a file."""
    assert len(path.read_text().splitlines()) <= 300


@pytest.mark.parametrize("path", MODULES, ids=name)
def test_functions_stay_small(path: Path) -> None:
    """Under 40 lines, at most five parameters besides self."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            length = (node.end_lineno or node.lineno) - node.lineno + 1
            assert length <= 40, f"{name(path)}:{node.lineno} {node.name} has {length} lines"
            every = node.args.posonlyargs + node.args.args + node.args.kwonlyargs
            count = len([a for a in every if a.arg not in ("self", "cls")])
            assert count <= 5, f"{name(path)}:{node.lineno} {node.name} has {count} parameters"


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
