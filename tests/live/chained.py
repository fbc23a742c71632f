"""Services that call each other, as processes: each answers with its version and with what the next one answered."""

from __future__ import annotations

import sys
from pathlib import Path

APPLICATION = '''\
"""A service that answers with its version, and with that of the next one: it passes the side on, if it is to."""
import http.client, os, random, sys, time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

version, behind, words = sys.argv[1], int(sys.argv[2]), sys.argv[3:]
calls = __import__("threading").local()

def ask(headers):
    for _ in range(2):
        try:
            if not hasattr(calls, "to"):
                calls.to = http.client.HTTPConnection("127.0.0.1", behind, timeout=10)
            calls.to.request("GET", "/", headers=headers)
            answer = calls.to.getresponse()
            return answer.status, answer.read().decode()
        except (OSError, http.client.HTTPException):
            del calls.to
    return 502, "nobody"

class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def do_GET(self):
        status, said = 200, version
        if self.path != "/health":
            if "fails" in words and random.random() < 0.5:
                status = 500
            elif behind:
                carried = self.headers.get("X-Deployer-Side")
                status, more = ask({"X-Deployer-Side": carried} if carried and "passes" in words else {})
                said += "-" + more
        body = said.encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass

class Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

Server((os.environ["HOST"], int(os.environ["PORT"])), Handler).serve_forever()
'''


def write_version(folder: Path, version: str, behind: int, *words: str) -> None:
    """Make a version of a service that calls what listens on the port `behind` (0 for nobody)."""
    release = folder / "releases" / version
    release.mkdir(parents=True)
    (release / "app.py").write_text(APPLICATION)
    (release / "run").write_text(f"exec {sys.executable} app.py {' '.join((version, str(behind), *words))}\n")
