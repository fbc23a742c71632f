"""`deploy serve` and `deploy token`: the HTTP API, and who may use it."""

from __future__ import annotations

import importlib.util
import ipaddress
import os
import re
import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from deployer.cli.options import Common, common, log_format
from deployer.cli.output import print_result
from deployer.cli.session import house, signals
from deployer.cli.values import duration
from deployer.core import extras
from deployer.core.clock import SystemClock
from deployer.core.errors import Exit, Refused
from deployer.core.limits import TENANT
from deployer.core.local_host import whoami
from deployer.manifest.target import service_name
from deployer.server.tokens import ROLES, Role, Token, Tokens
from deployer.store import AuditEntry
from deployer.views.data import TokenRow, TokensView

if TYPE_CHECKING:
    from deployer.app.operations import AppContext
    from deployer.server.runner import Endpoint

Network = ipaddress.IPv4Network | ipaddress.IPv6Network
_NEEDED = ("fastapi", "uvicorn", "prometheus_client")


def _networks(_ctx: click.Context, _param: click.Parameter, values: Sequence[str]) -> tuple[Network, ...]:
    """Read addresses and networks. Raises BadParameter."""
    try:
        return tuple(ipaddress.ip_network(value, strict=False) for value in values)
    except ValueError as error:
        raise click.BadParameter(f"{error}: such as 127.0.0.1 or 10.0.0.0/8") from None


@dataclass(frozen=True)
class ServeOptions:
    """What `deploy serve` takes."""

    listen: str
    manifests: Sequence[Path]
    followed: Path | None
    stdio: bool
    cert: Path | None
    key: Path | None
    no_tls: bool
    hosts: Sequence[str]
    proxies: tuple[Network, ...]
    form: str

    def endpoint(self) -> Endpoint:
        """Return where and how the server is reached. Raise Refused, and UsageError."""
        from deployer.server.runner import Address, Endpoint, ServerTls

        if (self.cert is None) != (self.key is None):
            raise click.UsageError("--cert and --key go together")
        tls = ServerTls(self.cert, self.key) if self.cert and self.key else None
        made = Endpoint(Address.of(self.listen), tls, tuple(self.hosts), self.proxies)
        made.check(behind_tls=self.no_tls)
        return made


@click.command("serve")
@common("destination")
@click.option(
    "--listen", metavar="HOST:PORT", default="127.0.0.1:8642", show_default=True, help="Address to listen on."
)
@click.option(
    "-f",
    "--file",
    "manifests",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    multiple=True,
    help="A manifest, or a release file, that may be deployed by the API; may be repeated.",
)
@click.option(
    "--gitops",
    "followed",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="File with branches to follow and webhooks that trigger a check at once; see docs/gitops.md.",
)
@click.option(
    "--stdio",
    is_flag=True,
    help="Serve one client on stdin and stdout with the rights of this account; used by `deploy --on`.",
)
@click.option("--cert", type=click.Path(path_type=Path), help="Certificate with its chain, PEM.")
@click.option("--key", type=click.Path(path_type=Path), help="Key of the certificate, PEM.")
@click.option(
    "--no-tls", is_flag=True, help="Allow plain HTTP on a public address, behind a proxy that terminates TLS."
)
@click.option(
    "--allow-host",
    "hosts",
    metavar="NAME",
    multiple=True,
    help="Additional accepted Host header; may be repeated.",
)
@click.option(
    "--trusted-proxy",
    "proxies",
    metavar="NETWORK",
    multiple=True,
    callback=_networks,
    help="Address or network of proxies whose X-Forwarded-For header is trusted.",
)
@log_format
def serve(common: Common, **given: Any) -> int:
    """Serve the HTTP API and the web UI: services, rollouts, events, reports, and control of rollouts.

    Each rollout runs in a separate process: it continues when clients disconnect and when the server stops. On start
    the server continues rollouts whose process is gone.
    """
    missing = [name for name in _NEEDED if importlib.util.find_spec(name) is None]
    if missing:
        raise Refused(f"the server needs {', '.join(missing)}", extras.how_to_add("server"))
    options = ServeOptions(**given)
    return _serve_stdio(common) if options.stdio else _serve(common, options)


def _serve(common: Common, options: ServeOptions) -> int:
    """Serve whoever comes by HTTP."""
    from deployer.app.wiring import open_house
    from deployer.server import runner
    from deployer.server.agents import Agents
    from deployer.server.context import ManifestSource, ServerContext, Stores
    from deployer.server.gitops_config import read as read_followed
    from deployer.server.log import ServerLog
    from deployer.server.runs import Processes
    from deployer.store.opening import open_store

    endpoint = options.endpoint()
    state, clock, agents = common.state.expanduser().absolute(), SystemClock(), None
    if (file := options.followed) is not None:
        agents = Agents(read_followed(file), state / "gitops", os.environ, clock, file.absolute().parent)
    log = ServerLog(clock, lines=options.form == "json")
    stores = Stores(lambda: open_store(state, clock))
    desk = ServerContext(
        stores=stores,
        housed=lambda store: open_house(state, log.hear, store=store),
        tokens=Tokens(state, clock),
        runner=Processes(state, clock, os.environ, log),
        clock=clock,
        environ=os.environ,
        log=log,
        hooks=agents,
        sources=tuple(ManifestSource(path.absolute(), common.destination or "") for path in options.manifests),
    )
    try:
        with signals(threading.Event()):
            runner.serve(desk, endpoint, whoami().partition("@")[0], agents)
    finally:
        stores.close()
    return int(Exit.DONE)


def _serve_stdio(common: Common) -> int:
    """Answer the client at the other end of stdin and stdout."""
    context = click.get_current_context()
    given = [p.opts[0] for p in context.command.params if _is_given(context, p)]
    if odd := [name for name in given if name not in ("--stdio", "--state", "--store")]:
        raise click.UsageError(f"{', '.join(odd)} does not go with --stdio: the client says what it means")
    from deployer.server.stdio import serve as answer

    outward = os.dup(1)
    os.dup2(2, 1)  # whatever else is printed must not come between the answers
    answer(0, outward, common.state, SystemClock(), os.environ)
    return int(Exit.DONE)


def _is_given(context: click.Context, param: click.Parameter) -> bool:
    return context.get_parameter_source(param.name or "") is ParameterSource.COMMANDLINE


# -- tokens


def _lasts(_ctx: click.Context, _param: click.Parameter, value: str) -> float:
    """Read a time, or `never` as 0. Raises BadParameter."""
    return 0.0 if value == "never" else duration(value)


def _tenant(_ctx: click.Context, _param: click.Parameter, value: str) -> str:
    """Return the name of a tenant; "" for none. Raises BadParameter."""
    if value and not re.fullmatch(TENANT, value):
        raise click.BadParameter(f"{value[:40]!a} cannot be the name of a tenant")
    return value


@click.group("token")
def token() -> None:
    """Create, list and revoke tokens of the HTTP API."""


@token.command("create")
@common()
@click.argument("name")
@click.option("--role", type=click.Choice(ROLES), default="viewer", show_default=True, help="Rights of the token.")
@click.option("--service", "services", metavar="NAME", multiple=True, help="Only this service; may be repeated.")
@click.option("--tenant", metavar="NAME", default="", callback=_tenant, help="Only guests of this tenant.")
@click.option(
    "--expires",
    "lasts",
    metavar="TIME",
    default="90d",
    show_default=True,
    callback=_lasts,
    help="Lifetime of the token, or never.",
)
def create(common: Common, name: str, role: Role, services: Sequence[str], tenant: str, lasts: float) -> int:
    """Create a token and print it once; NAME appears in the history and the audit log.

    A viewer reads; an operator also starts, promotes, aborts, pauses, resumes and rolls back; an admin may also take a
    service offline, break locks, override a freeze, and read the whole audit log.
    """
    with house(common) as opened:
        scope = tuple(dict.fromkeys(map(service_name, services)))
        tokens = _tokens(opened)
        made, text = tokens.create(name, role, scope, lasts, whoami(), tenant)
        tokens.share(opened.store)
        opened.store.audit.record(AuditEntry("token create", scope[0] if len(scope) == 1 else "", detail=_told(made)))
    sys.stdout.write(f"{text}\n")
    sys.stderr.write(f"{_told(made)}; it cannot be shown again\n")
    return int(Exit.DONE)


@token.command("list")
@common()
@click.option("--all", "every", is_flag=True, help="Include expired and revoked tokens.")
def list_(common: Common, every: bool) -> int:
    """List tokens (never the secrets)."""
    with house(common) as opened:
        now = opened.clock.now()
        found = _tokens(opened).all()
    rows = tuple(_row(one, now) for one in found if every or one.stands(now))
    print_result(TokensView(rows), common.output)
    return int(Exit.DONE)


@token.command("revoke")
@common()
@click.argument("which", metavar="ID_OR_NAME")
def revoke(common: Common, which: str) -> int:
    """Revoke a token now; open event streams are closed."""
    with house(common) as opened:
        tokens = _tokens(opened)
        ended = tokens.revoke(which, whoami())
        tokens.share(opened.store)
        opened.store.audit.record(AuditEntry("token revoke", detail=_told(ended), service=""))
    sys.stdout.write(f"revoked {ended.id} ({ended.name})\n")
    return int(Exit.DONE)


def _tokens(opened: AppContext) -> Tokens:
    """Return the tokens of a state folder, with those of other hosts that share its store."""
    tokens = Tokens(opened.store.folder, opened.clock)
    tokens.share(opened.store)
    return tokens


def _row(one: Token, now: float) -> TokenRow:
    state = "revoked" if one.revoked_at else "valid" if one.stands(now) else "expired"
    return TokenRow(
        one.id, one.name, one.role, one.services, state, one.created_at, one.created_by, one.expires_at, one.tenant
    )


def _told(one: Token) -> str:
    until = time.strftime("until %Y-%m-%d %H:%M UTC", time.gmtime(one.expires_at)) if one.expires_at else "for good"
    return f"token {one.id} of {one.name}: {one.role} of {one.scope}, {until}"
