"""Secret files for a container: an archive that goes through the engine's API, never through its configuration."""

from __future__ import annotations

from collections.abc import Mapping


def archive(secrets: Mapping[str, str]) -> bytes:
    """Return a tar of one file per secret; readable for every user of the container, as its user's id is not known."""
    import io
    import tarfile

    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        for name, value in secrets.items():
            data = value.encode()
            entry = tarfile.TarInfo(name)
            entry.size, entry.mode = len(data), 0o444
            tar.addfile(entry, io.BytesIO(data))
    return out.getvalue()
