"""Two hosts, and what goes from one to the other in a bundle."""

from __future__ import annotations

import os
from pathlib import Path

import docker

from tests.lab import image
from tests.lab.archive import Image, layer
from tests.live.conftest import Make
from tests.live.shop import Shop


def hosts(make_shop: Make, kind: str) -> tuple[Shop, Shop]:
    made, there = make_shop(kind), make_shop(kind)
    there.name, there.port, there.url = made.name, made.port, made.url
    (there.folder / "deploy.yml").unlink()
    made.program = "c"
    made.write(replicas=1)
    return made, there


def bundle(shop: Shop, version: str, *more: str) -> Path:
    """Make a bundle of a version, of layers that no other image of the engine has."""
    if shop.client is None:
        shop.version(version)
    else:
        load(shop, shop.client, version, kilobytes=(100, 1))
    place = shop.folder / f"{version}.bundle"
    shop.deploy("bundle", "make", "-o", str(place), "--version", version, *more)
    return place


def load(shop: Shop, client: docker.DockerClient, version: str, kilobytes: tuple[int, int]) -> None:
    """Load an image with a layer that all versions have, and one of its own, of this size."""
    layers, program = image.base()
    lowest, top = (shop.folder / name for name in ("base", version))
    for place, size in zip((lowest, top), kilobytes, strict=True):
        if not place.exists():
            place.write_bytes(os.urandom(size * 1000))
    every = (layer([(lowest, "/base")]), *layers, layer([(top, "/top")]))
    made = Image(every, entrypoint=program, env={"VERSION": version, "DRAIN": "3000", "PATH": "/"})
    shop._images.append(str(client.images.load(made.archive(f"{shop.name}:{version}"))[0].id))


def forget(shop: Shop, client: docker.DockerClient | None) -> None:
    """Remove the images that were built, as on a host that never had them."""
    if client is not None:
        for name in {tag for names in image.named(client).values() for tag in names if tag.startswith(f"{shop.name}:")}:
            client.images.remove(name)
