"""`warm_up.py JSON`: request paths from one address, round by round; ends with 1 at the first unwanted answer."""

from __future__ import annotations

import json
import sys
import time
from http.client import HTTPConnection, HTTPException


def main(address: str, paths: list[str], rounds: int, headers: dict[str, str], status: list[int]) -> str:
    """Make the requests on one connection; says what went wrong, or prints what was done and gives ""."""
    host, _, port = address.rpartition(":")
    client = HTTPConnection(host.strip("[]"), int(port), timeout=30)
    took: list[float] = []
    for _ in range(rounds):
        for path in paths:
            began = time.monotonic()
            try:
                client.request("GET", path, headers=headers)
                answer = client.getresponse()
                answer.read()
            except (OSError, HTTPException) as error:
                return f"GET http://{address}{path}: {error or type(error).__name__}"
            if answer.status not in status:
                return f"GET http://{address}{path}: HTTP {answer.status}, expected {', '.join(map(str, status))}"
            took.append(time.monotonic() - began)
    if took:
        print(f"{len(took)} requests, the first {took[0] * 1000:.1f} ms, the last {took[-1] * 1000:.1f} ms")
    return ""


if __name__ == "__main__":
    sys.exit(main(**json.loads(sys.argv[1])) or 0)
