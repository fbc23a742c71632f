"""Who may ask what: dependencies of the routes, for a role and, by the path, for a service or a rollout."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from typing import Annotated, cast

from fastapi import Depends, Path, Request
from fastapi.security import HTTPBearer

from deployer.core.errors import Refused
from deployer.core.limits import SERVICE
from deployer.server.context import ServerContext
from deployer.server.guard import Caller
from deployer.server.messages import MOST_NUMBER, ApiError, ProblemAnswer, missing
from deployer.server.tokens import Role
from deployer.store import Rollout

# The guard has read it before; this describes it to readers of the OpenAPI document.
BEARER = HTTPBearer(auto_error=False, description="A token of `deploy token create`.", scheme_name="token")

Service = Annotated[str, Path(pattern=f"^{SERVICE}$", description="The name of a service.")]
SetName = Annotated[str, Path(alias="set", pattern=f"^{SERVICE}$", description="The name of a set of services.")]
Number = Annotated[int, Path(ge=1, le=MOST_NUMBER, description="The number of a rollout.")]


def desk_of(request: Request) -> ServerContext:
    """Return what the routes share."""
    return cast(ServerContext, request.app.state.desk)


def caller_of(request: Request) -> Caller:
    """Return who asks."""
    return cast(Caller, request.scope["caller"])


AtDesk = Annotated[ServerContext, Depends(desk_of)]
By = Annotated[Caller, Depends(caller_of)]


def _allow(caller: Caller, role: Role, service: str | None) -> None:
    """Raise ApiError unless the caller may do with a service (None: with all) what needs a role."""
    token = caller.token
    if service is not None and not token.sees(service):
        raise ApiError(
            403,
            ProblemAnswer(message=f"the token {token.name} is not for {service}", hint="deploy token create --service"),
        )
    if service is None and token.services:
        raise ApiError(
            403,
            ProblemAnswer(message=f"the token {token.name} is for {token.scope} only", hint="name one of them"),
        )
    if not token.may(role):
        raise ApiError(
            403,
            ProblemAnswer(
                message=f"the token {token.name} is a {token.role}'s, this needs {role}", hint="ask an admin"
            ),
        )


def viewer(service: Service, caller: By) -> Caller:
    """Let those through that may see the service."""
    _allow(caller, "viewer", service)
    return caller


def operator(service: Service, caller: By) -> Caller:
    """Let those through that may act on the service."""
    _allow(caller, "operator", service)
    return caller


def admin(service: Service, caller: By) -> Caller:
    """Let those through that may do with the service what cannot be undone."""
    _allow(caller, "admin", service)
    return caller


def overseer(caller: By) -> Caller:
    """Let those through that may see all services."""
    _allow(caller, "viewer", None)
    return caller


def auditor(caller: By) -> Caller:
    """Let those through that may see everything."""
    _allow(caller, "admin", None)
    return caller


def rollout_of(number: Number, caller: By, desk: AtDesk) -> Rollout:
    """Return a rollout that the caller may see; one of another service is as good as none."""
    try:
        rollout = desk.stores.store().rollouts.get(number)
    except Refused as error:
        raise missing(error.message) from None
    if not caller.token.sees(rollout.service):
        raise missing(f"there is no rollout {number}")
    return rollout


def known(service: Service, desk: AtDesk) -> str:
    """Return the name of a service that was deployed before."""
    if not desk.stores.store().releases.of(service):
        raise missing(f"{service} was never deployed", "GET /api/v1/services lists what was")
    return service


@dataclass(frozen=True)
class SetMembers:
    """A set that was released, or of which the server has the release file, with all of its services."""

    name: str
    services: frozenset[str]
    released: bool


def members_of(desk: ServerContext, name: str) -> SetMembers:
    """Return the services of a set: those that its releases have brought, and those that the release file names."""
    brought = desk.stores.store().sets.services(name)
    found = set(brought)
    with suppress(Refused):  # it keeps nobody from what was released; a run that reads it checks the rights again
        if (file := desk.release_file(name)) is not None:
            found |= file[1].services.keys()
    return SetMembers(name, frozenset(found), bool(brought))


def _of_set(caller: Caller, role: Role, name: str, desk: ServerContext) -> SetMembers:
    """Let those through that may do with every service of a set what needs a role. Raise ApiError."""
    found = members_of(desk, name)
    if not caller.token.may(role):
        _allow(caller, role, None)
    for service in sorted(found.services):
        _allow(caller, role, service)
    if not found.services:
        raise missing(f"there is no set {name}", "GET /api/v1/sets lists those that were released")
    return found


def released(members: SetMembers) -> str:
    """Return the name of a set that was released. Raise ApiError for one that never was."""
    if not members.released:
        raise missing(f"the set {members.name} was never released", "`deploy release up` releases it")
    return members.name


def set_viewer(name: SetName, caller: By, desk: AtDesk) -> SetMembers:
    """Let those through that may see every service of the set."""
    return _of_set(caller, "viewer", name, desk)


def set_operator(name: SetName, caller: By, desk: AtDesk) -> SetMembers:
    """Let those through that may act on every service of the set."""
    return _of_set(caller, "operator", name, desk)


Viewer = Annotated[Caller, Depends(viewer)]
Operator = Annotated[Caller, Depends(operator)]
Admin = Annotated[Caller, Depends(admin)]
Overseer = Annotated[Caller, Depends(overseer)]
Auditor = Annotated[Caller, Depends(auditor)]
Seen = Annotated[Rollout, Depends(rollout_of)]
Known = Annotated[str, Depends(known)]
SeenSet = Annotated[SetMembers, Depends(set_viewer)]
OperatedSet = Annotated[SetMembers, Depends(set_operator)]
