"""Who signed an image: asked of cosign."""

from deployer.drivers.signatures.cosign import Cosign

__all__ = ["Cosign"]
