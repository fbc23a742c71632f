"""`judge.metrics`: numbers from elsewhere, where they are read and what they are held against."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Literal

from pydantic import Field

from deployer.manifest.base import Conflict, Count, Model, Number, Switch
from deployer.manifest.placeholders import words_in
from deployer.manifest.text import (
    EnvName,
    FilePath,
    HeaderName,
    HeaderValue,
    HttpUrl,
    JsonPath,
    Text,
    Title,
)
from deployer.manifest.units import Ratio, Seconds, Wait

KNOWN = ("side", "colour", "release", "version", "service")  # what may stand in {braces}
_DIFFERS = frozenset(KNOWN) - {"service"}  # between the sides
_SOURCES = ("prometheus", "http", "command", "logs")
_PER = 60.0  # seconds
_STEP = 15.0  # seconds


class Auth(Model):
    """Authentication at a source: one of `bearer`, `user` with `password`, `header`. All values are secrets."""

    bearer: EnvName | None = Field(None, description="Secret sent as `Authorization: Bearer`.")
    user: Text | None = Field(None, description="Name for basic authentication; no secret.")
    password: EnvName | None = Field(None, description="Secret that is the password of `user`.")
    header: dict[HeaderName, EnvName] = Field(
        default_factory=dict, description="Headers whose values are secrets, e.g. {X-Api-Key: API_KEY}."
    )

    def conflicts(self) -> Iterator[Conflict]:
        """Yield the keys that do not go together."""
        kinds = ("bearer", "user", "header")
        given = [kind for kind in kinds if getattr(self, kind)]
        if self.password and not self.user:
            yield Conflict("password", "says nothing without `user`", "add e.g. user: deployer", ("user",))
        elif len(given) != 1:
            known = f"there are {' and '.join(given)}" if given else "nothing is named"
            yield Conflict("", known, f"choose one of {', '.join(kinds)}", kinds)
        if self.user and not self.password:
            yield Conflict("user", "says nothing without `password`", "add the name of a secret", ("password",))
        if ":" in (self.user or ""):
            yield Conflict("user", "has a colon in it", "basic authentication cannot send one", ("user",))

    def secrets(self) -> Iterator[tuple[str, str]]:
        """Yield each key that names a secret, with the name."""
        yield from ((key, name) for key in ("bearer", "password") if (name := getattr(self, key)))
        yield from ((f"header.{header}", name) for header, name in self.header.items())


class Metric(Model):
    """An external metric, read repeatedly while the candidate is watched, and its limits.

    It comes from one of `prometheus`, `http`, `command` and `logs`. In `query`, `http`, `value` and `command` these
    words are filled in: {side} (`stable` or `candidate`), {colour}, {release} (its number), {version}, {service}.
    """

    name: Title = Field(description="Display name.")
    prometheus: HttpUrl | None = Field(None, description="URL of a Prometheus, or of a compatible server.")
    query: str | None = Field(None, min_length=1, description="PromQL that returns one number; queried for each side.")
    candidate: str | None = Field(None, min_length=1, description="PromQL for the candidate, instead of `query`.")
    stable: str | None = Field(None, min_length=1, description="PromQL for stable, instead of `query`.")
    range: Seconds | None = Field(None, gt=0, description="Query a range of this length instead of the present value.")
    step: Seconds | None = Field(None, gt=0, description="Time between two values of the range; default 15s.")
    reduce: Literal["last", "mean", "max", "min"] | None = Field(
        None, description="How to combine the values of the range; default `mean`."
    )
    http: HttpUrl | None = Field(None, description="URL that returns JSON or a bare number.")
    header: dict[HeaderName, HeaderValue] = Field(default_factory=dict, description="Headers to send.")
    command: tuple[Text, ...] | None = Field(
        None, min_length=1, description="Command that prints JSON or a bare number, run in the folder of the manifest."
    )
    logs: str | None = Field(
        None,
        min_length=1,
        max_length=1000,
        description="Regular expression; the number of lines in which it is found, in the logs of all instances of the "
        "candidate together.",
    )
    per: Seconds | None = Field(None, gt=0, description="Time in which the lines of `logs` are counted; default 1m.")
    value: JsonPath | None = Field(None, description="JSON path of the number.")
    auth: Auth | None = Field(None, description="Authentication at the source.")
    ca: FilePath | None = Field(None, description="CA bundle (PEM) of an https source; default: the system's.")
    max: Number | None = Field(None, description="More than this is bad.")
    min: Number | None = Field(None, description="Less than this is bad.")
    margin: Ratio | None = Field(None, description="Candidate against stable; beyond it is bad.")
    add: Number | None = Field(None, ge=0, description="Difference from stable that is always tolerated.")
    better: Literal["lower", "higher"] = Field("lower", description="Which way is better, for `margin` and `add`.")
    interval: Wait = Field(15.0, gt=0, description="Time between two readings, and before the first one.")
    timeout: Wait = Field(5.0, gt=0, description="Time limit for one request to the source.")
    failures: Count = Field(2, ge=1, le=1000, description="Bad readings in a row that make the candidate worse.")
    readings: Count = Field(1, ge=1, le=1000, description="Good readings in a row that make it no worse.")
    must_have_data: Switch = Field(True, description="Continue only with data; a source that is down always waits.")
    dry_run: Switch = Field(False, description="Show the verdict, but do not act on it.")

    @property
    def source(self) -> Literal["prometheus", "http", "command", "logs"]:
        """What kind of source it is read from."""
        if self.prometheus:
            return "prometheus"
        if self.logs:
            return "logs"
        return "http" if self.http else "command"

    @property
    def counted(self) -> float:
        """Seconds in which lines of a log are counted."""
        return self.per or _PER

    @property
    def compares(self) -> bool:
        """Return whether stable's value matters."""
        return self.margin is not None or self.add is not None

    @property
    def absolute(self) -> bool:
        """Return whether it has a limit that holds without stable."""
        return self.max is not None or self.min is not None

    @property
    def resolution(self) -> float:
        """Seconds between two values of the range."""
        return self.step or _STEP

    def conflicts(self) -> Iterator[Conflict]:
        """Yield the keys that do not go together."""
        given = [kind for kind in _SOURCES if getattr(self, kind)]
        if len(given) != 1:
            known = f"it comes from {' and '.join(given)}" if given else "nothing says where it comes from"
            yield Conflict("", known, f"name exactly one of {', '.join(_SOURCES)}", _SOURCES)
            return
        yield from self._foreign(given[0])
        yield from self._query_conflicts()
        yield from self._placeholder_conflicts()
        yield from self._limit_conflicts()
        yield from self._log_conflicts()

    def _foreign(self, source: str) -> Iterator[Conflict]:
        homes = {
            **dict.fromkeys(("query", "candidate", "stable", "range", "step", "reduce"), ("prometheus",)),
            **dict.fromkeys(("auth", "ca"), ("prometheus", "http")),
            "header": ("prometheus", "http"),
            "value": ("http", "command"),
            "per": ("logs",),
        }
        for key, known in homes.items():
            if getattr(self, key) and source not in known:
                yield Conflict(key, f"{source} does not use it", f"it belongs to {' and '.join(known)}", (key, source))
        for key in ("step", "reduce"):
            if getattr(self, key) and not self.range:
                yield Conflict(key, "says nothing without `range`", "add e.g. range: 5m", ("range",))
        if self.ca and not (self.prometheus or self.http or "").startswith("https:"):
            yield Conflict("ca", "says nothing without https", "write https:// or remove it", ("ca", source))

    def _query_conflicts(self) -> Iterator[Conflict]:
        if not self.prometheus:
            return
        needs = ("query", "candidate", "stable")
        pair = [key for key in ("candidate", "stable") if getattr(self, key)]
        if self.query and pair:
            yield Conflict(pair[0], "there is `query` already", "choose `query`, or `candidate` and `stable`", needs)
        elif not self.query and not pair:
            yield Conflict("query", "is missing", 'e.g. rate(errors{side="{side}"}[1m])', needs)
        elif len(pair) == 1:
            other = "stable" if self.candidate else "candidate"
            yield Conflict(pair[0], f"says nothing without `{other}`", "or write one `query`", needs)
        elif pair and not self.compares:
            yield Conflict("stable", "nothing compares it", "add `margin` or `add`, or write one `query`", needs)
        if self.range and self.range / self.resolution > 11000:  # what Prometheus itself refuses
            asked = f"{self.range:g} s in steps of {self.resolution:g} s are more than 11000 values"
            yield Conflict("range", asked, "raise `step`", ("range", "step"))

    def _placeholder_conflicts(self) -> Iterator[Conflict]:
        # A command may have braces of its own: `awk {print}`.
        for key in ("prometheus", "query", "candidate", "stable", "http", "value"):
            for word in sorted(words_in(getattr(self, key)) - set(KNOWN)):
                known = ", ".join(f"{{{name}}}" for name in KNOWN)
                yield Conflict(key, f"{{{word}}} is not a known word", f"known are {known}", (key,))
        asked = words_in(self.query, self.prometheus, self.http, self.value, *(self.command or ()))
        if self.compares and not self.candidate and not self.logs and not asked & _DIFFERS:
            where = "query" if self.prometheus else self.source
            hint = "say {side} where the sides differ" + (", or write two queries" if self.prometheus else "")
            needs = (where, "prometheus", "value", "candidate")
            yield Conflict(where, "both sides would give the same value", hint, needs)

    def _log_conflicts(self) -> Iterator[Conflict]:
        if self.logs is None:
            return
        try:
            re.compile(self.logs)
        except (re.error, RecursionError, OverflowError) as error:
            yield Conflict("logs", f"is no regular expression: {error}", "e.g. ^ERROR|job failed", ("logs",))
        for key in ("margin", "add"):
            if getattr(self, key) is not None:
                why = "candidate and stable may have different numbers of instances: their lines are not compared"
                yield Conflict(key, why, "use `max`", (key, "logs"))

    def _limit_conflicts(self) -> Iterator[Conflict]:
        if not self.absolute and not self.compares:
            yield Conflict("", "it has no limit", "add max, min, margin or add", ("max", "min", "margin", "add"))
        if self.max is not None and self.min is not None and self.min > self.max:
            yield Conflict("min", f"is more than max, {self.max:g}", "raise max", ("min", "max"))
        if self.better == "higher" and not self.compares:
            yield Conflict("better", "says nothing without `margin` or `add`", "remove it", ("margin", "add"))
