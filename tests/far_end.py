"""The far end of `deploy --on` without its start-up: a process that has imported everything forks one a connection.

`python -m tests.far_end SOCKET` is that process; `CLIENT` stands where ssh would run `deploy serve --stdio`: it hands
its descriptors and environment over, and ends as what was forked ends. When the client is killed, so is the fork.
"""

from __future__ import annotations

import json
import os
import select
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

# Without `site` it starts in a few milliseconds. What is given as its second word is run first at the other end.
CLIENT = """
import json, os, socket, sys
with socket.socket(socket.AF_UNIX) as end:
    end.connect(sys.argv[1])
    told = {"first": "".join(sys.argv[2:]), "environ": dict(os.environ), "folder": os.getcwd()}
    socket.send_fds(end, [json.dumps(told).encode()], [0, 1, 2])
    for number in (0, 1, 2):
        os.close(number)
    code = end.recv(1)
os._exit(code[0] if code else 255)
"""
LONGEST = 1 << 20


@contextmanager
def far_end(path: Path) -> Iterator[Path]:
    """Keep the process, on a socket at this path."""
    command = [sys.executable, "-m", "tests.far_end", str(path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin
        assert process.stdout
        assert process.stdout.readline() == b"ready\n"
        yield path
        process.stdin.close()


def main() -> None:
    """Fork for each connection, until stdin ends."""
    import deployer.cli.serve
    import deployer.server.stdio  # noqa: F401 -- what takes long

    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(sys.argv[1])
        listening.listen()
        os.write(1, b"ready\n")
        while sys.stdin not in select.select([listening, sys.stdin], [], [])[0]:
            connection, _ = listening.accept()
            with connection:
                if os.fork() == 0:
                    listening.close()
                    os._exit(_serve(connection))


def _serve(connection: socket.socket) -> int:
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    os.setsid()
    data, descriptors, _, _ = socket.recv_fds(connection, LONGEST, 3)
    told = json.loads(data)
    for number, descriptor in enumerate(descriptors):
        os.dup2(descriptor, number)
        os.close(descriptor)
    os.chdir(told["folder"])
    os.environ.clear()
    os.environ.update(told["environ"])
    threading.Thread(target=_die_with, args=(connection,), daemon=True).start()
    sys.argv = ["deploy", "serve", "--stdio"]
    exec(told["first"])
    from deployer import start

    code = int(start.main() or 0)
    sys.stderr.flush()
    connection.send(bytes([code]))
    return code


def _die_with(client: socket.socket) -> None:
    if not client.recv(1):
        os.kill(os.getpid(), signal.SIGKILL)


if __name__ == "__main__":
    main()
