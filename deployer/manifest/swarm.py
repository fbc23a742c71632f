"""The section `swarm`: where the Swarm may place instances, and what it keeps free for each."""

from __future__ import annotations

from pydantic import Field

from deployer.manifest.base import Model, Number
from deployer.manifest.text import Text
from deployer.manifest.units import Bytes


class Reserved(Model):
    """What a node must have free for an instance."""

    cpus: Number | None = Field(None, ge=0.01, le=10_000, description="Processors, in parts too: 0.5 is half of one.")
    memory: Bytes | None = Field(None, ge=6 * 1024**2, description="Memory.")


class SwarmSettings(Model):
    """What the Swarm is told about placing instances (runtime swarm)."""

    constraints: tuple[Text, ...] = Field(
        (),
        description="Constraints of the Swarm that a node must meet, all of them, e.g. `node.labels.disk==ssd`.",
        examples=[["node.labels.disk==ssd"]],
    )
    reserve: Reserved = Field(Reserved(), description="What a node must have free for each instance.")
