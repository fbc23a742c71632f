"""What an instance finds in its environment, the same with every runtime."""

from __future__ import annotations

import ipaddress

from deployer.core.errors import DriverFailed
from deployer.model import InstanceSpec


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


def environment(spec: InstanceSpec, secrets: str) -> dict[str, str]:
    """Give the variables of an instance: the manifest's, its secrets, and what it is.

    `secrets` is the folder in which the instance finds secrets that are delivered as files.
    """
    manifest = spec.release.manifest
    env = dict(manifest.env)
    for name, value in chosen_secrets(spec, "env").items():
        env[name] = value
    for name in chosen_secrets(spec, "file"):
        env[f"{name}_FILE"] = f"{secrets}/{name}"
    return env | {
        "DEPLOYER_SERVICE": spec.release.service,
        "DEPLOYER_RELEASE": str(spec.release.number),
        "DEPLOYER_VERSION": spec.release.version,
        "DEPLOYER_COLOUR": spec.colour,
        "DEPLOYER_INSTANCE": spec.name,
    }


def chosen_secrets(spec: InstanceSpec, deliver: str) -> dict[str, str]:
    """Give the values of the secrets that are delivered this way. Raises DriverFailed for one without a value."""
    chosen = [name for name, secret in spec.release.manifest.secrets.items() if secret.deliver == deliver]
    missing = [name for name in chosen if name not in spec.secrets]
    if missing:
        raise DriverFailed(
            f"{spec.name}: the release keeps no value of the secret {', '.join(missing)}",
            "make a new release: a value is read when the release is made",
        )
    return {name: spec.secrets[name].reveal() for name in chosen}
