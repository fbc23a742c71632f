"""What README and tutorial tell people to type is typed, in order, and the lines that they promise appear.

A block marked `console run` is one; a promised line holds when its pieces between `…` and runs of spaces follow one
another in one line of the output, and the lines come in order.
"""

from __future__ import annotations

import itertools
import os
import re
import secrets
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import docker
import pytest

from tests.documents import REPOSITORY, Command, blocks, commands
from tests.lab import image
from tests.load import Load, Options
from tests.services import require

pytestmark = [pytest.mark.live, pytest.mark.xdist_group("docs")]

SECONDS = 900.0  # the tutorial takes about 40; the canary of the README four minutes
BIN = Path(sys.executable).parent


def typed(document: str) -> list[Command]:
    return [c for b in blocks(REPOSITORY / document) if "run" in b.marks for c in commands(b)]


@contextmanager
def environment(folder: Path) -> Iterator[dict[str, str]]:
    """Yield an environment with a state folder of its own; take every service of it down afterwards."""
    try:
        yield {**os.environ, "PATH": f"{BIN}:{os.environ['PATH']}", "DEPLOYER_STATE": str(folder / "state")}
    finally:
        for database in folder.glob("**/deployer.db"):
            for service, command in itertools.product(("hello", "shop"), (["abort"], ["down", "-y"])):
                what = [str(BIN / "deploy"), *command, "--service", service, "--state", str(database.parent)]
                subprocess.run(what, cwd=folder, capture_output=True, timeout=180, check=False)


def run(script: list[str], folder: Path, env: dict[str, str]) -> list[str]:
    """Run the commands in one shell; return what each printed."""
    mark = f"--{secrets.token_hex(8)}--"
    text = "".join(f"{command}\nprintf '%s\\n' '{mark}'\n" for command in script)
    shell = subprocess.Popen(
        ["bash", "-c", text],
        cwd=folder,
        env=env,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    late = threading.Timer(SECONDS, lambda: os.killpg(shell.pid, signal.SIGKILL))
    late.start()
    try:
        assert shell.stdout is not None
        printed = shell.stdout.read()
        shell.wait(10)
    finally:
        late.cancel()
        if shell.stdout:
            shell.stdout.close()
        with suppress(ProcessLookupError):
            os.killpg(shell.pid, signal.SIGKILL)  # what a failed page left in the background
    outputs = printed.split(f"{mark}\n")
    assert len(outputs) == len(script) + 1, f"not all commands ran within {SECONDS:g} s:\n{printed}"
    return outputs[:-1]


def missing(promised: tuple[str, ...], printed: str) -> str | None:
    """Return the first promised line that does not appear after those before it."""
    lines = iter(printed.splitlines())
    for line in promised:
        pieces = (re.escape(p.strip()) for p in re.split(r"…|\s{2,}", line))
        wanted = re.compile(r".*?".join(p for p in pieces if p))
        if not any(wanted.search(seen) for seen in lines):
            return line
    return None


def follow(document: str, typed: list[Command], folder: Path, env: dict[str, str], swap: dict[str, str]) -> list[str]:
    """Type the commands, with what `swap` puts in place of words of the page; return what each printed."""

    def swapped(text: str) -> str:
        for old, new in swap.items():
            text = text.replace(old, new)
        return text

    outputs = run([swapped(c.text) for c in typed], folder, env)
    for command, printed in zip(typed, outputs, strict=True):
        lost = missing(tuple(map(swapped, command.promised)), printed)
        assert lost is None, f"{document}:{command.line}: `{command.text}` does not print {lost!r}, but:\n{printed}"
    return outputs


def test_a_promise_that_is_not_kept_is_seen() -> None:
    printed = "r1 (1.0) is live\nblue  r1 (1.0)  stable  hello-r1-1  127.0.0.1:21000  running\n"

    assert missing(("r1 (1.0) is live", "blue   r1 (1.0)  stable …  127.0.0.1:…  running"), printed) is None
    assert missing(("r2 (2.0) is live",), printed) == "r2 (2.0) is live"
    assert missing(("blue  r1", "r1 (1.0) is live"), printed) == "r1 (1.0) is live", "in the wrong order"
    assert missing(("blue  running  stable",), printed) == "blue  running  stable"


@pytest.mark.long("every command of the tutorial", every_change=True)
def test_the_tutorial(state: Path, free_port: int) -> None:
    require("haproxy")
    page = typed("docs/tutorial.md")
    assert len(page) > 15
    with environment(state) as env:
        follow("docs/tutorial.md", page, state, env, {"8090": str(free_port)})
    assert list(state.iterdir()) == [], "the last command leaves nothing behind"


@pytest.mark.long("every command of the README, as it stands: its canary takes four minutes")
def test_the_readme(state: Path, free_port: int, engine: docker.DockerClient) -> None:
    require("haproxy", "gcc")
    page, name = typed("README.md"), f"docs-{secrets.token_hex(4)}"
    (manifest,) = (b.text for b in blocks(REPOSITORY / "README.md") if b.language == "yaml")
    swap = {"registry.example.com/shop": name, "{domains: [shop.example.com]}": f'{{listen: "127.0.0.1:{free_port}"}}'}
    for old, new in swap.items():
        assert old in manifest
        manifest = manifest.replace(old, new)
    (state / "deploy.yml").write_text(manifest)
    with (
        image.built(f"{name}:1.0", engine, version="1.0"),
        image.built(f"{name}:2.0", engine, version="2.0"),
        environment(state) as env,
    ):
        follow("README.md", page[:1], state, env, {})
        with Load(f"http://127.0.0.1:{free_port}", Options(rate=80, websocket_may_be_cut=True)) as load:
            load.until(lambda now: now.answered > 20, "users have come")
            follow("README.md", page[1:], state, env, {})
            report = load.stop()
    assert report.failures == ()
    assert report.by_version.keys() == {"1.0", "2.0"}


DOCKERFILE = """\
FROM scratch
COPY app /
ENV PATH=/ VERSION={version}
ENTRYPOINT ["/app"]
"""


@pytest.mark.long("every command of the page, as it stands: its blue-green is watched for half a minute")
def test_a_container_in_five_minutes(state: Path, free_port: int, engine: docker.DockerClient) -> None:
    require("haproxy", "gcc")
    program, name, page = image.binary(), f"hello-{secrets.token_hex(4)}", typed("docs/container.md")
    assert program is not None
    shutil.copy(program, state / "app")
    swap = {
        "127.0.0.1:8090": f"127.0.0.1:{free_port}",
        "--image hello ": f"--image {name} ",
        "-t hello:": f"-t {name}:",
    }
    (second,) = (n for n, command in enumerate(page) if "-t hello:2.0" in command.text)
    try:
        with environment(state) as env:
            for version, part in (("1.0", page[:second]), ("2.0", page[second:])):
                (state / "Dockerfile").write_text(DOCKERFILE.format(version=version))
                follow("docs/container.md", part, state, env, swap)
    finally:
        for built in engine.images.list(name):
            image.remove(str(built.id), engine)
