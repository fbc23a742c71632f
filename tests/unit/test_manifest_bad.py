"""Each file in manifest_bad/ is a manifest with the problems that its first lines announce; a new one needs no Python.

    #: LINE PATH MESSAGE     a problem: its line, its path (- for none), and how its text begins
    # destination: NAME      load it with the overlay FILE.NAME.yml
    # env: NAME=VALUE        a variable of the environment
    # schema: refuses        the JSON Schema refuses it too
    # never: TEXT            what no message may repeat

LINE is a number, FILE:NUMBER for another file, or - for the file as a whole.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import yaml
from jsonschema import Draft202012Validator

from deployer.core.errors import Exit, ManifestRefused
from deployer.manifest.load import load
from deployer.manifest.schema import schema
from deployer.planning.strategy import of_manifest

FOLDER = Path(__file__).parent / "manifest_bad"
VALIDATOR = Draft202012Validator(schema())
FILES = sorted(file for file in FOLDER.glob("*.yml") if file.name.count(".") == 1)


@dataclass
class Case:
    expected: list[tuple[str, str, str]] = field(default_factory=list)
    destination: str = ""
    environ: dict[str, str] = field(default_factory=dict)
    refused_by_schema: bool = False
    never: list[str] = field(default_factory=list)


def read_case(file: Path) -> Case:
    case = Case()
    for line in file.read_text().splitlines():
        if line.startswith("#: "):
            where, path, text = line.removeprefix("#: ").split(" ", 2)
            case.expected.append((place(file.name, where), path.replace("-", "") if path == "-" else path, text))
        elif match := re.fullmatch(r"# (destination|env|schema|never): (.*)", line):
            note(case, match[1], match[2])
        else:
            break
    return case


def note(case: Case, key: str, value: str) -> None:
    match key:
        case "destination":
            case.destination = value
        case "env":
            name, _, text = value.partition("=")
            case.environ[name] = text
        case "schema":
            case.refused_by_schema = True
        case _:
            case.never.append(value)


def place(name: str, where: str) -> str:
    if where == "-":
        return name
    return where if ":" in where else f"{name}:{where}"


def test_there_are_enough_cases() -> None:
    assert len(FILES) >= 60


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_each_problem_is_told_with_its_line_and_nothing_else_is(file: Path) -> None:
    case = read_case(file)
    assert case.expected, "the file announces no problem"

    with pytest.raises(ManifestRefused) as refused:
        load(file, destination=case.destination, environ=case.environ, also=of_manifest)

    told = [(p.where, p.path, f"{p.message} → {p.hint}") for p in refused.value.problems]
    assert [(where, path) for where, path, _ in told] == [(where, path) for where, path, _ in case.expected]
    for (_, _, text), (_, _, expected) in zip(told, case.expected, strict=True):
        assert text.startswith(expected)
    assert refused.value.exit == Exit.REFUSED
    assert not [text for text in case.never if text in str(refused.value)]


@pytest.mark.parametrize("file", [f for f in FILES if read_case(f).refused_by_schema], ids=lambda file: file.stem)
def test_the_schema_refuses_it_too(file: Path) -> None:
    assert not VALIDATOR.is_valid(yaml.load(file.read_text(), Loader=Yaml12))


class Yaml12(yaml.SafeLoader):
    """Reads numbers and switches as editors do, which know YAML 1.2."""


Yaml12.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in known if not tag.endswith((":bool", ":int", ":timestamp"))]
    for first, known in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
Yaml12.add_implicit_resolver("tag:yaml.org,2002:bool", re.compile("^(true|false)$"), list("tf"))
Yaml12.add_implicit_resolver("tag:yaml.org,2002:int", re.compile("^[-+]?(0|[1-9][0-9]*)$"), list("-+0123456789"))
