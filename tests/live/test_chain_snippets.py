"""The snippets of docs/chain.md, each in an application of its kind: what it serves with a side, it calls with it."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.documents import REPOSITORY, blocks
from tests.live.client import get
from tests.live.upstream import Upstream
from tests.ports import free_port
from tests.waiting import within

pytestmark = [pytest.mark.live, pytest.mark.long("applications in four languages, one of them compiled")]

SIDE = "candidate.drawn.83112.1000.55120.1764000000.9F86D081884C7D659A2FEAA0C55AD015"
ASGI = """
import uvicorn
from fastapi import FastAPI, Response

app = FastAPI()
app.add_middleware(KeepSide)

@app.get("/")
async def index():
    return Response((await client.get("http://127.0.0.1:BEHIND/headers")).content)

uvicorn.run(app, host="127.0.0.1", port=PORT, log_level="error")
"""
WSGI = """
from wsgiref.simple_server import make_server

session = Session()

def app(environ, start_response):
    body = session.get("http://127.0.0.1:BEHIND/headers").content
    start_response("200 OK", [("Content-Length", str(len(body)))])
    return [body]

make_server("127.0.0.1", PORT, KeepSide(app)).serve_forever()
"""
NODE = """
const http = require("node:http");
http.createServer((request, response) => keepSide(request, response, async () => {
  await new Promise((resolve) => setTimeout(resolve, 1));
  response.end(await (await fetchOn("http://127.0.0.1:BEHIND/headers", { headers: { a: "b" } })).text());
})).listen(PORT, "127.0.0.1");
"""
GO = """
func main() {
	client := &http.Client{Transport: PassOn{}}
	http.ListenAndServe("127.0.0.1:PORT", KeepSide(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		request, _ := http.NewRequestWithContext(r.Context(), "GET", "http://127.0.0.1:BEHIND/headers", nil)
		answer, err := client.Do(request)
		if err != nil {
			panic(err)
		}
		io.Copy(w, answer.Body)
	})))
}
"""
GO_HEAD = 'package main\n\nimport (\n\t"context"\n\t"io"\n\t"net/http"\n)\n\n'


def snippet(language: str, mark: str = "") -> str:
    """Return a block of the page."""
    found = blocks(REPOSITORY / "docs" / "chain.md")
    return next(b.text for b in found if b.language == language and (not mark or mark in b.marks))


def program(name: str) -> None:
    """Go on if a language is here: the page is for those who have it, no part of this project needs it."""
    if shutil.which(name) is None:
        pytest.skip(f"no {name} here")


def python(folder: Path, text: str) -> list[str]:
    (folder / "app.py").write_text(text)
    return [sys.executable, str(folder / "app.py")]


def node(folder: Path, text: str) -> list[str]:
    program("node")
    (folder / "app.cjs").write_text(text)
    return ["node", str(folder / "app.cjs")]


def go(folder: Path, text: str) -> list[str]:
    program("go")
    (folder / "app.go").write_text(GO_HEAD + text)
    subprocess.run(["go", "build", "-o", "app", "app.go"], cwd=folder, check=True, timeout=300)
    return [str(folder / "app")]


@contextmanager
def running(command: list[str], port: int) -> Iterator[None]:
    process = subprocess.Popen(command)
    try:
        within(60).until(lambda: answers(port), "the application answers", every=0.05)
        yield
    finally:
        process.kill()
        process.wait(10)


def answers(port: int) -> bool:
    try:
        return get(port).status == 200
    except OSError:
        return False


@pytest.mark.parametrize(
    ("kind", "language", "mark", "rest"),
    [
        (python, "python", "asgi", ASGI),
        (python, "python", "wsgi", WSGI),
        (node, "javascript", "", NODE),
        (go, "go", "", GO),
    ],
    ids=["asgi", "wsgi", "node", "go"],
)
def test_what_is_served_with_a_side_calls_with_it(
    tmp_path: Path, kind: object, language: str, mark: str, rest: str
) -> None:
    assert callable(kind)
    port = free_port()
    with Upstream("behind") as behind:
        text = snippet(language, mark) + rest.replace("BEHIND", str(behind.port)).replace("PORT", str(port))
        with running(kind(tmp_path, text), port):
            for _ in range(2):
                assert json.loads(get(port, "/", {"X-Deployer-Side": SIDE}).body)["x-deployer-side"] == SIDE
                assert "x-deployer-side" not in json.loads(get(port, "/").body), "of the request before"
