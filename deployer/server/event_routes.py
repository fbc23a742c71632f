"""Routes that stream events, as server-sent events (https://html.spec.whatwg.org/multipage/server-sent-events.html).

The id of an event is its place in the store: a client that comes again with `Last-Event-ID` misses nothing and sees
nothing twice. Samples are passing: they have no id, and whoever was away gets the newest one.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Annotated, Any

from fastapi import APIRouter, Header, Query, Response
from fastapi.responses import StreamingResponse

from deployer.core.clock import Deadline
from deployer.core.errors import DeployError
from deployer.core.events import Event
from deployer.core.secret import hide
from deployer.server.context import ServerContext
from deployer.server.guard import Caller
from deployer.server.rights import AtDesk, By, Seen, SeenSet, Service, Viewer

ALIVE_SECONDS = 10.0  # between two signs of life, at which the token is looked at again
RETRY_MS = 1000  # after which a client comes again
MOST_ID = 2**63 - 1

After = Annotated[int | None, Query(ge=0, le=MOST_ID, description="Only events after this id.")]
Last = Annotated[int | None, Header(alias="Last-Event-ID", ge=0, le=MOST_ID, description="As `after`; it wins.")]
_STREAM: dict[int | str, dict[str, Any]] = {
    200: {"content": {"text/event-stream": {}}, "description": "Events, until the client leaves or the rollout ends."}
}
router = APIRouter(tags=["look"])


@router.get("/services/{service}/events", response_class=StreamingResponse, responses=_STREAM)
async def of_service(
    desk: AtDesk, caller: Viewer, service: Service, after: After = None, last: Last = None
) -> StreamingResponse:
    """Stream the events of a service (also of one that is yet to come): after an id, or from now on."""
    return await _of(desk, caller, frozenset({service}), last if last is not None else after)


@router.get("/sets/{set}/events", response_class=StreamingResponse, responses=_STREAM)
async def of_set(
    desk: AtDesk, caller: By, members: SeenSet, after: After = None, last: Last = None
) -> StreamingResponse:
    """Stream the events of all services of a set: after an id, or from now on."""
    return await _of(desk, caller, members.services, last if last is not None else after)


async def _of(desk: ServerContext, caller: Caller, services: frozenset[str], after: int | None) -> StreamingResponse:
    since = after if after is not None else await desk.hub.last()
    stream = _stream(_StreamClient(desk, caller, services, 0).events(since))
    stream.headers["last-event-id"] = str(since)  # whoever loses it before the first event misses nothing either
    return stream


@router.get(
    "/rollouts/{number}/events",
    response_class=StreamingResponse,
    responses={**_STREAM, 204: {"description": "The rollout has ended, and all of it was seen: do not come again."}},
)
async def of_rollout(desk: AtDesk, caller: By, rollout: Seen, after: After = None, last: Last = None) -> Response:
    """Stream the events of a rollout from its beginning, or after an id, until it has ended."""
    asked = last if last is not None else after
    if not rollout.open and not await _events(desk, rollout.number, asked or 0):
        return Response(status_code=204)
    return _stream(_StreamClient(desk, caller, frozenset({rollout.service}), rollout.number).of_rollout(asked or 0))


async def _events(desk: ServerContext, rollout: int, after: int) -> tuple[Event, ...]:
    return await asyncio.to_thread(lambda: desk.stores.store().events.of(rollout, after))


def _stream(lines: AsyncIterator[str]) -> StreamingResponse:
    headers = {"x-accel-buffering": "no"}  # a proxy in front must not collect it
    return StreamingResponse(lines, media_type="text/event-stream", headers=headers)


class _StreamClient:
    """One client that listens to services, or to one of their rollouts."""

    def __init__(self, desk: ServerContext, caller: Caller, services: frozenset[str], rollout: int) -> None:
        self._desk, self._caller, self._services, self._rollout = desk, caller, services, rollout
        self._sampled: dict[int, float] = {}
        self._sent = 0  # id of the last event that the client got
        self._look = Deadline.after(desk.clock, ALIVE_SECONDS)

    async def of_rollout(self, after: int) -> AsyncIterator[str]:
        """Yield the events of the rollout up to its end."""
        newest = await self._desk.hub.last()
        past = await _events(self._desk, self._rollout, after)
        self._sent = past[-1].id if past else min(after, newest)
        yield f"retry: {RETRY_MS}\n\n{_written(past)}"
        if await self._ended():
            return
        async for text in self.events(newest, greeted=True):
            yield text

    async def events(self, after: int, *, greeted: bool = False) -> AsyncIterator[str]:
        """Yield events as they come."""
        if not greeted:
            yield f"retry: {RETRY_MS}\n\n"
        try:
            async for fresh, samples in self._desk.hub.follow(after, ALIVE_SECONDS):
                mine = [event for event in fresh if self._is_mine(event) and event.id > self._sent]
                self._sent = max([self._sent, *(event.id for event in mine)])
                if text := _written([*mine, *self._newer(samples)]):
                    yield text
                if self._rollout and any(event.kind == "rollout.ended" for event in mine):
                    return
                if self._look.passed():
                    if not self._desk.stands(self._caller):
                        return
                    if await self._ended():  # what is left of it; its process may have died before its last event
                        yield _written(await _events(self._desk, self._rollout, self._sent))
                        return
                    self._look = Deadline.after(self._desk.clock, ALIVE_SECONDS)
                    yield ": alive\n\n"
        except DeployError as error:
            yield f": {hide(error.message)}\n\n"  # the client comes again

    def _is_mine(self, event: Event) -> bool:
        return event.rollout == self._rollout if self._rollout else event.service in self._services

    def _newer(self, samples: Mapping[int, Event]) -> list[Event]:
        fresh = [
            sample
            for sample in samples.values()
            if self._is_mine(sample) and sample.at > self._sampled.get(sample.rollout, 0.0)
        ]
        self._sampled |= {sample.rollout: sample.at for sample in fresh}
        return fresh

    async def _ended(self) -> bool:
        if not self._rollout:
            return False
        return not (await asyncio.to_thread(self._desk.stores.store().rollouts.get, self._rollout)).open


def _written(events: Sequence[Event]) -> str:
    return "".join(
        f"{f'id: {event.id}' + chr(10) if event.id else ''}event: {event.kind}\ndata: {json.dumps(event.to_dict())}\n\n"
        for event in events
    )
