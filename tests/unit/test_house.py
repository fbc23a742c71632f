"""The shape of the tree: what a reader relies on and no other tool checks."""

from __future__ import annotations

import ast
import importlib
import re
from collections import defaultdict
from collections.abc import Iterator
from functools import cache
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import deployer

ROOT = Path(deployer.__file__).parent
MOST_ROOMS = 21
MOST_LINES = 400
MOST_LINES_OF_A_TABLE = 250
MOST_METHODS = 22
MOST_PARAMETERS = 6


@cache
def modules() -> dict[str, ast.Module]:
    """Parse all modules, by their dotted names."""
    return {_dotted(path): ast.parse(path.read_text()) for path in ROOT.rglob("*.py")}


def _dotted(path: Path) -> str:
    return ".".join(path.relative_to(ROOT.parent).with_suffix("").parts).removesuffix(".__init__")


@cache
def nodes(name: str) -> tuple[ast.AST, ...]:
    """Return what a module is made of: to walk along all of them takes longest."""
    return tuple(ast.walk(modules()[name]))


def imported(name: str) -> Iterator[str]:
    """Name the modules that a module imports, at its head or inside a function."""
    for node in nodes(name):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("deployer"):
            for alias in node.names:
                whole = f"{node.module}.{alias.name}"
                target = whole if whole in modules() else node.module
                if target != name:
                    yield target


def test_a_class_name_means_one_thing() -> None:
    places = defaultdict(list)
    for name, tree in modules().items():
        for node in tree.body:
            if isinstance(node, ast.ClassDef):
                places[node.name].append(name)

    assert {name: where for name, where in places.items() if len(where) > 1} == {}


SSH_OPTIONS = re.compile(
    "BatchMode|ConnectTimeout=|ServerAlive|Control(Master|Path|Persist)|StrictHostKey|StreamLocal|ExitOnForward|-nNT"
)


def test_only_transport_knows_ssh() -> None:
    """What is started, with which options, is said once; inventories and Ansible have names of their own for it."""
    found = {name for name in modules() if any(map(starts_ssh, nodes(name)))}

    assert {name.rpartition(".")[0] for name in found} == {"deployer.transport"}, sorted(found)


def starts_ssh(node: ast.AST) -> bool:
    """Return whether this is an option of ssh, a command line of it, or a look for the program."""
    match node:
        case ast.Constant(value=str(text)):
            return bool(SSH_OPTIONS.search(text))
        case ast.List(elts=[ast.Constant(value="ssh"), *_]):
            return True
        case ast.Call(func=ast.Attribute(attr="which"), args=[ast.Constant(value="ssh"), *_]):
            return True
    return False


def test_only_one_folder_knows_each_database() -> None:
    """The tables are plain SQL; what a database does in its own way is in its folder."""
    known = defaultdict(set)
    for name in modules():
        for node in nodes(name):
            named = [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            named += [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            for driver in {module.partition(".")[0] for module in named} & {"sqlite3", "psycopg"}:
                known[driver].add(name.rpartition(".")[0])

    assert known == {"sqlite3": {"deployer.store.sqlite"}, "psycopg": {"deployer.store.postgres"}}


def test_no_module_needs_itself() -> None:
    graph = {name: set(imported(name)) for name in modules()}

    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        raise AssertionError(f"a ring of imports: {' → '.join(error.args[1])}") from None


def test_the_top_of_the_package_shows_the_architecture() -> None:
    names = {path.name for path in ROOT.iterdir() if not path.name.startswith("__pycache__")}

    assert len(names) <= MOST_ROOMS, sorted(names)


def test_the_store_has_a_module_for_each_table() -> None:
    lines = {path.name: len(path.read_text().splitlines()) for path in (ROOT / "store").glob("*.py")}

    assert {name: long for name, long in lines.items() if long > MOST_LINES_OF_A_TABLE} == {}


def test_a_file_is_read_in_one_sitting() -> None:
    every = [*ROOT.rglob("*.py"), *(ROOT.parent / "strategies").glob("*.py")]
    lines = {str(path.relative_to(ROOT.parent)): len(path.read_text().splitlines()) for path in every}

    assert {name: long for name, long in lines.items() if long > MOST_LINES} == {}


def test_no_class_does_everything() -> None:
    """Who changes one thing reads one class: the methods, public and private, are few."""
    methods = {
        node.name: sum(isinstance(part, ast.FunctionDef | ast.AsyncFunctionDef) for part in node.body)
        for name in modules()
        for node in nodes(name)
        if isinstance(node, ast.ClassDef)
    }

    assert {name: count for name, count in methods.items() if count > MOST_METHODS} == {}


def test_what_pages_and_packages_name_is_there() -> None:
    """The page about the architecture, and the packages that list their modules."""
    repository = ROOT.parent
    page = (repository / "docs" / "architecture.md").read_text()
    named = set(re.findall(r"[\w/.-]+\.py\b", page)) - {"strategies/NAME.py"}
    places = ("deployer", "strategies", "tests", "scripts")
    there = [f"/{path.relative_to(repository)}" for place in places for path in (repository / place).rglob("*.py")]
    gone = {name for name in named if not any(path.endswith(f"/{name}") for path in there)}
    for package in ROOT.rglob("__init__.py"):
        listed = re.findall(r"^    (\S+) {2,}\S", ast.get_docstring(modules()[_dotted(package)]) or "", re.MULTILINE)
        if all(map(str.isidentifier, listed)):  # else it lists files
            gone |= {f"{package}: {name}" for name in listed if not (package.parent / f"{name}.py").exists()}

    assert named
    assert gone == set()


def test_a_function_takes_few_parameters() -> None:
    """More than six belong together in a record, but for what is named here with its reason."""
    excepted = {
        "deployer.planning.plan.make": "the fields of a plan, as each strategy gives them",
        "deployer.core.commands.run": "switches that nearly all leave as they are",
        "deployer.cli.setup.init": "one for each option of the command",
        "deployer.cli.scale.scale": "one for each option of the command",
    }
    many = {
        f"{name}.{node.name}"
        for name in modules()
        for node in nodes(name)
        if isinstance(node, ast.FunctionDef) and _parameters(node) > MOST_PARAMETERS
    }

    assert many == set(excepted)


def _parameters(node: ast.FunctionDef) -> int:
    given = node.args
    every = [*given.posonlyargs, *given.args, *given.kwonlyargs, *filter(None, (given.vararg, given.kwarg))]
    return sum(each.arg not in ("self", "cls") for each in every)


def test_every_name_that_a_package_imports_late_is_there() -> None:
    late = [_dotted(path) for path in ROOT.rglob("__init__.py") if "later.names(" in path.read_text()]
    assert "deployer.drivers.ports" in late
    for name in late:
        module = importlib.import_module(name)
        assert [wanted for wanted in module.__all__ if not hasattr(module, wanted)] == [], name
