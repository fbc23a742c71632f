"""Builds an image by `docker buildx build`, into the engine from which images come: that of this host.

The docker command is used, as the SDK speaks to the old builder only, which knows no secrets and no cache. Where the
command has no buildx, `docker build` does what it can, and the rest is refused.
"""

from __future__ import annotations

import os
import re
import subprocess
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from deployer.core import commands
from deployer.core.clock import Deadline
from deployer.core.errors import Aborted, DriverFailed, Refused
from deployer.core.events import Tell
from deployer.core.secret import SecretText, hide
from deployer.drivers.runtime.docker.engine import CALL, Engine, find_image
from deployer.transport import contexts

if TYPE_CHECKING:
    from deployer.manifest.build import Build

LAST_LINES = 20  # of a build that failed
PROBE_SECONDS = 10.0
_STEP = re.compile(r"#\d+ (\[[^\]]*\d+/\d+\] .*)")
_PROVES_NOTHING = "BUILDX_NO_DEFAULT_ATTESTATIONS"  # they hold times: the same tree would be another image each time


class DockerBuilder:
    """Builds what a manifest in `folder` says."""

    def __init__(self, folder: Path, engine: Engine | None = None, environ: Mapping[str, str] = os.environ) -> None:
        self._folder, self._engine, self._environ = folder, engine or Engine(), environ

    def build(
        self,
        build: Build,
        tag: str,
        secrets: Mapping[str, SecretText],
        deadline: Deadline,
        tell: Tell,
        stopped: Callable[[], bool],
    ) -> str:
        """Build the image by the engine of this host."""
        self._engine.require()
        # The command would otherwise take the engine of its current context, which the SDK knows nothing of.
        environ = {**contexts.resolved(self._environ), "DOCKER_HOST": self._engine.address, _PROVES_NOTHING: "1"}
        given = {f"BUILD_SECRET_{index}": name for index, name in enumerate(build.secrets)}
        environ |= {variable: secrets[name].reveal() for variable, name in given.items()}
        command = [*self._command(build, environ), "--tag", tag, *_options(build, self._folder, given)]
        output = _Output(lambda line: tell("note", text=line))

        def left() -> float:
            if stopped():
                raise Aborted(f"the build of {tag} was stopped", "nothing was changed")
            return deadline.left()

        tell("note", text=f"building {tag}")
        try:
            commands.run(command, self._folder, environ, left, heard=output.take)
        except commands.CommandFailed as failed:
            what = f"the build of {tag} failed: {hide(failed.message)}"
            raise _failed(what, failed, output, deadline) from None
        return self._built(tag)

    def _command(self, build: Build, environ: Mapping[str, str]) -> list[str]:
        try:
            done = subprocess.run(
                ["docker", "buildx", "version"], env=dict(environ), capture_output=True, timeout=PROBE_SECONDS
            )
        except FileNotFoundError:
            raise Refused("`build` needs the docker command, which is not on PATH", _INSTALL) from None
        except (OSError, subprocess.TimeoutExpired) as error:
            raise Refused(f"`build` needs the docker command, which does not work: {error}", _INSTALL) from None
        if done.returncode == 0:
            return ["docker", "buildx", "build", "--load", "--progress", "plain"]
        lacking = [key for key in ("secrets", "cache_from", "cache_to", "builder") if getattr(build, key)]
        if lacking:
            raise Refused(f"build.{lacking[0]} needs BuildKit, and the docker command here has no buildx", _INSTALL)
        return ["docker", "build", "--force-rm"]

    def _built(self, tag: str) -> str:
        with self._engine.client(f"image {tag}", CALL) as client:
            image = find_image(client, tag)
        if image is None or image.id is None:
            raise DriverFailed(
                f"{tag} was built, but the engine at {self._engine.address} does not have it",
                "does `builder` belong to another engine, or is another program removing images?",
            )
        return image.id


_INSTALL = "install it with buildx (Debian, Ubuntu: docker-cli and docker-buildx; Docker: docker-buildx-plugin)"


def _options(build: Build, folder: Path, secrets: Mapping[str, str]) -> Iterator[str]:
    context = folder / build.context
    yield from ("--file", str(context / build.dockerfile))
    if build.target:
        yield from ("--target", build.target)
    for name, value in build.args.items():
        yield from ("--build-arg", f"{name}={value}")
    for variable, name in secrets.items():
        yield from ("--secret", f"id={name},env={variable}")
    if build.platform:
        yield from ("--platform", build.platform)
    for place in build.cache_from:
        yield from ("--cache-from", place)
    for place in build.cache_to:
        yield from ("--cache-to", place)
    if build.builder:
        yield from ("--builder", build.builder)
    yield str(context)


class _Output:
    """What a build prints: its steps are told once, its last lines are kept."""

    def __init__(self, tell: Callable[[str], None]) -> None:
        self._tell = tell
        self._rest = ""
        self._told: set[str] = set()
        self._last: deque[str] = deque(maxlen=LAST_LINES)

    def take(self, printed: bytes) -> None:
        """Take the next piece."""
        *lines, self._rest = (self._rest + printed.decode("utf-8", "replace")).split("\n")
        for line in lines:
            self._line(line)

    def lines(self) -> tuple[str, ...]:
        """Return the last lines."""
        return (*self._last, *([_plain(self._rest)] if self._rest.strip() else []))[-LAST_LINES:]

    def _line(self, line: str) -> None:
        text = _plain(line)
        if not text:
            return
        self._last.append(text)
        step = _STEP.fullmatch(text)
        if step and step[1] not in self._told:
            self._told.add(step[1])
            self._tell(step[1])


def _plain(line: str) -> str:
    return hide("".join(c if c.isprintable() or c == "\t" else "" for c in line)).rstrip()


def _failed(what: str, failed: commands.CommandFailed, output: _Output, deadline: Deadline) -> DriverFailed:
    shown = "".join(f"\n    | {line}" for line in output.lines())
    hint = failed.hint or "nothing was changed; fix the build, then deploy again"
    return DriverFailed(f"{what}{shown}", "raise build.timeout" if deadline.passed() else hint, log=output.lines())
