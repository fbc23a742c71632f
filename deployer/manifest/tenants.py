"""`tenants.yml`: to whom hosts are lent, and under which terms. It is the owner's, and lies beside the inventory."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator, Mapping
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, BeforeValidator, Field, ValidationError

from deployer.core.clock import stamp
from deployer.core.errors import ManifestRefused, Refused
from deployer.manifest import document
from deployer.manifest.base import Conflict, Count, Model, Number
from deployer.manifest.scale import AwakeHours
from deployer.manifest.text import Group, Misspelt, TenantName
from deployer.manifest.tree import data
from deployer.manifest.units import Bytes, Wait
from deployer.manifest.validate import problems_of

FILE = "tenants.yml"
VARIABLE = "DEPLOYER_TENANTS"  # names the file, whatever a manifest says of its inventory


def _day(given: object) -> object:
    try:
        return date.fromisoformat(str(given))
    except ValueError:
        raise Misspelt("a day", "2026-12-31", given) from None


Day = Annotated[date, BeforeValidator(_day)]


def _address(text: str) -> str:
    return str(ipaddress.ip_address(text))


class Lent(Model):
    """What all tenants of a host have together; without it, the sum of what each may have."""

    memory: Bytes | None = Field(None, description="Memory.")
    cpus: Number | None = Field(None, ge=0.01, le=10_000, description="Processors.")
    reserve: Bytes = Field(512 * 1024**2, description="Memory of a host that is free for its owner at any time.")


class TenantTerms(Model):
    """The terms of one tenant; limits are for all of its services together, on each of its hosts."""

    hosts: Group = Field("local", description="Hosts that are lent: a pattern of the inventory, or this host.")
    cpus: Number = Field(ge=0.01, le=10_000, description="Processors.")
    memory: Bytes = Field(ge=6 * 1024**2, description="Memory; what wants more of it is killed.")
    disk: Bytes | None = Field(None, description="Disk of an instance; without it, it writes to memory only.")
    pids: Count = Field(256, ge=1, le=2**22, description="Processes and threads.")
    services: Count = Field(1, ge=1, le=1000, description="Services.")
    hours: AwakeHours | None = Field(None, description="Times in which they run; without, always.")
    isolation: Literal["container", "gvisor"] = Field("container", description="What keeps it apart from the host.")
    network: Literal["none", "out"] = Field("none", description="What it reaches: nobody, or the Internet.")
    evict: Wait = Field(10.0, le=600, description="Time in which an instance ends that has to go.")
    until: Day | None = Field(None, description="The last day, in UTC.")

    @property
    def ends(self) -> float:
        """The moment at which it is over; 0 for never."""
        if self.until is None:
            return 0.0
        return datetime(self.until.year, self.until.month, self.until.day, tzinfo=UTC).timestamp() + 86_400

    def refused_at(self, now: float) -> str:
        """Return why nothing of the tenant may run at a moment; "" where it may."""
        if self.ends and now >= self.ends:
            return f"its time was over on {stamp(self.ends)} (`until`)"
        if self.hours and not (change := self.hours.change(now))[0]:
            return f"its hours begin at {stamp(change[1])} (`hours`)"
        return ""


class TenantsFile(Model):
    """The keys of `tenants.yml`."""

    lent: Lent = Field(Lent(), description="What all tenants of a host have together.")
    dns: tuple[Annotated[str, AfterValidator(_address)], ...] = Field(
        ("9.9.9.9", "1.1.1.1"), max_length=3, description="Public servers that names are asked of (`network: out`)."
    )
    tenants: dict[TenantName, TenantTerms] = Field(min_length=1, description="The terms by tenant.")

    def conflicts(self) -> Iterator[Conflict]:
        """Yield the keys that do not go together."""
        for name, each in self.tenants.items():
            for key in ("memory", "cpus"):
                whole, part = getattr(self.lent, key), getattr(each, key)
                if whole is not None and part > whole:
                    at = f"tenants.{name}.{key}"
                    yield Conflict(at, "is more than what is lent in all", f"less than `lent.{key}`", ("lent", at))


def path_for(inventory: str | None, folder: Path, environ: Mapping[str, str]) -> Path:
    """Return where the file lies: what the environment names, else beside the inventory, else beside the manifest."""
    if named := environ.get(VARIABLE):
        return Path(named).expanduser().absolute()
    return ((folder / inventory).parent if inventory else folder).absolute() / FILE


def refuse_foreign(inventory: str | None, folder: Path, environ: Mapping[str, str]) -> None:
    """Raise Refused where a guest's manifest names an inventory that is not its owner's: one may be a program.

    The owner's lies beside the file of tenants.
    """
    file = path_for(inventory, folder, environ)
    if inventory and (folder / inventory).resolve().parent != file.resolve().parent:
        raise Refused(
            f"inventory: {inventory} is not that of the owner of the hosts, which is beside {file}",
            f"name the one in {file.parent}",
        )


def refuse_brought(tenant: str, bundle: Path, environ: Mapping[str, str]) -> None:
    """Raise Refused for the bundle of a guest where nothing names the owner's file: the bundle may have brought one."""
    if not environ.get(VARIABLE):
        raise Refused(
            f"{bundle} is a guest's ({tenant}): its terms come from the owner of the hosts, never from the bundle",
            f"name the owner's file in the environment: {VARIABLE}=/etc/deployer/{FILE}",
        )


def read(file: Path) -> TenantsFile:
    """Read a `tenants.yml`. Raise Refused where there is none, ManifestRefused with all of its problems."""
    if not file.exists():
        raise Refused(f"there is no {file}", "the owner of the hosts writes it: docs/guests.md")
    found = document.read(file)
    if found.root is None or found.problems:
        raise ManifestRefused(tuple(found.problems), file.name)
    try:
        return TenantsFile.model_validate(data(found.root))
    except ValidationError as errors:
        raise ManifestRefused(tuple(problems_of(found.root, errors, TenantsFile)), file.name) from None
