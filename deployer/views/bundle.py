"""Bundles for people."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime

from deployer.views.bundle_data import BundleView, SentView
from deployer.views.text import one_line, plural

Ink = Callable[[str, str], str]


def bundle(view: BundleView, now: float, ink: Ink) -> list[str]:  # noqa: ARG001 - the shape of all renderers
    """Write what a bundle is, a fact in a line."""
    state = ink("✓ intact", "green") if view.checked else "not checked: `deploy bundle verify`"
    out = [f"{ink(one_line(view.file), 'bold')}  {view.size:,} bytes, {state}"]
    out += [f"  {ink(f'{name:<9}', 'dim')} {one_line(value)}" for name, value in _facts(view) if value]
    out += [f"  {ink('note', 'yellow')}      {one_line(note)}" for note in view.notes]
    return out


def _facts(view: BundleView) -> Iterator[tuple[str, str]]:
    yield "service", f"{view.service} {view.version} (runtime {view.runtime})"
    if view.image:
        yield "image", f"{view.image} = {view.image_id}"
    yield "for", view.platform
    yield "commit", view.git
    when = f", {datetime.fromtimestamp(view.when, UTC):%Y-%m-%d %H:%M} UTC" if view.when else ""
    yield "from", f"{view.who}{when}".removeprefix(", ")
    yield "why", view.why
    left_out = f", {view.left_out} of them left out: an older bundle has them" if view.left_out else ""
    yield "parts", f"{view.parts}{left_out}"
    more = f" and {plural(len(view.files) - 8, 'other')}" if view.files[8:] else ""
    yield "files", ", ".join(view.files[:8]) + more
    yield "secrets", f"{', '.join(view.secrets)} (encrypted)" if view.secrets else ""
    for data in view.data:
        yield "data", f"{data.name}, {data.size:,} bytes, {data.digest}"
    unknown = "yes, by a key that was not checked" if view.signed else "no"
    yield "signed", f"by {view.signer}" if view.signer else unknown
    yield "digest", view.digest


def sent(view: SentView, now: float, ink: Ink) -> list[str]:  # noqa: ARG001 - the shape of all renderers
    """Write where a bundle is now, and what to do there."""
    return [
        f"{one_line(view.file)} is on {one_line(view.host)}: {view.sent:,} of {view.size:,} bytes were sent",
        f"{ink('next', 'dim')}: there, `deploy up --from {one_line(view.file)}`",
    ]
