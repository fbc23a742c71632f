"""deployer: blue-green and canary deployments for plain machines."""

__version__ = "0.1.0"
