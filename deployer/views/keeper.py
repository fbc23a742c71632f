"""What the keeper did and does, and how many instances somebody wants, in lines."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from deployer.views.text import ago, duration, moment, one_line, plural, release

if TYPE_CHECKING:
    from deployer.views.data import ScaleView
    from deployer.views.status_data import KeeperView, SizeView
    from deployer.views.status_parts import LoadView

Ink = Callable[[str, str], str]


def lines(size: SizeView | None, keeper: KeeperView | None, now: float, ink: Ink) -> list[str]:
    """Write the size where it is not the manifest's number, and what the keeper did last and does next."""
    out = []
    if size is not None and (size.by or size.scale):
        out.append(f"{ink('size', 'dim')}: {wanted(size)}")
    if size is not None and size.scale and not size.asleep:
        out.append(f"{ink('load', 'dim')}: {load(size.scale)}")
        if size.scale.usual:
            out.append(f"{ink('usual', 'dim')}: {usual(size.scale)}")
    if size is not None and size.scale and size.scale.learns:
        out.append(f"{ink('concurrency', 'dim')}: {concurrency(size.scale)}")
    if keeper is not None and keeper.last:
        out.append(f"{ink('keeper', 'dim')}: {ago(max(0.0, now - keeper.last_at))}: {one_line(keeper.last)}")
    if keeper is not None and keeper.next and (keeper.runs or keeper.next_at <= now):
        out.append(f"{ink('keeper', 'dim')}: {following(keeper, now)}")
    return out


def scale(view: ScaleView, now: float, ink: Ink) -> list[str]:
    """Write how many instances run and are wanted, why, and what the keeper did and does."""
    out = [ink(view.service, "bold")]
    if (size := view.size) is None:
        out[0] += "  no release is live"
    else:
        out[0] += f"  {release(size.release, size.version)} has {size.instances} of {plural(size.wanted, 'instance')}"
        if not (size.by or size.scale):
            out.append(f"{ink('size', 'dim')}: {wanted(size)}")
        out += lines(size, view.keeper, now, ink)
    return [*out, *(f"{ink('problem', 'red')}: {one_line(problem)}" for problem in view.problems)]


def wanted(size: SizeView) -> str:
    """Return how many instances are wanted, and why."""
    if size.asleep:
        kept = " (paused: it keeps its memory)" if size.paused else ""
        return f"asleep since {moment(size.asleep)}{kept}, wakes with the next request"
    each = " on each host" if size.hosts > 1 else ""
    count = f"{plural(size.replicas, 'instance')}{each}"
    follows = size.scale
    if not size.by and follows:
        why = f": {one_line(follows.why)}" if follows.why else ""
        return f"{plural(size.wanted, 'instance')} of {follows.least} to {follows.most}, as the load needs{why}"
    if not size.by:
        return f"{count}, as the manifest says"
    why = f" ({one_line(size.reason)})" if size.reason else ""
    until = f", until {moment(size.until)}" if size.until else ""
    manifest = f"{follows.least} to {follows.most}" if follows else f"{size.manifest}"
    return f"{count}, as {one_line(size.by)} wants{why}{until}; the manifest says {manifest}"


def load(view: LoadView) -> str:
    """Return how many requests there are now, and what there is room for."""
    waiting = f", and {view.waiting} {'wait' if view.waiting != 1 else 'waits'}" if view.waiting else ""
    return f"{plural(view.running, 'request')} at once{waiting}; at most {view.concurrency} for each instance"


def usual(view: LoadView) -> str:
    """Return how many requests are usual soon, and what is there for them."""
    return f"{one_line(view.usual)}, so at least {plural(view.usual_size, 'instance')}"


def concurrency(view: LoadView) -> str:
    """Return how many requests at once an instance gets, and from what that was learned."""
    text = f"{view.concurrency} for each instance"
    if not view.learned_at:
        return f"{text}, until something is learned"
    return f"{text}, since {moment(view.learned_at)}: {one_line(view.learned)}"


def following(keeper: KeeperView, now: float) -> str:
    """Return what the keeper does next, and when; or that there is none."""
    text = one_line(keeper.next)
    if not keeper.runs:
        return f"none runs (`deploy serve` or `deploy keep`); it would see to this: {text}"
    left = keeper.next_at - now
    return f"next, in {duration(left)}: {text}" if left > 0 else f"next: {text}"
