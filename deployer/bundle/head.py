"""The head of a bundle that carries the tool: `sh FILE up` unpacks it once and runs it from there.

To tar it is one more file, whose name is the line that sh reads first; that line runs what is in the file.
"""

from __future__ import annotations

from deployer.bundle import tape
from deployer.bundle.contents import Tool

SIZE = 5 * tape.BLOCK
NAME = f'eval "$(tail -c +{tape.BLOCK + 1} "$0"|head -c {SIZE})";exit\n'
# Services run from where it is unpacked, after the file is gone, too: no folder of caches, which people empty
_SCRIPT = """\
exec "${PYTHON:-python3}" -c '
import os, sys
want, machine, name = "%(python)s", "%(machine)s", "%(digest)s"
file, words = os.path.abspath(sys.argv[1]), sys.argv[2:]
here, runs = "%%d.%%d" %% sys.version_info[:2], os.uname()[4]
def refuse(why, hint):
    sys.stderr.write("error: %%s %%s\\n  -> %%s\\n" %% (file, why, hint))
    sys.exit(2)
if (here, runs) != (want, machine):
    refuse("carries programs for Python %%s on %%s; this is %%s on %%s" %% (want, machine, here, runs),
        "name a python%%s: PYTHON=python%%s sh %%s ..." %% (want, want, file))
data = os.environ.get("XDG_DATA_HOME") or os.path.expanduser("~/.local/share")
home = os.path.join(data, "deployer", name[:16])
def unpack():
    import fcntl, hashlib, io, shutil, tarfile
    os.makedirs(os.path.dirname(home), 0o700, exist_ok=True)
    with open(home + ".lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        shutil.rmtree(home + ".half", ignore_errors=True)
        if os.path.isdir(home):
            return
        try:
            with tarfile.open(file) as bundle:
                tree = bundle.extractfile("blobs/sha256/" + name).read()
        except (KeyError, tarfile.TarError):
            tree = b""
        if hashlib.sha256(tree).hexdigest() != name:
            refuse("is damaged", "copy it again")
        try:
            with tarfile.open(fileobj=io.BytesIO(tree)) as packed:
                packed.extraction_filter = lambda member, place: member
                packed.extractall(home + ".half")
            os.sync()
            os.rename(home + ".half", home)
        finally:
            shutil.rmtree(home + ".half", ignore_errors=True)
if not os.path.isdir(home):
    try:
        unpack()
    except OSError as error:
        refuse("cannot be unpacked in %%s: %%s" %% (data, error.strerror), "see df, or name another XDG_DATA_HOME")
if words[:1] == ["run"] and (words[1:] + ["-"])[0][:1] == "-":
    words = ["bundle", "run", file] + words[1:]
deploys = words[:1] and words[0] in ("up", "plan", "canary", "bluegreen", "rolling", "recreate")
if deploys and not any(word.split("=")[0] == "--from" for word in words):
    words += ["--from", file]
os.environ["PYTHONPATH"] = home
os.execv(sys.executable, [sys.executable, "-m", "deployer.start"] + words)
' "$0" "$@"
"""


def content(tool: Tool) -> bytes:
    """Return the script, padded with line ends."""
    values = {"python": tool.python, "machine": tool.machine, "digest": tool.tree.digest.removeprefix("sha256:")}
    script = (_SCRIPT % values).encode()
    if len(script) > SIZE:
        raise ValueError(f"the head has {len(script)} bytes, {SIZE} at most")
    return script.ljust(SIZE, b"\n")
