"""A small web service: greets, says that it is up, and ends in peace when it is asked to."""

import os
import signal
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Handler(BaseHTTPRequestHandler):
    """Answers / with a greeting and /up with ok; keeps connections open between requests."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        pages = {"/": f"{os.environ.get('GREETING', 'Hello')} from process {os.getpid()}\n", "/up": "ok\n"}
        body = pages.get(self.path, "not found\n").encode()
        with RUNNING:
            self.send_response(200 if self.path in pages else 404)
            self.send_header("Content-Type", "text/html; charset=utf-8")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)


class Running:
    """Counts the requests that are being answered, so that the end can wait for them (not for idle connections)."""

    def __init__(self) -> None:
        self.count = 0
        self.changed = threading.Condition()

    def __enter__(self) -> None:
        with self.changed:
            self.count += 1

    def __exit__(self, *_: object) -> None:
        with self.changed:
            self.count -= 1
            self.changed.notify_all()

    def wait(self, seconds: float) -> bool:
        """Wait until no request is being answered; return whether that came true in time."""
        with self.changed:
            return self.changed.wait_for(lambda: self.count == 0, seconds)


RUNNING = Running()


class Server(ThreadingHTTPServer):
    """A thread for each connection; idle ones do not keep it alive."""

    daemon_threads = True
    request_queue_size = 128


def main() -> None:
    """Serve on $HOST:$PORT until SIGTERM."""
    address = (os.environ.get("HOST", "127.0.0.1"), int(os.environ["PORT"]))
    with Server(address, Handler) as server:
        signal.signal(signal.SIGTERM, lambda *_: threading.Thread(target=server.shutdown).start())
        print(f"serving on {address[0]}:{address[1]}", flush=True)
        server.serve_forever(poll_interval=0.1)
    print("done" if RUNNING.wait(4) else "some requests were cut off", flush=True)


if __name__ == "__main__":
    main()
