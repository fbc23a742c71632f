from __future__ import annotations

import json
import time
from collections.abc import Iterator
from dataclasses import replace

import pytest

from deployer.views import tables
from deployer.views.bundle_data import BundleView, DataView, SentView
from deployer.views.cost_data import CostsView, CostView, ReleaseCost
from deployer.views.data import (
    AdoptedEnvironment,
    AdoptedService,
    AdoptionView,
    AuditRow,
    AuditView,
    CertificatesView,
    ChainView,
    DoctorView,
    EnvironmentView,
    Finding,
    HistoryView,
    InstanceView,
    JobRunView,
    JobsView,
    JobView,
    JournalRow,
    JudgementView,
    LockView,
    PlanView,
    ReleaseRow,
    ReleasesView,
    RolloutRow,
    RolloutView,
    SafetyView,
    ScaleView,
    SideView,
    StageView,
    StatusView,
    TokenRow,
    TokensView,
    View,
)
from deployer.views.guest_data import (
    BillView,
    GuestsView,
    GuestView,
    TenantBill,
    TenantsView,
    TenantUse,
    TenantView,
    TenantWatch,
)
from deployer.views.host_data import CheckedHost, CheckView, HostsView, HostView, PlayedHost, PlayedView
from deployer.views.scaling_data import ScalingReplayView, ScalingRunView
from deployer.views.set_data import SetMemberView, SetsView, SetView
from deployer.views.status_data import KeeperView, SizeView
from deployer.views.status_parts import LoadView, MigrationView
from deployer.views.text import clean
from tests.unit.views_recordings import recording, same_as_golden

NOW = 1790000100.0
OPEN = RolloutRow(17, "canary", 41, 42, "2.0", "", None, NOW - 78, 0.0, "dana@ci-3", "new cart")
DONE = RolloutRow(16, "bluegreen", 40, 41, "1.9", "done", 0, NOW - 90000, 12.4, "li@desk")
BACK = RolloutRow(15, "canary", 40, 39, "1.8", "reverted", 3, NOW - 99000, 64.0, "li@desk", "two\nlines")
BLUE = EnvironmentView(
    "blue",
    41,
    "1.9",
    "stable",
    (
        InstanceView("shop-r41-1", "127.0.0.1:20001", "running", "healthy", up=True),
        InstanceView("shop-r41-2", "127.0.0.1:20002", "running", "healthy", up=True, restarts=1),
    ),
)
GREEN = EnvironmentView(
    "green",
    42,
    "2.0",
    "candidate",
    (
        InstanceView("shop-r42-1", "127.0.0.1:20003", "running", up=False),
        InstanceView("shop-r42-2", "127.0.0.1:20004", "exited", exit_code=137),
    ),
)
STATUS = StatusView(
    service="shop",
    stable=41,
    stable_version="1.9",
    candidate=42,
    candidate_version="2.0",
    share=1000,
    lease=NOW + 21,
    environments=(BLUE, GREEN),
    lock=LockView("dana@ci-3", NOW - 78, 17, "2.0", "ci-3", "new cart"),
    rollout=OPEN,
    problems=("shop-r42-2 exited with code 137",),
    next="deploy promote, or deploy abort",
)
WARM = replace(
    STATUS,
    candidate=0,
    environments=(BLUE, replace(GREEN, role="warm", warm_until=NOW + 3000, instances=())),
    lock=replace(STATUS.lock, alive=False) if STATUS.lock else None,
    rollout=DONE,
    problems=(),
    next="",
)
MONDAY = "28 requests at once on Mondays at 09:00 UTC"
USUAL = LoadView(1, 8, 12, 2, 0, 3, f"usual are {MONDAY}", NOW - 60, usual=MONDAY, usual_size=4)
SIZE = SizeView(41, "1.9", 2, 4, 4, 1, 2, "dana@ci-3", "sale", NOW + 7200)
KEEPER = KeeperView(
    runs=True,
    last="shop-r41-2 of r41 (1.9) does not run or gets no users: done",
    last_at=NOW - 130,
    last_rollout=18,
    next="r40 is removed, which is kept warm until then",
    next_at=NOW + 2460,
)
KEPT = replace(WARM, size=SIZE, keeper=KEEPER)
PLAN = PlanView(
    service="shop",
    strategy="canary",
    origin=41,
    release=42,
    version="2.0",
    forward=("start 2 instances of r42 as green", "promote: r42 (green) is the stable release from here on"),
    back=("all users are on the stable release", "drain (up to 30 s), then remove r42 (green)"),
    notes=("the share starts at 10%",),
    changes=("image: registry.example.com/shop:1.9 → 2.0",),
    origin_version="1.9",
    commit=1,
    plan={"format": 1},
)
EVENTS = tuple(event.to_dict() for event in recording("worse") if event.kind not in ("sample", "rollout.started"))
SHOW = RolloutView(
    "shop",
    BACK,
    (
        JournalRow("forward", 0, "start", "start 2 instances of r43 as blue", "done", NOW - 60, 1.2),
        JournalRow("forward", 1, "watch", "watch 10% for 30 s", "failed", NOW - 58, 5.0, "the candidate is worse"),
        JournalRow("forward", 2, "promote", "promote: r43 is the stable release", "waiting"),
        JournalRow("back", 0, "share", "all users are on the stable release", "done", NOW - 53, 0.01),
    ),
    EVENTS,
)
RELEASES = ReleasesView(
    "shop",
    (
        ReleaseRow(
            42, "2.0", "example.com/shop:2.0", "sha256:" + "ab" * 32, "new", NOW, "dana@ci-3", "0f" * 20, "cart"
        ),
        ReleaseRow(41, "1.9", "example.com/shop:1.9", "sha256:" + "cd" * 32, "good", NOW - 9e4, live=True),
    ),
)
DOCTOR = DoctorView(
    (
        Finding("ok", "state folder", "/var/lib/deployer, 7000 MiB free"),
        Finding(
            "warn", "shop", "rollout 7 is in progress and its process is gone", "`deploy resume` or `deploy abort`"
        ),
        Finding("bad", "Docker engine", "no engine answers", "start it"),
        Finding("bad", "shop", "shop-r2-2 is gone, of r2 (2.0), which is stable", "", "start what is missing of r2"),
        Finding("fixed", "shop", "ports are held for instances that are gone: 21007", "", "give the ports back"),
    )
)
GUARDED = replace(
    STATUS,
    baseline=1000,
    environments=(BLUE, GREEN, replace(BLUE, colour="baseline", role="baseline", instances=BLUE.instances[:1])),
    safety=SafetyView(share=1000, budget=50, spent=12, shield=True, shielded=31),
    problems=(),
)
STAGES = (
    StageView(
        500, 2500, 0.0, "passes", 41.2, True, "shown", SideView(3800, 4, 12.0, 30.0, 48.1), SideView(200, 0, 12.0)
    ),
    StageView(2500, 10000, 60.0, "worse", 3.5, False, "worse", SideView(260, 0), SideView(95, 25, 11.8, 30.0, 48.6), 6),
)
JUDGED = JudgementView(
    file="shop.jsonl",
    service="shop",
    rollout=18,
    decision="worse",
    exit=3,
    text="candidate 26.3% errors (25 of 95), stable 0.1% (4 of 4,060); 1.5x or +0.1% is allowed",
    at=44.7,
    share=2500,
    answers=295,
    errors=25,
    seen=6,
    stages=STAGES,
    policy={"errors": {"margin": 2.0}},
    changed=("judge.errors.margin: 1.5 → 2.0",),
    notes=("12 requests were not seen by the recorder",),
)
ROW = AuditRow(
    7, "2026-09-21T13:35:00.250+00:00", "dana@ci-3", 1000, "ci-3", 4711, "CI https://ci.example/7", "0.1.0", "shop", 17,
    42, "start", "begun", "canary: r41 → r42 (2.0), shop:2.0 = sha256:ab", "new cart\nat last", "1" * 64, "2" * 64,
)  # fmt: skip
TURNED = replace(ROW, n=8, by="deployer", action="roll back", detail="", reason="r42 is worse", before="2" * 64)
AUDIT = AuditView("", (TURNED, ROW, replace(ROW, n=1, at="tampered", rollout=0, action="down", reason="")))
BROKEN = ChainView("", 3, "3" * 64, 4, "record 4 is missing: 5 comes next")
ADOPTED = AdoptedService(
    service="shop",
    stable=41,
    warm=0,
    share=1000,
    rollout=18,
    text="the store was lost in the middle of this rollout, and with it what was seen",
    environments=(
        AdoptedEnvironment("blue", 41, "1.9", "stable", 2),
        AdoptedEnvironment("green", 42, "2.0", "candidate", 2),
    ),
    lost=("earlier rollouts, and all releases but r41, r42, are not known any more",),
)
TILL = AdoptedService(
    "till", 0, 0, 0, 0, "", (AdoptedEnvironment("blue", 3, "", "left over", 1),), ("r3 cannot be rebuilt: why",)
)
ADOPTION = AdoptionView("/var/lib/deployer", "3f2a", (ADOPTED, TILL), "it is gone", ("no engine answers",))
HOSTS = HostsView(
    "/srv/shop/inventory",
    (
        HostView("edge1", "192.0.2.1", "deploy@192.0.2.1:2222", ("edge",)),
        HostView("localhost", "127.0.0.1", "local", ()),
    ),
)
MIB = 1024 * 1024
ACME = TenantView("acme", "web", 2, 4096 * MIB, 0, 256, 3, ("blog", "chat"), "container", "out", 10, NOW + 864_000, "")
BETA = TenantView("beta", "local", 0.5, 96 * MIB, 1024 * MIB, 64, 1, (), "gvisor", "none", 90, 0, "its time is over")
BLOG = GuestView("acme", "blog", 3, "1.2", ("web1", "web2"), 4, 1, "", 0.0)
GONE = "evicted, since 2026-09-21 12:14, by keeper: the owner needs memory"
WAITS = TenantWatch("acme", "web1", "", "since 2026-09-21 12:14:02: system.slice waits for memory", "")
NO_UNIT = "its kernel tells no pressure (psi=1 on its command line)"
USED = TenantUse("acme", "web1", 12_345.6, 300 * MIB, 17)
CHECK = CheckView(
    "/srv/shop/inventory",
    (
        CheckedHost(
            "web1",
            "192.0.2.2",
            ("web",),
            (
                Finding("ok", "system", "Debian, Python 3.13.5"),
                Finding("ok", "clock", "right"),
                Finding("warn", "disk", "only 0.5 GiB free of 20.0", "make room"),
            ),
            0.4,
        ),
        CheckedHost(
            "web2", "192.0.2.3", ("web",), (Finding("bad", "reach", "it does not respond", "is it on?"),), 15.0
        ),
    ),
)
PLAYED = PlayedView(
    "setup.yml", (PlayedHost("edge1", 12, 3), PlayedHost("web1", 4, 0, 1), PlayedHost("web2", unreachable=1))
)
RUN = JobRunView(7, "nightly", 3, "2.0", NOW - 3600, NOW - 3590, 12.0, "failed", 3, "ended with 3", "schedule")
LEFT_OUT = JobRunView(6, "nightly", 2, "1.9", NOW - 7200, NOW - 7200, 0.0, "skipped", None, "", "schedule", times=3)
JOBS = JobsView(
    "shop",
    3,
    "2.0",
    attended=False,
    jobs=(
        JobView("nightly", "10 3 * * *", "Europe/Berlin", ("bin/nightly",), NOW + 3600, (RUN, LEFT_OUT)),
        JobView("weekly", "@weekly", "UTC", ("bin/weekly",), NOW + 86400),
    ),
)
TOKENS = TokensView(
    (
        TokenRow("0a1b2c3d4e5f", "ann", "admin", (), "valid", NOW - 3600, "root@web-1"),
        TokenRow("1a1b2c3d4e5f", "ci", "operator", ("shop", "blog"), "valid", NOW - 7200, "ann@web-1", NOW + 86400),
        TokenRow("2a1b2c3d4e5f", "old", "viewer", ("shop",), "expired", NOW - 9e5, "ann@web-1", NOW - 60),
        TokenRow("4a1b2c3d4e5f", "acme", "operator", (), "valid", NOW - 60, "ann@web-1", NOW + 86400, "acme"),
        TokenRow("3a1b2c3d4e5f", "lost", "viewer", (), "revoked", NOW - 9e5, "ann@web-1"),
    )
)
BUNDLE = BundleView(
    "shop-2.1.bundle",
    1_013_248,
    "sha256:" + "5" * 64,
    "shop",
    "2.1",
    "docker",
    "shop:2.1",
    "sha256:" + "c" * 64,
    "linux/amd64",
    "a17c3e0",
    "Dana <dana@example.com>",
    int(NOW) - 86_400,
    "new basket",
    6,
    2,
    tuple(f"playbooks/{n}.yml" for n in range(9)),
    signed=True,
    notes=("secrets are left out: token",),
    data=(DataView("/var/lib/shop", 5_242_880, f"sha256:{'7' * 64}"),),
)

MIGRATION = MigrationView(
    3,
    "2.0",
    "waits",
    "contract of r3 is due when r2 (blue) is gone, which is kept warm until 12:40",
    ("people-17.sql",),
)
BACKEND = SetMemberView("backend", 3, "2.0", 17, "", "watch 10% for 1 min, compared with stable", 1000, 2)
MAILER = SetMemberView("mailer", 2, "1.0", 0, "done", "", 0, 2)
SET = SetView(3, "shop", "canary", "", "", "", NOW - 60, "dana@build-3", "", (BACKEND, MAILER), False, "wait for it")
SET_BACK = replace(SET, outcome="reverted", decided="back", text="backend: r3 is worse: 31 of 60 failed", next="")
RUN_OF_POLICY = ScalingRunView("manifest", 12.5, 1.31, 144_060, 518, 12, 30.0, 42, 0, 6, 3600.0, {"max": 8})
ORACLE = ScalingRunView("its oracle", 9.54, 1.0, 0, 0, 0, 0.0, 452, 0, 6)
COST = CostView(
    "shop",
    NOW - 864_000,
    NOW,
    (ReleaseCost(5, "1.4", 412.2, 3.1, 120.0, 80.25), ReleaseCost(4, "1.3", 24.0, 24.0)),
    0.4312,
    860_000.0,
)
VIEWS: dict[str, View] = {
    "cost": CostsView(NOW - 864_000, NOW, (COST, CostView("blog", NOW - 864_000, NOW))),
    "guests": GuestsView((BLOG, replace(BLOG, service="chat", evicted=GONE, since=NOW - 60, running=0)), (USED,)),
    "guests-frozen": GuestsView((BLOG,), (USED,), (WAITS, replace(WAITS, host="web2", unwatched=NO_UNIT, frozen=""))),
    "bill": BillView("2026-11", (TenantBill("acme", "web1", 12_345.6, 3.5, 2), TenantBill("beta", "", 0, 0.25, 0))),
    "guests-none": GuestsView((), ()),
    "tenants": TenantsView("/srv/shop/tenants.yml", (ACME, BETA)),
    "cost-none": CostsView(NOW - 864_000, NOW),
    "scaling": ScalingReplayView(
        "shop.jsonl",
        "shop",
        14_400.0,
        144_060,
        67,
        3.0,
        (RUN_OF_POLICY, ORACLE, replace(ORACLE, name="fixed size", ratio=None, changed=0, least=8, most=8)),
        ("an instance takes 3 s until it has a request (--start)",),
    ),
    "set": SET,
    "set-turned": SET_BACK,
    "sets": SetsView("shop", (SET, replace(SET_BACK, number=2, live=True))),
    "adoption": ADOPTION,
    "adoption-done": replace(ADOPTION, done=True, aside=("/var/lib/deployer/deployer.db.aside-1",), why="damaged"),
    "adoption-none": AdoptionView("/var/lib/deployer", "3f2a", ()),
    "adoption-empty": AdoptionView("/var/lib/deployer", "3f2a", (), "it is gone"),
    "history-adopted": HistoryView("shop", (DONE,), NOW - 3600, "dana@web-1"),
    "audit": AUDIT,
    "audit-none": AuditView("blog", ()),
    "tokens": TOKENS,
    "tokens-none": TokensView(()),
    "certificates-none": CertificatesView(()),
    "bundle": BUNDLE,
    "bundle-verified": replace(BUNDLE, checked=True, signer="dana@example.com", left_out=0, files=("deploy.yml",)),
    "bundle-sent": SentView("web-1", "/srv/shop/shop-2.1.bundle", 80_896, 1_013_248),
    "jobs": JOBS,
    "jobs-none": JobsView("shop", 3, "2.0", attended=True),
    "chain": ChainView("audit.jsonl", 8, "2" * 64, since=1),
    "chain-broken": BROKEN,
    "status": STATUS,
    "status-guarded": GUARDED,
    "status-stopped": replace(GUARDED, share=0, safety=SafetyView(share=1000, budget=50, spent=50, over=True)),
    "status-lease-over": replace(
        GUARDED, share=0, lease=NOW - 41, safety=SafetyView(share=3000, budget=50, spent=2, shield=True)
    ),
    "status-paused": replace(GUARDED, lease=0.0, lock=None),
    "judgement": JUDGED,
    "judgement-passes": replace(JUDGED, decision="passes", stages=STAGES[:1], changed=(), notes=(), seen=0, exit=0),
    "status-warm": WARM,
    "status-kept": KEPT,
    "status-without-keeper": replace(KEPT, keeper=replace(KEEPER, runs=False, next_at=0.0), size=replace(SIZE, by="")),
    "scale": ScaleView("shop", SIZE, KEEPER),
    "scale-usual": ScaleView("shop", replace(SIZE, by="", scale=USUAL), KEEPER),
    "scale-manifest": ScaleView("shop", replace(SIZE, by="", hosts=3, wanted=12), None, ("web03 is unreachable",)),
    "status-migration": replace(KEPT, migration=MIGRATION),
    "migration": MIGRATION,
    "migration-done": replace(MIGRATION, contract="done", text="contract of r3 is done", oldest=3),
    "scale-none": ScaleView("shop", None, None),
    "status-none": StatusView("shop", 0, ""),
    "history": HistoryView("shop", (OPEN, replace(DONE, backup="people-17.sql"), BACK)),
    "history-none": HistoryView("shop", ()),
    "releases": RELEASES,
    "show": SHOW,
    "doctor": DOCTOR,
    "plan": PLAN,
    "hosts": HOSTS,
    "check": CHECK,
    "check-fit": replace(CHECK, hosts=CHECK.hosts[:1]),
    "played": PLAYED,
    "plan-first": replace(PLAN, origin=0, changes=(), notes=(), commit=None),
}


@pytest.fixture(autouse=True)
def _utc(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


@pytest.mark.parametrize("name", VIEWS)
def test_result_is_the_golden_one(name: str) -> None:
    same_as_golden(f"table-{name}", tables.render(VIEWS[name], NOW) + "\n")


@pytest.mark.parametrize("name", VIEWS)
def test_colours_change_nothing_but_colours(name: str) -> None:
    coloured = tables.render(VIEWS[name], NOW, tables.coloured)
    assert clean(coloured) == tables.render(VIEWS[name], NOW)


@pytest.mark.parametrize("name", VIEWS)
def test_every_result_is_json_with_all_its_fields(name: str) -> None:
    data = json.loads(json.dumps(VIEWS[name].to_dict()))
    assert set(data) == set(vars(VIEWS[name]))


def test_every_kind_of_result_has_a_rendering() -> None:
    assert {type(view).__name__ for view in VIEWS.values()} == {*tables._RENDERERS, *tables._ELSEWHERE}
