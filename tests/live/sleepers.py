"""Services that sleep while nobody comes, live."""

from __future__ import annotations

from typing import Any

from tests.live.conftest import Make
from tests.live.shop import Shop
from tests.live.test_protocols import run as bring_out


def sleepy(make: Make, kind: str, idle: str = "1s", **more: Any) -> Shop:
    """Return a service that sleeps after so long, live."""
    shop = make(kind)
    del shop.manifest["replicas"]
    shop.write(scale={"min": 0, "max": 2, "concurrency": 50, "idle": idle, **more})
    shop.live("1.0")
    return shop


def of_grpc(make: Make, **more: Any) -> Shop:
    """Return a service of gRPC that sleeps, live."""
    shop = make("process")
    del shop.manifest["replicas"]
    shop.manifest["traffic"] |= {"protocol": "h2", "sticky": False}
    shop.write(scale={"min": 0, "max": 2, "concurrency": 50, **more})
    bring_out(shop, "grpc.py")
    return shop
