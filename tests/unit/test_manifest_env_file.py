"""Files of variables: read as Compose reads them, which is asked itself where it is installed."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import pytest

from deployer.app.releases import config_hash
from deployer.core.errors import ManifestRefused
from deployer.manifest.load import Loaded, load
from deployer.manifest.models import Manifest
from deployer.manifest.secrets import resolve_secrets

BASE = "service: shop\nimage: shop:1\nport: 8080\n"
FILES = {
    "one.env": r"""# a comment
PLAIN=plain
SPACES = with space   # comment
HASH=val#no
DOUBLE="dq # no" # c
SINGLE='sq $PLAIN ${PLAIN} # no' # c
ESCAPES="a\n\t\\ \" \$PLAIN $PLAIN"
SINGLE_ESCAPES='it\'s \n'
export EXPORTED=exp
EMPTY=
INHERITED
ABSENT
FORMS=$PLAIN-${PLAIN}-${NO:-def}-${NO-${PLAIN}}-${PLAIN:+alt}-${NO:+alt}.
LINES="two
lines"
LINES_TOO='two
lines'
BACKSLASH=a\nb
DOLLAR=$$PLAIN
TICKS=`echo hi`
OUTSIDE="a${HOSTNAME_OF_TEST}b"
JSON={"a": "b"}
JSON_TOO="{\"a\": \"b\"}"
EQUALS=foo=bar
PADDED="  pad  "
MIDDLE=a'b'c
BOTH=from one
""",
    "two.env": "BOTH=from two\nEARLIER=${PLAIN}/$BOTH\nOWN=file\nPLAIN_AGAIN=${PLAIN}\n",
}
ENVIRON = {"HOSTNAME_OF_TEST": "here", "INHERITED": "from outside"}


def loaded(folder: Path, more: str, environ: dict[str, str] | None = None) -> Loaded:
    for name, text in FILES.items():
        (folder / name).write_text(text)
    (folder / "deploy.yml").write_text(BASE + more)
    return load(folder, environ=ENVIRON if environ is None else environ)


def test_files_are_read_as_compose_reads_them(tmp_path: Path) -> None:
    if not shutil.which("docker-compose"):
        pytest.skip("needs docker-compose")
    ours = loaded(tmp_path, "env_file: [one.env, two.env]\nenv: {OWN: env}\n").manifest.env
    project = {"services": {"web": {"image": "x", "env_file": ["one.env", "two.env"], "environment": {"OWN": "env"}}}}
    (tmp_path / "compose.yaml").write_text(json.dumps(project))
    command = ["docker-compose", "config", "--format", "json"]
    printed = subprocess.run(command, cwd=tmp_path, env=ENVIRON, capture_output=True, check=True, text=True).stdout
    theirs = json.loads(printed)["services"]["web"]["environment"]
    # It prints what could be read in again: each dollar twice, and a name without a value as null.
    assert ours == {name: text.replace("$$", "$") for name, text in theirs.items() if text is not None}


def test_the_order_and_the_quotes(tmp_path: Path) -> None:
    env = loaded(tmp_path, "env_file: [one.env, two.env]\nenv: {OWN: env}\n").manifest.env

    assert env["OWN"] == "env"
    assert (env["BOTH"], env["EARLIER"]) == ("from two", "plain/from one")
    assert (env["SINGLE"], env["DOUBLE"]) == ("sq $PLAIN ${PLAIN} # no", "dq # no")
    assert env["FORMS"] == "plain-plain-def-plain-alt-."
    assert (env["EMPTY"], env["INHERITED"], "ABSENT" in env) == ("", "from outside", False)


def test_the_environment_wins_where_a_value_refers_to_it(tmp_path: Path) -> None:
    env = loaded(tmp_path, "env_file: two.env\n", {"PLAIN": "outside", "BOTH": "outside"}).manifest.env

    assert (env["BOTH"], env["EARLIER"]) == ("from two", "outside/outside")


def test_values_are_part_of_the_release_and_names_of_files_are_not(tmp_path: Path) -> None:
    first = loaded(tmp_path, "env_file: [two.env]\n", {"PLAIN": "1"}).manifest
    (tmp_path / "other.env").write_text((tmp_path / "two.env").read_text())
    same = loaded(tmp_path, "env_file: other.env\n", {"PLAIN": "1"}).manifest
    changed = loaded(tmp_path, "env_file: two.env\n", {"PLAIN": "2"}).manifest

    assert Manifest.from_record(first.record()) == first
    assert config_hash("i", first, {}, "k") == config_hash("i", same, {}, "k") != config_hash("i", changed, {}, "k")


def test_a_secret_of_a_file_is_kept_apart(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("DB_PASSWORD=hunter2-hunter2\nLOG=info\n")
    secrets = "env_file: .env\nsecrets: {DB_PASSWORD: {env: DB_PASSWORD, deliver: env}}\n"
    found = loaded(tmp_path, secrets, {})

    assert found.manifest.env == {"LOG": "info"}
    assert resolve_secrets(found.manifest, tmp_path, {})["DB_PASSWORD"].reveal() == "hunter2-hunter2"
    assert "hunter2" not in json.dumps(found.manifest.record())


def test_dotenv_stands_behind_the_environment(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("COUNT=3\nTAG=file\n")
    manifest = loaded(tmp_path, "replicas: ${COUNT}\nenv: {TAG: '${TAG}', NONE: '${NONE:-none}'}\n", {"TAG": "outside"})

    assert manifest.manifest.replicas == 3
    assert manifest.manifest.env == {"TAG": "outside", "NONE": "none"}


def test_a_dotenv_is_read_only_where_something_is_missing(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("this is no file of variables\n")
    assert loaded(tmp_path, "env: {A: '${A}'}\n", {"A": "a"}).manifest.env == {"A": "a"}

    with pytest.raises(ManifestRefused) as refused:
        loaded(tmp_path, "env: {A: '${A:-a}'}\n", {})
    assert [problem.where for problem in refused.value.problems] == [".env:1"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"A= # empty, or not?\n", "m.env:1: is not NAME=value → put the value in quotes"),
        (b'\n\nA="x"y\n', "m.env:3: is not NAME=value → put the value in quotes"),
        (b"A='x\n", "m.env:1: is not NAME=value → put the value in quotes"),
        (b"A=\xff\n", "m.env: is not UTF-8 → save the file as UTF-8"),
        (b"A=a\0b\n", "m.env: cannot be read: it has a NUL character in it"),
        (b"A=" + b"x" * 1024 * 1024, "m.env: cannot be read: it is larger than 1 MiB"),
    ],
)
def test_what_cannot_be_read_is_refused(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "m.env").write_bytes(content)

    with pytest.raises(ManifestRefused) as refused:
        loaded(tmp_path, "env_file: m.env\n", {})
    assert message in [str(problem) for problem in refused.value.problems]
