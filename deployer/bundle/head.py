"""The head of a bundle that carries the tool: `sh FILE up` unpacks it once and runs it from there.

To tar it is one more file, whose name is the line that sh reads first; that line runs what is in the file.
"""

from __future__ import annotations

from deployer.bundle import tape
from deployer.bundle.contents import Tool

SIZE = 3 * tape.BLOCK
NAME = f'eval "$(tail -c +{tape.BLOCK + 1} "$0"|head -c {SIZE})";exit\n'
_SCRIPT = """\
exec "${PYTHON:-python3}" -c '
import hashlib, io, os, platform, shutil, sys, tarfile
want, machine, name = "%(python)s", "%(machine)s", "%(digest)s"
file, arguments = os.path.abspath(sys.argv[1]), sys.argv[2:]
here = "%%d.%%d" %% sys.version_info[:2]
if (here, platform.machine()) != (want, machine):
    sys.exit(f"error: {file} carries programs for Python {want} on {machine}; this is {here} on {platform.machine()}"
        f"\\n  -> name a python{want}: PYTHON=python{want} sh {file} ...")
cache = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
home = os.path.join(cache, "deployer", name[:16])
if not os.path.isdir(home):
    with tarfile.open(file) as bundle:
        data = bundle.extractfile("blobs/sha256/" + name).read()
    if hashlib.sha256(data).hexdigest() != name:
        sys.exit(f"error: {file} is damaged\\n  -> copy it again")
    half = f"{home}.{os.getpid()}"
    os.makedirs(half, 0o700)
    try:
        tarfile.open(fileobj=io.BytesIO(data)).extractall(half)
        os.sync()
        os.rename(half, home)
    finally:
        shutil.rmtree(half, ignore_errors=True)
if arguments and arguments[0] in ("up", "plan", "canary", "bluegreen", "rolling", "recreate"):
    arguments += ["--from", file]
os.environ["PYTHONPATH"] = home
os.execv(sys.executable, [sys.executable, "-m", "deployer.start", *arguments])
' "$0" "$@"
"""


def content(tool: Tool) -> bytes:
    """Return the script, padded with line ends."""
    values = {"python": tool.python, "machine": tool.machine, "digest": tool.tree.digest.removeprefix("sha256:")}
    script = (_SCRIPT % values).encode()
    if len(script) > SIZE:
        raise ValueError(f"the head has {len(script)} bytes, {SIZE} at most")
    return script.ljust(SIZE, b"\n")
