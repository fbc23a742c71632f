"""Engines behind TLS: who signs their certificates, and machines of the lab that listen so."""

from __future__ import annotations

import datetime
import ipaddress
import json
from dataclasses import replace
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from deployer.core.host import Host
from tests.lab.machines import Machine

PORT = 2376
DAY = datetime.timedelta(days=1)


class Authority:
    """Signs certificates of engines and of who deploys; `folder` is what the deployer is given."""

    def __init__(self, folder: Path, days: float = 365) -> None:
        folder.mkdir(parents=True)
        self.folder = folder
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, f"authority of {folder.name}")])
        self.ca = self._signed(self._name, self._key, 365, None)
        (folder / "ca.pem").write_bytes(self.ca)
        cert, key = self.made("deployer", days)
        (folder / "cert.pem").write_bytes(cert)
        (folder / "key.pem").write_bytes(key)
        (folder / "key.pem").chmod(0o600)

    def made(self, name: str, days: float = 365, address: str = "") -> tuple[bytes, bytes]:
        """Return a certificate, of an engine where there is an address, and its key."""
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
        secret = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        return self._signed(subject, key, days, address), secret

    def _signed(self, subject: x509.Name, key: ec.EllipticCurvePrivateKey, days: float, address: str | None) -> bytes:
        now = datetime.datetime.now(datetime.UTC)
        made = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self._name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - 30 * DAY)
            .not_valid_after(now + days * DAY)
            .add_extension(x509.BasicConstraints(ca=address is None, path_length=None), critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key()), critical=False)
        )
        if address:
            alternative = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address(address))])
            made = made.add_extension(alternative, critical=False)
        return made.sign(self._key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)

    def guard(self, machine: Machine, address: str = "", days: float = 365) -> None:
        """Let the engine of a machine listen for whom we signed; its own certificate is for `address`, else right."""
        cert, key = self.made(machine.name, days, address or machine.address)
        folder = machine.root / "etc/docker"
        for name, content in (("ca.pem", self.ca), ("cert.pem", cert), ("key.pem", key)):
            (folder / name).write_bytes(content)
        (folder / "key.pem").chmod(0o600)
        settings = json.loads((folder / "daemon.json").read_text())
        settings |= {"tlsverify": True, "tlscacert": "/etc/docker/ca.pem"}
        settings |= {"tlscert": "/etc/docker/cert.pem", "tlskey": "/etc/docker/key.pem"}
        (folder / "daemon.json").write_text(json.dumps(settings))
        (machine.root / "etc/default").mkdir(exist_ok=True)
        (machine.root / "etc/default/docker").write_text(f'DOCKER_OPTS="-H tcp://{machine.address}:{PORT}"\n')
        machine.run("systemctl", "restart", "docker")
        machine.wait()

    def direct(self, host: Host) -> Host:
        """Return a machine as it is reached by TLS."""
        return replace(host, engine=f"tcp://{host.address}:{PORT}", engine_certs=str(self.folder))
