"""The section `judge`: when a candidate counts as worse."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Literal

from pydantic import ConfigDict, Field

from deployer.manifest.base import Conflict, Count, Model, Number, Switchable, twice
from deployer.manifest.metrics import Metric
from deployer.manifest.text import Quantile
from deployer.manifest.units import Percent, Ratio, Seconds, Wait


class ErrorLimits(Model):
    """What counts as worse in errors (HTTP 5xx and failed connections)."""

    margin: Ratio = Field(1.5, description="Candidate against stable.")
    add: Percent = Field(0.001, description="Absolute difference that is always tolerated.")
    max: Percent = Field(
        0.1, description="Absolute limit: worse with all users on it; while more fails on all sides, no share grows."
    )


class WarmupSettings(Model):
    """What is tolerated of a cold start: latency is not compared until one of these is over. Errors always are."""

    requests: Count = Field(200, ge=0, description="Responses of the candidate.")
    seconds: Seconds = Field(60.0, alias="for", description="Time since its first response.")

    model_config = ConfigDict(populate_by_name=True, serialize_by_alias=True)


class LatencyLimits(Model):
    """What counts as worse in latency; successful responses are timed up to their headers."""

    margin: Ratio = Field(1.25, description="Candidate against stable, at each quantile.")
    add: Wait = Field(0.005, description="Difference that is always tolerated.")
    quantiles: tuple[Quantile, ...] = Field(
        ("p50", "p99"),
        max_length=4,
        description="Quantiles that must be proven no worse before the share grows, e.g. p99.9.",
    )
    warmup: WarmupSettings = Field(WarmupSettings(), description="What is tolerated of a cold start.")

    def conflicts(self) -> Iterator[Conflict]:
        """Yield the keys that do not go together."""
        return twice(self.quantiles, "quantiles")


class ResponseLimits(Model):
    """What counts as worse in responses that are no errors: by status (3xx, 4xx), empty, much smaller, cut short."""

    margin: Ratio = Field(2.0, description="Candidate's part of each kind against stable's.")
    add: Percent = Field(0.05, description="Absolute difference that is always tolerated.")


class Judge(Model):
    """When the candidate counts as worse, and how much evidence a verdict needs."""

    errors: ErrorLimits = Field(ErrorLimits(), description="Limits for errors.")
    latency: Annotated[LatencyLimits | None, Switchable()] = Field(
        LatencyLimits(), description="Limits for latency; `false` ignores it."
    )
    responses: Annotated[ResponseLimits | None, Switchable()] = Field(
        ResponseLimits(), description="Limits for the mix of responses; `false` ignores it."
    )
    requests: Count = Field(
        20,
        ge=0,
        description="Responses of the candidate that a step needs when its time is over; "
        "with fewer it is `inconclusive`.",
    )
    proof: Literal["optional", "required"] = Field(
        "optional",
        description="`optional`: a canary step without `for` also ends when its time (`within`) is over and no "
        "regression was found. `required`: it ends only when the candidate is proven no worse.",
    )
    beta: Number = Field(
        0.05, gt=0, lt=0.5, description="Probability that a release beyond a margin is called no worse."
    )
    alpha: Number = Field(
        0.01, gt=0, lt=0.5, description="Probability that a release as good as stable is rolled back."
    )
    metrics: tuple[Metric, ...] = Field(
        (),
        max_length=20,
        description="External metrics that are compared with limits while users are on the candidate.",
    )
    undecided: Literal["hold", "revert", "proceed"] = Field(
        "revert", description="What to do when a step is inconclusive: `hold` pauses, `revert` rolls back."
    )

    def conflicts(self) -> Iterator[Conflict]:
        """Yield the keys that do not go together."""
        return twice((metric.name for metric in self.metrics), "metrics")
