"""What `deploy bundle` prints, as data."""

from __future__ import annotations

from dataclasses import dataclass

from deployer.views.view import View


@dataclass(frozen=True)
class DataView:
    """Data in a bundle: where instances find it, and its archive, in bytes and by digest."""

    name: str
    size: int
    digest: str


@dataclass(frozen=True)
class BundleView(View):
    """A bundle: what it brings, where that comes from, and what is not in it; sizes in bytes, `when` in Unix seconds.

    `digest` is that of the contents, which names everything in it, `left_out` counts the parts that an older bundle
    has, and `checked` tells whether every byte was read. `secrets` are the names of those that are in it, encrypted.
    """

    file: str
    size: int
    digest: str
    service: str
    version: str
    runtime: str
    image: str
    image_id: str
    platform: str
    git: str
    who: str
    when: int
    why: str
    parts: int
    left_out: int
    files: tuple[str, ...]
    signed: bool
    signer: str = ""
    checked: bool = False
    notes: tuple[str, ...] = ()
    secrets: tuple[str, ...] = ()
    data: tuple[DataView, ...] = ()


@dataclass(frozen=True)
class SentView(View):
    """A bundle that was sent: where it is there, and how many bytes went over, of how many."""

    host: str
    file: str
    sent: int
    size: int
