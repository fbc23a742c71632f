"""What is missing on this machine, and where records, runtime and proxy disagree; each with its remedy."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path

from deployer.errors import DeployError
from deployer.manifest.models import HAProxy, Manifest
from deployer.model import PLACES
from deployer.operations import House
from deployer.queries import drivers_of, services, status
from deployer.views.data import DoctorView, Finding, StatusView
from deployer.views.text import plural

FREE_BYTES = 200 * 1024**2  # less free space than this endangers the store and every image pull
ANSWER_WITHIN = 5.0  # seconds for a team's proxy to say how it runs


def examine(house: House, manifest: Manifest | None) -> DoctorView:
    """Look at everything; a check that itself fails is a finding, not an error."""
    findings = [*_state(house), *_programs(manifest)]
    if manifest is not None and manifest.traffic.haproxy is not None:
        findings += _team_proxy(manifest.traffic.haproxy)
    for name in services(house):
        findings += _service(house, name)
    return DoctorView(tuple(findings))


def _tried(what: str, check: Callable[[], str]) -> Finding:
    """Run a check that gives what it found, or raises with what is wrong and what to do."""
    try:
        return Finding("ok", what, check())
    except DeployError as error:
        return Finding("bad", what, error.message, error.hint)


# -- this machine


def _state(house: House) -> Iterator[Finding]:
    folder = house.store.folder
    free = shutil.disk_usage(folder).free
    text = f"{folder}, {free // 1024**2} MiB free"
    if free < FREE_BYTES:
        yield Finding("bad", "state folder", text, f"free space: at least {FREE_BYTES // 1024**2} MiB")
    else:
        yield Finding("ok", "state folder", text)
    if folder.stat().st_mode & 0o077:
        yield Finding("warn", "state folder", "other users may read it", f"chmod 700 {folder}")
    chain = house.store.audit_log.verify()
    if chain.broken:
        yield Finding("bad", "audit log", chain.problem, "`deploy audit verify`; compare it with an export")
    else:
        yield Finding("ok", "audit log", f"{plural(chain.records, 'record')}, each follows the one before")


def _programs(manifest: Manifest | None) -> Iterator[Finding]:
    if manifest is None or manifest.runtime == "docker":
        yield _tried("Docker engine", _engine)
    if manifest is None or manifest.traffic.haproxy is None:
        yield _tried("HAProxy", _haproxy)
    wanted = manifest is not None and bool(manifest.update or any(manifest.hooks.model_dump().values()))
    yield _ansible(wanted)
    if manifest is not None and manifest.verify is not None:
        yield _tried("cosign", _cosign)


def _engine() -> str:
    from deployer.clock import SystemClock
    from deployer.drivers.runtime.docker import DockerRuntime

    DockerRuntime(SystemClock(), "doctor").require()
    return f"answers at {os.environ.get('DOCKER_HOST', 'the local socket')}"


def _haproxy() -> str:
    from deployer.drivers.traffic.haproxy import binary

    found = binary.find()
    return f"{found.path}, version {'.'.join(map(str, found.version))}"


def _cosign() -> str:
    from deployer.drivers.signatures.cosign import program

    return f"{program()}, for `verify`"


def _ansible(wanted: bool) -> Finding:
    if find_spec("ansible") and find_spec("ansible_runner"):
        return Finding("ok", "Ansible", "installed")
    remedy = "pip install 'deployer[ansible]'"
    if wanted:
        return Finding("bad", "Ansible", "the manifest names playbooks, but it is not installed", remedy)
    return Finding("ok", "Ansible", f"not installed; only needed for playbooks ({remedy})")


def _team_proxy(settings: HAProxy) -> Iterator[Finding]:
    folder, socket = Path(settings.config), Path(settings.socket)
    if not folder.is_dir():
        yield Finding(
            "bad", "your HAProxy", f"{folder} is no folder", f"mkdir {folder}, then start it with `-f {folder}`"
        )
    elif not os.access(folder, os.W_OK):
        yield Finding("bad", "your HAProxy", f"{folder} cannot be written", "run as its owner, or change its owner")
    else:
        yield Finding("ok", "your HAProxy", f"{folder} can be written")
    if not socket.is_socket():
        yield Finding(
            "bad", "your HAProxy", f"there is no master socket at {socket}", f"start it with `-W -S {socket},mode,600`"
        )
    elif folder.is_dir():
        yield _tried("your HAProxy", lambda: _loads(settings))


def _loads(settings: HAProxy) -> str:
    """Ask the running proxy, and compare its command line with what it has to load."""
    from deployer.clock import Deadline, SystemClock
    from deployer.drivers.traffic.haproxy.proxy import TeamProxy

    clock = SystemClock()
    deadline = Deadline.after(clock, ANSWER_WITHIN)
    proxy = TeamProxy(settings, clock)
    proxy.require(deadline)
    workers = proxy.master.current(deadline)
    return f"answers at {settings.socket} with {len(workers)} worker{'s' * (len(workers) > 1)}"


# -- services


def _service(house: House, name: str) -> Iterator[Finding]:
    if not house.store.service(name).stable and house.store.open_rollout(name) is None:
        return
    view = status(house, name)
    before = 0
    for finding in (*_standing(view), *_proxy(house, view)):
        before += 1
        yield finding
    if not before:
        yield Finding("ok", name, f"r{view.stable} ({view.stable_version}) is live; records, runtime and proxy agree")


def _standing(view: StatusView) -> Iterator[Finding]:
    for problem in view.problems:
        yield Finding("bad", view.service, problem)
    if view.rollout and not view.lock:
        yield Finding(
            "warn",
            view.service,
            f"rollout {view.rollout.number} is unfinished and nobody drives it",
            "`deploy resume`, `deploy promote` or `deploy abort`",
        )
    for environment in view.environments:
        if environment.role == "left over":
            text = f"r{environment.release} ({environment.colour}) is left over"
            yield Finding("warn", view.service, text, "the next deploy removes it")
        for instance in environment.instances:
            if instance.state != "running" or instance.restarts:
                text = f"{instance.name} is {instance.state}, {instance.restarts} restarts"
                remedy = "`deploy rollback` or a mended release" if view.stable else "`deploy up`"
                yield Finding("bad", view.service, text, f"`deploy logs`, then {remedy}")
            elif instance.up is False:
                yield Finding("bad", view.service, f"the proxy finds {instance.name} down", "`deploy logs`")
            elif instance.up is None and environment.role != "left over":
                yield Finding("bad", view.service, f"the proxy does not know {instance.name}", "deploy again")


def _proxy(house: House, view: StatusView) -> Iterator[Finding]:
    """Find servers of the proxy whose instance is gone."""
    if not view.read:
        return  # an engine that does not answer is no proof that its instances are gone
    there = {i.name for e in view.environments for i in e.instances}
    try:
        traffic = drivers_of(house, view.service).traffic
        for place in PLACES:
            for server, _ in traffic.servers(view.service, place):
                if server.name not in there:
                    text = f"the proxy has {server.name} ({server.address}), which does not exist"
                    yield Finding("warn", view.service, text, "the next deploy removes it")
    except DeployError as error:
        yield Finding("bad", view.service, f"the proxy cannot be asked: {error.message}", error.hint)
