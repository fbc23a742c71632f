"""A service of a Swarm comes up: its task runs, or what the Swarm says about it becomes an error."""

from __future__ import annotations

from collections.abc import Callable

from deployer.core.clock import Deadline
from deployer.core.errors import DriverFailed
from deployer.drivers.runtime.swarm.options import Standing
from deployer.model import InstanceSpec

LOOK_SECONDS = 0.1
NO_IMAGE = "No such image"
PORT_TAKEN = "host-mode port already in use"  # by a task that is told to end, and has until `stop.grace` for that
SUPPLIES = 3  # times that a node may turn out to lack the image
PENDING_SECONDS = 5.0  # after which a task that no node takes is given up: nodes may be about to be ready


def await_running(
    spec: InstanceSpec, look: Callable[[], Standing], supply: Callable[[], object], deadline: Deadline
) -> None:
    """Wait until the task of an instance runs, or has run and ended: whoever looks at its health finds that out.

    `look` reads its service, `supply` brings its image to nodes that are ready by now: one that came back just before
    has none, and the Swarm tries it again. Raise DriverFailed where no node takes the task or none can start it.
    """
    grace, supplied = spec.release.manifest.stop.grace, 0
    patience, for_port = (
        Deadline.after(deadline.clock, min(seconds, deadline.left()))
        for seconds in (PENDING_SECONDS, PENDING_SECONDS + grace)
    )

    def begun() -> bool:
        nonlocal supplied
        standing = look()
        if standing.state == "running":
            return True
        lacking = [said for said in standing.refusals() if NO_IMAGE in said]
        if 0 < len(lacking) <= SUPPLIES and len(lacking) > supplied:
            supplied = len(lacking)
            supply()
            return False
        for said in lacking[SUPPLIES:] or [said for said in standing.refusals() if NO_IMAGE not in said]:
            _refuse(spec, said)
        for ended in standing.ended():
            _refuse(spec, str(ended["Status"].get("Err") or ""))
            return True
        task = standing.task
        if task is not None and task["Status"]["State"] == "pending":
            said = str(task["Status"].get("Err") or task["Status"].get("Message") or "no reason given")
            if (for_port if PORT_TAKEN in said else patience).passed():
                raise DriverFailed(f"{spec.name}: no node fits: {said}", "`docker node ls`; see `limits` and `hosts`")
        return False

    deadline.until(begun, f"start {spec.name}", every=LOOK_SECONDS)


def _refuse(spec: InstanceSpec, said: str) -> None:
    """Raise DriverFailed for what keeps a container from starting; one that started and ended is no such thing."""
    if "address already in use" in said or "port is already allocated" in said:
        why = f"{spec.name} cannot have {spec.address}: another program of the node listens there"
        raise DriverFailed(why, "stop it, then try again")
    if NO_IMAGE in said:
        hint = "name that node in `hosts`; or see that it reaches the registry, and that you are logged in to it here"
        raise DriverFailed(f"{spec.name}: a node lacks its image: {said}", hint)
    if said and "non-zero exit" not in said:
        raise DriverFailed(f"{spec.name} does not start: {said}", "check `command`, `mounts` and `user`")
