"""Bring versions of a small shop out under load, good ones and bad ones, and count what its users got."""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from examples.demo.shop import VERSIONS, Shop
from tests.load import Load, Options, Report

DEPLOY = Path(sys.executable).with_name("deploy")
BOLD, DIM, END = (
    ("\x1b[1m", "\x1b[2m", "\x1b[0m") if sys.stdout.isatty() and not os.environ.get("NO_COLOR") else ("",) * 3
)
SECONDS = 120  # a command may take


def main() -> int:
    parser = argparse.ArgumentParser(prog="scripts/demo", description=__doc__)
    parser.add_argument("--processes", action="store_true", help="plain processes, even if a Docker engine answers")
    arguments = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="dpdemo", dir="/tmp"))
    with Shop.made(folder, docker=not arguments.processes) as shop:
        try:
            return Demo(shop, folder).run()
        finally:
            subprocess.run([DEPLOY, "abort"], cwd=folder, env=environment(folder), capture_output=True, check=False)
            subprocess.run(
                [DEPLOY, "down", "-y"], cwd=folder, env=environment(folder), capture_output=True, check=False
            )
            shutil.rmtree(folder)


def environment(folder: Path) -> dict[str, str]:
    return {**os.environ, "DEPLOYER_STATE": str(folder / "state")}


class Demo:
    """The acts, one after the other, on one stage."""

    def __init__(self, shop: Shop, folder: Path) -> None:
        self.shop, self.folder = shop, folder
        self.began = time.monotonic()

    def run(self) -> int:
        print(f"{BOLD}deployer demo{END}: {self.shop.describe()}\n")
        print(f"{DIM}{(self.folder / 'deploy.yml').read_text()}{END}")
        self.deploy("The first release goes live.", ["up", "--version", "1.0"])
        # The proxy closes a WebSocket on a release that users have left: `traffic.handover`.
        options = Options(rate=100, slow=2, paused=4, clients=10, websocket_may_move=True, websocket_may_be_cut=True)
        with Load(self.shop.url, options) as load:
            load.until(lambda now: now.answered > 50, "users have come")
            print(f"\n{DIM}About 100 requests a second flow from here to the end.{END}")
            canary = ["canary", "--percent", "10", "--version"]
            self.deploy("2.0 goes to 10% of the users, then to half, then to all.", [*canary, "2.0"])
            self.deploy("3.0 cannot start: no user ever meets it.", [*canary, "3.0"], expect=4)
            self.deploy("3.1 starts, but fails 20% of its requests: the judge sees it.", [*canary, "3.1"], expect=3)
            self.deploy(
                "Second thoughts about 2.0: back to 1.0, started again from its record.", ["rollback", "--to", "1"]
            )
            load.mark("end")
            wanted = load.counters().answered + 100
            load.until(lambda now: now.answered >= wanted, "users after the rollback")
            report = load.stop()
        self.deploy("What happened:", ["history"])
        return self.summary(report)

    def deploy(self, what: str, arguments: Sequence[str], expect: int = 0) -> None:
        """Run `deploy`, its live view on this terminal."""
        print(f"\n{BOLD}{what}{END}\n$ deploy {' '.join(arguments)}", flush=True)
        done = subprocess.run(
            [DEPLOY, *arguments], cwd=self.folder, env=environment(self.folder), timeout=SECONDS, check=False
        )
        print(f"{DIM}exit code {done.returncode}{END}", flush=True)
        if done.returncode != expect:
            raise SystemExit(f"the demo expected exit code {expect}")

    def summary(self, report: Report) -> int:
        own = [r for r in report.failures if r.version in self.shop.faulty]
        lost = [r for r in report.failures if r.version not in self.shop.faulty]
        print(f"\n{BOLD}{report.sent} requests in {time.monotonic() - self.began:.0f} s{END}")
        for version, about in VERSIONS.items():
            answered = report.by_version.get(version, 0)
            errors = sum(1 for r in own if r.version == version)
            print(
                f"  {version}  {answered:6} responses"
                + (f", {errors} with an error of its own" if errors else "")
                + f"  {DIM}{about}{END}"
            )
        print(
            f"  {BOLD}failed: {len(lost)}{END} lost, cut off or refused"
            + (f"; and the {len(own)} errors that 3.1 itself gave to its 10% until it was rolled back" if own else "")
        )
        if report.moved:
            print(f"  {report.moved} times a WebSocket followed its users: closed, and connected again")
        for failure in lost[:10]:
            print(f"    {failure}")
        last = report.after("end").only("fresh", "busy", "post").by_version
        print(f"  at the end users are on: {', '.join(sorted(last))}")
        return 1 if lost or set(last) != {"1.0"} else 0


if __name__ == "__main__":
    sys.exit(main())
