"""From an instance's specification to a service of a Swarm, and back from a service and its tasks."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from ipaddress import IPv4Address
from typing import TYPE_CHECKING, Any, Literal

from deployer.drivers.ports import Found
from deployer.drivers.runtime.docker.options import PREFIX, SECRETS
from deployer.drivers.runtime.environ import environment, split_address
from deployer.drivers.runtime.identity import labels, place_of
from deployer.model import Instance, InstanceSpec, join

if TYPE_CHECKING:
    from deployer.manifest.models import Manifest
    from deployer.manifest.sections import Mount

NANO = 1_000_000_000
MOVED = f"{PREFIX}moved"  # label: the number of the last move of ours, as the Swarm counts them (`ForceUpdate`)
ELSEWHERE = "node.id!="  # so begins a constraint of ours
NOWHERE = str(IPv4Address(0))  # the address of an instance that is on no node yet
RESTART_SECONDS = 1  # between the end of an instance and its next start
HEAVY = ("record", "home")  # labels that whoever looks at containers has no use for
ENDED = ("complete", "failed")  # by itself, and not because it was told to


def kept_labels(spec: InstanceSpec, installation: str, home: str) -> dict[str, str]:
    """Return the labels of a service: as everywhere, but of the address only the port, as the node may change."""
    return labels(replace(spec, address=str(port_of(spec))), installation, home, PREFIX)


def port_of(spec: InstanceSpec) -> int:
    """Return the port at which an instance is published, on whichever node."""
    return split_address(spec.address)[1]


def create(
    spec: InstanceSpec, kept: Mapping[str, str], image: str, secrets: Sequence[Mapping[str, Any]], others: Sequence[str]
) -> dict[str, Any]:
    """Return the arguments of `create_service`; `image` is how nodes know it, `others` the nodes that may not have it.

    One task each: the engine keeps it alive on some node, always at the same port, and we decide who gets users.
    """
    manifest, swarm = spec.release.manifest, spec.release.manifest.swarm
    own = {name: value for name, value in kept.items() if name.removeprefix(PREFIX) not in HEAVY}
    variables = environment(spec, SECRETS)
    if manifest.port is not None:
        variables = {"PORT": str(manifest.port), **variables}
    container: dict[str, Any] = {
        "Image": image,
        "Env": [f"{name}={value}" for name, value in variables.items()],
        "Labels": own,
        "Mounts": [_mount(mount) for mount in manifest.mounts],
        "Secrets": list(secrets),
        "ReadOnly": manifest.read_only,
        "StopSignal": manifest.stop.signal,
        "StopGracePeriod": int(manifest.stop.grace * NANO),
    }
    for key, given in (("Command", manifest.entrypoint), ("Args", manifest.command)):
        if given:
            container[key] = list(given)
    if manifest.user:
        container["User"] = manifest.user
    template: dict[str, Any] = {
        "ContainerSpec": container,
        "Resources": _resources(manifest),
        "RestartPolicy": {"Condition": "any", "Delay": RESTART_SECONDS * NANO},
        "Placement": {
            "Constraints": [*(swarm.constraints if swarm else ()), *(f"{ELSEWHERE}{node}" for node in others)]
        },
        "LogDriver": {"Name": manifest.log.driver, "Options": dict(manifest.log.options)},
        "Networks": [{"Target": network, "Aliases": [spec.release.service]} for network in manifest.networks],
    }
    endpoint: dict[str, Any] = {"Mode": "dnsrr"}
    if manifest.port is not None:
        published = {"Protocol": "tcp", "TargetPort": manifest.port, "PublishedPort": port_of(spec)}
        endpoint["Ports"] = [{**published, "PublishMode": "host"}]  # never the routing mesh: it would balance
    return {
        "task_template": template,
        "name": spec.name,
        "labels": dict(kept),
        "mode": {"Replicated": {"Replicas": 1}},
        "endpoint_spec": endpoint,
    }


def _resources(manifest: Manifest) -> dict[str, Any]:
    limits, reserved = manifest.limits, manifest.swarm.reserve if manifest.swarm else None
    most = {"NanoCPUs": limits.cpus and int(limits.cpus * NANO), "MemoryBytes": limits.memory, "Pids": limits.pids}
    least: dict[str, Any] = {}
    if reserved:
        least = {"NanoCPUs": reserved.cpus and int(reserved.cpus * NANO), "MemoryBytes": reserved.memory}
    return {
        "Limits": {key: value for key, value in most.items() if value},
        "Reservations": {key: value for key, value in least.items() if value},
    }


def _mount(mount: Mount) -> dict[str, Any]:
    kind = "bind" if mount.source.startswith("/") else "volume"
    return {"Type": kind, "Source": mount.source, "Target": mount.target, "ReadOnly": mount.read_only}


@dataclass(frozen=True)
class Node:
    """A node of the Swarm: its name here, and where what it publishes is reached; one that is `ready` takes tasks.

    One that is `lost` was a manager, which the others do not reach, and whose tasks a new leader has not heard of. It
    is given up only after six heartbeats; a node that is lost under the same leader after three.
    """

    id: str
    name: str
    address: str
    ready: bool
    lost: bool = False


@dataclass(frozen=True)
class Standing:
    """A service of ours with its tasks, newest first."""

    service: Mapping[str, Any]
    tasks: tuple[Mapping[str, Any], ...]

    @classmethod
    def of(cls, service: Mapping[str, Any], tasks: Sequence[Mapping[str, Any]]) -> Standing:
        """Pick the tasks of a service out of all."""
        own = [task for task in tasks if task.get("ServiceID") == service["ID"]]
        return cls(service, tuple(sorted(own, key=lambda task: str(task["CreatedAt"]), reverse=True)))

    @property
    def name(self) -> str:
        """Name of the service."""
        return str(self.service["Spec"]["Name"])

    @property
    def task(self) -> Mapping[str, Any] | None:
        """The task that is to run.

        Those of a node that is lost are listed for good as running, and are to be shut down.
        """
        return next((task for task in self.tasks if task["DesiredState"] == "running"), None)

    def ended(self) -> tuple[Mapping[str, Any], ...]:
        """Return the tasks that ended by themselves, newest first.

        Not those that the Swarm had replaced before it heard how they ended: they were on a node that was lost.
        """
        found, successor = [], ""
        for task in self.tasks:
            status = task["Status"]
            if status["State"] in ENDED and (not successor or str(status["Timestamp"]) <= successor):
                found.append(task)
            successor = str(task["CreatedAt"])
        return tuple(found)

    def refusals(self) -> tuple[str, ...]:
        """Return what nodes said that could not begin a task, newest first."""
        return tuple(str(t["Status"].get("Err") or "") for t in self.tasks if t["Status"]["State"] == "rejected")

    @property
    def state(self) -> Literal["created", "running", "exited"]:
        """State of the instance."""
        task = self.task
        if task is not None and task["Status"]["State"] == "running":
            return "running"
        if self.tasks and self.tasks[0] in self.ended():
            return "exited"
        # A task that waits until it may be started again stands before the one that ended.
        waits = len(self.tasks) > 1 and self.tasks[1] in self.ended()
        return "exited" if waits else "created"


def observed(standing: Standing, nodes: Mapping[str, Node]) -> Instance:
    """Read an instance. Raise KeyError or ValueError where the labels are not ours."""
    found = _labels(standing.service)
    ended, state = standing.ended(), standing.state
    at = standing.task or (standing.tasks[0] if standing.tasks else {})
    node = nodes.get(str(at.get("NodeID", "")))
    return Instance(
        service=found["service"],
        colour=place_of(found["colour"]),
        release=int(found["release"]),
        index=int(found["index"]),
        name=standing.name,
        runtime_id=str(standing.service["ID"]),
        address=join(node.address if node else NOWHERE, int(found["address"])),
        state=state,
        exit_code=ended[0]["Status"].get("ContainerStatus", {}).get("ExitCode") if state == "exited" else None,
        config_hash=found["config"],
        restarts=len(ended),
        rollout=int(found["rollout"]),
        host=node.name if node else "",
        drift=drift(standing.service),
        stranded=stranded(standing, nodes),
    )


def _labels(service: Mapping[str, Any]) -> dict[str, str]:
    kept = service["Spec"].get("Labels") or {}
    return {key.removeprefix(PREFIX): value for key, value in kept.items() if key.startswith(PREFIX)}


def made(service: Mapping[str, Any]) -> bool:
    """Return whether a service is one as `create` makes it, and not a copy with its labels."""
    found = _labels(service)
    try:
        name, port = f"{found['service']}-r{int(found['release'])}-{int(found['index'])}", int(found["address"])
        place_of(found["colour"])
    except (KeyError, ValueError):
        return False
    published = [each.get("PublishedPort") for each in service["Spec"].get("EndpointSpec", {}).get("Ports") or ()]
    return bool(service["Spec"]["Name"] == name) and published in ([], [port])


def found_of(standing: Standing, nodes: Mapping[str, Node]) -> Found:
    """Read what a service of any store says of itself."""
    kept = _labels(standing.service)
    return Found(observed(standing, nodes), kept["installation"], kept.get("home", ""), kept.get("record", ""))


def drift(service: Mapping[str, Any]) -> str:
    """Return what somebody else has changed of a service; "" for nothing.

    A service of ours is made, moved and removed, and never changed: one that has another former specification was
    changed by another hand (`docker service update`, `scale` or `rollback`). Who did it, the Swarm does not keep.
    """
    former = service.get("PreviousSpec")
    if not former or _is_move(former, service["Spec"]):
        return ""
    keys = ", ".join(_changed(former, service["Spec"])) or "nothing that is left"
    version = service.get("Version", {}).get("Index", "?")
    return (
        f"it was changed at {str(service.get('UpdatedAt', '?'))[:19]}Z by somebody else, version {version}: {keys}"
        " (`docker service update`; the Swarm does not keep who)"
    )


def stranded(standing: Standing, nodes: Mapping[str, Node]) -> bool:
    """Return whether an instance ran on a node that is lost, is not being moved, and fits on one that is ready.

    Never where only the Swarm knows what fits (`swarm.constraints`, `swarm.reserve`), or another hand has been there:
    a move that cannot come to its end would be in the way when the node is back.
    """
    task, template = standing.task, standing.service["Spec"].get("TaskTemplate") or {}
    node = nodes.get(str(task["NodeID"])) if task and task["Status"]["State"] == "running" else None
    if task is None or node is None or not node.lost:
        return False
    moving = _moves(template) != _moves(task.get("Spec") or {})
    constraints = (template.get("Placement") or {}).get("Constraints") or ()
    reserved = (template.get("Resources") or {}).get("Reservations")
    ours = all(str(each).startswith(ELSEWHERE) for each in constraints) and not reserved
    fits = any(each.ready and f"{ELSEWHERE}{each.id}" not in constraints for each in nodes.values())
    return ours and fits and not moving and not drift(standing.service)


def moved(service: Mapping[str, Any]) -> dict[str, Any]:
    """Return the arguments of `update_service` that have the task of a service replaced, and nothing else changed.

    The next task is started before the one that cannot be heard of has ended: on another node, as its port is taken.
    """
    spec = service["Spec"]
    number = _moves(spec["TaskTemplate"]) + 1
    return {
        "task_template": {**spec["TaskTemplate"], "ForceUpdate": number},
        "name": spec["Name"],
        "labels": {**(spec.get("Labels") or {}), MOVED: str(number)},
        "mode": spec["Mode"],
        "endpoint_spec": spec.get("EndpointSpec"),
        "update_config": {"Parallelism": 1, "Order": "start-first", "FailureAction": "continue"},
    }


def _moves(template: Mapping[str, Any]) -> int:
    return int(template.get("ForceUpdate") or 0)


def _is_move(former: Mapping[str, Any], spec: Mapping[str, Any]) -> bool:
    """Return whether the last change of a service was `moved`, of ours."""
    ours = (spec.get("Labels") or {}).get(MOVED) == str(_moves(spec.get("TaskTemplate") or {}))
    return ours and set(_changed(former, spec)) <= {"ForceUpdate", f"Labels.{MOVED}", "UpdateConfig"}


def _changed(before: Any, now: Any, path: str = "") -> Iterator[str]:
    """Name the keys that differ; their values may be secrets."""
    if isinstance(before, dict) and isinstance(now, dict):
        for key in sorted({*before, *now}):
            if before.get(key) != now.get(key):
                yield from _changed(before.get(key), now.get(key), f"{path}.{key}" if path else key)
    elif before != now:
        yield path.removeprefix("TaskTemplate.").removeprefix("ContainerSpec.")
