"""`deploy serve` as a process, and a client of it, for tests."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import requests

from tests.live.shop import COMMAND_SECONDS, Shop
from tests.waiting import within

SECONDS = 30.0


class Api:
    """A client of the server, with a token."""

    def __init__(self, shop: Shop, port: int, token: str) -> None:
        self.base, self.name = f"http://127.0.0.1:{port}/api/v1", shop.name
        self.headers = {"Authorization": f"Bearer {token}"}

    def get(self, path: str) -> Any:
        answer = requests.get(self.base + path, headers=self.headers, timeout=SECONDS)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def post(self, action: str, **body: Any) -> requests.Response:
        return requests.post(
            f"{self.base}/services/{self.name}/{action}", json=body, headers=self.headers, timeout=SECONDS
        )

    def run(self, answer: requests.Response) -> Any:
        """Wait for the end of a run."""
        return self._until(answer, lambda told: told["ended"])

    def begin(self, **body: Any) -> int:
        """Start a rollout; return its number once it has begun: a busy server responds before that."""
        return self.begun(self.post("rollouts", **body))

    def begun(self, answer: requests.Response) -> int:
        """Return the number of a rollout that was asked for, once it has begun."""
        told = self._until(answer, lambda told: told["rollout"] or told["ended"])
        assert told["rollout"], told
        return int(told["rollout"])

    def _until(self, answer: requests.Response, enough: Callable[[Any], Any]) -> Any:
        path = answer.headers["location"].removeprefix("/api/v1")
        told: Any = None

        def seen() -> bool:
            nonlocal told
            told = self.get(path)
            return bool(enough(told))

        assert within(COMMAND_SECONDS).wait(seen, every=0.2), told
        return told

    def listen(self, path: str, until: str, last: int = 0) -> list[tuple[int, dict[str, Any]]]:
        """Read events up to a kind, then leave without a word; return them with their ids."""
        headers = {**self.headers, **({"Last-Event-ID": str(last)} if last else {})}
        events: list[tuple[int, dict[str, Any]]] = []
        with requests.get(self.base + path, headers=headers, stream=True, timeout=SECONDS) as answer:
            assert answer.status_code == 200, answer.text
            number = 0
            for line in answer.iter_lines(chunk_size=1, decode_unicode=True):
                field, _, value = line.partition(": ")
                if field == "id":
                    number = int(value)
                elif field == "data":
                    events.append((number, json.loads(value)))
                    number = 0
                    if events[-1][1]["event"] == until:
                        return events
        return events


def token(shop: Shop, role: str, *options: str) -> str:
    return shop.deploy("token", "create", role, "--role", role, *options).stdout.strip()


@contextmanager
def server(shop: Shop, port: int, *options: str) -> Iterator[subprocess.Popen[str]]:
    with shop.start("serve", "--listen", f"127.0.0.1:{port}", "-f", "deploy.yml", *options) as process:
        assert process.stderr is not None
        said = []
        for line in process.stderr:
            said.append(line)
            if line.startswith("serving "):
                break
        else:
            raise AssertionError("".join(said))
        yield process
