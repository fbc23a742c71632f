"""What the engine asks of the world: the Protocols that drivers implement.

Every call that waits for something takes a `Deadline`; one without it only asks, and has its answer or fails within
`READ_SECONDS`. A driver raises DriverFailed (or DeadlinePassed) and nothing else for trouble outside; a call that
returned without an error has been read back.
"""

from typing import TYPE_CHECKING

from deployer.core import later

if TYPE_CHECKING:
    from deployer.drivers.ports.certificates import CertificateProxy, ShownCertificates
    from deployer.drivers.ports.checks import Checks, MetricSide, MetricSources
    from deployer.drivers.ports.data import SavedData, ServiceData
    from deployer.drivers.ports.drivers import Drivers, EngineDrivers
    from deployer.drivers.ports.images import PIN, Builder, Image, ImageFiles, SavedImage, SavedLayer, Signatures
    from deployer.drivers.ports.notifier import Notifier
    from deployer.drivers.ports.playbooks import Playbooks, Verbs
    from deployer.drivers.ports.runtime import Found, Running, Runtime, RuntimeCare, standing
    from deployer.drivers.ports.traffic import (
        NOTHING,
        Drift,
        Samples,
        Traffic,
        TrafficInspection,
        TrafficLayer,
        TrafficUpkeep,
        live_file,
    )

READ_SECONDS = 20.0  # for a call without a deadline of its own
ELECTION_SECONDS = 30.0  # managers of what moves instances that lost their leader have another one after 10 to 20

__all__ = [
    "ELECTION_SECONDS",
    "NOTHING",
    "PIN",
    "READ_SECONDS",
    "Builder",
    "CertificateProxy",
    "Checks",
    "Drift",
    "Drivers",
    "EngineDrivers",
    "Found",
    "Image",
    "ImageFiles",
    "MetricSide",
    "MetricSources",
    "Notifier",
    "Playbooks",
    "Running",
    "Runtime",
    "RuntimeCare",
    "Samples",
    "SavedData",
    "SavedImage",
    "SavedLayer",
    "ServiceData",
    "ShownCertificates",
    "Signatures",
    "Traffic",
    "TrafficInspection",
    "TrafficLayer",
    "TrafficUpkeep",
    "Verbs",
    "live_file",
    "standing",
]

_IN = {
    "certificates": ("CertificateProxy", "ShownCertificates"),
    "checks": ("Checks", "MetricSide", "MetricSources"),
    "data": ("SavedData", "ServiceData"),
    "drivers": ("Drivers", "EngineDrivers"),
    "images": ("PIN", "Builder", "Image", "ImageFiles", "SavedImage", "SavedLayer", "Signatures"),
    "notifier": ("Notifier",),
    "playbooks": ("Playbooks", "Verbs"),
    "runtime": ("Found", "Running", "Runtime", "RuntimeCare", "standing"),
    "traffic": (
        "NOTHING",
        "Drift",
        "Samples",
        "Traffic",
        "TrafficInspection",
        "TrafficLayer",
        "TrafficUpkeep",
        "live_file",
    ),
}

__getattr__ = later.names(__name__, {name: f"{__name__}.{module}" for module, names in _IN.items() for name in names})
