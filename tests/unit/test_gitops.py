"""Following a branch: real Git, a world in memory."""

from __future__ import annotations

import hashlib
import hmac
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
import yaml

from deployer.app import operations
from deployer.app.gitops import BranchFollower, BranchSource, CommitStatus, ManifestState, Repository
from deployer.app.gitops.status_report import SECRET
from deployer.core.clock import SystemClock
from deployer.core.errors import Detached, Exit, Refused
from deployer.planning.orders import Order, RolloutResult
from tests.house import Scene

BASE = {
    "service": "shop",
    "image": "shop:1.0",
    "port": 8080,
    "replicas": 2,
    "strategy": {"canary": {"for": "10s", "bake": "5s"}},
    "judge": {"requests": 5},
}


class Origin:
    """A repository with a manifest, and whoever commits to it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir()
        self.git("init", "-q", "-b", "main")
        self.git("config", "user.name", "Ann")
        self.git("config", "user.email", "ann@example.com")

    def git(self, *arguments: str) -> str:
        done = subprocess.run(
            ["git", "-C", self.folder, *arguments], check=True, capture_output=True, text=True, timeout=120
        )
        return done.stdout.strip()

    def commit(self, message: str = "a change", *options: str, **manifest: object) -> str:
        (self.folder / "deploy.yml").write_text(yaml.safe_dump({**BASE, **manifest}))
        self.git("add", "-A")
        self.git("commit", "-q", "--allow-empty", "-m", message, *options)
        return self.git("rev-parse", "HEAD")


@pytest.fixture
def origin(tmp_path: Path) -> Origin:
    return Origin(tmp_path / "origin")


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Scene]:
    made = Scene(tmp_path / "state")
    with made.house:
        yield made


@pytest.fixture
def follow(scene: Scene, origin: Origin, tmp_path: Path) -> Callable[..., ManifestState]:
    repository = Repository(str(origin.folder), "main", tmp_path / "gitops", SystemClock(), os.environ)

    def look(**source: object) -> ManifestState:
        return BranchFollower(scene.house, BranchSource(repository, **source), os.environ).look()  # type: ignore[arg-type]

    return look


def test_a_commit_goes_live_and_stays(scene: Scene, origin: Origin, follow: Callable[..., ManifestState]) -> None:
    first = origin.commit("the first one")
    state = follow()
    assert (state.word, state.service, state.commit, state.rollout) == ("applied", "shop", first, 1)
    assert state.status == "success"
    assert scene.house.store.rollouts.get(1).message == f"{first[:12]} the first one"
    assert scene.house.store.releases.of("shop")[0].git == first[:12]
    assert follow().word == "synced"
    origin.commit(image="shop:2.0")
    assert (follow().word, scene.house.store.rollouts.get(2).strategy) == ("applied", "canary")
    assert scene.versions("green") == ["2.0", "2.0"]


def test_what_is_built_has_the_revision_of_the_commit_and_is_not_built_at_each_look(
    scene: Scene, origin: Origin, follow: Callable[..., ManifestState]
) -> None:
    (origin.folder / "Dockerfile").write_text("FROM scratch\n")
    revision = origin.commit(image="shop", build=".")[:12]
    assert (follow().word, follow().word, follow().word) == ("applied", "synced", "synced")
    assert scene.versions("blue") == [revision, revision]
    built = [e for e in scene.events if str(e.data.get("text", "")).startswith("building")]
    assert len(built) == 2  # to know what it is, and for the deploy: that one comes from the builder's cache


def test_a_commit_that_changes_nothing_of_a_service_deploys_nothing(
    scene: Scene, origin: Origin, follow: Callable[..., ManifestState]
) -> None:
    origin.commit()
    follow()
    origin.commit("a word in the readme")
    assert follow().word == "synced"
    assert len(scene.house.store.rollouts.of("shop")) == 1


def test_what_was_rolled_back_is_not_tried_again(
    scene: Scene, origin: Origin, follow: Callable[..., ManifestState]
) -> None:
    origin.commit()
    follow()
    origin.commit(image="shop:2.0")
    follow()
    operations.rollback(scene.house, "shop")
    for _ in range(2):
        state = follow()
        assert (state.word, state.exit, state.status) == ("pinned", Exit.VERDICT, "failure")
        assert "r2 (2.0) was rolled back" in state.text
    origin.commit("unrelated", image="shop:2.0")
    assert follow().word == "pinned"
    origin.commit("more patience", image="shop:2.0", judge={"requests": 4})
    assert follow().word == "applied"


def test_what_was_taken_back_is_not_tried_again(
    scene: Scene, origin: Origin, follow: Callable[..., ManifestState]
) -> None:
    origin.commit()
    follow()
    origin.commit(image="shop:2.0", smoke=[{"get": "/"}])
    scene.world.smokes = "HTTP 500"
    state = follow()
    assert (state.word, state.exit, state.status) == ("failed", Exit.FAILED, "failure")
    scene.world.smokes = ""
    assert follow().word == "pinned"
    origin.commit(image="shop:2.1")
    assert follow().word == "applied"


def test_a_person_may_try_again(
    scene: Scene, origin: Origin, follow: Callable[..., ManifestState], tmp_path: Path
) -> None:
    origin.commit()
    follow()
    origin.commit(image="shop:2.0")
    follow()
    operations.rollback(scene.house, "shop")
    assert follow().word == "pinned"
    operations.rollback(scene.house, "shop", to=2, force=True)
    assert follow().word == "synced"


def test_a_rollback_at_the_proxy_alone_is_not_undone(
    scene: Scene, origin: Origin, follow: Callable[..., ManifestState]
) -> None:
    """An emergency that was killed before its bookkeeping: users are on 1.0, the store says 2.0."""
    origin.commit()
    follow()
    origin.commit(image="shop:2.0")
    follow()
    scene.world.live["shop"] = replace(scene.live, stable="blue", warm=0)
    assert follow().word == "pinned"
    assert scene.live.stable == "blue"


def test_drift_is_repaired_or_told(scene: Scene, origin: Origin, follow: Callable[..., ManifestState]) -> None:
    commit = origin.commit()
    follow()
    scene.deploy("9.9")
    state = follow(drift="tell")
    assert (state.word, state.exit) == ("drift", Exit.CHANGES)
    assert f"not as {commit[:12]} says" in state.text
    assert follow(drift="tell").word == "drift"
    origin.commit(image="shop:2.0")
    assert follow(drift="tell").word == "applied", "a new commit is no drift"
    scene.deploy("9.9")
    assert follow().word == "applied"
    assert scene.house.store.releases.of("shop")[0].version == "2.0"


def test_other_hands_are_left_alone(scene: Scene, origin: Origin, follow: Callable[..., ManifestState]) -> None:
    origin.commit()
    lock = scene.house.store.locks.take("shop", "canary by ann")
    state = follow()
    assert (state.word, state.status) == ("busy", "pending")
    assert "canary by ann" in state.text
    scene.house.store.locks.release(lock)
    assert follow().word == "applied"


def test_a_held_rollout_waits_for_a_person(scene: Scene, origin: Origin, follow: Callable[..., ManifestState]) -> None:
    origin.commit()
    follow()
    origin.commit(image="shop:2.0", strategy={"canary": {"steps": [10], "for": "5s", "hold": True}})
    assert follow().word == "paused"
    state = follow()
    assert (state.word, state.status) == ("paused", "pending")
    operations.promote(scene.house, "shop")
    assert follow().word == "synced"


def leave(scene: Scene, origin: Origin, follow: Callable[..., ManifestState]) -> None:
    """Have an agent that is stopped while the candidate has users."""
    origin.commit()
    follow()
    origin.commit(image="shop:2.0")
    scene.house.stop.detach = True
    scene.world.tick = lambda what: scene.house.stop.asked.set() if what.startswith("after set_traffic") else None
    with pytest.raises(Detached):
        follow()
    scene.world.tick = lambda _what: None
    scene.house.stop.asked.clear()


def test_what_an_agent_left_is_gone_on_with(scene: Scene, origin: Origin, follow: Callable[..., ManifestState]) -> None:
    leave(scene, origin, follow)
    assert follow().word == "synced"
    assert [r.outcome for r in scene.house.store.rollouts.of("shop")] == ["done", "done"]


def test_a_rollout_that_is_held_as_soon_as_it_goes_on_is_left_to_people(
    scene: Scene, origin: Origin, follow: Callable[..., ManifestState]
) -> None:
    leave(scene, origin, follow)
    scene.house.store.requests.add(scene.house.store.rollouts.get(2), "pause", "ann", "")
    state = follow()
    assert state.word == "paused"
    assert state.text.startswith("rollout 2 is paused: ")


def test_a_freeze_holds(scene: Scene, origin: Origin, follow: Callable[..., ManifestState]) -> None:
    origin.commit(freeze=["00:00-12:00", "12:00-00:00"])
    state = follow()
    assert (state.word, state.status) == ("frozen", "pending")
    assert scene.house.store.releases.of("shop") == ()


def test_a_manifest_that_is_refused_says_where(origin: Origin, follow: Callable[..., ManifestState]) -> None:
    commit = origin.commit(replicas=0)
    state = follow()
    assert (state.word, state.exit, state.commit) == ("refused", Exit.REFUSED, commit)
    assert "deploy.yml:" in state.text
    assert "replicas" in state.text


def test_a_manifest_outside_of_the_repository_is_not_read(origin: Origin, follow: Callable[..., ManifestState]) -> None:
    origin.commit()
    state = follow(manifest=Path("../../../etc/passwd"))
    assert (state.word, "is not in the repository" in state.text) == ("refused", True)


def test_a_repository_that_does_not_answer_is_told_and_tried_again(
    scene: Scene, origin: Origin, follow: Callable[..., ManifestState]
) -> None:
    origin.commit()
    follow()
    away = origin.folder.rename(origin.folder.with_name("away"))
    state = follow()
    assert (state.word, state.commit) == ("failed", "")
    assert "origin" in state.text
    away.rename(origin.folder)
    origin.commit(image="shop:2.0")
    assert follow().word == "applied"


def test_a_branch_that_was_rewritten_is_followed(origin: Origin, follow: Callable[..., ManifestState]) -> None:
    origin.commit()
    origin.commit(image="shop:2.0")
    follow()
    origin.git("reset", "-q", "--hard", "HEAD~1")
    assert (follow().word, follow().word) == ("applied", "synced")


def test_a_folder_of_a_commit_is_whole_and_old_ones_go(origin: Origin, tmp_path: Path) -> None:
    repository = Repository(str(origin.folder), "main", tmp_path / "gitops", SystemClock(), os.environ)
    places = []
    for n in range(23):
        origin.commit(env={"N": str(n)})
        place = repository.files(repository.fetch())
        os.utime(place, (n, n))
        places.append(place)
    assert yaml.safe_load((places[3] / "deploy.yml").read_text())["env"] == {"N": "3"}
    repository.prune([places[0] / "sub"])
    assert [p.exists() for p in places[:4]] == [True, False, False, True]
    assert {p.name for p in places[0].parent.iterdir()} == {p.name for p in places if p.exists()}


@pytest.mark.parametrize(
    ("url", "branch", "why"),
    [
        ("ext::sh -c true", "main", "is not the address"),
        ("--upload-pack=true", "main", "is not the address"),
        ("relative/path", "main", "is not the address"),
        ("https://ann:secret@git.example.com/shop.git", "main", "has a password in it"),
        ("/srv/shop.git", "--force", "is not the name of a branch"),
    ],
)
def test_an_address_that_git_would_take_for_something_else(url: str, branch: str, why: str, tmp_path: Path) -> None:
    with pytest.raises(Refused, match=why) as refused:
        Repository(url, branch, tmp_path, SystemClock(), {})
    assert "secret" not in str(refused.value)


def ssh_key(folder: Path, name: str) -> Path:
    key = folder / name
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key], check=True, timeout=120)
    return key


def test_only_signed_commits_are_deployed(
    scene: Scene, origin: Origin, follow: Callable[..., ManifestState], tmp_path: Path
) -> None:
    key, stranger = ssh_key(tmp_path, "key"), ssh_key(tmp_path, "stranger")
    keys = tmp_path / "allowed_signers"
    keys.write_text(f"ann@example.com {key.with_suffix('.pub').read_text()}")
    origin.git("config", "gpg.format", "ssh")
    origin.commit("unsigned")
    state = follow(keys=keys)
    assert (state.word, state.exit) == ("refused", Exit.REFUSED)
    assert "(unsigned) is not signed by a key of" in state.text
    origin.git("config", "user.signingKey", str(stranger))
    origin.commit("by a stranger", "-S")
    assert follow(keys=keys).word == "refused"
    assert scene.house.store.releases.of("shop") == ()
    origin.git("config", "user.signingKey", str(key))
    origin.commit("by ann", "-S")
    assert follow(keys=keys).word == "applied"


@pytest.fixture
def signed(origin: Origin, tmp_path: Path) -> Path:
    """Return the file of keys of an origin whose commits are all signed."""
    key, keys = ssh_key(tmp_path, "key"), tmp_path / "allowed_signers"
    keys.write_text(f"ann@example.com {key.with_suffix('.pub').read_text()}")
    for name, value in (("gpg.format", "ssh"), ("user.signingKey", str(key)), ("commit.gpgSign", "true")):
        origin.git("config", name, value)
    return keys


def test_an_older_signed_commit_does_not_come_back(
    scene: Scene, origin: Origin, follow: Callable[..., ManifestState], signed: Path
) -> None:
    old = origin.commit("with a hole")
    follow(keys=signed)
    new = origin.commit("without", image="shop:2.0")
    assert follow(keys=signed).word == "applied"
    origin.git("reset", "-q", "--hard", old)  # by somebody who may push, and not sign
    for _ in range(2):
        state = follow(keys=signed)
        assert (state.word, state.exit) == ("refused", Exit.REFUSED)
        assert f"does not descend from {new[:12]}, which was verified before" in state.text
    assert scene.versions("green") == ["2.0", "2.0"]
    assert follow(keys=signed, allow_rewind=True).word == "applied"
    origin.git("reset", "-q", "--hard", new)
    assert follow(keys=signed).word in ("applied", "pinned"), "from there on it goes forwards again"


def test_a_signed_commit_of_another_repository_is_not_deployed(
    origin: Origin, follow: Callable[..., ManifestState], signed: Path, tmp_path: Path
) -> None:
    first = origin.commit("the first one of this repository")
    other = Origin(tmp_path / "other")
    for name in ("gpg.format", "user.signingKey", "commit.gpgSign"):
        other.git("config", name, origin.git("config", name))
    foreign = other.commit("of another service", image="other:1.0")
    origin.git("fetch", "-q", str(other.folder), "main")
    origin.git("reset", "-q", "--hard", foreign)
    state = follow(keys=signed, since=first)
    assert (state.word, f"does not descend from {first[:12]}" in state.text) == ("refused", True)
    assert follow(keys=signed, since="main").word == "refused"
    origin.git("reset", "-q", "--hard", first)
    assert follow(keys=signed, since=first).word == "applied"
    origin.git("reset", "-q", "--hard", foreign)
    assert follow(keys=signed).word == "refused", "and what was verified before holds, too"


@pytest.mark.parametrize("to", ["/etc/hostname", "../../../../../../../../../etc/hostname", ".git/config", "way/out"])
def test_a_link_that_leads_out_of_the_commit_is_refused(
    scene: Scene, origin: Origin, follow: Callable[..., ManifestState], to: str
) -> None:
    (origin.folder / "way").symlink_to("/etc")
    (origin.folder / "key").symlink_to(to)
    origin.commit("a secret that no review shows", secrets={"KEY": {"file": "key"}})
    state = follow()
    assert (state.word, state.exit) == ("refused", Exit.REFUSED)
    assert "is a link that leads out of the commit" in state.text
    assert scene.house.store.releases.of("shop") == ()


def test_a_link_inside_the_commit_is_followed(origin: Origin, follow: Callable[..., ManifestState]) -> None:
    (origin.folder / "keys").mkdir()
    (origin.folder / "keys" / "real").write_text("of the repository")
    (origin.folder / "key").symlink_to("keys/real")
    (origin.folder / "all").symlink_to("keys")
    origin.commit(secrets={"KEY": {"file": "key"}, "OTHER": {"file": "all/real"}})
    assert follow().word == "applied"


def test_a_strategy_of_the_repository_is_not_run_by_who_looks(scene: Scene, origin: Origin, tmp_path: Path) -> None:
    (origin.folder / "strategies").mkdir()
    ran = tmp_path / "ran"
    (origin.folder / "strategies" / "evil.py").write_text(f"open({str(ran)!r}, 'w').close()\n")
    origin.commit(strategy="evil")
    repository = Repository(str(origin.folder), "main", tmp_path / "gitops", SystemClock(), os.environ)
    asked: list[str] = []

    def deploy(order: Order) -> RolloutResult:
        asked.append(order.strategy)
        assert not ran.exists()
        return RolloutResult("done", Exit.DONE, "by another process", 1)

    state = BranchFollower(scene.house, BranchSource(repository), os.environ, deploy).look()
    assert (state.word, asked, ran.exists()) == ("applied", ["evil"], False)


def test_commits_that_openpgp_signed(origin: Origin, follow: Callable[..., ManifestState], tmp_path: Path) -> None:
    home = tmp_path / "g"
    home.mkdir(mode=0o700)
    environ = {**os.environ, "GNUPGHOME": str(home)}

    def gpg(*arguments: str) -> str:
        command = ["gpg", "--batch", "--quiet", "--pinentry-mode", "loopback", "--passphrase", "", *arguments]
        return subprocess.run(command, env=environ, check=True, capture_output=True, text=True, timeout=120).stdout

    gpg("--quick-generate-key", "ann@example.com", "ed25519", "sign")
    keys = tmp_path / "keys.asc"
    keys.write_text(gpg("--armor", "--export", "ann@example.com"))
    origin.commit("unsigned")
    assert follow(keys=keys).word == "refused"
    subprocess.run(
        ["git", "-C", origin.folder, "commit", "-q", "--allow-empty", "-Sann@example.com", "-m", "signed"],
        env=environ,
        check=True,
        timeout=120,
    )
    subprocess.run(["gpgconf", "--kill", "all"], env=environ, check=True, timeout=120)
    assert follow(keys=keys).word == "applied"


def test_a_command_is_told_the_status(tmp_path: Path) -> None:
    script = tmp_path / "tell.py"
    script.write_text("import json, os; json.dump(dict(os.environ), open('told', 'w'))")
    state = ManifestState("applied", "r2 is live", "shop", "c0ffee", 7)
    status = CommitStatus(f"'{sys.executable}' '{script}'", "", {**os.environ, SECRET: "s3cret"}, SystemClock())
    assert status.tell(state, tmp_path) == ""
    told = json.loads((tmp_path / "told").read_text())
    assert (told["DEPLOYER_STATUS"], told["DEPLOYER_COMMIT"], told["DEPLOYER_ROLLOUT"]) == ("success", "c0ffee", "7")
    assert SECRET not in told
    assert "exit code 1" in CommitStatus("false", "", os.environ, SystemClock()).tell(state, tmp_path)


def test_an_address_is_told_the_status_signed(tmp_path: Path) -> None:
    heard: list[tuple[bytes, str, str]] = []

    class Hook(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            heard.append((body, self.headers["X-Deploy-Timestamp"], self.headers["X-Deploy-Signature-256"]))
            self.send_response(204 if len(heard) == 1 else 500)
            self.end_headers()

        def log_message(self, *_: object) -> None: ...

    def twice(server: HTTPServer) -> None:
        for _ in range(2):
            server.handle_request()

    with HTTPServer(("127.0.0.1", 0), Hook) as server:
        thread = threading.Thread(target=twice, args=(server,))
        thread.start()
        status = CommitStatus("", f"http://127.0.0.1:{server.server_port}/hook", {SECRET: "s3cret"}, SystemClock())
        assert status.tell(ManifestState("pinned", "no", "shop", "c0ffee"), tmp_path) == ""
        assert status.tell(ManifestState("pinned", "no", "shop", "c0ffee"), tmp_path) == "--webhook: HTTP 500"
        thread.join(60)
    body, at, signature = heard[0]
    assert signature == "sha256=" + hmac.new(b"s3cret", f"{at}.".encode() + body, hashlib.sha256).hexdigest()
    assert abs(int(at) - time.time()) < 60
    assert json.loads(body)["status"] == "failure"
    with pytest.raises(Refused, match=SECRET):
        CommitStatus("", "https://hooks.example.com", {}, SystemClock())
