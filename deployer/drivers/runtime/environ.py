"""What an instance finds in its environment, the same with every runtime."""

from __future__ import annotations

import ipaddress
import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Protocol

from deployer.core.errors import DriverFailed
from deployer.model import InstanceSpec, Release, SecretText

if TYPE_CHECKING:
    from deployer.drivers.jobs import JobSpec

INHERITED = ("PATH", "HOME", "LANG", "TZ")


class OfRelease(Protocol):
    """Something of a release that is to run: an instance, or a run of a job."""

    @property
    def release(self) -> Release:
        """Its release."""
        ...

    @property
    def secrets(self) -> Mapping[str, SecretText]:
        """The secrets of its release."""
        ...

    @property
    def name(self) -> str:
        """Its name."""
        ...


def split_address(address: str) -> tuple[str, int]:
    """Split `host:port`; the host is an IP address, IPv6 in brackets.

    Names are refused: an engine binds addresses, and a name may mean another one tomorrow.
    """
    host, _, port = address.rpartition(":")
    try:
        return str(ipaddress.ip_address(host.strip("[]"))), int(port)
    except ValueError:
        raise DriverFailed(
            f"{address!r} is not an address of an instance", "write it like 127.0.0.1:20001 or [::1]:20001"
        ) from None


def inherited() -> dict[str, str]:
    """Return what a program of this host gets of the environment of this process."""
    return {"PATH": os.defpath, **{name: os.environ[name] for name in INHERITED if name in os.environ}}


def environment(spec: InstanceSpec, secrets: str) -> dict[str, str]:
    """Return the variables of an instance: the manifest's, its secrets, and what it is.

    `secrets` is the folder in which the instance finds secrets that are delivered as files.
    """
    own = {"DEPLOYER_COLOUR": spec.colour, "DEPLOYER_INSTANCE": spec.name}
    return _of_manifest(spec, secrets) | _of_release(spec.release) | own


def job_environment(spec: JobSpec, secrets: str) -> dict[str, str]:
    """Return the variables of a run of a job: those of an instance, the job's own, and what it is."""
    own = {"DEPLOYER_JOB": spec.job, "DEPLOYER_RUN": str(spec.number)}
    return _of_manifest(spec, secrets) | dict(spec.settings.env) | _of_release(spec.release) | own


def _of_manifest(spec: OfRelease, secrets: str) -> dict[str, str]:
    env = dict(spec.release.manifest.env)
    for name, value in chosen_secrets(spec, "env").items():
        env[name] = value
    for name in chosen_secrets(spec, "file"):
        env[f"{name}_FILE"] = f"{secrets}/{name}"
    return env


def _of_release(release: Release) -> dict[str, str]:
    return {
        "DEPLOYER_SERVICE": release.service,
        "DEPLOYER_RELEASE": str(release.number),
        "DEPLOYER_VERSION": release.version,
    }


def chosen_secrets(spec: OfRelease, deliver: str) -> dict[str, str]:
    """Return the values of the secrets that are delivered this way. Raises DriverFailed for one without a value."""
    chosen = [name for name, secret in spec.release.manifest.secrets.items() if secret.deliver == deliver]
    missing = [name for name in chosen if name not in spec.secrets]
    if missing:
        raise DriverFailed(
            f"{spec.name}: the release keeps no value of the secret {', '.join(missing)}",
            "make a new release: a value is read when the release is made",
        )
    return {name: spec.secrets[name].reveal() for name in chosen}
