"""The first manifest: it loads, says what was answered, and each of its comments is worth removing the # for."""

from __future__ import annotations

import re
import tempfile
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import example, given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from deployer.core.errors import ManifestRefused
from deployer.manifest import quiet
from deployer.manifest.load import Loaded, load
from deployer.manifest.models import Manifest
from deployer.manifest.schema import schema
from deployer.manifest.suggest import suggest
from deployer.manifest.template import OF_WORKERS, OPTIONAL, InitAnswers, template
from deployer.manifest.units import per_second
from deployer.model import FULL
from deployer.planning import strategy
from tests.lab.signing import public_key

NAMES = st.from_regex(r"[a-z][a-z0-9-]{0,39}", fullmatch=True)
LABELS = st.from_regex(r"[a-z0-9]([a-z0-9-]{0,8}[a-z0-9])?", fullmatch=True)
TAGS = st.sampled_from(["", ":1.10", ":{version}", ":latest", "@sha256:" + "0" * 64])
ANSWERS = st.builds(
    InitAnswers,
    service=NAMES | st.sampled_from(["no", "on", "null", "y"]),
    image=st.builds(
        "{}{}".format, st.sampled_from(["shop", "localhost:5000/a/b_c", "ghcr.io/x/y.z", "null", "1"]), TAGS
    ),
    port=st.integers(1, 65535),
    runtime=st.just("docker"),
    health=st.just("") | st.from_regex(r"/[A-Za-z0-9._~!$&'()*+,;=:@%/?-]{0,20}", fullmatch=True),
    domains=st.lists(st.builds("{}.{}".format, LABELS, LABELS), max_size=3, unique=True).map(tuple),
    listen=st.sampled_from(["*:80", "127.0.0.1:8080", "[::1]:8080"]),
    replicas=st.integers(1, 100),
)
VALIDATOR = Draft202012Validator(schema())
COMMANDS = st.lists(st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1), min_size=1, max_size=3)


def loaded(text: str) -> Loaded:
    with tempfile.TemporaryDirectory(prefix="dp", dir="/tmp") as folder:
        file = Path(folder, "deploy.yml")
        file.write_text(text)
        return load(file, environ={})


def check_answers(answers: InitAnswers) -> None:
    text = template(answers)
    manifest = loaded(text).manifest

    assert (manifest.service, manifest.image, manifest.port) == (answers.service, answers.image, answers.port)
    assert (manifest.runtime, manifest.replicas) == (answers.runtime, answers.replicas)
    assert (manifest.health.http or "", manifest.command or ()) == (answers.health, answers.command)
    assert (manifest.traffic.domains, manifest.traffic.listen) == (answers.domains, answers.listen)
    VALIDATOR.validate(yaml.safe_load(text))


@pytest.mark.parametrize(
    ("traffic", "strategy"),
    [
        ("", "canary"),
        ("20/s", "canary"),
        ("60/min", "canary"),
        ("30/min", {"canary": {"steps": [50], "within": "2m"}}),
        ("60/h", {"canary": {"steps": [50], "within": "60m"}}),
        ("10/h", {"bluegreen": {"bake": "10m"}}),
        ("0/h", {"bluegreen": {"bake": "10m"}}),
    ],
)
def test_the_traffic_decides_the_strategy(traffic: str, strategy: object) -> None:
    text = template(InitAnswers("shop", "shop", traffic=traffic))
    assert loaded(text).manifest.strategy == strategy
    assert yaml.safe_load(text).get("strategy", "canary") == strategy


@pytest.mark.parametrize("wrong", ["20", "many/s", "-1/s", "1/day", "1e9/s", "/s"])
def test_traffic_is_a_number_in_a_time(wrong: str) -> None:
    with pytest.raises(ValueError, match="is not a number of requests in a time"):
        per_second(wrong)


def test_the_strategy_for_a_traffic_knows_the_defaults() -> None:
    canary = strategy.load("canary", Path()).parse({}).model_dump()
    manifest = Manifest.model_validate({"service": "shop", "image": "shop:1", "port": 80})
    assert manifest.judge.requests == quiet.REQUESTS
    assert canary["steps"][0]["share"] == quiet.FIRST_SHARE * FULL


@settings(deadline=None, max_examples=30)
@given(ANSWERS)
@example(InitAnswers("shop", "shop", health="/$$/$"))
def test_the_manifest_says_what_was_answered(answers: InitAnswers) -> None:
    check_answers(answers)


@settings(deadline=None, max_examples=30)
@given(COMMANDS)
def test_any_command_is_kept_word_by_word(command: list[str]) -> None:
    check_answers(InitAnswers("shop", "app", runtime="process", command=tuple(command)))


def test_the_lines_that_matter_are_on_top() -> None:
    text = template(InitAnswers("shop", "shop:{version}", health="/up", domains=("shop.example.com",)))

    assert text.splitlines()[2:7] == [
        "service: shop",
        'image: "shop:{version}"',
        "port: 8080",
        "health: {http: /up}",
        "traffic: {domains: [shop.example.com]}",
    ]
    assert all(line.startswith("# ") for line in text.splitlines()[8:])


@pytest.mark.parametrize("key", [None, *OF_WORKERS])
def test_a_worker_has_no_keys_of_users(key: str | None, tmp_path: Path) -> None:
    text = template(InitAnswers("mailer", "mailer", worker=True))
    assert text.splitlines()[2:4] == ["service: mailer", "image: mailer"]
    assert not re.search(r"^#? ?(port|traffic|smoke):", text, re.MULTILINE)
    (tmp_path / "deploy.yml").write_text(text.replace(f"# {key}:", f"{key}:", 1))
    manifest = load(tmp_path / "deploy.yml", environ={}).manifest
    assert (manifest.port, manifest.health.kind) == (None, "running")


def test_every_key_is_there_to_choose_from() -> None:
    assert OPTIONAL.keys() | {"service", "image", "port"} == Manifest.model_fields.keys()


@pytest.mark.parametrize("key", OPTIONAL)
def test_a_comment_becomes_a_setting(key: str, tmp_path: Path) -> None:
    (tmp_path / "inventories" / "production").mkdir(parents=True)
    for name in ("migrate.yml", "announce.yml"):
        (tmp_path / "playbooks").mkdir(exist_ok=True)
        (tmp_path / "playbooks" / name).touch()
    (tmp_path / "cosign.pub").write_text(public_key())
    (tmp_path / ".env").touch()
    (tmp_path / "Dockerfile").touch()
    plain = template(InitAnswers("shop", "shop"))
    if key == "traffic":  # is on top already
        plain = plain.replace('traffic: {listen: "*:80"}', f"# traffic: {OPTIONAL['traffic']}")
    besides: dict[str, dict[str, Any]] = {
        "twin": {"hosts": "web"},
        "swarm": {"runtime": "swarm"},
        "incus": {"runtime": "incus"},
        "notify": {"secrets": ["CHAT_URL"]},
        "verbs": {"runtime": "ansible", "command": ["./server"]},
    }
    beside = besides.get(key, {})
    plain = plain.replace("# hosts: local", "hosts: web") if key == "twin" else plain
    if key == "verbs":
        plain = plain.replace("# runtime: docker", "runtime: ansible").replace("# command: ", "command: ")
    plain = plain.replace("# runtime: docker", f"runtime: {key}") if key in ("swarm", "incus") else plain
    plain = plain.replace("# secrets: [DATABASE_URL]", "secrets: [CHAT_URL]") if key == "notify" else plain
    file = tmp_path / "deploy.yml"
    file.write_text(plain.replace(f"# {key}: ", f"{key}: "))

    manifest = load(file, environ={}).manifest

    written: Any = yaml.safe_load(file.read_text())[key]
    base = {"service": "a", "image": "a", "port": 1, **beside}
    assert getattr(Manifest.model_validate({**base, key: written}), key) == getattr(manifest, key)


@pytest.mark.parametrize(
    "wrong",
    [
        InitAnswers("Shop", "shop"),
        InitAnswers("shop", "my shop"),
        InitAnswers("shop", "shop", port=0),
        InitAnswers("shop", "shop", domains=("https://x",)),
        InitAnswers("shop", "shop", health="up"),
        InitAnswers("shop", "app", runtime="process"),
    ],
)
def test_a_wrong_answer_is_refused(wrong: InitAnswers) -> None:
    with pytest.raises(ManifestRefused):
        template(wrong)


def files(folder: Path, **contents: str) -> Path:
    for name, text in contents.items():
        (folder / name.replace("__", "-").replace("_", ".")).write_text(text)
    return folder


@pytest.mark.parametrize(
    ("contents", "expected"),
    [
        ({}, InitAnswers("my-shop", "my-shop")),
        ({"Dockerfile": "FROM a\nEXPOSE 3000\n"}, InitAnswers("my-shop", "my-shop", port=3000)),
        (
            {"Dockerfile": "FROM a AS b\nEXPOSE 1\nFROM c\n expose 53/udp 9000/tcp\n"},
            InitAnswers("my-shop", "my-shop", 9000),
        ),
        ({"Dockerfile": "FROM a\nEXPOSE $PORT\n"}, InitAnswers("my-shop", "my-shop")),
        (
            {"Dockerfile": "HEALTHCHECK --interval=5s \\\n  CMD curl -f http://localhost:80/health/live || exit 1\n"},
            InitAnswers("my-shop", "my-shop", health="/health/live"),
        ),
        ({"pyproject_toml": '[project]\nname = "Web_Shop"\n'}, InitAnswers("web-shop", "web-shop")),
        ({"pyproject_toml": "not toml ["}, InitAnswers("my-shop", "my-shop")),
        ({"pyproject_toml": "project = 3"}, InitAnswers("my-shop", "my-shop")),
        (
            {"compose_yaml": "services: {db: {image: pg}, web: {image: 'x/web:1', ports: ['127.0.0.1:80:8000/tcp']}}"},
            InitAnswers("my-shop", "x/web:1", 8000),
        ),
        ({"docker__compose_yml": "services: {web: {ports: [{target: 81}]}}"}, InitAnswers("my-shop", "my-shop", 81)),
        ({"compose_yml": "services: {web: {image: '${IMAGE}', expose: [82]}}"}, InitAnswers("my-shop", "my-shop", 82)),
        (
            {"compose_yml": "services: {web: {healthcheck: {test: [CMD, curl, 'http://localhost/up']}}}"},
            InitAnswers("my-shop", "my-shop", health="/up"),
        ),
        ({"compose_yml": "services: [a]"}, InitAnswers("my-shop", "my-shop")),
        ({"compose_yml": "\tbroken"}, InitAnswers("my-shop", "my-shop")),
    ],
)
def test_suggestions(contents: dict[str, str], expected: InitAnswers, tmp_path: Path) -> None:
    folder = tmp_path / "My Shop!"
    folder.mkdir()

    answers = suggest(files(folder, **contents))

    assert answers == expected
    assert template(answers)


@given(name=st.text(st.characters(exclude_characters="/\0", exclude_categories=["Cs"]), min_size=1, max_size=50))
def test_any_folder_name_gives_a_service(name: str) -> None:
    assert template(suggest(Path("/nowhere", name)))
