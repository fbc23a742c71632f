"""Put a load on a service from the command line: `python -m tests.load http://127.0.0.1:8080 --seconds 10`."""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path

from tests.load import KINDS, Load, Options, Report


def arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.load", description="Put a mixed load on a service and count."
    )
    parser.add_argument("url", help="base URL, http://host:port")
    parser.add_argument("--host", default="", help="Host header")
    parser.add_argument("--seconds", type=float, default=10.0, help="how long; Ctrl-C ends it earlier")
    parser.add_argument("--rate", type=float, default=Options.rate, help="requests a second (%(default)g)")
    parser.add_argument("--kinds", default=",".join(KINDS), help="what to send (%(default)s)")
    parser.add_argument("--clients", type=int, default=Options.clients, help="clients with a cookie jar (%(default)d)")
    parser.add_argument(
        "--burst",
        type=float,
        nargs=2,
        default=Options.burst,
        metavar=("SECONDS", "PART"),
        help="all of it in a part of each period",
    )
    parser.add_argument("--output", choices=("text", "json"), default="text")
    parser.add_argument("--save", type=Path, help="write every request to this file, one JSON object a line")
    return parser.parse_args()


def run(args: argparse.Namespace) -> Report:
    """Keep the load up for the time, showing the counters once a second."""
    options = Options(
        kinds=tuple(args.kinds.split(",")),
        host=args.host,
        rate=args.rate,
        clients=args.clients,
        burst=tuple(args.burst),
    )
    with Load(args.url, options) as load:
        end = time.monotonic() + args.seconds
        try:
            while (left := end - time.monotonic()) > 0:
                time.sleep(min(left, 1.0))
                now = load.counters()
                print(f"{now.sent} sent, {now.failed} failed, {now.by_version}", file=sys.stderr)
        except KeyboardInterrupt:
            print("ending", file=sys.stderr)
        return load.stop()


def main() -> int:
    """Return 0 when every request was answered, 1 otherwise."""
    args = arguments()
    report = run(args)
    if args.save:
        args.save.write_text("".join(r.dump() + "\n" for r in report.requests))
    print(json.dumps(report.record(), indent=2) if args.output == "json" else report.text())
    return 1 if report.failed or not report.sent else 0


if __name__ == "__main__":
    sys.exit(main())
