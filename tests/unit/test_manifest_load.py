"""Loading: overlays, variables, overrides, what a file may be."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from deployer.core.errors import ManifestRefused
from deployer.manifest.load import Loaded, load
from deployer.manifest.models import Manifest

BASE = "service: shop\nimage: shop:1\nport: 8080\n"


def write(folder: Path, text: str | bytes, name: str = "deploy.yml") -> Path:
    file = folder / name
    file.write_bytes(text if isinstance(text, bytes) else text.encode())
    return file


def loaded(folder: Path, text: str, overlay: str | None = None, **environ: str) -> Loaded:
    file = write(folder, BASE + text)
    if overlay is None:
        return load(file, environ=environ)
    write(folder, overlay, "deploy.staging.yml")
    return load(file, destination="staging", environ=environ)


def refused(file: Path, destination: str = "", **environ: str) -> list[str]:
    with pytest.raises(ManifestRefused) as error:
        load(file, destination=destination, environ=environ)
    return [str(problem) for problem in error.value.problems]


def test_the_folder_stands_for_its_deploy_yml(tmp_path: Path) -> None:
    file = write(tmp_path, BASE)

    result = load(tmp_path, environ={})

    assert result.manifest == Manifest(service="shop", image="shop:1", port=8080)
    assert (result.folder, result.files, result.destination) == (tmp_path, (file,), "")


def test_a_relative_path_gives_an_absolute_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path, BASE)
    monkeypatch.chdir(tmp_path)

    assert load(Path("deploy.yml"), environ={}).folder == tmp_path


def test_values_know_where_they_stand(tmp_path: Path) -> None:
    result = loaded(tmp_path, "health:\n  rise: 3\nsmoke:\n  - get: /a\n  - get: /b\n", "health: {rise: 4}\n")

    assert result.where("smoke[1].get") == "deploy.yml:8"
    assert result.where("health.rise") == "deploy.staging.yml:1"
    assert result.where("traffic.lease") == "deploy.yml:1"  # not written down: the nearest thing around it


@pytest.mark.parametrize(
    ("base", "overlay", "expected"),
    [
        ("env: {A: a, B: b}", "env: {B: c}", {"env": {"A": "a", "B": "c"}}),
        ("env: {A: a, B: b}", "env: {B: }", {"env": {"A": "a"}}),
        ("env: {A: a, B: b}", "env:", {"env": {}}),
        ("command: [a, b]", "command: [c]", {"command": ("c",)}),
        ("replicas: 3", "replicas: ~", {"replicas": 1}),
        ("secrets: [A, B]", "secrets: [C]", {"secrets": {"C": {"env": "C", "deliver": "file"}}}),
        ("secrets: {A: {file: a}}", "secrets: [C]", {"secrets": {"C": {"env": "C", "deliver": "file"}}}),
        ("strategy: {canary: {steps: [5]}}", "strategy: bluegreen", {"strategy": "bluegreen"}),
        ("health: {http: /up, rise: 9}", "health: {http: , tcp: true}", {"health": {"tcp": True, "rise": 9}}),
    ],
)
def test_an_overlay_lies_over_the_manifest(
    tmp_path: Path, base: str, overlay: str, expected: dict[str, object]
) -> None:
    manifest = loaded(tmp_path, base, overlay).manifest

    wanted = Manifest.model_validate({"service": "shop-staging", "image": "shop:1", "port": 8080, **expected})
    assert manifest == wanted


def test_a_destination_is_part_of_the_name_unless_the_overlay_names_it(tmp_path: Path) -> None:
    assert loaded(tmp_path, "", "replicas: 2").manifest.service == "shop-staging"
    assert loaded(tmp_path, "", "service: trial").manifest.service == "trial"


def test_a_missing_overlay_tells_which_there_are(tmp_path: Path) -> None:
    file = write(tmp_path, BASE)
    write(tmp_path, "", "deploy.production.yml")
    write(tmp_path, "", "deploy.eu-west.yml")
    write(tmp_path, "", "deploy.Not A Name.yml")

    (problem,) = refused(file, "staging")

    assert "deploy.staging.yml is not there → known here: eu-west, production" in problem


@pytest.mark.parametrize("name", ["../x", "a/b", "..", "UP", "a.b", " ", "a\0b"])
def test_a_destination_is_never_a_path(tmp_path: Path, name: str) -> None:
    (problem,) = refused(write(tmp_path, BASE), name)

    assert "cannot name a destination" in problem


@pytest.mark.parametrize(
    ("written", "environ", "read"),
    [
        ("${A}", {"A": "x"}, "x"),
        ("a-${A}-b-${B}", {"A": "x", "B": "y"}, "a-x-b-y"),
        ("${A:-none}", {}, "none"),
        ("${A:-none}", {"A": ""}, "none"),
        ("${A:-}", {}, ""),
        ("${A:?give it}", {"A": "x"}, "x"),
        ("${A}", {"A": ""}, ""),
        ("${A}", {"A": "null"}, "null"),
        ("${A}", {"A": "1.10"}, "1.10"),
        ("${A}", {"A": "${B}: [x]"}, "${B}: [x]"),
        ("$$A $${A} $A 5$", {"A": "x"}, "$A ${A} $A 5$"),
        ("'${A}'", {"A": "x"}, "x"),
    ],
)
def test_variables_are_filled_in_once(tmp_path: Path, written: str, environ: dict[str, str], read: str) -> None:
    assert loaded(tmp_path, f"env:\n  V: {written}\n", **environ).manifest.env == {"V": read}


def test_a_plain_value_is_read_again_after_filling_in(tmp_path: Path) -> None:
    result = loaded(tmp_path, "replicas: ${N}\nread_only: ${RO}\nkeep: {warm: 10}\n", N="3", RO="true")

    assert (result.manifest.replicas, result.manifest.read_only) == (3, True)


def test_a_variable_that_is_not_utf_8_is_refused(tmp_path: Path) -> None:
    file = write(tmp_path, BASE + "env:\n  V: ${A}\n")

    assert refused(file, A=os.fsdecode(b"\xff")) == [
        "deploy.yml:5: env.V: the environment variable A is not UTF-8 → set it to text"
    ]


@pytest.mark.parametrize(
    "text", ["1.10", "2.0", "+5", "1e3", "010", "yes", "True", "12:30", "0x1F", "1_000", "true", "7"]
)
def test_text_stays_as_it_was_typed(tmp_path: Path, text: str) -> None:
    assert loaded(tmp_path, f"env: {{V: {text}}}\n").manifest.env["V"] == text


def test_a_version_is_no_number(tmp_path: Path) -> None:
    assert loaded(tmp_path, "version: 1.10\n").manifest.version == "1.10"


def test_anchors_and_merges_work(tmp_path: Path) -> None:
    text = "env: &common\n  A: a\n  B: b\nlog:\n  options:\n    <<: *common\n    B: c\n"

    assert loaded(tmp_path, text).manifest.log.options == {"A": "a", "B": "c"}


def test_domains_are_lower_case_and_secrets_have_a_short_form(tmp_path: Path) -> None:
    manifest = loaded(tmp_path, "traffic: {domains: [Shop.Example.COM]}\nsecrets: [TOKEN]\n").manifest

    assert manifest.traffic.domains == ("shop.example.com",)
    assert manifest.secrets["TOKEN"].env == "TOKEN"


def test_what_was_loaded_survives_being_recorded(tmp_path: Path) -> None:
    manifest = loaded(tmp_path, "strategy: {canary: {steps: [5, 2.5], hold: true}}\nlimits: {cpus: 1.5}\n").manifest

    assert Manifest.from_record(manifest.record()) == manifest
    assert manifest.strategy_options("canary") == {"steps": [5, 2.5], "hold": True}
    assert {type(step) for step in manifest.strategy_options("canary")["steps"]} == {int, float}


def test_the_command_line_wins(tmp_path: Path) -> None:
    file = write(tmp_path, BASE + "version: 1\ntraffic: {sticky: true}\n")

    overrides = {"version": "2.0", "traffic.lease": "5s", "replicas": 3, "keep": None, "env": {"A": "${B}"}}
    manifest = load(file, overrides=overrides, environ={}).manifest

    assert (manifest.version, manifest.traffic.lease, manifest.traffic.sticky) == ("2.0", 5.0, True)
    assert (manifest.replicas, manifest.env) == (3, {"A": "${B}"})


def test_a_bad_value_of_the_command_line_is_told_as_such(tmp_path: Path) -> None:
    with pytest.raises(ManifestRefused) as error:
        load(write(tmp_path, BASE), overrides={"version": "a b"}, environ={})

    (problem,) = error.value.problems
    assert (problem.where, problem.path) == ("command line", "version")


@pytest.mark.parametrize(
    ("raw", "told"),
    [
        (b"", "deploy.yml: is empty"),
        (b"# only a comment\n", "deploy.yml: is empty"),
        (b"service: shop\nimage: caf\xe9\n", "deploy.yml:2: the text is not UTF-8"),
        (BASE.encode("utf-16"), "deploy.yml:1: the text is UTF-16"),
        (b"service: shop\nimage: a\x07b\n", "deploy.yml:2: the character U+0007 is not allowed"),
        (b"a: x\n" + b"#" * 1024 * 1024, "deploy.yml: is larger than 1 MiB"),
        (b'a: "\\U00110000"\n', "deploy.yml: is not YAML"),
        (b"".join(b"k%d: 1\n" % n for n in range(6000)), "deploy.yml:5000: has more than 10000 values"),
    ],
)
def test_a_file_that_is_no_manifest(tmp_path: Path, raw: bytes, told: str) -> None:
    assert refused(write(tmp_path, raw))[0].startswith(told)


def test_a_byte_order_mark_is_no_harm(tmp_path: Path) -> None:
    assert load(write(tmp_path, b"\xef\xbb\xbf" + BASE.encode()), environ={}).manifest.service == "shop"


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    assert refused(tmp_path / "deploy.yml")[0].startswith("deploy.yml: is not there")


def test_a_pipe_is_refused_and_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "deploy.yml")

    assert refused(tmp_path / "deploy.yml")[0].startswith("deploy.yml: is not a file")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_that_may_not_be_read(tmp_path: Path) -> None:
    file = write(tmp_path, BASE)
    file.chmod(0)

    assert refused(file) == ["deploy.yml: cannot be read: Permission denied"]
