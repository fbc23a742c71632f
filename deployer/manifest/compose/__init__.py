"""From a Compose file to manifests: what is taken over, what stays with Compose, and what has no counterpart."""

from deployer.manifest.compose.migration import Migration, migrate

__all__ = ["Migration", "migrate"]
