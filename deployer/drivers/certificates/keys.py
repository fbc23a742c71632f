"""Keys, requests, placeholders, and what a certificate says of itself."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtensionOID, NameOID

from deployer.core.errors import Refused
from deployer.planning.certificates import CertificateFacts

PLACEHOLDER = "deployer placeholder"
PLACEHOLDER_DAYS = 3650  # it is no promise to anybody, and must not end before a certificate comes
SKEW = timedelta(hours=1)


def new_key() -> str:
    """Return a new private key, PEM: ECDSA on P-256, which every client of TLS 1.2 can verify."""
    return pem_of(ec.generate_private_key(ec.SECP256R1()))


def pem_of(key: ec.EllipticCurvePrivateKey) -> str:
    """Write a private key as PEM."""
    encoding, kind = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
    return key.private_bytes(encoding, kind, serialization.NoEncryption()).decode()


def traditional(pem: str) -> str:
    """Return a private key that `new_key` made in the older form of PEM, which other programs read."""
    encoding, kind = serialization.Encoding.PEM, serialization.PrivateFormat.TraditionalOpenSSL
    return key_of(pem).private_bytes(encoding, kind, serialization.NoEncryption()).decode()


def key_of(pem: str) -> ec.EllipticCurvePrivateKey:
    """Read a private key that `new_key` made. Raise Refused for another one."""
    key = serialization.load_pem_private_key(pem.encode(), None)
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise Refused("the key of the account is not one that deployer made", "restore it from a backup")
    return key


def request(domain: str, key: str) -> bytes:
    """Return the request (CSR, PEM) for a certificate of a domain."""
    made = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([]))
    named = made.add_extension(x509.SubjectAlternativeName([x509.DNSName(domain)]), critical=False)
    return named.sign(key_of(key), hashes.SHA256()).public_bytes(serialization.Encoding.PEM)


def placeholder(domain: str, now: float, days: float = PLACEHOLDER_DAYS) -> str:
    """Return a key and a certificate signed by itself, PEM, which a proxy can start with."""
    pem, issuer = new_key(), x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, PLACEHOLDER)])
    key, at = key_of(pem), datetime.fromtimestamp(now, UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(issuer)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(at - SKEW)
        .not_valid_after(at + timedelta(days=days))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(domain)]), critical=False)
        .sign(key, hashes.SHA256())
    )
    return pem + made.public_bytes(serialization.Encoding.PEM).decode()


def facts(pem: str) -> CertificateFacts:
    """Return what the first certificate of a PEM text says. Raise Refused when there is none that can be read."""
    certificate = _first(pem)
    try:
        found = certificate.extensions.get_extension_for_oid(ExtensionOID.SUBJECT_ALTERNATIVE_NAME).value
        names = tuple(found.get_values_for_type(x509.DNSName)) if isinstance(found, x509.SubjectAlternativeName) else ()
    except x509.ExtensionNotFound:
        names = ()
    return CertificateFacts(
        names,
        _common_name(certificate.issuer),
        f"{certificate.serial_number:x}",
        certificate.not_valid_before_utc.timestamp(),
        certificate.not_valid_after_utc.timestamp(),
    )


def renewal_id(pem: str) -> str:
    """Return how an authority names a certificate when asked about its renewal (RFC 9773, 4.1); "" where it cannot."""
    import base64

    certificate = _first(pem)
    try:
        found = certificate.extensions.get_extension_for_oid(ExtensionOID.AUTHORITY_KEY_IDENTIFIER).value
    except x509.ExtensionNotFound:
        return ""
    if not isinstance(found, x509.AuthorityKeyIdentifier) or found.key_identifier is None:
        return ""
    number = certificate.serial_number
    serial = number.to_bytes(number.bit_length() // 8 + 1)  # as DER has it: a leading zero keeps it positive
    parts = (found.key_identifier, serial)
    return ".".join(base64.urlsafe_b64encode(part).decode().rstrip("=") for part in parts)


def joined(certificate: str, key: str) -> str:
    """Return key and chain as one PEM text. Raise Refused when they do not belong together."""
    first = _first(certificate)
    try:
        private = serialization.load_pem_private_key(key.encode(), None)
    except TypeError:
        raise Refused("the key has a passphrase", "store it without one: openssl pkey -in KEY -out KEY") from None
    except (ValueError, UnsupportedAlgorithm) as error:
        raise Refused(f"the key cannot be read: {error}", "it must be PEM, with -----BEGIN PRIVATE KEY-----") from None
    spki = serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    if private.public_key().public_bytes(*spki) != first.public_key().public_bytes(*spki):
        raise Refused(
            "the key belongs to another certificate", "the server's own certificate must be the first of the file"
        )
    return key.strip() + "\n" + certificate.strip() + "\n"


def _first(pem: str) -> x509.Certificate:
    try:
        return x509.load_pem_x509_certificate(pem[max(0, pem.find("-----BEGIN CERTIFICATE-----")) :].encode())
    except ValueError as error:
        raise Refused(f"the certificate cannot be read: {error}", "it must be PEM") from None


def _common_name(name: x509.Name) -> str:
    found = name.get_attributes_for_oid(NameOID.COMMON_NAME) or name.get_attributes_for_oid(NameOID.ORGANIZATION_NAME)
    return str(found[0].value) if found else name.rfc4514_string()
