"""The route by which forges say that something was pushed. No token opens it: each webhook proves itself."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Path, Request

from deployer.core.limits import SERVICE
from deployer.server.messages import ApiError, HookAnswer, ProblemAnswer
from deployer.server.request_scope import HOOKS, PREFIX, client, refused
from deployer.server.rights import AtDesk

Name = Annotated[str, Path(pattern=f"^{SERVICE}$", description="The name of what is followed.")]
responses: dict[int | str, dict[str, Any]] = {
    401: {"model": ProblemAnswer, "description": "It does not prove who sent it."}
}
router = APIRouter(tags=["hooks"], responses=responses)


@router.post(f"{HOOKS.removeprefix(PREFIX)}{{name}}", status_code=202)
async def hook(desk: AtDesk, name: Name, request: Request) -> HookAnswer:
    """Check a branch at once, triggered by a Git host; signed as GitHub, GitLab or deployer does it."""
    found = desk.hooks.hook(name) if desk.hooks else None
    why = found.problem(request.headers, await request.body()) if found else "there is no such webhook"
    if why or desk.hooks is None:
        refused(request.scope)
        address = client(request.scope)
        desk.log.say("hook.refused", f"webhook {name} from {address}: {why}", name=name, address=address, why=why)
        problem = ProblemAnswer(
            message="this webhook does not prove who sent it", hint="the server's log says what is wrong"
        )
        raise ApiError(401, problem, WWW_Authenticate="Signature")
    desk.hooks.poke(name)
    return HookAnswer(looks=name)
