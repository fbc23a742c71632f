"""How users and other services reach a service: port, addresses, networks; and when it counts as healthy."""

from __future__ import annotations

import re

from deployer.manifest import tree
from deployer.manifest.compose import labels
from deployer.manifest.compose.draft import Draft, Raw, listed
from deployer.manifest.compose.ports import Published, published, unreadable
from deployer.manifest.compose.project import DEFAULT, Project, plain
from deployer.manifest.compose.running import seconds
from deployer.manifest.tree import Items, Scalar, Table
from deployer.manifest.units import write_seconds

_LIKELY = (80, 8080, 8000, 3000, 5000, 443)  # of several ports, the one that is for users
_FETCH = re.compile(
    r"""(?:curl|wget)\s[^|;&]*?https?://(?:localhost|127\.0\.0\.1|\[::1\]|0\.0\.0\.0):?(?P<port>[0-9]*)(?P<path>/[^\s"'|;&?#]*)?"""
    r"""["']?\s*(?:\|\|\s*exit\s+1)?\s*"""
)
_PLAIN_HTTP = 80
_SCHEDULER = re.compile(r"\b(beat|cron|crond|scheduler|schedule|clock|supercronic|ofelia)\b")


def users_port(draft: Draft) -> int:
    """Return the port on which the service answers its users; 0 for a service that has none."""
    found = labels.route(Draft(draft.project, draft.name))
    if found.port:
        return found.port
    chosen = _chosen(draft)
    if chosen:
        return chosen.target
    exposed = [text.partition("/")[0] for text in map(str, draft.data("expose") or [])]
    return int(exposed[0]) if found.domains and exposed and exposed[0].isdecimal() else 0


def _chosen(draft: Draft) -> Published | None:
    tcp = [port for port in published(draft.node) if port.protocol == "tcp"]
    likely = [port for number in _LIKELY for port in tcp if port.target == number]
    return next(iter([*likely, *tcp]), None)


def reach(draft: Draft) -> None:
    """Take the port and how users reach it, from ports and labels."""
    found = labels.route(draft)
    port, chosen = users_port(draft), _chosen(draft)
    if not port:
        _work(draft)
        return
    draft.put("port", port)
    if found.domains:
        draft.put("traffic.domains", found.domains)
    if len(found.paths) == 1 and found.paths[0] != "/":
        draft.put("traffic.path", found.paths[0])
    elif len(found.paths) > 1:
        paths = ", ".join(found.paths)
        draft.note(f"a service has one path prefix, these are several: {paths}", "labels")
    direct = chosen if chosen and chosen.target == port else None
    if direct and not found.domains:
        if direct.published:
            draft.put("traffic.listen", direct.listen)
        else:
            draft.note("any free port: users reach the service at *:80 now, see `traffic.listen`", "ports")
    _other_ports(draft, direct, bool(found.domains))


def _work(draft: Draft) -> None:
    """Take a service without users: a worker, and one that must not run twice where something says so."""
    for port in published(draft.node):
        draft.note(f"port {port.target}/{port.protocol}: only TCP is proxied", "ports", port.index)
    draft.comments["service"] = "without a port: a worker, which no user reaches"
    words = " ".join(word for key in ("entrypoint", "command") for word in draft.words(key) or ())
    if _SCHEDULER.search(f"{draft.name} {words}"):
        twice = "a scheduler would do everything twice; remove this line if two may run at once"
        draft.put("single", True, f"{twice}. Its jobs could be `schedule` of another service instead")
    elif written := _written_volumes(draft):
        keeps = f"it writes to {', '.join(written)}"
        draft.put("single", True, f"{keeps}; remove this line if two instances may run at once")


def _written_volumes(draft: Draft) -> list[str]:
    """Name the volumes and folders of the host to which a service may write."""
    found = []
    for index in range(listed(draft.at("volumes"))):
        source, _, rest = draft.text("volumes", index).partition(":")
        if rest and not rest.endswith(":ro") and ":ro," not in rest:
            found.append(source)
        elif draft.text("volumes", index, "source") and draft.data("volumes", index, "read_only") is not True:
            found.append(draft.text("volumes", index, "source"))
    return found


def _other_ports(draft: Draft, direct: Published | None, by_domain: bool) -> None:
    for port in published(draft.node):
        if port == direct and not by_domain:
            continue
        path = ("ports", port.index)
        if port.protocol != "tcp":
            draft.note(f"port {port.target}/{port.protocol}: only TCP is proxied", *path)
        elif port == direct:
            draft.note(
                f"users come by the domain at *:80; port {port.published or port.target} is not published", *path
            )
        elif port.target == 443:
            draft.note(f"port {port.target}: for HTTPS set `traffic.tls`: auto, or your certificates", *path)
        else:
            draft.note(f"port {port.target}: a service has one port for users", *path)
    for index in unreadable(draft.node):
        draft.note("is not a port like 8080:80", "ports", index)


# -- networks


def networks_of(project: Project, name: str) -> tuple[str, ...]:
    """Return the keys of the networks that a service is in."""
    node = project.services[name]
    if "network_mode" in node.entries:
        return ()
    given = node.entries.get("networks")
    if isinstance(given, Table):
        return tuple(given.entries)
    if isinstance(given, Items):
        return tuple(item.text for item in given.items if isinstance(item, Scalar))
    return (DEFAULT,)


def networks(draft: Draft) -> None:
    """Take the networks in which somebody else is to be reached; an instance is in the engine's own one besides."""
    project = draft.project
    names = []
    for key in networks_of(project, draft.name):
        external = plain(tree.node_at(project.root, ("networks", key, "external")))
        shared = any(key in networks_of(project, other) for other in project.services if other != draft.name)
        if shared or external:
            names.append(project.real_name("networks", key))
        for what in draft.data("networks", key) or {} if isinstance(draft.at("networks"), Table) else ():
            draft.note(
                "instances of two releases share a network: they have no name or address of their own",
                "networks",
                key,
                what,
            )
    if names:
        draft.put("networks", names, "in which it reaches what stays with Compose")


def network_mode(draft: Draft) -> None:
    """Record that instances are in networks of the engine."""
    draft.note("instances are in the engine's bridge network; two releases cannot share a host's ports", "network_mode")


# -- health


def healthcheck(draft: Draft) -> None:
    """Take the health check: a request where it is one by curl or wget, else the command."""
    test = draft.at("healthcheck", "test")
    if draft.data("healthcheck", "disable") is True or draft.data("healthcheck", "test") == ["NONE"]:
        return
    if test is None:
        if draft.at("healthcheck", "disable") is None:
            draft.put("health.docker", True)
        return
    words = _command(draft)
    if not words:
        draft.note("is no command", "healthcheck", "test")
        return
    request = _FETCH.fullmatch(" ".join(words[2:] if words[0] == "/bin/sh" else words))
    if request and int(request["port"] or _PLAIN_HTTP) == users_port(draft):
        draft.put("health.http", request["path"] or "/", "asked by deployer itself; the image needs no curl")
    else:
        draft.put("health.command", words)
    _times(draft)


def _command(draft: Draft) -> list[str]:
    test = draft.at("healthcheck", "test")
    if isinstance(test, Scalar):
        return ["/bin/sh", "-c", draft.raw("healthcheck", "test")]
    words: list[str] = [draft.raw("healthcheck", "test", index) for index in range(listed(test))]
    match words:
        case ["CMD", *rest]:
            return list(rest)
        case ["CMD-SHELL", script, *_]:
            return ["/bin/sh", "-c", script if isinstance(script, Raw) else Raw(script)]
    return []


def _times(draft: Draft) -> None:
    """Take how long a probe may take, and when Docker would have given up: that is the deadline of a start."""
    given = {key: seconds(draft.text("healthcheck", key)) for key in ("interval", "timeout", "start_period")}
    if given["timeout"]:
        draft.put("health.timeout", write_seconds(given["timeout"]))
    retries = draft.text("healthcheck", "retries")
    tries = int(retries) if retries.isdecimal() else 3
    deadline = (given["start_period"] or 0.0) + tries * (given["interval"] or 30.0)
    draft.put("health.deadline", write_seconds(deadline))
    for key in ("interval", "start_interval"):
        if draft.at("healthcheck", key) is not None:
            draft.note("probes of a new instance are 0.5 s apart, so that a deploy need not wait", "healthcheck", key)
