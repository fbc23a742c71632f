"""The calls of the SDK about services and tasks, typed; what is gone is no error."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import docker


def services(client: docker.DockerClient, labels: Sequence[str] = ()) -> list[dict[str, Any]]:
    """Read the services that have all of these labels."""
    filters = {"label": list(labels)} if labels else None
    return list(client.api.services(filters=filters))  # type: ignore[no-untyped-call]


def service(client: docker.DockerClient, name: str) -> dict[str, Any] | None:
    """Read a service by name or id; None where there is none."""
    import docker.errors

    try:
        return dict(client.api.inspect_service(name))  # type: ignore[no-untyped-call]
    except docker.errors.NotFound:
        return None


def create(client: docker.DockerClient, arguments: Mapping[str, Any]) -> None:
    """Make a service; credentials of its registry that `docker login` left here go with it."""
    client.api.create_service(**arguments)  # type: ignore[no-untyped-call]


def update(client: docker.DockerClient, service: Mapping[str, Any], arguments: Mapping[str, Any]) -> bool:
    """Change a service as it was read; return False for one that was changed or removed since then: it stays so."""
    import docker.errors

    try:
        client.api.update_service(service["ID"], service["Version"]["Index"], **arguments)
    except docker.errors.NotFound:
        return False
    except docker.errors.APIError as error:
        if "out of sequence" not in str(error):
            raise
        return False
    return True


def remove(client: docker.DockerClient, identity: str) -> None:
    """Remove a service; its tasks end after this returns."""
    import docker.errors

    try:
        client.api.remove_service(identity)  # type: ignore[no-untyped-call]
    except docker.errors.NotFound:
        return


def tasks(client: docker.DockerClient, of: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Read the tasks of services; one that is removed meanwhile has none."""
    import docker.errors

    left = [str(each["ID"]) for each in of]
    while left:
        try:
            return list(client.api.tasks(filters={"service": left}))  # type: ignore[no-untyped-call]
        except docker.errors.NotFound:
            known = {str(each["ID"]) for each in services(client)}
            left = [identity for identity in left if identity in known]
    return []


def tasks_left(client: docker.DockerClient, of: Sequence[str], lost: Sequence[str]) -> list[str]:
    """Return those of some tasks that are not gone; on a node whose state is `lost` none ends until it is back."""
    import docker.errors

    left: dict[str, str] = {}  # the node of each
    for task in of:
        try:
            found = client.api.inspect_task(task)  # type: ignore[no-untyped-call]
        except docker.errors.NotFound:
            continue
        left[task] = str(found.get("NodeID", ""))
    gone = {node["ID"] for node in client.api.nodes() if node["Status"]["State"] in lost} if left else set()
    return [task for task, node in left.items() if node not in gone]
