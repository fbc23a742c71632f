"""The shape of the tree: what a reader relies on and no other tool checks."""

from __future__ import annotations

import ast
import re
from collections import defaultdict
from collections.abc import Iterator
from functools import cache
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import deployer

ROOT = Path(deployer.__file__).parent
MOST_ROOMS = 20
MOST_LINES = 500
MOST_LINES_OF_A_TABLE = 250
MOST_METHODS = 20
MOST_PARAMETERS = 6


@cache
def modules() -> dict[str, ast.Module]:
    """Parse all modules, by their dotted names."""
    found = {}
    for path in ROOT.rglob("*.py"):
        parts = path.relative_to(ROOT.parent).with_suffix("").parts
        found[".".join(parts).removesuffix(".__init__")] = ast.parse(path.read_text())
    return found


def imported(name: str, tree: ast.Module) -> Iterator[str]:
    """Name the modules that a module imports, at its head or inside a function."""
    for node in ast.walk(tree):
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
    found = {name for name, tree in modules().items() if any(map(starts_ssh, ast.walk(tree)))}

    assert {name.rpartition(".")[0] for name in found} == {"deployer.transport"}, sorted(found)


def starts_ssh(node: ast.AST) -> bool:
    """Tell whether this is an option of ssh, a command line of it, or a look for the program."""
    match node:
        case ast.Constant(value=str(text)):
            return bool(SSH_OPTIONS.search(text))
        case ast.List(elts=[ast.Constant(value="ssh"), *_]):
            return True
        case ast.Call(func=ast.Attribute(attr="which"), args=[ast.Constant(value="ssh"), *_]):
            return True
    return False


def test_no_module_needs_itself() -> None:
    graph = {name: set(imported(name, tree)) for name, tree in modules().items()}

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


def test_no_class_of_the_heart_does_everything() -> None:
    """What the engine, the store and the ports are made of: whoever changes one thing there reads one class."""
    heart = ("deployer.engine", "deployer.store", "deployer.drivers.ports")
    methods = {
        node.name: sum(isinstance(part, ast.FunctionDef) for part in node.body)
        for name, tree in modules().items()
        if name.startswith(heart)
        for node in tree.body
        if isinstance(node, ast.ClassDef)
    }

    assert {name: count for name, count in methods.items() if count > MOST_METHODS} == {}


def test_a_function_takes_few_parameters() -> None:
    """More than six belong together in a record, but for what is named here with its reason."""
    excepted = {
        "deployer.planning.plan.make": "the fields of a plan, as each strategy gives them",
        "deployer.core.commands.run": "switches that nearly all leave as they are",
        "deployer.cli.setup.init": "one for each option of the command",
    }
    many = {
        f"{name}.{node.name}"
        for name, tree in modules().items()
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef) and _parameters(node) > MOST_PARAMETERS
    }

    assert many == set(excepted)


def _parameters(node: ast.FunctionDef) -> int:
    given = node.args
    every = [*given.posonlyargs, *given.args, *given.kwonlyargs, *filter(None, (given.vararg, given.kwarg))]
    return sum(each.arg not in ("self", "cls") for each in every)
