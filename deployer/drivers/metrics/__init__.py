"""Numbers from elsewhere: Prometheus, HTTP endpoints, commands."""

from deployer.drivers.metrics.sources import SourceMetrics

__all__ = ["SourceMetrics"]
