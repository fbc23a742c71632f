"""The nouns of a rollout: frozen data, no I/O."""

from typing import TYPE_CHECKING

from deployer.core import later
from deployer.core.secret import SecretText
from deployer.model.guests import GuestTerms
from deployer.model.instance import (
    MOST_INSTANCES,
    Environment,
    Instance,
    InstanceSpec,
    indices,
    join,
    numbers_of,
    release_of,
    spread,
)
from deployer.model.load import InstanceLoad, Load
from deployer.model.observed import Observed
from deployer.model.places import COLOURS, FULL, PLACES, Colour, Outcome, Phase, Place, other
from deployer.model.release import Release, Signature, newest_good, read_hosts
from deployer.model.traffic import (
    CLOCKS,
    DIFFERS,
    INITIAL,
    Live,
    LostProxy,
    MeasuredTraffic,
    Server,
    moved_at_proxy,
    taken_back,
)

if TYPE_CHECKING:
    from deployer.model.samples import (
        LATENCY_BOUNDS,
        OCTAVES,
        PER_OCTAVE,
        Arrived,
        Coins,
        Counts,
        Sample,
        Waiting,
        latency_bucket,
        merged,
    )

__all__ = [
    "CLOCKS",
    "COLOURS",
    "DIFFERS",
    "FULL",
    "INITIAL",
    "LATENCY_BOUNDS",
    "MOST_INSTANCES",
    "OCTAVES",
    "PER_OCTAVE",
    "PLACES",
    "Arrived",
    "Coins",
    "Colour",
    "Counts",
    "Environment",
    "GuestTerms",
    "Instance",
    "InstanceLoad",
    "InstanceSpec",
    "Live",
    "Load",
    "LostProxy",
    "MeasuredTraffic",
    "Observed",
    "Outcome",
    "Phase",
    "Place",
    "Release",
    "Sample",
    "SecretText",
    "Server",
    "Signature",
    "Waiting",
    "indices",
    "join",
    "latency_bucket",
    "merged",
    "moved_at_proxy",
    "newest_good",
    "numbers_of",
    "other",
    "read_hosts",
    "release_of",
    "spread",
    "taken_back",
]

# What the judge reads: no question about what is live needs it, and no rollback.
_SAMPLES = ("LATENCY_BOUNDS", "OCTAVES", "PER_OCTAVE", "Arrived", "Coins", "Counts", "Sample", "Waiting")

__getattr__ = later.names(__name__, dict.fromkeys((*_SAMPLES, "latency_bucket", "merged"), f"{__name__}.samples"))
