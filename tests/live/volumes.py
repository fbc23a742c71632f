"""Volumes of an engine, written and read through a container that is never started, and rows to put there."""

from __future__ import annotations

import io
import secrets
import tarfile

import docker
from docker.types import Mount as EngineMount


class Volume:
    """A volume of an engine."""

    def __init__(self, client: docker.DockerClient, image: str, name: str = "") -> None:
        self.client, self.image, self.name = client, image, name or f"dptest-{secrets.token_hex(4)}"

    def _archive(self, put: bytes | None) -> bytes:
        mount = EngineMount("/at", self.name, type="volume", no_copy=True)
        made = self.client.containers.create(self.image, ["none"], mounts=[mount])
        try:
            if put is not None:
                made.put_archive("/", put)
            return b"".join(made.get_archive("/at")[0])
        finally:
            made.remove(v=True)

    def write(self, *members: tuple[tarfile.TarInfo, bytes]) -> None:
        written = io.BytesIO()
        with tarfile.open(fileobj=written, mode="w") as archive:
            for member, text in members:
                archive.addfile(member, io.BytesIO(text))
        self._archive(written.getvalue())

    def read(self) -> dict[str, tuple[bytes, int, int, int, int, str]]:
        with tarfile.open(fileobj=io.BytesIO(self._archive(None))) as archive:
            return {m.name: (m.type, m.mode, m.uid, m.gid, int(m.mtime), m.linkname) for m in archive}

    def text(self, name: str) -> bytes:
        with tarfile.open(fileobj=io.BytesIO(self._archive(None))) as archive:
            found = archive.extractfile(name)
            assert found is not None
            return found.read()

    @property
    def exists(self) -> bool:
        return any(volume.name == self.name for volume in self.client.volumes.list())

    def remove(self) -> None:
        for left in self.client.containers.list(all=True, filters={"label": f"io.deployer.data={self.name}"}):
            left.remove(force=True, v=True)
        if self.exists:
            self.client.volumes.get(self.name).remove(force=True)


def entry(name: str, kind: bytes = tarfile.DIRTYPE, text: bytes = b"", **said: object) -> tuple[tarfile.TarInfo, bytes]:
    made = tarfile.TarInfo(name)
    made.type, made.size, made.mtime, made.mode = kind, len(text), 1_000_000_000, 0o755
    for key, value in said.items():
        setattr(made, key, value)
    return made, text


ROWS = (
    entry("at", uid=70, gid=71, mode=0o700),
    entry("at/rows", tarfile.REGTYPE, b"first", uid=70, gid=71, mode=0o640),
    entry("at/rows.again", tarfile.LNKTYPE, linkname="at/rows", uid=70, gid=71, mode=0o640),
    entry("at/empty", uid=5, gid=6, mode=0o2750),
    entry("at/outside", tarfile.SYMTYPE, linkname="/etc/passwd"),
)
