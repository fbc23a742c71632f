"""`monitor.py FOLDER stop|cont`: pause a virtual machine or have it go on, and read that back.

FOLDER is that of its unit in /run; a file FOLDER.paused, which the unit removes when the machine ends, says so to who
looks.
"""

import json
import socket
import sys
from pathlib import Path
from typing import IO, Any

SECONDS = 30.0  # for QEMU to answer


def main() -> None:
    """Print `changed` where it was otherwise before."""
    folder, order = Path(sys.argv[1]), sys.argv[2]
    mark, wanted = folder.with_name(f"{folder.name}.paused"), order == "cont"
    with socket.socket(socket.AF_UNIX) as monitor:
        monitor.settimeout(SECONDS)
        monitor.connect(str(folder / "qmp"))
        with monitor.makefile("rw", encoding="utf-8") as talk:
            ask(talk, "qmp_capabilities")
            before = bool(ask(talk, "query-status")["running"])
            if not wanted:
                mark.touch()  # before it is so: what may be paused is never taken for running
            ask(talk, order)
            status = ask(talk, "query-status")
    if bool(status["running"]) != wanted:
        sys.exit(f"QEMU says that it is {status['status']} after {order}")
    if wanted:
        mark.unlink(missing_ok=True)
    if before != wanted:
        print("changed")


def ask(talk: IO[str], order: str) -> Any:
    """Return what QEMU answers; events come in between."""
    talk.write(json.dumps({"execute": order}))
    talk.flush()
    for line in talk:
        said = json.loads(line)
        if "error" in said:
            sys.exit(f"QEMU refuses {order}: {said['error'].get('desc', said['error'])}")
        if "return" in said:
            return said["return"]
    sys.exit(f"QEMU has ended before it answered {order}")


main()
