"""Writes image archives for `docker load`: no builder, no registry, equal ids for equal input.

Layout: the "combined image JSON" of Docker's image specification 1.2 (manifest.json, a config, one tar per layer).
"""

from __future__ import annotations

import hashlib
import io
import json
import platform
import tarfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

EPOCH = "1970-01-01T00:00:00Z"
ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}


@dataclass(frozen=True)
class Image:
    """An image to be written; `layers` are the bytes of tar files, the lowest first."""

    layers: Sequence[bytes]
    entrypoint: Sequence[str]
    env: Mapping[str, str] = field(default_factory=dict)
    labels: Mapping[str, str] = field(default_factory=dict)
    port: int = 8080
    user: str = ""
    health: Sequence[str] = ()
    health_interval: float = 0.5  # seconds
    volumes: Sequence[str] = ()
    architecture: str = ARCHITECTURES[platform.machine()]

    def config(self) -> bytes:
        """Return the config, whose hash is the image's id."""
        settings: dict[str, object] = {
            "Entrypoint": list(self.entrypoint),
            "Env": [f"{key}={value}" for key, value in sorted(self.env.items())],
            "ExposedPorts": {f"{self.port}/tcp": {}},
            "Labels": dict(self.labels),
            "User": self.user,
            **({"Volumes": {path: {} for path in self.volumes}} if self.volumes else {}),
        }
        if self.health:
            nanoseconds = int(self.health_interval * 1e9)
            settings["Healthcheck"] = {
                "Test": ["CMD", *self.health],
                "Interval": nanoseconds,
                "Timeout": 20 * 10**9,
                "Retries": 2,
            }
        config = {
            "architecture": self.architecture,
            "os": "linux",
            "created": EPOCH,
            "config": settings,
            "rootfs": {"type": "layers", "diff_ids": [f"sha256:{_digest(data)}" for data in self.layers]},
            "history": [{"created": EPOCH} for _ in self.layers],
        }
        return json.dumps(config, sort_keys=True).encode()

    def archive(self, reference: str) -> bytes:
        """Return what `docker load` reads."""
        config = self.config()
        names = [f"{_digest(data)}/layer.tar" for data in self.layers]
        manifest = [{"Config": f"{_digest(config)}.json", "RepoTags": [reference], "Layers": names}]
        files = {
            f"{_digest(config)}.json": config,
            **dict(zip(names, self.layers, strict=True)),
            "manifest.json": json.dumps(manifest).encode(),
        }
        out = io.BytesIO()
        with tarfile.open(fileobj=out, mode="w") as tar:
            for name, data in files.items():
                tar.addfile(_entry(name, len(data)), io.BytesIO(data))
        return out.getvalue()


def layer(files: Iterable[tuple[Path, str]]) -> bytes:
    """Return a layer of files of this host, each at a path in the image; owners and times are dropped."""
    out = io.BytesIO()
    folders: set[str] = set()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.GNU_FORMAT) as tar:
        for source, target in files:
            for parent in reversed(Path(target.lstrip("/")).parents[:-1]):
                if str(parent) not in folders:
                    folders.add(str(parent))
                    tar.addfile(_entry(str(parent), kind=tarfile.DIRTYPE, mode=0o755))
            data = source.read_bytes()
            tar.addfile(_entry(target.lstrip("/"), len(data), mode=source.stat().st_mode & 0o755), io.BytesIO(data))
    return out.getvalue()


def _entry(name: str, size: int = 0, kind: bytes = tarfile.REGTYPE, mode: int = 0o644) -> tarfile.TarInfo:
    entry = tarfile.TarInfo(name)
    entry.size, entry.type, entry.mode = size, kind, mode
    return entry


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
