"""`traffic.tls`: TLS at the proxy, with certificates of the user or with those that deployer obtains."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any

from pydantic import Field, GetJsonSchemaHandler, model_validator
from pydantic_core import CoreSchema

from deployer.manifest.base import Conflict, Model, Switch, Switchable
from deployer.manifest.text import Email, FilePath, HttpUrl, LegoProvider, Listen, Text
from deployer.manifest.units import Seconds, Wait

LETS_ENCRYPT = "https://acme-v02.api.letsencrypt.org/directory"
LEGO_SECONDS = 900.0  # some providers take ten minutes until all their name servers have a record

_WAYS = ("run", "lego", "persist")


class DnsChallenge(Model):
    """Proves a domain by a TXT record; needed for wildcards, and where port 80 cannot be reached.

    Set by a program (`run`), by `lego` at a DNS provider, or once by a person (`persist`).
    """

    run: tuple[Text, ...] | None = Field(
        None,
        min_length=1,
        description="Program on this host, without a shell, called with `present NAME VALUE` and later with "
        "`cleanup NAME VALUE`: it sets and removes the TXT record NAME (DNS-01).",
    )
    lego: LegoProvider | None = Field(
        None,
        description="DNS provider, as `lego dnshelp` names it. The program `lego` (4) on this host sets the record and "
        "orders the certificate (DNS-01).",
    )
    persist: Switch = Field(
        False,
        description="The record `_validation-persist.DOMAIN` is there for good, set once by a person (dns-persist-01, "
        "a draft that few authorities offer). A failed order names the record.",
    )
    env_file: FilePath | None = Field(
        None,
        description="File with variables for `run` or `lego`, such as the token of the provider; an absolute path on "
        "this host, read at each order.",
    )
    wait: Wait = Field(
        30.0, description="For `run`: time after `present` until all name servers of the domain have the record."
    )
    check: Switch = Field(
        True,
        description="For `lego`: wait until the name servers of the domain have the record; `false` where this host "
        "cannot ask them.",
    )

    @property
    def longest(self) -> float:
        """Seconds that the record may add to an order."""
        return LEGO_SECONDS if self.lego else self.wait if self.run else 0.0

    def conflicts(self) -> Iterator[Conflict]:
        """Yield the keys that do not go together."""
        ways = [key for key in _WAYS if getattr(self, key)]
        if len(ways) != 1:
            known = f"has {' and '.join(ways) or 'none'} of {', '.join(_WAYS)}"
            yield Conflict("", known, f"name exactly one of {', '.join(_WAYS)}", _WAYS)
        if self.run and "/" in self.run[0] and not self.run[0].startswith("/"):
            why = f"{self.run[0]} is not absolute, and renewals do not run in the folder of the manifest"
            yield Conflict("run[0]", why, "e.g. /usr/local/bin/dns-record, or a program on PATH", ("run",))
        if self.env_file and not self.env_file.startswith("/"):
            why = f"{self.env_file} is not absolute, and renewals do not run in the folder of the manifest"
            yield Conflict("env_file", why, "e.g. /etc/deployer/dns.env", ("env_file",))
        for key, of in (("env_file", ("run", "lego")), ("wait", ("run",)), ("check", ("lego",))):
            changed = getattr(self, key) != type(self).model_fields[key].default
            if changed and ways and not set(of) & set(ways):
                yield Conflict(key, f"means nothing with `{ways[0]}`", "remove it", (key, ways[0]))


class AutoTls(Model):
    """Certificates from an ACME authority such as Let's Encrypt, one for each of `domains`, renewed in time."""

    email: Email | None = Field(None, description="Address that the authority may write to.")
    directory: HttpUrl = Field(LETS_ENCRYPT, description="The ACME directory of the authority.")
    ca: FilePath | None = Field(
        None, description="PEM file that verifies the authority's own HTTPS; for a private one, an absolute path."
    )
    probe: Switch = Field(
        True,
        description="Request each domain over HTTP before the authority does, so that one that points elsewhere costs "
        "no failed order; `false` where this host cannot resolve or reach its own domains.",
    )
    dns: DnsChallenge | None = Field(None, description="Prove the domains by DNS instead of HTTP.")

    def conflicts(self) -> Iterator[Conflict]:
        """Yield the keys that do not go together."""
        if not self.directory.startswith("https://"):
            yield Conflict("directory", "ACME is spoken over HTTPS only", f"e.g. {LETS_ENCRYPT}", ("directory",))
        if self.ca and not self.ca.startswith("/"):
            yield Conflict("ca", f"{self.ca} is not absolute", "e.g. /etc/ssl/certs/private-ca.pem", ("ca",))


class Tls(Model):
    """TLS at the proxy: with `auto`, deployer obtains and renews the certificates; `certificates` names your own."""

    auto: Annotated[AutoTls | None, Switchable()] = Field(
        None, description="Certificates from an ACME authority; `tls: auto` alone uses Let's Encrypt."
    )
    certificates: tuple[FilePath, ...] | None = Field(
        None, min_length=1, description="PEM files, relative to the manifest: chain and key in one."
    )
    listen: Listen = Field("*:443", description="Address of the TLS entry.")
    redirect: Switch = Field(True, description="Send plain HTTP to HTTPS.")
    hsts: Seconds | None = Field(None, description="Strict-Transport-Security max-age; off unless set.")

    @model_validator(mode="before")
    @classmethod
    def _bare_word(cls, data: Any) -> Any:
        return {"auto": {}} if data == "auto" else data

    @classmethod
    def __get_pydantic_json_schema__(cls, core: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        """Describe it as the word `auto` or the section."""
        return {"anyOf": [{"const": "auto"}, handler(core)]}

    def conflicts(self) -> Iterator[Conflict]:
        """Yield the keys that do not go together."""
        if self.auto and self.certificates:
            yield Conflict("certificates", "`auto` obtains them", "remove one of them", ("auto", "certificates"))
        if not self.auto and not self.certificates:
            yield Conflict("certificates", "is missing", "name PEM files, or write tls: auto", ("auto", "certificates"))
