"""A pattern in the logs of instances as a source of numbers: how many lines of late it is found in."""

from __future__ import annotations

import re

from deployer.core.clock import Deadline
from deployer.drivers.ports import MetricSide, Runtime
from deployer.manifest.metrics import Metric


def read(metric: Metric, side: MetricSide, runtime: Runtime, deadline: Deadline) -> float | None:
    """Return how many lines match, of all instances of a side together; None when it has none. Raise DriverFailed."""
    pattern = re.compile(metric.logs or "")
    instances = [i for i in runtime.instances(side.service) if i.release == side.release]
    if not instances:
        return None
    return float(sum(runtime.count_lines(i, pattern, metric.counted, deadline) for i in instances))
