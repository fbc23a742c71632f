"""One word for one thing: what users read uses the words of docs/glossary.md, not those that they replaced."""

from __future__ import annotations

import ast
import html
import re
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from deployer.cli.lazy import group
from deployer.manifest.reference import reference

ROOT = Path(__file__).parents[2]
GOLDEN = ROOT / "tests" / "golden" / "views"

REPLACED = {  # a pattern, and the word of the glossary
    r"(taken?|takes|taking) (it |them |the rollout |users )?back": "rolled back",
    r"turn(s|ed|ing)? back": "rolls back",
    r"way back": "rollback, rollback steps",
    r"bad answers?": "failed responses",
    r"answer times?": "latency",
    r"cannot judge|cannot be judged": "inconclusive",
    r"enough seen|not worse": "no regression found",
    r"nobody (alive )?(drives|drove)|driven by": "its process is gone; run by",
    r"under way|unfinished": "in progress",
    r"(rollout|it) (\S+ )?is held|held (at \d|against)": "paused; against",
    r"stuck": "needs attention",
    r"(?<!virtual )machines?": "host",
    r"what stands|stands? (in|beside|elsewhere|for)|does not stand|still stands": "is running, exists",
    r"mend(s|ed)?": "fix",
    r"put right": "fix",
    r"whoever": "a sentence with a subject",
    r"of ours|is ours|our (own )?(HAProxy|records)": "deployer's",
    r"anew": "again",
    r"is told|are told|was told": "notify, report",
    r"so (many|much)": "a number",
    r"lay(s)? (it )?over|lay \S+ over": "merge",
    r"forge": "Git host",
    r"from elsewhere|people elsewhere": "external",
    r"(?<!there )is no (address|duration|event|file|folder|hash|header|interval|object|socket|token|value)": "is not a",
    r"all the same": "anyway",
    r"byte by byte": "byte for byte",
    r"another one than": "differs from",
    r"it takes (the|an) approval": "it needs the approval",
    r"as it was made": "changed",
    r"does not answer|did not answer|no answer within": "is unreachable, does not respond",
    r"[\d.]+ %|\{\} %": "10%, as it can be typed",
}
_OLD = re.compile("|".join(f"(?<![\\w-])(?:{old})(?![\\w-])" for old in REPLACED), re.IGNORECASE)
_QUOTED = re.compile(r"`[^`]*`|\S*/\S*|--[\w-]+")  # keys, commands and paths have names of their own
_GIVEN = re.compile(r'^ *"""(?:Give|Tell|Say)s?\b.*', re.MULTILINE)


def replaced(text: str) -> list[str]:
    """Return the replaced words in a text."""
    return [found[0] for found in _OLD.finditer(_QUOTED.sub("", text))]


def commands(command: click.Command, context: click.Context, path: str) -> Iterator[tuple[str, str]]:
    """Yield the path of each command with its help, as it is printed."""
    yield path, " ".join(command.get_help(context).split())
    if isinstance(command, click.Group):
        for name in command.list_commands(context):
            sub = command.get_command(context, name)
            assert sub is not None
            below = click.Context(sub, context, info_name=name)
            yield from commands(sub, below, f"{path} {name}")


def strings(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Yield the texts of `raise X(…)`, of click's options and of `description=`, with `{}` for what is filled in."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Raise) and isinstance(node.exc, ast.Call):
            said: list[ast.AST] = [*node.exc.args, *(k.value for k in node.exc.keywords)]
        elif isinstance(node, ast.Call):
            said = [k.value for k in node.keywords if k.arg in ("help", "hint", "remedy", "description")]
        else:
            continue
        for part in said:
            for text in ast.walk(part):
                if isinstance(text, ast.JoinedStr):
                    yield (
                        text.lineno,
                        "".join(str(v.value) if isinstance(v, ast.Constant) else "{}" for v in text.values),
                    )
                elif isinstance(text, ast.Constant) and isinstance(text.value, str):
                    yield text.lineno, text.value


def test_it_can_fail() -> None:
    assert replaced("r2 was taken back: 10 % of the bad answers") == ["taken back", "10 %", "bad answers"]
    assert replaced("r2 was rolled back: 10% failed responses; `machines` in docs/machines.md --machine") == []
    assert _GIVEN.findall('def f() -> int:\n    """Give a number."""\n') == ['    """Give a number."""']


def test_no_help_uses_a_replaced_word() -> None:
    deploy = group()
    found = {
        path: words
        for path, text in commands(deploy, click.Context(deploy, info_name="deploy"), "deploy")
        if (words := replaced(text))
    }
    assert found == {}


def test_the_reference_of_the_manifest_uses_none() -> None:
    table = [line for line in reference().splitlines() if line.startswith("|")]
    assert {line: words for line in table if (words := replaced(line))} == {}


SOURCES = sorted((ROOT / "deployer").rglob("*.py")) + sorted((ROOT / "strategies").glob("*.py"))


def test_no_error_or_hint_uses_one() -> None:
    found = {
        f"{file.relative_to(ROOT)}:{line}": (words, text)
        for file in SOURCES
        for line, text in strings(ast.parse(file.read_text(encoding="utf-8")))
        if (words := replaced(text))
    }
    assert found == {}


def test_a_docstring_says_return_or_yield() -> None:
    """A function returns something, or does something: to give, to tell and to say may mean either."""
    tops = ("deployer", "strategies", "bench", "scripts", "tests", "playbooks", "examples")
    files = [file for top in tops for file in (ROOT / top).rglob("*.py")]
    found = {str(file.relative_to(ROOT)): given for file in files if (given := _GIVEN.findall(file.read_text("utf-8")))}
    assert found == {}


def test_no_page_of_the_web_ui_uses_one() -> None:
    found = {}
    for file in sorted((ROOT / "deployer" / "server" / "page").rglob("*.py")):
        tree = ast.parse(file.read_text(encoding="utf-8"))
        docs = {
            ast.get_docstring(n, clean=False)
            for n in ast.walk(tree)
            if isinstance(n, ast.Module | ast.ClassDef | ast.FunctionDef)
        }
        for node in ast.walk(tree):
            if not isinstance(node, ast.Constant) or not isinstance(node.value, str):
                continue
            text = node.value
            if text not in docs and (words := replaced(text)):
                found[f"{file.name}:{node.lineno}"] = (words, text)
    assert found == {}


@pytest.mark.parametrize("file", sorted(GOLDEN.glob("*.txt")), ids=lambda file: file.stem)
def test_no_view_uses_one(file: Path) -> None:
    lines = file.read_text(encoding="utf-8").splitlines()
    assert {line: words for line in lines if (words := replaced(line))} == {}


def test_the_picture_in_the_readme_uses_none() -> None:
    """It is a drawing of a real canary; `python -m deployer.views.picture` draws another one."""
    drawn = (ROOT / "docs" / "live.svg").read_text().partition("</style>")[2]
    text = " ".join(html.unescape(re.sub(r"<[^>]*>", "", drawn)).split())
    assert "% target" in text
    assert replaced(text) == []
