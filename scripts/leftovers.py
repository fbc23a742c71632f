"""Finds what a test run left behind.

`leftovers.py before FILE`, later `leftovers.py after FILE`; its exit code is 1 when something had stayed.

Processes are known by the environment variable DEPLOYER_TEST_RUN that they inherited; they are ended. Containers,
networks and volumes are those that were not there before: on an engine that the tests have for themselves
(DEPLOYER_TEST_ENGINE=own) all of them, on any other (=shared) those that carry a label of the tool and are still there
after SETTLE seconds; =none asks no engine. They are named and never removed: an engine of one's own is removed as a
whole, and on a shared one they may belong to somebody else.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import docker
import docker.errors

PREFIX = "deployer."  # of the labels that the tool puts on what it owns
MARKER = "DEPLOYER_TEST_RUN"
SETTLE = 10.0
ENGINE = os.environ.get("DEPLOYER_TEST_ENGINE", "shared")


def objects() -> dict[str, str]:
    """Return what the engine has, by id: kind and name; empty when no engine answers."""
    if ENGINE == "none":
        return {}
    try:
        client = docker.from_env(timeout=30)
    except docker.errors.DockerException:
        return {}
    found: dict[str, str] = {}
    try:
        for kind, rows in (
            ("container", client.api.containers(all=True)),
            ("network", client.api.networks()),
            ("volume", client.api.volumes()["Volumes"] or []),
        ):
            for row in rows:
                if ENGINE == "own" or any(label.startswith(PREFIX) for label in row["Labels"] or {}):
                    name = row.get("Name") or row["Names"][0].lstrip("/")
                    found[f"{kind} {row.get('Id') or name}"] = name
    finally:
        client.close()
    return found


def stayed(known: dict[str, str]) -> list[str]:
    """Return the kinds and names of `objects` that were not known, after those of others had time to go."""
    end = time.monotonic() + SETTLE
    new = objects()
    while new.keys() - known.keys() and time.monotonic() < end:
        time.sleep(0.5)
        now = objects()
        new = {key: name for key, name in new.items() if key in now}
    return [f"{key.partition(' ')[0]} {name}" for key, name in new.items() if key not in known]


def processes(run: str) -> Iterator[tuple[int, str]]:
    """Yield processes (not this one, nor those that started it) that come from the run: id and command line."""
    wanted = f"{MARKER}={run}".encode()
    above = set(ancestors(os.getpid()))
    for folder in Path("/proc").iterdir():
        if not folder.name.isdigit() or int(folder.name) in above:
            continue
        try:
            if wanted in (folder / "environ").read_bytes().split(b"\0"):
                yield int(folder.name), (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue  # it has ended, or belongs to somebody else


def ancestors(pid: int) -> Iterator[int]:
    """Yield the process and those above it."""
    while pid > 1:
        yield pid
        pid = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


def main() -> int:
    """Write down what is there, or compare with it."""
    moment, file = sys.argv[1], Path(sys.argv[2])
    if moment == "before":
        file.write_text(json.dumps(objects()))
        return 0
    known = json.loads(file.read_text())
    left = stayed(known)
    for pid, command in processes(os.environ[MARKER]):
        left.append(f"process {pid}: {command.strip()}")
        os.kill(pid, signal.SIGKILL)
    for line in left:
        print(f"left behind: {line}", file=sys.stderr)
    return 1 if left else 0


if __name__ == "__main__":
    sys.exit(main())
