"""`deploy init --from`: files with the structure of well-known projects, what is refused, what is written.

What comes of a file `compose_projects/NAME.yaml` is in `NAME.txt` (`UPDATE_GOLDEN=1` writes it). The structures are
those of public projects: Mastodon, the FastAPI template, Umami, Immich, Chatwoot, Plausible, Healthchecks, the voting
app of Docker, n8n, one of awesome-compose, caddy-docker-proxy.
"""

from __future__ import annotations

import os
import random
import re
import shutil
import subprocess
from collections.abc import Iterator
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
import yaml

from deployer.cli import main
from deployer.core.errors import Exit, ManifestRefused, Refused
from deployer.manifest.compose import Migration, migrate
from deployer.manifest.compose.report import lines
from deployer.manifest.load import load
from tests.tiers import draws, seeds

FILES = Path(__file__).parent / "compose_projects"
NAMES = sorted(file.stem for file in FILES.glob("*.yaml"))
DOTENV = """\
STACK=shop
DOMAIN=example.com
IMAGE=example/shop
SECRET_KEY=hunter2-hunter2
SMTP_PASSWORD=
POSTGRES_PASSWORD=hunter2-hunter2
UPLOADS=./uploads
DB_PASSWORD=hunter2-hunter2
DB_FOLDER=/srv/pg
DB_NAME=records
REDIS_PASSWORD=hunter2-hunter2
BRIDGE_KEY=hunter2-hunter2
BASE_URL=https://stats.example.com
SECRET_KEY_BASE=hunter2-hunter2
VAULT_KEY=hunter2-hunter2
FLOWS_VERSION=1.2
ENCRYPTION_KEY=hunter2-hunter2
"""
BESIDE = {
    "production.env": "RAILS_ENV=production\n",
    "token.txt": "hunter2-hunter2\n",
    "settings.ini": "[a]\n",
    "Dockerfile": "FROM scratch\n",
    "backend/Dockerfile": "FROM scratch AS builder\n",
    "frontend/Dockerfile": "FROM scratch\n",
    "vote/Dockerfile": "FROM scratch\n",
    "worker/Dockerfile": "FROM scratch\n",
    "result/Dockerfile": "FROM scratch\n",
    "../docker/Dockerfile": "FROM scratch\n",
}


def project(folder: Path, text: str, dotenv: str = DOTENV) -> Path:
    """Make a project in a folder `shop` with a file compose.yaml and what is beside it; return the file."""
    shop = folder / "shop"
    shop.mkdir()
    for name, content in {**BESIDE, ".env": dotenv, "compose.yaml": text}.items():
        (shop / name).parent.mkdir(parents=True, exist_ok=True)
        (shop / name).write_text(content)
    return shop / "compose.yaml"


def written(made: Migration, folder: Path) -> str:
    said = "\n".join(lines(made, made.source.parent))
    text = "\n".join([said, *(f"\n---- {each.file.name}\n{each.text}" for each in made.taken)])
    return text.replace(str(folder.resolve()), "/FOLDER")


@pytest.mark.parametrize("name", NAMES)
def test_a_project(name: str, tmp_path: Path) -> None:
    file = project(tmp_path, (FILES / f"{name}.yaml").read_text())
    made = migrate(file, {})
    expected = FILES / f"{name}.txt"
    text = written(made, tmp_path)
    if os.environ.get("UPDATE_GOLDEN"):
        expected.write_text(text)

    assert text == expected.read_text()
    assert "hunter2" not in text
    for each in made.taken:
        each.file.write_text(each.text)
        manifest = load(each.file, environ={}).manifest
        assert manifest.port or manifest.health.kind in ("running", "command", "docker")
        assert "hunter2" not in str(manifest.traffic)


@pytest.mark.parametrize("name", NAMES)
def test_nothing_is_dropped_silently(name: str, tmp_path: Path) -> None:
    file = project(tmp_path, (FILES / f"{name}.yaml").read_text())
    data = yaml.safe_load(file.read_text())
    made = migrate(file, {})
    from deployer.manifest.compose.services import _BESIDE, TAKEN

    for each in made.taken:
        noted = {note.path for note in each.notes}
        for key in data["services"][each.name]:
            assert key in TAKEN or key in _BESIDE or f"services.{each.name}.{key}" in noted, key


@pytest.mark.parametrize("name", NAMES)
def test_compose_itself_takes_the_files(name: str, tmp_path: Path) -> None:
    if not shutil.which("docker-compose"):
        pytest.skip("needs docker-compose")
    file = project(tmp_path, (FILES / f"{name}.yaml").read_text())
    command = ["docker-compose", "-f", str(file), "config", "--quiet"]
    subprocess.run(command, env={"PATH": os.environ["PATH"]}, check=True, timeout=120)


# -- what is refused, with file and line

WEB = "services:\n  web:\n    image: shop:1\n    ports: ['8080:80']\n"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("services:\n  web\n    image: x\n", "compose.yaml:3: a colon where none can be"),
        ("services:\n  web: {image: x, prots: ['80']}\n", "compose.yaml:2: services.web.prots: is not a key of the"),
        ("services:\n  web: {image: x, prots: ['80']}\n", "did you mean `ports`?"),
        ("services:\n  web:\n    image: [x]\n", "compose.yaml:3: services.web.image: must be text, not a list"),
        ("services:\n  web:\n    image: x\n    ports: 80\n", "compose.yaml:4: services.web.ports: must be a list"),
        ("services:\n  web:\n    image: x\n    image: y\n", "compose.yaml:4: the key 'image' is given twice"),
        ("services: []\n", "compose.yaml:1: services: must be keys with values, not a list"),
        ("services: {}\n", "services: there is no service"),
        ("services:\n  web: {ports: ['80']}\n", "compose.yaml:2: services.web: has neither an image nor a build"),
        (
            "services:\n  web:\n    extends: {file: base.yaml, service: web}\n    image: x\n",
            "compose.yaml:3: services.web.extends: services of other files are not read → `docker compose config",
        ),
        ("include: [other.yaml]\n" + WEB, "compose.yaml:1: include: other files are not read"),
        (
            WEB + "    profiles: [debug]\n",
            "compose.yaml:5: services.web.profiles: the service runs only with the profile debug → --profile debug",
        ),
        (
            WEB + "    environment:\n      A: $NOWHERE\n",
            "compose.yaml:6: services.web.environment.A: the environment variable NOWHERE is not set → write NOWHERE=…",
        ),
        (WEB + "    command: ${NOWHERE:?say it}\n", "compose.yaml:5: services.web.command: say it → set NOWHERE"),
        (
            WEB + "  api:\n    image: x\n    ports: ['127.0.0.1:8080:81']\n",
            "compose.yaml:7: services.api.ports: port 8080 is published by web, too (compose.yaml:4)",
        ),
        (WEB + "    env_file: nowhere.env\n", "compose.yaml:5: services.web.env_file: nowhere.env is not there"),
        (WEB + "    build: ./nowhere\n", "compose.yaml:5: services.web.build.context: nowhere is not there"),
        (WEB + "    build: {dockerfile: Other}\n", "compose.yaml:5: services.web.build.dockerfile: Other is not there"),
        (WEB + "    networks: [nowhere]\n", "compose.yaml:5: services.web.networks: 'nowhere' is defined nowhere"),
        (WEB + "    depends_on: [nowhere]\n", "compose.yaml:5: services.web.depends_on: there is no service 'nowhere'"),
        (WEB + "    image: !!python/object x\n", "tags (!…) are not supported"),
    ],
)
def test_what_is_wrong_is_said_with_its_line(tmp_path: Path, text: str, said: str) -> None:
    file = project(tmp_path, text)
    before = sorted(tmp_path.rglob("*"))

    with pytest.raises(ManifestRefused) as refused:
        migrate(file, {})
    assert said in refused.value.message
    assert refused.value.message.startswith("compose.yaml was refused, ")
    assert sorted(tmp_path.rglob("*")) == before


def test_all_problems_are_told_at_once(tmp_path: Path) -> None:
    file = project(tmp_path, WEB + "    command: $A\n    user: $B\n  api: {image: x, ports: ['$C']}\n")

    with pytest.raises(ManifestRefused) as refused:
        migrate(file, {})
    assert [problem.where for problem in refused.value.problems] == [f"compose.yaml:{line}" for line in (5, 6, 7)]


def test_a_wrong_line_of_a_file_of_variables_is_refused(tmp_path: Path) -> None:
    file = project(tmp_path, WEB + "    env_file: wrong.env\n")
    (file.parent / "wrong.env").write_text("A=a\nno variable\n")

    with pytest.raises(ManifestRefused, match=r"wrong\.env:2: is not NAME=value"):
        migrate(file, {})


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("services: {db: {image: postgres}}\n", r"db \(compose.yaml:1\): it keeps data"),
        ("services: {db: {image: 'postgres:17'}}\n", "it keeps data, so no second copy may run beside it"),
        (
            "services: {web: {build: {context: ., dockerfile_inline: FROM x}, ports: ['80']}}\n",
            "inside the Compose file",
        ),
        ("services: {web: {build: 'https://example.com/x.git', ports: ['80']}}\n", "a place that is no folder here"),
    ],
)
def test_a_file_without_a_service_with_users_is_refused(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(Refused, match=said):
        migrate(project(tmp_path, text), {})


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(Refused, match="is not there"):
        migrate(tmp_path / "compose.yaml", {})
    with pytest.raises(Refused, match="there is no Compose file in this folder"):
        migrate(tmp_path, {})


# -- what is chosen


def test_a_profile_is_chosen(tmp_path: Path) -> None:
    text = WEB + "  debug: {image: y, ports: ['81:81'], profiles: [debug]}\n"
    file = project(tmp_path, text)

    assert [each.name for each in migrate(file, {}, profiles=("default",)).taken] == ["web"]
    assert [each.name for each in migrate(file, {}, profiles=("debug",)).taken] == ["web", "debug"]


def test_one_service_is_taken_over_by_name_whatever_it_is(tmp_path: Path) -> None:
    file = project(tmp_path, WEB + "  cache: {image: redis, ports: ['6379:6379']}\n")
    made = migrate(file, {}, only="cache")

    assert [each.file.name for each in made.taken] == ["deploy.yml"]
    with pytest.raises(Refused, match="has no service nowhere"):
        migrate(file, {}, only="nowhere")


def test_services_come_in_the_order_of_their_needs(tmp_path: Path) -> None:
    web = "  web: {image: x, ports: ['80:80'], depends_on: [api]}\n"
    file = project(tmp_path, f"services:\n{web}  api: {{image: y, ports: ['81:81'], depends_on: [web]}}\n")

    assert [each.name for each in migrate(file, {}).taken] == ["api", "web"]


def test_what_a_manifest_cannot_have_is_left_out_with_its_line(tmp_path: Path) -> None:
    file = project(tmp_path, WEB + "    user: 'a b'\n    environment: {good: a, 'not good': b}\n")
    (made,) = migrate(file, {}).taken

    assert "user:" not in made.text.partition("#   compose")[0]
    assert "good: a" in made.text
    notes = [str(note) for note in made.notes]
    assert any("user: must be a user" in note for note in notes)
    assert any("env.not good: must be the name of a variable" in note for note in notes)


# -- the command


def typed(folder: Path, monkeypatch: pytest.MonkeyPatch, *words: str) -> int:
    monkeypatch.chdir(folder)
    for name in [name for name in os.environ if name in dict.fromkeys(re.findall(r"^\w+", DOTENV, re.MULTILINE))]:
        monkeypatch.delenv(name)
    return main(["init", "--yes", *words])


def test_the_command_writes_and_says_what_it_did(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    file = project(tmp_path, WEB + "  cache: {image: redis}\n")

    assert typed(tmp_path, monkeypatch, "--from", "shop") == Exit.DONE
    said = capsys.readouterr().out
    assert "wrote deploy.yml: service web (compose.yaml:2)" in said
    assert f"  cd {file.parent}\n" in said
    assert load(file.parent, environ={}).manifest.networks == ("shop_default",)

    assert typed(tmp_path, monkeypatch, "--from", "shop") == Exit.REFUSED
    assert "deploy.yml: there already" in capsys.readouterr().err
    assert typed(tmp_path, monkeypatch, "--from", "shop", "--force") == Exit.DONE
    assert typed(file.parent, monkeypatch, "--from", "compose.yaml", "-f", "web.yml") == Exit.DONE
    assert (file.parent / "web.yml").exists()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--from", "shop", "--image", "x"), "--image does not go with --from"),
        (("--from", "shop", "--domain", "a.example.com"), "--domain does not go with --from"),
        (("--from", "shop", "-f", "elsewhere/deploy.yml"), "is not beside"),
        (("--profile", "debug"), "--profile goes with --from"),
        (("--from", "nowhere"), "is not there"),
    ],
)
def test_what_the_command_refuses(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    words: tuple[str, ...],
    said: str,
) -> None:
    project(tmp_path, WEB)

    assert typed(tmp_path, monkeypatch, *words) == Exit.REFUSED
    assert said in capsys.readouterr().err
    assert not list(tmp_path.rglob("deploy.yml"))


# -- what nobody foresaw

ODD: tuple[Any, ...] = (
    None,
    "",
    0,
    -1,
    1.5,
    True,
    [],
    {},
    "x",
    "a:b:c:d",
    "1-99999:3",
    "[::1]:80:80",
    "999999",
    "$$",
    "${A",
    "ünï",
    "../..",
)
Spot = tuple[str | int, ...]


def spots(data: Any, at: Spot = ()) -> Iterator[Spot]:
    entries = data.items() if isinstance(data, dict) else enumerate(data) if isinstance(data, list) else ()
    for key, value in entries:
        yield (*at, key)
        yield from spots(value, (*at, key))


def found(data: Any, at: Spot) -> Any:
    for key in at:
        data = data[key]
    return data


@pytest.mark.parametrize("seed", seeds(draws(20, 4)))
def test_a_file_that_is_changed_anywhere_is_taken_over_or_refused_in_words(seed: int, tmp_path: Path) -> None:
    rng = random.Random(seed)
    known = [yaml.safe_load((FILES / f"{name}.yaml").read_text()) for name in NAMES]
    file = project(tmp_path, "")
    for _ in range(10):
        data = deepcopy(rng.choice(known))
        for _ in range(rng.randint(1, 3)):
            *above, last = rng.choice(list(spots(data)) or [("services",)])
            other = rng.choice(known)
            what = rng.choice([rng.choice(ODD), deepcopy(found(other, rng.choice(list(spots(other)))))])
            found(data, tuple(above))[last] = what
        file.write_text(yaml.safe_dump(data, sort_keys=False, allow_unicode=True))
        try:
            made = migrate(file, {})
        except Refused:
            continue
        for each in made.taken:
            each.file.write_text(each.text)
            load(each.file, environ={})
            each.file.unlink()
