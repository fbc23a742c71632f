"""All specs as the files that the proxy loads; pure."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from deployer.drivers.traffic.haproxy import (
    backend,
    budget,
    certificates,
    chain,
    frontend,
    identity,
    listeners,
    naming,
    routing_rules,
    shield,
)
from deployer.drivers.traffic.haproxy.layout import Home
from deployer.drivers.traffic.haproxy.quote import plain_path, word
from deployer.drivers.traffic.haproxy.spec import Spec
from deployer.model import COLOURS

HEAD = """\
# Written by deployer: edits are lost at the next `deploy`.
"""
GLOBAL = """
global
  # How long a worker that a reload replaced may go on serving the WebSockets and downloads it has. They are few (only a
  # changed configuration reloads) and cost about 20 MiB each, so the bound is there for clients that never leave.
  hard-stop-after 12h
  mworker-max-reloads 20
  # Without this, a second proxy of the same user could listen on the same port and take half of the connections.
  noreuseport
"""
# Lines about calm services are written while somebody reads them, as whoever does says to each worker: until then, in
# seconds. A new worker writes all until those who read have found it.
LINES = f"  set-var {routing_rules.LINES} date,add(60)\n"
# Whoever reads requests keeps a connection, and all commands come over the same entry: of ten, the default, ten
# rollouts at once leave none to take users back with.
COMMANDS = "  stats maxconn 200\n"
_HTTP = f"""\
  mode http
  timeout http-request 10s
  timeout http-keep-alive 15s
  # a reload closes idle connections only after their next answer: clients never see a reset
  option idle-close-on-response
  option redispatch 1
  retries {backend.RETRIES}"""
_TCP = f"""\
  mode tcp
  option redispatch 1
  retries {backend.RETRIES}"""
_MODES = {"http": _HTTP.split("\n"), "tcp": _TCP.split("\n")}
SHARED = f"""
ring {frontend.RING}
  description "one line per request"
  format raw
  maxlen 512
  # what a reader may be away for: about 100,000 lines
  size 8388608

defaults deployer-http
{_HTTP}

defaults deployer-tcp
{_TCP}
"""


@dataclass(frozen=True)
class Files:
    """What the proxy loads: the config, and other files by their path. `state.map` is not among them.

    `structure` names everything that only a reload can change; servers and live values are no part of it.
    """

    config: str
    others: Mapping[Path, str]
    structure: str


def render(specs: Iterable[Spec], home: Home, *, own: bool, user: int = 0) -> Files:
    """Write the files, for our own proxy or for a team's, which then lets `user` read the requests.

    Raises Refused for services that claim the same, and for text that is no configuration.
    """
    ordered = sorted(specs, key=lambda s: s.service)
    entries = listeners.entries(ordered)
    others = dict(_others(ordered, entries, home))
    head, lines = _head(home, own=own, user=user), _body(ordered, entries, home)
    structure = head + "\n".join(line for line in lines if not backend.is_member(line))
    return Files(head + "\n".join(lines) + "\n", others, _digest(structure, others, ordered))


def with_servers(config: str, spec: Spec, home: Home) -> str | None:
    """Return a config with the servers of a service as they are now, when nothing else of it has changed.

    What it says of other services stays: with many of them it takes long to write all of it anew. None where it says
    something else of this one, as somebody has edited it, or an earlier version wrote it.
    """
    for place in spec.places:
        begin = config.find(f"\nbackend {naming.backend(spec.service, place)} from ") + 1
        if not begin:
            return None
        end = config.find("\n\n", begin)
        head, *had = config[begin : len(config) - 1 if end < 0 else end].split("\n")
        has = list(backend.backend(spec, place, home))
        if [line for line in had if not backend.is_member(line)] != [x for x in has if not backend.is_member(x)]:
            return None
        config = config[:begin] + "\n".join((head, *has)) + ("\n" if end < 0 else config[end:])
    return config


def _head(home: Home, *, own: bool, user: int) -> str:
    # The master socket cannot pass on an answer that never ends, so the stream has a socket of its own.
    stream = f"  stats socket {home.requests} mode 600 level operator"
    settings = f"{GLOBAL}{LINES}{stream}\n{COMMANDS}" if own else f"\nglobal\n{LINES}{stream} uid {user}\n{COMMANDS}"
    return HEAD + settings + SHARED


def _body(specs: list[Spec], entries: tuple[listeners.Listener, ...], home: Home) -> list[str]:
    lines: list[str] = []
    for entry in entries:
        lines += ["", *frontend.frontend(entry, home)]
    lines += _backends(specs, home)
    for part in (shield.entry(specs, home), budget.table() if any(s.entry.budget for s in specs) else ()):
        lines += ["", *part]
    return lines


def _backends(specs: list[Spec], home: Home) -> Iterator[str]:
    """Yield the backends of all services; what several say is said once, before the first: HAProxy reads it once."""
    known: dict[tuple[str, ...], str] = {}

    def section(name: str, mode: str, shared: tuple[str, ...], own: Iterator[str]) -> Iterator[str]:
        if (mode, *shared) not in known:
            known[mode, *shared] = f"deployer-{mode}-{len(known) + 1}"
            yield from ("", f"defaults {known[mode, *shared]}", *_MODES[mode], *shared)
        yield from ("", f"backend {name} from {known[mode, *shared]}", *own)

    for spec in specs:
        for place in spec.places:
            own = backend.backend(spec, place, home)
            yield from section(naming.backend(spec.service, place), spec.entry.mode, backend.defaults(spec, place), own)
        for colour in COLOURS if shield.shields(spec) else ():
            name = f"{naming.backend(spec.service, colour)}{shield.SUFFIX}"
            yield from section(name, "http", shield.defaults(spec), shield.shield(spec, colour, home))


def _others(specs: list[Spec], entries: tuple[listeners.Listener, ...], home: Home) -> Iterator[tuple[Path, str]]:
    options = ((word(s.service), frontend.option_values(s)) for s in specs if s.entry.mode == "http")
    yield Path(frontend.options_map(home)), "".join(f"{service} {value}\n" for service, value in options)
    yield Path(frontend.labels_map(home)), frontend.label_lines(specs)
    yield home.keys, identity.keys(specs) + chain.keys(specs)
    if any(map(certificates.is_auto, specs)):
        yield home.accounts, certificates.accounts(specs, home)
    for entry in entries:
        if entry.kind == "tcp":
            continue
        yield Path(frontend.route_map(entry, home)), frontend.route_lines(entry)
        if entry.kind == "https":
            files = certificates.files(entry.specs, home)
            yield Path(frontend.certificate_list(entry, home)), "".join(f"{plain_path(file)}\n" for file in files)


def _digest(config: str, others: Mapping[Path, str], specs: list[Spec]) -> str:
    """Name the structure; a certificate of a user that was renewed is a new one, although its path is the same.

    Those that are got by themselves come without a reload, and are no part of it.
    """
    digest = hashlib.sha256(config.encode())
    for path, text in sorted(others.items()):
        digest.update(f"\0{path.name}\0{text}".encode())
    for spec in specs:  # servers that are there already have the options they came with
        sides = [spec.side(place) for place in spec.places]
        digest.update("".join(f"\0{backend.options(side)} {bool(side.concurrency)}" for side in sides).encode())
    for certificate in sorted({c for s in specs if s.entry.tls for c in s.entry.tls.certificates or ()}):
        try:
            digest.update(hashlib.sha256(Path(certificate).read_bytes()).digest())
        except OSError:  # haproxy says what is wrong with it, with the right line
            digest.update(b"\0unreadable")
    return digest.hexdigest()[:32]
