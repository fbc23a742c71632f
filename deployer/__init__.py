"""deployer: blue-green and canary deployments for plain hosts."""

__version__ = "0.1.0"
