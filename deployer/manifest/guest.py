"""What the manifest of a guest may not ask for: it runs on hosts of somebody else, and is read by their deployer."""

from __future__ import annotations

from collections.abc import Iterator

from deployer.manifest.base import Conflict
from deployer.manifest.described import Described
from deployer.manifest.tls import LETS_ENCRYPT, Tls

# Keys that a guest leaves out, and why
_REFUSED = (
    ("mounts", "a guest has nothing of its host: no folder, no volume, no socket of the engine"),
    ("networks", "a guest is in the network of its tenant alone"),
    ("build", "what is built runs on the host of the deployer, outside of every limit"),
    ("verbs", "playbooks run on the hosts of their owner"),
    ("twin", "`tenants.yml` says which hosts are lent"),
    ("env_file", "files of the host of the deployer are not for guests"),
    ("update", "playbooks and commands run on the hosts of their owner"),
    ("migrate", "commands of a migration run on the host of the deployer"),
    ("schedule", "runs of jobs are not limited to what is lent yet"),
    ("hooks.before", "playbooks and commands run on the hosts of their owner"),
    ("hooks.after", "playbooks and commands run on the hosts of their owner"),
    ("hooks.on_failure", "playbooks and commands run on the hosts of their owner"),
    ("hooks.on_done", "playbooks and commands run on the hosts of their owner"),
    ("hooks.on_reverted", "playbooks and commands run on the hosts of their owner"),
    ("hooks.on_paused", "playbooks and commands run on the hosts of their owner"),
    ("hooks.on_needs_attention", "playbooks and commands run on the hosts of their owner"),
    ("judge.metrics", "the deployer would ask from within the network of its owner"),
    ("notify.to", "the deployer would send from within the network of its owner"),
    ("traffic.haproxy", "the proxy is its owner's"),
    ("traffic.chain", "a chain would sign for services of others"),
)


def conflicts(manifest: Described) -> Iterator[Conflict]:
    """Return what a guest asks for and cannot have."""
    if not (tenant := manifest.tenant):
        return
    if manifest.runtime != "docker":
        why = f"runtime {manifest.runtime} does not keep guests apart"
        yield Conflict("runtime", why, "runtime: docker", ("runtime", "tenant"))
    for key, why in _REFUSED:
        value: object = manifest
        for part in key.split("."):
            value = getattr(value, part)
        if value:
            yield Conflict(key, f"{why} (`tenant: {tenant}`)", "remove it", (key, "tenant"))
    yield from _secrets(manifest, tenant)
    if manifest.traffic.tls is not None:
        yield from _tls(manifest.traffic.tls)
    if manifest.scale is not None and manifest.scale.sleeps:
        why = "what wakes a service starts it without asking whether there is room for a guest"
        yield Conflict("scale.min", why, "scale.min: 1", ("scale", "tenant"))


def _tls(tls: Tls) -> Iterator[Conflict]:
    keys, files = ("traffic.tls", "tenant"), "files of the host of the deployer are not for guests"
    if tls.certificates is not None:
        yield Conflict(
            "traffic.tls.certificates", "files of the host of the proxy are not for guests", "tls: auto", keys
        )
    if (auto := tls.auto) is None:
        return
    if auto.dns is not None and not auto.dns.persist:
        why = "what sets a record is a program that runs on the host of the deployer"
        yield Conflict("traffic.tls.auto.dns", why, "remove it: the domains are proved by HTTP", keys)
    if auto.ca is not None:
        yield Conflict("traffic.tls.auto.ca", files, "remove it", keys)
    if auto.directory != LETS_ENCRYPT:
        why = "the deployer would ask from within the network of its owner"
        yield Conflict("traffic.tls.auto.directory", why, "remove it", keys)


def _secrets(manifest: Described, tenant: str) -> Iterator[Conflict]:
    prefix = f"{tenant.upper().replace('-', '_')}_"
    for name, secret in manifest.secrets.items():
        at = f"secrets.{name}"
        if not secret.env:
            why = "files and commands of the host of the deployer are not for guests"
            yield Conflict(at, why, f"env: {prefix}{name}", (at, "tenant"))
        elif not secret.env.startswith(prefix):
            why = f"a guest is given variables that begin with {prefix}"
            yield Conflict(at, why, f"env: {prefix}{name}", (at, "tenant"))
        if secret.deliver == "file":
            why = "a file needs a volume, which takes of the disk of the host without a limit"
            yield Conflict(f"{at}.deliver", why, "deliver: env", (at, "tenant"))
