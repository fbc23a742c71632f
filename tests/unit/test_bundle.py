"""Bundles: the same input gives the same bytes, and whatever else is in the file is refused, with where and why."""

from __future__ import annotations

import gzip
import os
import platform
import subprocess
import sys
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from deployer.bundle import head, signing, tape
from deployer.bundle.collect import collect, collect_directory
from deployer.bundle.contents import canonical, digest_of
from deployer.bundle.reader import opened
from deployer.bundle.resolved import resolved
from deployer.bundle.unpack import DIRECTORY, FILES, Unpacked
from deployer.bundle.writer import write
from deployer.core.errors import Refused
from deployer.manifest.load import Loaded, load
from tests.bundles import Made, holes, layer, part, strange, written
from tests.disks import mounted


def refused(folder: Path, data: bytes) -> str:
    """Return the sentence with which a bundle is refused."""
    with pytest.raises(Refused) as error, opened(written(folder, data)) as bundle:
        bundle.check()
    return error.value.message


def test_what_was_made_is_read_back(tmp_path: Path) -> None:
    made = Made()
    with opened(written(tmp_path, made.data())) as bundle:
        bundle.check()
        assert bundle.contents == type(bundle.contents).read(made.contents().data())
        assert {digest: bundle.read(digest, 10**6) for digest in bundle.places} == made.parts()


def test_the_head_is_there_when_the_tool_is(tmp_path: Path) -> None:
    bare, whole = Made(), Made(tree=b"the tool")
    with opened(written(tmp_path, whole.data())) as bundle:
        bundle.check()
        assert bundle.contents.needed() > {digest_of(b"the tool")}
    length = len(whole.data()) - len(tape.header("x", 0)) - head.SIZE
    assert "do not agree on whether the tool is in it" in refused(tmp_path, whole.data()[-length:])
    assert whole.tool is not None
    headed = b"".join(tape.member(head.NAME, head.SIZE, [head.content(whole.tool)]))
    assert "do not agree on whether the tool is in it" in refused(tmp_path, headed + bare.data())


def test_it_is_an_image_layout_that_tar_reads(tmp_path: Path) -> None:
    with tarfile.open(written(tmp_path, Made().data())) as archive:
        names = archive.getnames()
        assert names[:2] == ["oci-layout", "index.json"]
        for member in archive:
            file = archive.extractfile(member)
            assert file is not None
            if member.name.startswith("blobs/"):
                assert member.name == f"blobs/sha256/{digest_of(file.read())[7:]}"


@pytest.mark.parametrize("tree", [b"", b"the tool"])
def test_each_bit_counts(tree: bytes, tmp_path: Path) -> None:
    data = bytearray(Made(tree=tree).data())
    for at in range(0, len(data), 83):  # each header and each part is met
        data[at] ^= 1 << at % 8
        assert "is not a sound bundle" in refused(tmp_path, bytes(data)), at
        data[at] ^= 1 << at % 8


def test_each_end_but_the_right_one_is_refused(tmp_path: Path) -> None:
    data = Made().data()
    for end in (*range(0, len(data), tape.BLOCK), len(data) - 1):
        assert "is not a sound bundle" in refused(tmp_path, data[:end]), end
    assert "longer than its contents say" in refused(tmp_path, data + bytes(512))


LARGE = 2**40
PART = {"digest": "sha256:" + "0" * 64, "size": 3}
BAD: dict[str, tuple[Callable[[], bytes], str]] = {
    "nothing": (lambda: b"", "cut off"),
    "no tar": (lambda: b"hello" * 2000, "no header of a tar archive"),
    "a link": (lambda: strange(tarfile.SYMTYPE, link="/etc/passwd"), "a link named 'oci-layout'"),
    "a hard link": (lambda: strange(tarfile.LNKTYPE, link="/etc/passwd"), "a hard link"),
    "a device": (lambda: strange(tarfile.CHRTYPE), "a device"),
    "a pipe": (lambda: strange(tarfile.FIFOTYPE), "a named pipe"),
    "a folder": (lambda: strange(tarfile.DIRTYPE, "blobs"), "a folder named 'blobs"),
    "a file with holes": (lambda: strange(tarfile.GNUTYPE_SPARSE), "a file with holes"),
    "a path outside": (lambda: strange(tarfile.REGTYPE, "../../etc/passwd"), "a file named '../../etc/passwd'"),
    "an absolute path": (lambda: strange(tarfile.REGTYPE, "/etc/passwd"), "a file named '/etc/passwd'"),
    "an extended header": (lambda: strange(tarfile.XHDTYPE), "an extended header"),
    "other contents": (lambda: Made().forged(b"{}"), "the contents cannot be read"),
    "contents that are no JSON": (lambda: Made().forged(b"\xff"), "the contents cannot be read"),
    "deep contents": (lambda: Made().forged(b"[" * 100_000), "the contents cannot be read"),
    "contents in another order": (
        lambda: Made().forged(Made().contents().data().replace(b",", b", ", 1)),
        "not written as",
    ),
    "an index of another image": (
        lambda: Made().forged(Made().contents().data(), lambda index: index.replace(b"shop:1", b"shop:2")),
        "index.json is not the one of the contents",
    ),
    "an index of no bundle": (
        lambda: Made().forged(b"{}", lambda _: canonical({"manifests": []})),
        "the index of an image layout, but not of a bundle",
    ),
    "an unknown format": (lambda: Made().saying(format=2), "format"),
    "an unknown key": (lambda: Made().saying(run="rm -rf /"), "run"),
    "a service that is no name": (lambda: Made().saying(service="../x"), "service"),
    "a file outside": (lambda: Made().file(path="../x", kind="file", part=PART), "is not a path inside the bundle"),
    "a file at the root": (lambda: Made().file(path="/etc/x", kind="file", part=PART), "is not a path inside"),
    "a file above": (lambda: Made().file(path="a/../../x", kind="file", part=PART), "is not a path inside"),
    "a name with a NUL": (lambda: Made().file(path="a\0b", kind="file", part=PART), "is not a path inside"),
    "a link that leads out": (lambda: Made().file(path="a", kind="link", target="../x"), "leads out of the bundle"),
    "a link to the root": (lambda: Made().file(path="a", kind="link", target="/etc"), "leads out of the bundle"),
    "a file below a file": (lambda: Made().file(path="deploy.yml/x", kind="folder"), "which is not a folder"),
    "a file twice": (lambda: Made().file(path="deploy.yml", kind="folder"), "is named twice"),
    "a device among the files": (lambda: Made().file(path="sda", kind="device"), "files.2.kind"),
    "a part with two sizes": (
        lambda: Made().file(path="x", kind="file", part={"digest": digest_of(Made().layer), "size": LARGE}),
        "has two sizes",
    ),
    "a bomb of zeroes": (
        lambda: Made().file(path="x", kind="file", part={**PART, "size": LARGE}),
        "the file is cut off",
    ),
    "an index without end": (
        lambda: Made().data()[:1024] + tape.header("index.json", 2**33 - 1),
        "at most are allowed",
    ),
    "a layer with holes": (lambda: Made(holes(LARGE)).data(), "has holes: it would unpack to 1,099,511,627,776 bytes"),
    "a packed layer": (lambda: Made(gzip.compress(layer(("x", bytes(10**6))))).data(), "compressed (gzip)"),
    "a layer that is no archive": (lambda: Made(b"hello" * 2000).data(), "it is not a tar archive"),
    "layers of another image": (
        lambda: Made(rootfs={"diff_ids": []}).data(),
        "the layers are not those of the image's configuration",
    ),
    "another platform than it says": (lambda: Made(architecture="s390x").data(), "the platform is not that of"),
}


@pytest.mark.parametrize("name", BAD)
def test_a_bad_bundle_is_refused(name: str, tmp_path: Path) -> None:
    make, why = BAD[name]
    said = refused(tmp_path, make())
    assert why in said
    assert str(tmp_path) in said


def test_only_a_file_is_a_bundle(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for place in (tmp_path, tmp_path / "pipe", tmp_path / "nowhere"):
        with pytest.raises(Refused, match=r"is not a regular file|cannot be read"), opened(place):
            pass


# -- the head

HERE = "{}.{}".format(*sys.version_info[:2])
ECHO = b"import os, sys\nprint(*sys.argv[1:], os.environ['PYTHONPATH'])\n"


class Headed:
    """A bundle with a tool that says how it was called, and where it lies."""

    def __init__(self, folder: Path, more: int = 0, python: str = HERE) -> None:
        tree = layer(("deployer/__init__.py", b""), ("deployer/start.py", ECHO), ("more", os.urandom(more)))
        self.file = written(folder, Made(tree=tree, python=python).data())
        self.data = folder / "data"
        self.home = self.data / "deployer" / digest_of(tree)[7:23]

    def sh(self, *words: str, expect: int = 0) -> str:
        environ = {"PATH": os.environ["PATH"], "PYTHON": sys.executable, "XDG_DATA_HOME": str(self.data)}
        command = ["sh", self.file.name, *words]
        done = subprocess.run(command, cwd=self.file.parent, env=environ, capture_output=True, text=True, timeout=60)
        assert done.returncode == expect, done.stdout + done.stderr
        assert "Traceback" not in done.stderr
        return done.stdout.replace(str(self.file), "FILE").replace(str(self.home), "HOME") + done.stderr


def test_sh_runs_the_tool_that_is_in_the_file(tmp_path: Path) -> None:
    made = Headed(tmp_path)
    assert made.sh("up", "-m", "first start") == "up -m first start --from FILE HOME\n"
    assert made.sh("status") == "status HOME\n"
    assert made.sh("canary", "--from=other.bundle") == "canary --from=other.bundle HOME\n"
    assert made.sh("plan", "--from", "other.bundle") == "plan --from other.bundle HOME\n"
    assert made.sh("run") == "bundle run FILE HOME\n"
    assert made.sh("run", "--listen", "*:80") == "bundle run FILE --listen *:80 HOME\n"
    assert made.sh("run", "nightly") == "run nightly HOME\n"
    made.file.write_bytes(made.file.read_bytes()[:5000])
    assert made.sh("status") == "status HOME\n"  # it is there, and the file is read by nobody


def test_sh_unpacks_the_tool_whole_or_not_at_all(tmp_path: Path) -> None:
    made = Headed(tmp_path)
    killed = made.home.with_name(f"{made.home.name}.half")
    (killed / "deployer").mkdir(parents=True)
    (killed / "deployer" / "start.py").write_text("raise SystemExit('half')")
    assert made.sh("status") == "status HOME\n"
    assert sorted(path.name for path in made.data.glob("deployer/*")) == [made.home.name, f"{made.home.name}.lock"]


@pytest.mark.parametrize("end", [5000, -8000])
def test_sh_refuses_a_file_that_is_damaged(end: int, tmp_path: Path) -> None:
    made = Headed(tmp_path)
    made.file.write_bytes(made.file.read_bytes()[:end])
    assert "is damaged\n  -> copy it again" in made.sh("up", expect=2)
    assert [path.suffix for path in made.data.glob("deployer/*")] == [".lock"]


def test_sh_refuses_another_python(tmp_path: Path) -> None:
    said = Headed(tmp_path, python="3.2").sh("up", expect=2)
    assert f"carries programs for Python 3.2 on {platform.machine()}; this is {HERE} on" in said
    assert "PYTHON=python3.2 sh FILE ..." in said.replace(str(tmp_path / "some.bundle"), "FILE")


def test_sh_says_that_the_disk_is_full(tmp_path: Path) -> None:
    made = Headed(tmp_path, more=3_000_000)
    made.data.mkdir()
    with mounted(made.data, "1m"):
        said = made.sh("up", expect=2)
        assert f"cannot be unpacked in {made.data}: No space left on device" in said
        assert [path.suffix for path in made.data.glob("deployer/*")] == [".lock"]
    made.sh("up")


# -- unpacking


def test_it_is_unpacked_once_and_whole(tmp_path: Path) -> None:
    made = Made()
    made.entries.append({"path": "empty", "kind": "folder"})
    made.entries.append({"path": "link", "kind": "link", "target": "bin/hook"})
    (tmp_path / "to").mkdir()
    (tmp_path / "to" / ".half-killed").mkdir()
    with opened(written(tmp_path, made.data())) as bundle:
        place = Unpacked(tmp_path / "to").add(bundle)
        assert Unpacked(tmp_path / "to").add(bundle) == place
    assert (place / FILES / "link").read_bytes() == made.files["bin/hook"]
    assert (place / FILES / "empty").is_dir()
    assert (place / DIRECTORY).is_dir()
    assert {path.name for path in (tmp_path / "to").iterdir()} == {place.name, ".lock"}


def test_a_full_disk_leaves_nothing(tmp_path: Path) -> None:
    made = Made()
    made.files["large"] = os.urandom(3_000_000)
    made.blobs.append(made.files["large"])
    made.entries.append({"path": "large", "kind": "file", "part": part(made.blobs[-1])})
    (tmp_path / "disk").mkdir()
    with mounted(tmp_path / "disk", "1m"), opened(written(tmp_path, made.data())) as bundle:
        with pytest.raises(Refused, match=r"bytes in .*, .* are free"):
            Unpacked(tmp_path / "disk" / "to").add(bundle)
        with pytest.raises(Refused, match=r"cannot be written: No space left on device"):
            write(tmp_path / "disk" / "new.bundle", [bytes(2_000_000)])
        assert [path.name for path in (tmp_path / "disk").rglob("*")] == ["to", ".lock"]


def test_a_delta_takes_its_files_from_what_is_here(tmp_path: Path) -> None:
    made, hook = Made(), digest_of(Made().files["bin/hook"])
    unpacked = Unpacked(tmp_path / "to")
    with opened(written(tmp_path, made.data())) as bundle:
        first = unpacked.add(bundle)
    made.entries[0]["path"] = "other.yml"
    with opened(written(tmp_path, made.data(left_out=(hook,)))) as bundle:
        bundle.check()
        assert not bundle.has(hook)
        assert unpacked.missing(bundle.contents, {hook}) == set()
        second = unpacked.add(bundle)
        assert (second / FILES / "bin/hook").read_bytes() == made.files["bin/hook"]
        (first / FILES / "bin/hook").write_bytes(b"changed since")
        (second / FILES / "bin/hook").write_bytes(b"changed since")
        second.rename(second.with_name("gone"))
        with pytest.raises(Refused, match="was changed since it was unpacked"):
            unpacked.add(bundle)
    assert not list((tmp_path / "to").glob(".half-*"))


# -- what goes into one


MANIFEST = """\
service: shop
image: shop
port: 80
env: {A: "${HOME}", B: "5$$ ä\\u00ad", C: "1.10"}
version: 1.10
hooks: {before: [{run: [bin/check]}], after: [after.yml]}
secrets: {KEY: {file: private}}
traffic: {timeouts: {response: 90s}}
"""


def manifest(folder: Path, text: str = MANIFEST, **environ: str) -> Loaded:
    for name in ("bin/check", "after.yml", "roles/r/tasks/main.yml", "private", ".env"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("- hosts: all\n" if name == "after.yml" else "")
    (folder / "bin/check").chmod(0o755)
    (folder / "deploy.yml").write_text(text)
    return load(folder, environ={"HOME": "/root$HOME", **environ})


def test_programs_of_a_migration_go_along_with_those_that_ask_whether_it_was_applied(tmp_path: Path) -> None:
    for name in ("bin/expand", "bin/asks"):
        program = tmp_path / name
        program.parent.mkdir(exist_ok=True)
        program.touch(0o755)
    expand = "expand: [{run: [bin/expand], check: [bin/asks]}, {run: [bin/x], check: [bin/y], in: instance}]"
    loaded = manifest(tmp_path, f"{MANIFEST}migrate: {{{expand}}}\n")
    paths = collect(loaded.manifest, tmp_path, ()).entries
    assert {"bin/expand", "bin/asks"} <= set(paths)
    assert not {"bin/x", "bin/y"} & set(paths)


def test_the_manifest_reads_back_the_same(tmp_path: Path) -> None:
    loaded = manifest(tmp_path)
    assert loaded.tree is not None
    text = resolved(loaded.tree, {"image": "shop:1.10", "version": "1.10"})
    assert "/root$$HOME" in text.decode()
    (tmp_path / "deploy.yml").write_bytes(text)
    again = load(tmp_path, environ={})
    assert again.manifest == loaded.manifest.model_copy(update={"image": "shop:1.10"})
    assert yaml.safe_load(text)["env"]["A"] == "/root$$HOME"


def test_what_the_manifest_names_goes_along(tmp_path: Path) -> None:
    loaded = manifest(tmp_path)
    (tmp_path / "unnamed").write_text("")
    found = collect(loaded.manifest, tmp_path, ())
    assert [entry.path for entry in found.sorted() if entry.kind != "folder"] == [
        "after.yml",
        "bin/check",
        "roles/r/tasks/main.yml",
    ]
    assert found.entries["bin/check"].kind == "program"


def test_what_is_named_by_a_link_goes_along_as_itself(tmp_path: Path) -> None:
    loaded = manifest(tmp_path)
    (tmp_path / "again.yml").symlink_to("after.yml")
    (tmp_path / "ring").symlink_to("ring")
    entry = collect(loaded.manifest, tmp_path, ("again.yml",)).entries["again.yml"]
    assert (entry.kind, entry.target) == ("file", "")
    with pytest.raises(Refused, match="is not there"):
        collect(loaded.manifest, tmp_path, ("ring",))


def test_a_secret_is_left_out_and_said(tmp_path: Path) -> None:
    loaded = manifest(tmp_path)
    found = collect(loaded.manifest, tmp_path, ("private", ".env"))
    assert "private" not in found.entries
    assert found.notes == [
        "private is left out: it holds the secret KEY",
        ".env is left out: it holds variables of this host",
    ]


@pytest.mark.parametrize(
    ("name", "text", "why"),
    [
        ("id", "-----BEGIN OPENSSH PRIVATE KEY-----\nabc\n", "is a private key"),
        ("hosts", "web ansible_host=web ansible_password=hunter2\n", "has ansible_password in plain text"),
        ("vars.yml", "ansible_become_pass: hunter2\n", "has ansible_become_pass in plain text"),
    ],
)
def test_a_secret_that_nobody_named_is_refused(name: str, text: str, why: str, tmp_path: Path) -> None:
    loaded = manifest(tmp_path)
    (tmp_path / name).write_text(text)
    with pytest.raises(Refused, match=why):
        collect(loaded.manifest, tmp_path, (name,))
    (tmp_path / "site").mkdir()
    (tmp_path / name).rename(tmp_path / "site" / name)
    with pytest.raises(Refused, match=why):
        collect_directory(tmp_path / "site", loaded.manifest, tmp_path, tmp_path / "state")


def test_a_password_that_is_encrypted_may_go_along(tmp_path: Path) -> None:
    loaded = manifest(tmp_path)
    (tmp_path / "hosts.yml").write_text('ansible_password: !vault |\nansible_become_pass: "{{ lookup() }}"\n')
    assert "hosts.yml" in collect(loaded.manifest, tmp_path, ("hosts.yml",)).entries


def test_what_is_outside_is_refused(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    loaded = manifest(tmp_path / "in")
    (tmp_path / "in" / "link").symlink_to("../x")
    (tmp_path / "in" / "sub").mkdir()
    (tmp_path / "in" / "sub" / "link").symlink_to("/etc/passwd")
    (tmp_path / "x").write_text("")
    for name in ("../x", "link", "sub"):
        with pytest.raises(Refused, match=r"outside of|leads out of the bundle"):
            collect(loaded.manifest, tmp_path / "in", (name,))


# -- signatures


def test_a_signature_is_of_these_contents_and_this_key(tmp_path: Path) -> None:
    for name in ("key", "other"):
        command = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(tmp_path / name)]
        subprocess.run(command, check=True, timeout=120)
    signers, strangers = tmp_path / "signers", tmp_path / "strangers"
    signers.write_text(f"ann@example.com {(tmp_path / 'key.pub').read_text()}")
    strangers.write_text(f"bob@example.com {(tmp_path / 'other.pub').read_text()}")
    signature = signing.sign(b"contents", tmp_path / "key")
    assert signing.signer(b"contents", signature, signers) == "ann@example.com"
    for contents, given, keys in (
        (b"other contents", signature, signers),
        (b"contents", signature, strangers),
        (b"contents", "no signature", signers),
        (b"contents", "", signers),
        (b"contents", signature, tmp_path / "nowhere"),
    ):
        with pytest.raises(Refused):
            signing.signer(contents, given, keys)
    with pytest.raises(Refused, match="cannot be read"):
        signing.sign(b"contents", tmp_path / "nowhere")
