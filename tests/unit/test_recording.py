"""A recording gives back exactly what was recorded, whatever became of the process that wrote it."""

from __future__ import annotations

import json
import math
import random
from pathlib import Path

import pytest

from deployer.core.errors import Refused
from deployer.evidence import recording
from deployer.evidence.recording import Cut, Looked, RecordedDrive, RecordedStep, Recorder, file_of, prune, read
from deployer.model import Coins, Counts, Release, Sample, latency_bucket, merged
from tests.house import manifest
from tests.memory import FakeClock

RELEASE = Release("shop", 4, "2.0", "shop:2.0", "sha256:1", manifest(), "h")
HEADER = {"service": "shop", "rollout": 7}


def counts(draw: random.Random, requests: int) -> Counts:
    latency = [0] * 700
    for _ in range(requests):
        latency[latency_bucket(draw.lognormvariate(3.0, 0.6))] += 1
    while latency and not latency[-1]:
        latency.pop()
    return Counts(requests, draw.randint(0, requests), tuple(latency))


def sample(draw: random.Random, *, sticky: bool) -> Sample:
    stable, candidate = counts(draw, draw.randint(0, 40)), counts(draw, draw.randint(1, 9))
    coins = Coins(0.05, stable, candidate)
    if sticky:
        coins = Coins(1 / 3, counts(draw, 3), counts(draw, 2), (1, 2))
    return Sample(stable, candidate, 500, 3, (coins,), ((1, (coins,)),), counts(draw, 4), 2)


def marks(path: Path) -> list[recording.Mark]:
    return list(read(path))


@pytest.mark.parametrize("sticky", [True, False])
def test_every_look_is_given_back_exactly(tmp_path: Path, sticky: bool) -> None:
    draw = random.Random(1)
    seen = [(sample(draw, sticky=sticky), 1000 + draw.random()) for _ in range(50)]
    recorder = Recorder(tmp_path / "r.jsonl", HEADER)
    recorder.watch(500, 2500, 999.1, 30.0)
    for one, at in seen:
        recorder.sample(one, at)
    recorder.close()

    first, began, *looks = marks(tmp_path / "r.jsonl")

    assert isinstance(first, RecordedDrive)
    assert first.header["service"] == "shop"
    assert began == RecordedStep(500, 2500, 999.1, 30.0)
    assert looks == [Looked(one, at) for one, at in seen]
    assert recording.shielded(tmp_path / "r.jsonl") == 100


def test_looks_at_nothing_share_lines_and_keep_their_times_and_shares(tmp_path: Path) -> None:
    recorder = Recorder(tmp_path / "r.jsonl", HEADER)
    empty = [(Sample(Counts(), Counts(), 500 if n < 700 else 2500), math.pi * n) for n in range(1000)]
    for one, at in empty:
        recorder.sample(one, at)
    recorder.close()

    assert [(m.sample, m.at) for m in marks(tmp_path / "r.jsonl") if isinstance(m, Looked)] == empty
    assert len((tmp_path / "r.jsonl").read_text().splitlines()) < 8


def test_a_line_that_a_kill_left_unfinished_is_left_out_and_mended_by_the_next_drive(tmp_path: Path) -> None:
    path = tmp_path / "r.jsonl"
    first = Recorder(path, HEADER)
    first.watch(500, 2500, 1.0)
    first.sample(sample(random.Random(2), sticky=False), 1.5)
    first.close()
    whole = path.read_text()
    torn = whole[: whole.rindex("{") + 20]
    path.write_text(torn)

    assert [type(m) for m in read(path)] == [RecordedDrive, RecordedStep]

    second = Recorder(path, HEADER)
    second.watch(500, 2500, 9.0)
    second.close()

    assert [type(m) for m in read(path)] == [RecordedDrive, RecordedStep, RecordedDrive, RecordedStep]


def test_a_bad_line_in_the_middle_is_refused_with_its_number(tmp_path: Path) -> None:
    path = tmp_path / "r.jsonl"
    path.write_text('{"recording":1}\n{"at":1.0,"share":5,"stable":[1]}\n{"watch":[1,2,0],"at":2}\n')

    with pytest.raises(Refused, match=r"r\.jsonl:2: not a line of a recording"):
        marks(path)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "is not a recording: it is empty"),
        ('{"event":"note"}\n', "is not a recording: its first line is not a header"),
        ("service: shop\n", "is not a recording: its first line is not a header"),
        ('{"watch":[1,2,0],"at":2}\n', "is not a recording"),
        ('{"recording":2}\n', "format 2; this version reads 1"),
        ("\x00\xff\n", "r.jsonl"),
    ],
)
def test_a_file_of_another_kind_is_refused(tmp_path: Path, text: str, told: str) -> None:
    (tmp_path / "r.jsonl").write_bytes(text.encode("latin-1"))

    with pytest.raises(Refused) as refused:
        read(tmp_path / "r.jsonl")

    assert told in str(refused.value)


def test_a_file_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(Refused, match="cannot be read"):
        read(tmp_path / "none.jsonl")


def test_a_recording_ends_at_its_largest_size_and_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recording, "LARGEST", 4000)
    draw = random.Random(3)
    recorder = Recorder(tmp_path / "r.jsonl", HEADER)
    for n in range(200):
        recorder.sample(sample(draw, sticky=True), float(n))
    recorder.close()

    assert isinstance(marks(tmp_path / "r.jsonl")[-1], Cut)
    assert (tmp_path / "r.jsonl").stat().st_size < 6000


def test_a_disk_that_cannot_be_written_ends_the_recording_and_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    recorder = Recorder(tmp_path / "file" / "r.jsonl", HEADER)
    recorder.sample(sample(random.Random(4), sticky=True), 1.0)
    recorder.close()

    assert isinstance(recorder.broken, OSError)


def test_a_disk_that_becomes_full_is_kept_as_the_cause() -> None:
    recorder = Recorder(Path("/dev/full"), HEADER)
    recorder.close()

    assert recorder.broken is not None
    assert "No space left" in str(recorder.broken)


def test_an_hour_of_a_busy_service_stays_within_what_is_promised(tmp_path: Path) -> None:
    draw = random.Random(5)
    recorder = Recorder(tmp_path / "r.jsonl", HEADER)
    for n in range(400):  # 100 s of 1,000 requests a second, half of them to the candidate
        both = counts(draw, 125), counts(draw, 125)
        recorder.sample(Sample(*both, 5000, coins=merged((Coins(0.5, *both),))), 123456.789 + n / 4)
    recorder.close()

    assert (tmp_path / "r.jsonl").stat().st_size * 36 < 20e6


def test_the_header_says_what_was_judged_by_which_policy() -> None:
    header = recording.describe(RELEASE, FakeClock(), rollout=9, origin=None)

    assert header["judge"]["errors"]["margin"] == 1.5
    assert (header["service"], header["rollout"], header["release"], header["version"]) == ("shop", 9, 4, "2.0")


def test_only_the_newest_recordings_stay(tmp_path: Path) -> None:
    for number in (1, 2, 9, 10, 11):
        file = file_of(tmp_path, number)
        file.parent.mkdir(exist_ok=True)
        file.write_text("")
    (tmp_path / "recordings" / "mine.jsonl").write_text("")

    assert prune(tmp_path / "recordings", keep=2) == ("1.jsonl", "2.jsonl", "9.jsonl")
    assert sorted(f.name for f in (tmp_path / "recordings").iterdir()) == ["10.jsonl", "11.jsonl", "mine.jsonl"]


def test_the_page_says_what_the_code_does(tmp_path: Path) -> None:
    page = (Path(__file__).parents[2] / "docs/report.md").read_text()
    recorder = Recorder(tmp_path / "r.jsonl", recording.describe(RELEASE, FakeClock(), rollout=9, origin=None))
    recorder.watch(500, 2500, 1.0)
    recorder.sample(sample(random.Random(1), sticky=True), 1.5)
    recorder.sample(Sample(Counts(), Counts(), 500), 1.75)
    recorder.close()
    fields = {name for line in (tmp_path / "r.jsonl").read_text().splitlines() for name in json.loads(line)}

    assert {name for name in fields if f"`{name}`" not in page} == set()
    assert f"The newest {recording.KEPT} are kept" in page
    assert f"at {recording.LARGEST >> 20} MB a recording ends" in page
