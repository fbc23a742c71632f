"""The HTTP API over a world in memory with several services, which are released together."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import yaml

from deployer.core.errors import Exit
from deployer.server.context import ManifestSource
from tests.api import Api
from tests.sets import SERVICES, SHORT, SetWorld, Turns, by_turns, release

FILES: dict[str, Any] = {
    "release.yml": {"release": "shop", "services": {name: f"{name}.yml" for name in SERVICES}, "strategy": SHORT},
    **{
        f"{name}.yml": {"service": name, "image": f"{name}:1.0", "port": 8080, "health": {"deadline": "4s"}}
        for name in SERVICES
    },
}


def write_files(folder: Path, **manifests: dict[str, Any]) -> None:
    """Write the release file and its manifests, with these changes by service."""
    for name, data in FILES.items():
        (folder / name).write_text(yaml.safe_dump({**data, **manifests.get(name.removesuffix(".yml"), {})}))


@contextmanager
def api_of_sets(state: Path) -> Iterator[Api]:
    """Make an API that has the files of three services, which are live by 1.0."""
    made = Api(state, world=SetWorld(clock=Turns()))
    write_files(state)
    made.desk = replace(made.desk, sources=(*made.desk.sources, ManifestSource(state / "release.yml")))
    try:
        with by_turns(made.scene.world):
            assert release(made.scene.house, "1.0").exit is Exit.DONE
            yield made
    finally:
        made.close()
