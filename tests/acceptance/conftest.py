"""Services of the acceptance scenarios: those of the live tests."""

from tests.live.conftest import docker_shop, make_shop, process_shop, shop

__all__ = ["docker_shop", "make_shop", "process_shop", "shop"]
