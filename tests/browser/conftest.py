"""Services of the browser tests: those of the live tests."""

from tests.live.conftest import make_shop, process_shop

__all__ = ["make_shop", "process_shop"]
