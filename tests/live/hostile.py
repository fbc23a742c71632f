"""Tenants on a real engine, each with a hostile service, beside an owner."""

from __future__ import annotations

import itertools
import os
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import docker
import docker.errors

from deployer.drivers.runtime.docker import DockerRuntime
from deployer.drivers.runtime.docker.ground import HostGround
from deployer.drivers.runtime.docker.guests import network
from deployer.model import GuestTerms, Instance, Release
from tests.conformance.runtimes import DockerBench, wait_until_it_answers
from tests.lab import image
from tests.lab.archive import Image, layer
from tests.waiting import within

PROGRAM = "/hostile"
RAISED = Path("/run/deployer-guests")
CGROUPS = Path("/sys/fs/cgroup")
WATCH = Path("/run/systemd/system/deployer-pressure.service")
_numbers = itertools.count(1)
MEMORY, PIDS = 96 * 1024 * 1024, 64


class HostileBench(DockerBench):
    """A service of the test app with a program beside it that tries what it may not."""

    def reference(self, version: str) -> str:
        name, app, program = f"{self.service}:{version}", image.binary(), image.binary("hostile")
        assert app is not None
        assert program is not None
        made = Image(
            (layer([(app, "/app"), (program, PROGRAM)]),),
            ("/app",),
            {"PATH": "/", "VERSION": version},
            {"reference": name},
            volumes=("/data",),
        )
        assert len(self.engine.images.load(made.archive(name))) == 1
        return name

    def guest_release(self, terms: GuestTerms, **settings: Any) -> Release:
        """Make a release of a tenant."""
        return replace(self.release(tenant=terms.tenant, **settings), terms=terms)

    def guest(self, terms: GuestTerms, **settings: Any) -> Instance:
        """Run an instance as one of a tenant, and wait until it answers."""
        instance = self.runtime.ensure(self.spec(self.guest_release(terms, **settings)), within(60))
        wait_until_it_answers(instance)
        return instance

    def tries(self, instance: Instance, *words: str) -> tuple[int, str]:
        """Have the program in an instance try something; 0 where it worked, and what it said."""
        return self.runtime.run(instance, (PROGRAM, *words), within(60))

    def address(self, instance: Instance) -> str:
        """Return where an instance is within its network."""
        networks = self.engine.containers.get(instance.runtime_id).attrs["NetworkSettings"]["Networks"]
        return str(next(iter(networks.values()))["IPAddress"])


def terms(tenant: str, **changes: Any) -> GuestTerms:
    """Return small terms of a tenant."""
    small = GuestTerms(tenant, cpus=0.5, memory=MEMORY, pids=PIDS, lent_memory=4 * MEMORY)
    return replace(small, **changes)


@contextmanager
def tenants(engine: docker.DockerClient, number: int, *, starved: bool = False) -> Iterator[list[str]]:
    """Yield names of tenants that nobody else has, and remove what hosts keep for them.

    On a host that tests load, guests would get no processor: they get their part, unless they are to be `starved`.
    """
    driver = str(engine.info()["CgroupDriver"])
    names = [f"t{os.getpid()}-{next(_numbers)}" for _ in range(number)]
    if starved:
        for left in RAISED.glob("raised.*"):  # of a test that was killed
            left.unlink()
    else:
        HostGround().do("raise", driver, names[0])
        os.utime(RAISED / f"raised.{names[0]}", (time.time() + 3600,) * 2)
    try:
        yield names
    finally:
        HostGround().do("raise", driver, names[0])  # what is starved does not end
        for name in names:
            with suppress(docker.errors.NotFound):
                made = engine.networks.get(network(name))
                for container in made.containers:
                    container.remove(force=True, v=True)
                made.remove()
            remove_group(driver, name)
        HostGround().do("lower", driver, names[0])


def remove_group(driver: str, tenant: str) -> None:
    """Remove the groups of a tenant, in which nothing is any more; with the last one, what watches them."""
    slice_of = f"deployer-guests-{tenant.replace('-', '_')}.slice"
    home = "deployer-guests"
    if driver == "systemd":
        subprocess.run(["systemctl", "stop", slice_of], check=True, timeout=60)
        home, tenant = "deployer.slice/deployer-guests.slice", slice_of
    for place in (CGROUPS / home / tenant, *CGROUPS.glob(f"*/{home}/{tenant}")):
        with suppress(OSError):  # it is not there, or a container of it is just ending
            place.rmdir()
    left = [*CGROUPS.glob(f"{home}/*/"), *CGROUPS.glob(f"*/{home}/*/")]
    if WATCH.exists() and not left:
        subprocess.run(["systemctl", "stop", WATCH.name], check=True, timeout=60)
        WATCH.unlink()
        subprocess.run(["systemctl", "daemon-reload"], check=True, timeout=60)


@contextmanager
def bench(engine: docker.DockerClient) -> Iterator[HostileBench]:
    """Yield a service on the engine."""
    made = HostileBench(engine)
    assert isinstance(made.runtime, DockerRuntime)
    try:
        yield made
    finally:
        made.close()
