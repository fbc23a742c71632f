"""Two services in one state folder, and the release file that brings them out together."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml

from tests.live.shop import Shop

PAIR = ("backend", "frontend")


@contextmanager
def paired(state: Path, **keys: Any) -> Iterator[tuple[Shop, ...]]:
    """Make both, with versions 1.0 and 2.0; `release.yml` is in the folder of the first."""
    shops = []
    for name in PAIR:
        shop = Shop(state, "process", None)
        shop.name, shop.state, shop.folder = name, state / "state", state / name
        shop.folder.mkdir()
        shop.write(service=name, replicas=1, **keys)
        for version in ("1.0", "2.0"):
            shop.version(version)
        shops.append(shop)
    services = {shop.name: str(shop.folder) for shop in shops}
    (shops[0].folder / "release.yml").write_text(yaml.safe_dump({"release": "pair", "services": services}))
    try:
        yield tuple(shops)
    finally:
        for shop in shops:
            shop.close()
