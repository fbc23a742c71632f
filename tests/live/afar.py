"""Who deploys from afar: a folder that has no state, an environment that says where to, and what is printed there."""

from __future__ import annotations

import json
import os
import subprocess
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.live.serving import SECONDS
from tests.live.shop import COMMAND_SECONDS, DEPLOY, Shop

PASSING = ("sample", "note")


class Afar:
    """Somebody in a folder of their own, whose `deploy` is told by variables where to do things."""

    def __init__(self, folder: Path, **environ: str) -> None:
        self.folder = folder
        self.folder.mkdir()
        self.environ = {"DEPLOYER_STATE": str(folder / "state"), **environ}

    def environment(self) -> dict[str, str]:
        return {**os.environ, "NO_COLOR": "1", "COLUMNS": "200", **self.environ}

    def deploy(self, *arguments: str, expect: int = 0) -> subprocess.CompletedProcess[str]:
        """Run `deploy ARGUMENTS` there, and check its exit code, and that it left no state here."""
        done = subprocess.run(
            [DEPLOY, *arguments],
            cwd=self.folder,
            env=self.environment(),
            capture_output=True,
            text=True,
            timeout=COMMAND_SECONDS,
            check=False,
        )
        said = f"deploy {' '.join(arguments)}: exit {done.returncode}\n{done.stdout}\n{done.stderr}"
        assert done.returncode == expect, said
        assert "Traceback" not in done.stderr, said
        assert not (self.folder / "state").exists()
        return done

    @contextmanager
    def start(self, *arguments: str) -> Iterator[subprocess.Popen[str]]:
        """Run `deploy ARGUMENTS` there beside the test; it is killed at the end if it still runs."""
        with subprocess.Popen(
            [DEPLOY, *arguments],
            cwd=self.folder,
            env=self.environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        ) as process:
            try:
                yield process
            finally:
                process.kill()


def until(process: subprocess.Popen[str], kind: str) -> list[dict[str, Any]]:
    """Read what a process prints as JSON, up to an event."""
    assert process.stdout is not None
    found = []
    for line in process.stdout:
        found.append(json.loads(line))
        if found[-1]["event"] == kind:
            return found
    raise AssertionError(f"it ended with {process.wait(SECONDS)}: {process.stderr.read() if process.stderr else ''}")


def rest(process: subprocess.Popen[str], expect: int) -> tuple[list[dict[str, Any]], str]:
    """Read the rest of what a process prints, by the reader that has read on already; check its exit code."""
    assert process.stdout is not None
    assert process.stderr is not None
    late = threading.Timer(COMMAND_SECONDS, process.kill)
    late.start()
    try:
        out, err = process.stdout.read(), process.stderr.read()
        process.wait(SECONDS)
    finally:
        late.cancel()
    assert process.returncode == expect, out + err
    assert "Traceback" not in err
    return [json.loads(line) for line in out.splitlines()], err


def kinds(events: list[dict[str, Any]]) -> Counter[tuple[Any, ...]]:
    """Count events by what makes them the same; those that pass are left out."""
    return Counter(
        (e["event"], e["at"], e.get("n"), e.get("phase"), e.get("text")) for e in events if e["event"] not in PASSING
    )


def recorded(shop: Shop, rollout: int) -> list[dict[str, Any]]:
    """Return the events of a rollout as the store has them."""
    events: list[dict[str, Any]] = shop.events("show", str(rollout))[0]["events"]
    return events
