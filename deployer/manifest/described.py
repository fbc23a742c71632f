"""A manifest as those see it who compare keys of different sections: the model itself is above them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from deployer.manifest.judge import Judge
    from deployer.manifest.scale import ScaleSettings
    from deployer.manifest.sections import Health, Limits, Log, Mount, StopSettings
    from deployer.manifest.traffic import TrafficSettings


class Described(Protocol):
    """The keys of a manifest that go, or do not go, with its runtime or with `scale`."""

    @property
    def runtime(self) -> str: ...  # noqa: D102 - as the manifest has it
    @property
    def verbs(self) -> str | None: ...  # noqa: D102 - as the manifest has it
    @property
    def command(self) -> tuple[str, ...] | None: ...  # noqa: D102 - as the manifest has it
    @property
    def env(self) -> Mapping[str, str]: ...  # noqa: D102 - as the manifest has it
    @property
    def port(self) -> int | None: ...  # noqa: D102 - as the manifest has it
    @property
    def replicas(self) -> int: ...  # noqa: D102 - as the manifest has it
    @property
    def single(self) -> bool: ...  # noqa: D102 - as the manifest has it
    @property
    def hosts(self) -> str: ...  # noqa: D102 - as the manifest has it
    @property
    def strategy_name(self) -> str: ...  # noqa: D102 - as the manifest has it
    @property
    def mounts(self) -> tuple[Mount, ...]: ...  # noqa: D102 - as the manifest has it
    @property
    def limits(self) -> Limits: ...  # noqa: D102 - as the manifest has it
    @property
    def log(self) -> Log: ...  # noqa: D102 - as the manifest has it
    @property
    def health(self) -> Health: ...  # noqa: D102 - as the manifest has it
    @property
    def judge(self) -> Judge: ...  # noqa: D102 - as the manifest has it
    @property
    def scale(self) -> ScaleSettings | None: ...  # noqa: D102 - as the manifest has it
    @property
    def stop(self) -> StopSettings: ...  # noqa: D102 - as the manifest has it
    @property
    def traffic(self) -> TrafficSettings: ...  # noqa: D102 - as the manifest has it
