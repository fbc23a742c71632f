"""Values of the command line that go further: numbers that the store can hold, sentences that can be shown."""

from __future__ import annotations

import re
from typing import Any

import click

from deployer.core.limits import REASON


class WholeNumber(click.IntRange):
    """A whole number with limits; what is none is refused in words."""

    name = "number"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return the number. Raise BadParameter."""
        try:
            return super().convert(value, param, ctx)
        except click.BadParameter:
            self.fail(f"must be a whole number {self._describe_range()}, not {value}", param, ctx)

    def _describe_range(self) -> str:
        return f"from {self.min}" if self.max == MOST else f"from {self.min} to {self.max}"


class DecimalNumber(click.FloatRange):
    """A number with limits; what is none is refused in words."""

    name = "number"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return the number. Raise BadParameter."""
        try:
            return super().convert(value, param, ctx)
        except click.BadParameter:
            self.fail(f"must be a number {self._describe_range()}, not {value}", param, ctx)

    def _describe_range(self) -> str:
        return f"{'above' if self.min_open else 'from'} {self.min:g} to {self.max:g}"


MOST = 2**31 - 1  # what the store can hold
NUMBER = WholeNumber(1, MOST)  # of a release or a rollout
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff]")


def sentence(_ctx: click.Context, _param: click.Parameter, text: str) -> str:
    """Return a reason as it is kept. Raises BadParameter for one that is too long or would steer a terminal."""
    if len(text) > REASON:
        raise click.BadParameter(f"it has {len(text)} characters, {REASON} are the most")
    if _CONTROL.search(text):
        raise click.BadParameter(f"{text[:60]!a} contains control characters")
    return text


def duration(text: str) -> float:
    """Return a time as the manifest has it, in seconds. Raise BadParameter."""
    from deployer.manifest.units import LONGEST, seconds

    try:
        given = seconds(text)
    except ValueError as error:
        raise click.BadParameter(str(error)) from None
    if not 1 <= given <= LONGEST:
        raise click.BadParameter(f"must be from 1s to 100y, not {text}")
    return given


def request_rate(_ctx: click.Context | None, _param: click.Parameter | None, text: str | None) -> str:
    """Return how often requests come as it was written, "" for not known. Raise BadParameter."""
    from deployer.manifest.units import per_second

    text = (text or "").strip()
    try:
        if text:
            per_second(text)
    except ValueError as error:
        raise click.BadParameter(str(error)) from None
    return text
