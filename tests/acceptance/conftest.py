"""Services of the acceptance scenarios: those of the live tests."""

from tests.live.conftest import docker_shop, laptop, make_shop, process_shop, shop, way

__all__ = ["docker_shop", "laptop", "make_shop", "process_shop", "shop", "way"]
