"""What commands print on stdout, as plain frozen data: `--output json` prints it as it stands, `tables` for people.

Times are Unix seconds (0: never), shares basis points, release and rollout number 0 means none.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

# The parts by way of `status_data`: whoever reads a StatusView by its types looks for them there.
from deployer.views.status_data import ApprovalView as ApprovalView
from deployer.views.status_data import EnvironmentView as EnvironmentView
from deployer.views.status_data import InstanceView as InstanceView
from deployer.views.status_data import JobView as JobView
from deployer.views.status_data import KeeperView as KeeperView
from deployer.views.status_data import LoadView as LoadView
from deployer.views.status_data import LockView as LockView
from deployer.views.status_data import MigrationView as MigrationView
from deployer.views.status_data import RolloutRow as RolloutRow
from deployer.views.status_data import SafetyView as SafetyView
from deployer.views.status_data import SizeView as SizeView
from deployer.views.status_data import StatusView as StatusView
from deployer.views.status_parts import JobRunView as JobRunView
from deployer.views.view import View as View


@dataclass(frozen=True)
class HistoryView(View):
    """Rollouts of a service, newest first. `adopted`: since when they are known, where the records were rebuilt."""

    service: str
    rollouts: tuple[RolloutRow, ...]
    adopted: float = 0.0
    adopted_by: str = ""


@dataclass(frozen=True)
class ReleaseRow(View):
    """A release in one line; `status` is new, good, rolled-back or failed."""

    number: int
    version: str
    image: str
    image_id: str
    status: str
    created_at: float
    created_by: str = ""
    git: str = ""
    message: str = ""
    config_hash: str = ""
    live: bool = False
    signature: str = ""  # what was proven of the image


@dataclass(frozen=True)
class ReleasesView(View):
    """Releases of a service, newest first."""

    service: str
    releases: tuple[ReleaseRow, ...]


@dataclass(frozen=True)
class JournalRow(View):
    """One step of a rollout as the journal has it: `n` counts from 0, `state` is waiting, tried, done or failed."""

    phase: str
    n: int
    kind: str
    text: str
    state: str
    at: float = 0.0
    seconds: float = 0.0
    error: str = ""


@dataclass(frozen=True)
class RolloutView(View):
    """A rollout in full: its line, its journal, and its stored events as `Event.to_dict` gives them."""

    service: str
    rollout: RolloutRow
    steps: tuple[JournalRow, ...]
    events: tuple[dict[str, Any], ...] = ()
    served: bool = True  # users reach the service


@dataclass(frozen=True)
class PlanView(View):
    """A plan as sentences, and as data (`Plan.to_dict`). `changes` says what differs from the stable release."""

    service: str
    strategy: str
    origin: int
    release: int
    version: str
    forward: tuple[str, ...]
    back: tuple[str, ...]
    notes: tuple[str, ...] = ()
    changes: tuple[str, ...] = ()
    origin_version: str = ""
    commit: int | None = None  # the step, counted from 0, after which there is no way back by itself
    plan: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class AuditRow(View):
    """A record of the audit log; `at` is UTC as it was written, `hash` seals it and all records before."""

    n: int
    at: str
    by: str
    uid: int
    host: str
    pid: int
    origin: str
    version: str
    service: str
    rollout: int
    release: int
    action: str
    result: str
    detail: str
    reason: str
    before: str
    hash: str


@dataclass(frozen=True)
class AuditView(View):
    """Records of the audit log (of a service, or of all where it is empty), the newest first."""

    service: str
    records: tuple[AuditRow, ...]


@dataclass(frozen=True)
class ChainView(View):
    """What following the audit log found; `records` follow each other, and the last of them has the hash `head`.

    `broken` is the number of the first record that is wrong or missing, 0 when none is. `file` is empty for the store's
    log. `since` counts the records after the hash that was given, None when there was none.
    """

    file: str
    records: int
    head: str
    broken: int = 0
    problem: str = ""
    since: int | None = None


@dataclass(frozen=True)
class TokenRow(View):
    """A token of the HTTP API, without what opens anything; `state` is valid, expired or revoked.

    No `services` means all, of the `tenant` if there is one; `expires_at` 0: it does not.
    """

    id: str
    name: str
    role: str
    services: tuple[str, ...]
    state: str
    created_at: float
    created_by: str
    expires_at: float = 0.0
    tenant: str = ""


@dataclass(frozen=True)
class TokensView(View):
    """Tokens in the order of their making."""

    tokens: tuple[TokenRow, ...]


@dataclass(frozen=True)
class CertificateRow(View):
    """A certificate; `source` is auto, placeholder (signed by itself, until there is one) or yours.

    `proxies` has the serial that each proxy shows, by the name of its host ("" for this one). No `domain`: any.
    `warning` is 14, 7 or 3 when it ends within so many days and is not renewed in time, else 0.
    """

    service: str
    domain: str
    source: str
    issuer: str
    serial: str
    ends: float
    days_left: float
    renews_at: float = 0.0
    proxies: dict[str, str] = field(default_factory=dict)
    problem: str = ""
    warning: int = 0


@dataclass(frozen=True)
class CertificatesView(View):
    """The certificates of all live services."""

    certificates: tuple[CertificateRow, ...]


@dataclass(frozen=True)
class Finding(View):
    """One thing that `deploy doctor` looked at; `level` is ok, warn or bad, or fixed where it was.

    `fix` is what `--fix` does about it, or has done; empty where a person must.
    """

    level: str
    what: str
    text: str
    remedy: str = ""
    fix: str = ""


@dataclass(frozen=True)
class DoctorView(View):
    """Everything that `deploy doctor` looked at."""

    findings: tuple[Finding, ...]


@dataclass(frozen=True)
class AdoptedEnvironment(View):
    """What runs in one colour, or as `baseline`; `role` is stable, candidate, baseline, warm or left over.

    `version` is empty for a release that could not be rebuilt.
    """

    colour: str
    release: int
    version: str
    role: str
    instances: int


@dataclass(frozen=True)
class AdoptedService(View):
    """A service as `deploy adopt` records it: `rollout` is the number of one that was in progress, 0 for none.

    `text` says how it can end; `lost` is what cannot be rebuilt.
    """

    service: str
    stable: int
    warm: int
    share: int
    rollout: int
    text: str
    environments: tuple[AdoptedEnvironment, ...]
    lost: tuple[str, ...]


@dataclass(frozen=True)
class AdoptionView(View):
    """What `deploy adopt` would record, or has (`done`): the state folder, the installation, each service.

    `why` says what is wrong with the store that is replaced, empty where that is a good one; `aside` is where its parts
    were moved.
    """

    folder: str
    installation: str
    services: tuple[AdoptedService, ...]
    why: str = ""
    notes: tuple[str, ...] = ()
    done: bool = False
    aside: tuple[str, ...] = ()


@dataclass(frozen=True)
class SideView(View):
    """What one side answered; latencies in ms, None where nothing good was answered."""

    requests: int = 0
    errors: int = 0
    p50: float | None = None
    p95: float | None = None
    p99: float | None = None


@dataclass(frozen=True)
class WatchView(View):
    """One watch: its share, how long, both sides, and the last verdict with its values beside their limits.

    `enough`: what a watch of fixed time asks for was seen, though "no worse" was not shown.
    """

    share: int
    at: float
    seconds: float
    verdict: str
    text: str
    stable: SideView
    candidate: SideView
    shielded: int = 0
    enough: bool = False
    values: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class StageView(View):
    """What a policy made of one watch: `outcome` is worse, passes or inconclusive, `after` so many seconds.

    `proved`: proven no worse than the margins. `seen` are failed responses that users saw, `values` the measured values
    beside their limits.
    """

    share: int
    following: int
    fixed: float
    outcome: str
    after: float
    proved: bool
    text: str
    stable: SideView
    candidate: SideView
    seen: int = 0
    values: dict[str, float | int] = field(default_factory=dict)


@dataclass(frozen=True)
class JudgementView(View):
    """What a policy decided on a recording: `decision` is worse, passes or inconclusive, `at` so many seconds in.

    `share` is the one at which it was decided; `answers`, `errors` and `seen` (by users) the candidate's until then.
    """

    file: str
    service: str
    rollout: int
    decision: str
    exit: int
    text: str
    at: float
    share: int
    answers: int
    errors: int
    seen: int
    stages: tuple[StageView, ...] = ()
    policy: dict[str, Any] = field(default_factory=dict)
    changed: tuple[str, ...] = ()  # what differs from the policy that the recording was made under
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class JobsView(View):
    """The jobs of a service. `attended`: a server or a timer runs what is due."""

    service: str
    release: int
    version: str
    attended: bool
    jobs: tuple[JobView, ...] = ()


@dataclass(frozen=True)
class ScaleView(View):
    """How many instances run and are wanted, why, and what the keeper does; `size` is None where nothing is live."""

    service: str
    size: SizeView | None
    keeper: KeeperView | None
    problems: tuple[str, ...] = ()
