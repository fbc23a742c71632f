"""Values that are text with a spelling: names, paths, domains, statuses, addresses."""

from __future__ import annotations

import ipaddress
import re
import signal
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any
from urllib.parse import urlsplit

from pydantic import (
    AfterValidator,
    BeforeValidator,
    GetCoreSchemaHandler,
    GetJsonSchemaHandler,
    StringConstraints,
    WithJsonSchema,
)
from pydantic_core import CoreSchema, core_schema

from deployer.core.limits import SERVICE, SERVICE_LETTERS, TENANT
from deployer.manifest import freeze


class Misspelt(ValueError):
    """A value is not written as it should be: what is expected, an example that is right, and the reason if known."""

    def __init__(self, what: str, example: str, value: object = None, reason: str = "") -> None:
        given = "" if value is None else f", not {value!r}"
        because = f": {reason}" if reason else ""
        super().__init__(f"must be {what}{given}{because}; e.g. {example}")
        self.what = what
        self.example = example
        self.reason = reason


class Whole(int):
    """A whole number that remembers how it was written."""

    written: str

    def __new__(cls, text: str) -> Whole:
        """Read it from text."""
        number = super().__new__(cls, text)
        number.written = text
        return number


class Decimal(float):
    """A number that remembers how it was written: version 1.10 is not version 1.1."""

    written: str

    def __new__(cls, text: str) -> Decimal:
        """Read it from text."""
        number = super().__new__(cls, text)
        number.written = text
        return number


@dataclass(frozen=True)
class Spelt:
    """How a text must be written: a noun, words and an example for people, a pattern for the JSON Schema.

    `check` sees what the pattern cannot: it gives "" or the reason why the value is wrong.
    """

    noun: str
    pattern: str
    what: str
    example: str
    check: Callable[[str], str] | None = None

    def read(self, value: str) -> str:
        """Return the value if it is written right; raise Misspelt if not."""
        if not re.fullmatch(self.pattern, value, re.ASCII):
            raise Misspelt(self.what, self.example)
        reason = self.check(value) if self.check else ""
        if reason:
            raise Misspelt(self.what, self.example, reason=reason)
        return value

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_after_validator_function(self.read, handler(source))

    def __get_pydantic_json_schema__(self, core: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        schema: dict[str, Any] = dict(handler(core))
        return {**schema, "pattern": f"^({self.pattern})$", "examples": self.example.split(" or ")}


def _as_written(value: Any) -> Any:
    """Take numbers and switches of YAML for what the user typed: environment values are text."""
    if isinstance(value, bool):
        return "true" if value else "false"
    return getattr(value, "written", str(value)) if isinstance(value, int | float) else value


def _statuses(value: str) -> str:
    parts = value.split(",")
    if len(parts) > _MOST_STATUSES:
        return f"{_MOST_STATUSES} of them are the most, join them to ranges"
    for part in parts:
        low, _, high = part.partition("-")
        if not 100 <= int(low) <= 599 or not 100 <= int(high or low) <= 599:
            return "statuses go from 100 to 599"
        if int(high or low) < int(low):
            return "the low one comes first"
    return ""


def _network(value: str) -> str:
    try:
        ipaddress.ip_network(value)
    except ValueError:
        try:
            return f"this address is in the network {ipaddress.ip_network(value, strict=False)}"
        except ValueError:
            return "there is no such address or mask"
    return ""


def _listen(value: str) -> str:
    address, _, port = value.rpartition(":")
    if not 1 <= int(port) <= 65535:
        return "ports go from 1 to 65535"
    if address != "*":
        try:
            ipaddress.ip_address(address.strip("[]"))
        except ValueError:
            return f"{address} is not an IP address"
    return ""


def _image(value: str) -> str:
    return "only {version} may be in braces" if re.search("[{}]", value.replace("{version}", "")) else ""


def _freeze(value: str) -> str:
    try:
        freeze.parse(value)
    except ValueError as wrong:
        return str(wrong)
    return ""


def _signal(value: str) -> str:
    return "" if value in signal.Signals.__members__ else "there is no such signal"


def _target(value: str) -> str:
    if not value.strip("/"):
        return "the root itself cannot be replaced"
    return "it must have no `.` or `..` in it" if {"", ".", ".."} & set(value.strip("/").split("/")) else ""


def _url(value: str) -> str:
    try:
        parts = urlsplit(value)
        if parts.username is not None:
            return "a name and a password do not belong in it"
        return "" if parts.hostname and parts.port != 0 else "it names no host"
    except ValueError:
        return "there is no such host or port"


_MOST_STATUSES = 25  # a line of HAProxy has 64 words at most
_LABEL = r"[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
_STATUS = r"[0-9]{3}(-[0-9]{3})?"
_TIME = r"((Mon|Tue|Wed|Thu|Fri|Sat|Sun) )?([01][0-9]|2[0-3]):[0-5][0-9]"

Text = Annotated[str, BeforeValidator(_as_written), WithJsonSchema({"type": ["string", "number", "boolean"]})]
Person = Annotated[
    str,
    Spelt(
        "person",
        r"[A-Za-z0-9_][A-Za-z0-9._@+-]{0,59}",
        "the name of a token or an account: letters, digits and ._@+-",
        "anna",
    ),
]
Name = Annotated[
    str,
    Spelt(
        "name", SERVICE, f"a name: lower-case letters, digits and -, a letter first, {SERVICE_LETTERS} at most", "shop"
    ),
]
TenantName = Annotated[
    str,
    Spelt(
        "tenant",
        TENANT,
        "the name of a tenant: lower-case letters, digits and -, a letter first, 32 at most",
        "acme",
    ),
]
EnvName = Annotated[
    str,
    Spelt(
        "variable",
        r"[A-Za-z_][A-Za-z0-9_]{0,127}",
        "the name of a variable: letters, digits and _, no digit first",
        "LOG_LEVEL",
    ),
]
Domain = Annotated[
    str,
    StringConstraints(max_length=253),
    Spelt(
        "domain",
        rf"(\*\.)?({_LABEL}\.)*{_LABEL}",
        "a domain without scheme, port or path",
        "shop.example.com or *.example.com",
    ),
    AfterValidator(str.lower),
]
Host = Annotated[
    str, Spelt("host", r"[A-Za-z0-9.-]{1,253}(:[0-9]{1,5})?", "a host name, with or without a port", "shop.example.com")
]
UrlPath = Annotated[
    str,
    StringConstraints(max_length=1024),
    Spelt("URL path", r"/[A-Za-z0-9._~!$&'()*+,;=:@%/?-]*", "a path of a URL that starts with /", "/up"),
]
Prefix = Annotated[
    str,
    StringConstraints(max_length=1024),
    Spelt("URL prefix", r"/|(/[A-Za-z0-9._~-]+)+/?", "a path prefix that starts with /", "/api"),
]
# A name that began with - would be read as an option by the proxy.
HeaderName = Annotated[str, Spelt("header", r"[A-Za-z0-9][A-Za-z0-9-]{0,63}", "the name of an HTTP header", "X-Canary")]
HeaderValue = Annotated[
    str,
    BeforeValidator(_as_written),
    WithJsonSchema({"type": ["string", "number", "boolean"]}),
    Spelt(
        "header value",
        r"[\x20-\x7e]{0,1024}",
        "one line of printable ASCII, 1024 characters at most",
        "application/json",
    ),
]
Method = Annotated[str, Spelt("method", r"[A-Z]{1,16}", "an HTTP method in capitals", "GET")]
Quantile = Annotated[
    str,
    Spelt("quantile", r"p[1-9][0-9]?(\.[0-9]{1,2})?", "a quantile between p1 and p99.99", "p99"),
]
CookieName = Annotated[str, Spelt("cookie", r"[A-Za-z0-9_][A-Za-z0-9_-]{0,63}", "the name of a cookie", "canary")]
Network = Annotated[
    str, Spelt("network", r"[0-9a-fA-F.:]+(/[0-9]{1,3})?", "an IP address or a network (CIDR)", "10.0.0.0/8", _network)
]
Listen = Annotated[
    str,
    Spelt(
        "address",
        r"(\*|\[[0-9a-fA-F:.]+\]|[0-9.]+):[0-9]{1,5}",
        "address:port, the address * or an IP",
        "*:80",
        _listen,
    ),
]
Statuses = Annotated[
    str,
    BeforeValidator(_as_written),
    WithJsonSchema({"type": ["string", "integer"]}),
    Spelt(
        "statuses",
        rf"{_STATUS}(,{_STATUS})*",
        "HTTP statuses: single ones and ranges, with commas",
        "200-399 or 200,404",
        _statuses,
    ),
]
Freeze = Annotated[
    str,
    Spelt(
        "span of time",
        rf"{_TIME}-{_TIME}",
        "a span of time, weekly or daily",
        "Fri 16:00-Mon 08:00 or 22:00-06:00",
        _freeze,
    ),
]
ImageName = Annotated[
    str,
    Spelt(
        "image",
        r"[^\s\x00-\x1f]{1,512}",
        "an image or a directory, without spaces",
        "registry.example.com/shop:{version}",
        _image,
    ),
]
Version = Annotated[
    str,
    BeforeValidator(_as_written),
    WithJsonSchema({"type": ["string", "number", "boolean"]}),
    Spelt("version", r"[A-Za-z0-9_][A-Za-z0-9._-]{0,127}", "a version: letters, digits, `.`, `_` and `-`", "2.0.1"),
]
Source = Annotated[
    str,
    Spelt(
        "path or volume",
        r"/[^\x00-\x1f,:]*|[A-Za-z0-9][A-Za-z0-9_.-]*",
        "an absolute path of the host or the name of a volume",
        "/srv/data",
    ),
]
Target = Annotated[str, Spelt("path", r"/[^\x00-\x1f,:]*", "an absolute path in the instance", "/data", _target)]
NetworkName = Annotated[
    str, Spelt("engine network", r"[A-Za-z0-9][A-Za-z0-9_.-]*", "the name of a network of the engine", "backend")
]
Group = Annotated[
    str,
    Spelt(
        "group of hosts",
        r"[A-Za-z0-9_.*?~!&:,\[\]-]{1,256}",
        "a group of the inventory, or a pattern of Ansible's",
        "web or web:!web3",
    ),
]
User = Annotated[
    str,
    BeforeValidator(_as_written),
    WithJsonSchema({"type": ["string", "integer"]}),
    Spelt("user", r"[A-Za-z0-9_.-]+(:[A-Za-z0-9_.-]+)?", "a user or user:group, by name or number", "1000:1000"),
]
Signal = Annotated[str, Spelt("signal", r"SIG[A-Z0-9]+", "the name of a signal", "SIGTERM", _signal)]
Title = Annotated[
    str,
    Spelt("title", r"\S([^\x00-\x1f\x7f]{0,58}\S)?", "a title of one line, 60 characters at most", "checkout errors"),
]
HttpUrl = Annotated[
    str,
    StringConstraints(max_length=2048),
    Spelt(
        "URL",
        r"https?://[^\s/?#{}\x00-\x1f]+([/?][^\s#\x00-\x1f]*)?",
        "a URL with http:// or https://, without spaces or #",
        "https://metrics.example.com/api",
        _url,
    ),
]
Email = Annotated[
    str, Spelt("mail address", r"[^\s@\x00-\x1f]{1,64}@[^\s@\x00-\x1f]{1,253}", "a mail address", "ops@example.com")
]
LegoProvider = Annotated[
    str, Spelt("DNS provider", r"[a-z0-9][a-z0-9-]{0,63}", "a code that `lego dnshelp` lists", "cloudflare")
]
JsonPath = Annotated[
    str,
    StringConstraints(max_length=1024),
    Spelt("JSON path", r"\$[^\x00-\x1f]*", "a JSON path (RFC 9535)", "$.errors.rate or $['p99'][0]"),
]
FilePath = Annotated[
    str, Spelt("file", r"[^\x00-\x1f]{1,4096}", "the path of a file, on one line", "playbooks/migrate.yml")
]


class _OneOrMore:
    """Lets a list with one entry be written as that entry."""

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_before_validator_function(
            lambda given: (given,) if isinstance(given, str) else given, handler(source)
        )

    def __get_pydantic_json_schema__(self, core: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        listed = dict(handler(core["schema"]))
        return {"anyOf": [listed["items"], listed]}


EnvFiles = Annotated[tuple[FilePath, ...], _OneOrMore()]
