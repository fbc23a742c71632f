"""`deploy scale --replay`: the traffic of a recording, what policies make of it, and the oracle beside them."""

from __future__ import annotations

import json
import math
import re
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deployer.cli import main
from deployer.core.errors import Exit, Refused
from deployer.evidence import replay
from deployer.evidence.recorded_requests import RecordedRequests
from deployer.evidence.recording import Recorder
from deployer.evidence.scaling_replay import LOOK_SECONDS, RequestsAtOnce, SimulatedService, oracle, oracle_sizes
from deployer.manifest.scale import ScaleSettings
from deployer.model import FULL, Counts, Sample
from tests.recorded_traffic import LOOK, counts, header, swell, write
from tests.reported import REPOSITORY

Out = pytest.CaptureFixture[str]
ONE = ScaleSettings(min=1, max=1, concurrency=1, wait=2)
SLEEPY = ScaleSettings(min=0, max=2, concurrency=10, idle=60, wait=30)


def recorded(path: Path, *looks: tuple[float, Sample], begun: tuple[float, ...] = (0.0,)) -> RecordedRequests:
    """Record looks; a drive begins at each of the moments."""
    for number, at in enumerate(begun):
        recorder = Recorder(path, header(at=at))
        recorder.watch(0, FULL, at)
        end = begun[number + 1] if number + 1 < len(begun) else math.inf
        for when, sample in looks:
            if at <= when < end:
                recorder.sample(sample, when)
        recorder.close()
    return RecordedRequests(replay.open_source(path))


def answered(*ms: float, errors: int = 0) -> Sample:
    return Sample(counts(list(ms), errors), Counts(), 0)


# -- what is read from a recording


def test_each_request_ends_in_the_time_of_its_look_and_takes_what_it_took(tmp_path: Path) -> None:
    looks = [(LOOK * n, answered(*[100.0] * 3, *[2000.0] * (n % 2))) for n in range(1, 41)]
    requests = recorded(tmp_path / "shop.jsonl", *looks)
    seen = list(requests)
    assert len(seen) == requests.requests == 40 * 3 + 20
    assert seen == sorted(seen), "in the order in which they came"
    assert sorted({round(takes, 1) for _, takes in seen}) == [0.1, 2.0]
    ends = sorted(at + takes for at, takes in seen)
    began = requests.began()
    assert began < ends[0]
    assert ends[-1] <= requests.ended == began + 10
    for place in range(40):
        inside = [end for end in ends if began + place * LOOK < end <= began + (place + 1) * LOOK]
        assert len(inside) == 3 + (place + 1) % 2
    assert list(requests) == seen, "the same ones each time"


def test_both_sides_and_responses_without_a_time_are_requests(tmp_path: Path) -> None:
    two = Sample(counts([50.0]), counts([50.0], errors=2), 100, rest=counts([50.0]))
    requests = recorded(tmp_path / "shop.jsonl", (LOOK, two))
    assert [round(takes, 2) for _, takes in requests] == [0.05] * 5
    assert requests.untimed == 2


def test_time_that_was_not_recorded_is_left_out(tmp_path: Path) -> None:
    looks = [(1.0, answered(10.0)), (1.25, answered(10.0)), (5000.0, answered(10.0)), (5000.25, answered(10.0))]
    requests = recorded(tmp_path / "shop.jsonl", *looks, begun=(0.0, 4999.0))
    assert len(list(requests)) == 4
    assert requests.ended - requests.began() == pytest.approx(4 * LOOK)
    assert requests.skipped == pytest.approx(5000 - 1.25 - LOOK)


def test_what_has_no_times_is_refused(tmp_path: Path) -> None:
    with pytest.raises(Refused, match="no response in it has a time"):
        list(recorded(tmp_path / "a.jsonl", (LOOK, answered(errors=2))))
    with pytest.raises(Refused, match="no request in it was answered"):
        list(recorded(tmp_path / "b.jsonl", (LOOK, answered())))
    with pytest.raises(Refused, match="no look is in it"):
        recorded(tmp_path / "c.jsonl").began()


# -- what a policy makes of it


def test_a_request_waits_for_a_place_and_for_no_longer_than_it_may() -> None:
    service = SimulatedService(ONE, 3.0, 0.0, 1, fixed=True)
    for at, takes in ((1.0, 1.5), (1.5, 4.0), (2.0, 1.0), (8.0, 1.0)):
        service.add(at, takes)
    seen = service.finish(10.0)
    assert (seen.requests, seen.waited, seen.refused) == (4, 2, 1), "the second one waited 1 s, the third one gave up"
    assert seen.longest == 2.0
    assert seen.instance_seconds == pytest.approx(10 + LOOK_SECONDS)
    assert seen.changes == 0


def test_it_sleeps_while_nobody_comes_and_the_next_request_waits_for_a_start() -> None:
    service = SimulatedService(SLEEPY, 3.0, 0.0, 1)
    service.add(1.0, 0.5)
    service.add(201.0, 0.5)
    seen = service.finish(220.0)
    assert (seen.requests, seen.waited, seen.longest) == (2, 1, 3.0)
    assert (seen.changes, seen.least, seen.most) == (2, 0, 1)
    assert seen.asleep_seconds == pytest.approx(201 - 61, abs=2 * LOOK_SECONDS)


def test_no_more_instances_than_a_policy_has() -> None:
    service = SimulatedService(ScaleSettings(min=1, max=3, concurrency=1), 1.0, 0.0, 1)
    for place in range(400):
        service.add(place * 0.1, 2.0)
    assert service.finish(60.0).most == 3


@settings(max_examples=30, deadline=None)
@given(
    st.lists(st.tuples(st.floats(0.01, 4), st.floats(0.01, 8)), min_size=1, max_size=60),
    st.integers(1, 4),
    st.integers(0, 3),
    st.sampled_from((0.5, 3.0)),
)
def test_nobody_waits_with_the_sizes_of_the_oracle(
    steps: list[tuple[float, float]], concurrency: int, least: int, start: float
) -> None:
    at, came = 0.0, []
    for after, takes in steps:
        at += after
        came.append((at, takes))
    seen = RequestsAtOnce(0.0)
    for each in came:
        seen.add(*each)
    seen.finish(at)
    policy = ScaleSettings(min=least, max=50, concurrency=concurrency)
    sizes = oracle_sizes(seen.highest, policy, start)
    for begins, _ in came:
        ready = min(int(begins / LOOK_SECONDS), len(sizes) - 1)  # it was started `start` seconds before that
        at_once = sum(other <= begins < other + takes for other, takes in came)
        for look in range(max(0, ready - round(start / LOOK_SECONDS)), ready):
            assert sizes[look] * concurrency >= at_once
    assert min(sizes, default=least) >= least
    highest = max(seen.highest, default=0)
    assert oracle(seen.highest, policy, start).most == max(least, math.ceil(highest / concurrency)) or not sizes


# -- the command


def manifest(folder: Path, scale: str = "scale: {min: 1, max: 8, concurrency: 12}") -> Path:
    file = folder / "deploy.yml"
    file.write_text(f"service: shop\nimage: shop:1\nport: 8080\n{scale}\n")
    return file


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a recording whose load grows and falls."""
    return write(tmp_path_factory.mktemp("recorded") / "shop.jsonl", swell, 1200, 2500)


def test_the_example_of_the_page_is_what_the_command_prints(
    shop: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Out
) -> None:
    page = (REPOSITORY / "docs" / "elastic.md").read_text()
    found = re.search(r"```\n\$ deploy (scale --replay [^\n]*)\n(.*?)\n```", page, re.S)
    assert found
    command, printed = found.groups()
    monkeypatch.chdir(tmp_path)
    manifest(tmp_path)
    (tmp_path / "shop.jsonl").symlink_to(shop)

    assert main([*command.split(), "--state", str(tmp_path)]) == 0
    out = capsys.readouterr().out.rstrip("\n")
    assert out == printed
    assert max(map(len, out.splitlines())) <= 80


def test_json_has_all_numbers(tmp_path: Path, capsys: Out) -> None:
    quiet = write(tmp_path / "quiet.jsonl", lambda at: 3.0 if at < 120 else 0.0, 600, 100)
    file = manifest(tmp_path, "scale: {min: 0, max: 2, concurrency: 4, idle: 2m}")
    arguments = ["scale", "-f", str(file), "--replay", str(quiet), "--fixed", "3", "--start", "500ms"]
    assert main([*arguments, "--output", "json", "--state", str(tmp_path)]) == 0
    told = json.loads(capsys.readouterr().out)

    policy, best, fixed = told["runs"]
    assert told["start"] == 0.5
    assert 500 < told["seconds"] <= 600
    assert policy["policy"]["idle"] == 120
    assert policy["asleep"] == pytest.approx(360, abs=20)
    assert policy["requests"] == told["requests"]
    assert 0 < best["hours"] < policy["hours"] < fixed["hours"] == pytest.approx(0.5, rel=0.01)
    assert any("asleep for" in note for note in told["notes"])


def test_a_policy_is_tried_without_a_manifest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Out) -> None:
    log = tmp_path / "requests.csv"
    rows = [f"{1000 + n / 10},stable,200,300,0" for n in range(600)]
    log.write_text("\n".join(["time,side,status,ms,share", *rows, "5000,stable,200,300,0"]))
    monkeypatch.chdir(tmp_path)
    arguments = ["scale", "--replay", str(log), "--state", str(tmp_path)]
    assert main([*arguments, "--scale", "max=8", "--scale", "concurrency=20"]) == 0
    out = capsys.readouterr().out
    assert "max=8, concurrency=20" in out
    assert "601 requests in 1 h 06 min" in out, "a log has nothing where nobody came"
    assert main([*arguments, "-f", "deploy.yml", "--scale", "max=8", "--scale", "concurrency=20"]) == Exit.REFUSED
    assert "deploy.yml" in capsys.readouterr().err, "a manifest that was named has to be there"
    assert main(arguments) == Exit.REFUSED
    assert "deploy.yml is not there" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("more", "told"),
    [
        (["--scale", "holt=2m"], "did you mean `hold`?"),
        (["--scale", "concurrency"], "write a key of `scale` and its value"),
        (["--scale", "min=9"], "9 is more than `max`"),
        (["--start", "0s"], "must be above 0"),
        (["--start", "soon"], "duration"),
        (["3"], "it goes neither with N nor with --auto"),
    ],
)
def test_what_is_no_policy_is_refused(shop: Path, tmp_path: Path, more: list[str], told: str, capsys: Out) -> None:
    arguments = ["scale", "-f", str(manifest(tmp_path)), "--replay", str(shop), "--state", str(tmp_path)]
    assert main([*arguments, *more]) == Exit.REFUSED
    assert told in capsys.readouterr().err


def test_a_bad_recording_is_refused_with_its_line(tmp_path: Path, capsys: Out) -> None:
    bad = write(tmp_path / "bad.jsonl", lambda _: 5.0, 5, 100)
    lines = bad.read_text().splitlines()
    lines[3] = '{"at": 1, "share": 0, "stable": [1, 2, []]}'
    bad.write_text("\n".join(lines) + "\n")
    arguments = ["scale", "-f", str(manifest(tmp_path)), "--state", str(tmp_path), "--replay"]
    assert main([*arguments, str(bad)]) == Exit.REFUSED
    assert f"{bad}:4: not a line of a recording: 2 errors of 1 requests cannot be" in capsys.readouterr().err
    assert main([*arguments, str(tmp_path / "deploy.yml")]) == Exit.REFUSED
    assert "neither a recording nor a log of requests" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("scale", "told"),
    [
        ("", "has no `scale`"),
        ("traffic: {mode: tcp}\nscale: {max: 2, concurrency: 4}", "how long its sessions take"),
        ("scale: {max: 2, concurrency: auto}", "which a recording does not say"),
    ],
)
def test_a_manifest_that_cannot_be_tried_is_refused(
    shop: Path, tmp_path: Path, scale: str, told: str, capsys: Out
) -> None:
    file = manifest(tmp_path, scale)
    assert main(["scale", "-f", str(file), "--replay", str(shop), "--state", str(tmp_path)]) == Exit.REFUSED
    assert told in capsys.readouterr().err


def test_a_number_is_tried_in_the_place_of_one_that_is_learned(shop: Path, tmp_path: Path, capsys: Out) -> None:
    arguments = ["scale", "-f", str(manifest(tmp_path, "scale: {max: 8, concurrency: auto}")), "--state", str(tmp_path)]
    assert main([*arguments, "--replay", str(shop), "--scale", "concurrency=12"]) == 0
    out = capsys.readouterr().out
    assert "concurrency=12" in out
    assert "manifest" not in out


def test_options_of_a_replay_go_with_it_alone(tmp_path: Path, capsys: Out) -> None:
    for option in (["--scale", "max=3"], ["--start", "2s"], ["--fixed", "2"]):
        assert main(["scale", *option, "--state", str(tmp_path)]) == Exit.REFUSED
        assert "go with --replay FILE" in capsys.readouterr().err
