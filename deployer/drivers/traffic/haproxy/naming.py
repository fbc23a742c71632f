"""Names in HAProxy's configuration by which its workers are asked at run time: apart from the rules that have them."""

from __future__ import annotations

from deployer.drivers.traffic.haproxy.quote import word
from deployer.model import Place

WAIT = "wait"  # the server that refuses everyone: see `backend`
BESIDE = "beside"  # the way to the other side: see `backend`
WAKER = "waker"
NO_INSTANCES = (WAIT, BESIDE, WAKER)  # servers of a backend that are none


def backend(service: str, place: Place) -> str:
    """Return the name of the backend of a place."""
    return f"{word(service)}_{place}"


def last_request(backend: str) -> str:
    """Return the variable of a worker that has the time of the last request which wakes the service of a backend."""
    return f"proc.deployer_{backend.replace('-', '.')}"
