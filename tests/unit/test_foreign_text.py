"""What others write and we read: each of these once ended in a trace. More of the kind: tests/fuzz."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from deployer.app.wiring import _ports
from deployer.core.clock import Deadline
from deployer.core.errors import DriverFailed, Refused, StoreDamaged
from deployer.drivers.metrics.number import Unreadable, finite
from deployer.drivers.runtime.docker import options
from deployer.drivers.runtime.process import record
from deployer.drivers.traffic.haproxy import live_value
from deployer.drivers.traffic.haproxy.master import Worker
from deployer.drivers.traffic.haproxy.servers import Servers
from deployer.drivers.traffic.haproxy.spec import refuse_odd
from deployer.evidence import recording, replay
from deployer.evidence.recording_format import unpacked
from deployer.model import Server
from deployer.planning import release_record
from deployer.planning.plan import Plan
from deployer.store import records
from deployer.store.vault import Vault
from deployer.supervisor import spec, status
from deployer.supervisor.proc import Process
from tests.fuzz.targets.proxy_answers import Answering
from tests.fuzz.targets.stored import RELEASE, ROLLOUT

STAT = Path(__file__).parents[1] / "fuzz" / "corpus" / "proxy_answers" / "stat"
LONG = "9" * 5000  # more digits than Python makes a number of


def servers_of(answer: str) -> dict[str, Any]:
    master = Answering([answer.encode()])
    return Servers(master).seen(Worker(1, old=False), "shop_blue", Deadline.after(master._clock, 1))


def test_what_an_instance_says_to_a_check_cannot_spoil_the_answer_of_the_proxy() -> None:
    seen = servers_of(STAT.read_text().replace("returned code <503>", "returned\r<b>"))

    assert seen["shop-r1-2"].detail == "Layer7 wrong status: 503 HTTP status check returned <b>"


@pytest.mark.parametrize(
    "answer",
    [
        "# svname,status\nshop-r1-1,UP\n",
        STAT.read_text().replace(",3,1,,7,", f",{LONG},1,,7,"),
        STAT.read_text().replace(",3,1,,7,", ",,1,,7,"),
        "# svname,scur,x\nshop-r1-1," + "x" * 200_000,
    ],
)
def test_an_answer_of_a_proxy_that_cannot_be_read_is_told(answer: str) -> None:
    with pytest.raises(DriverFailed, match="the servers of shop_blue cannot be read"):
        servers_of(answer)


def test_numbers_of_a_proxy_that_are_too_long_are_none() -> None:
    assert Answering([f"{LONG} worker 0\n7 worker 0\n".encode()]).workers() == (Worker(7, old=False),)
    assert Answering([f"CurrConns: {LONG}\n".encode()]).connections(Worker(1, old=False)) == 0
    with pytest.raises(DriverFailed):
        live_value.decode("shop", f"blue,{LONG},0,0")


def test_a_line_of_somebody_else_in_the_map_of_shares_is_named(tmp_path: Path) -> None:
    (tmp_path / "state.map").write_text("shop blue,0,0,1\nwho\n")

    with pytest.raises(DriverFailed, match=r"state\.map:2: 'who' is not a line that deployer wrote"):
        live_value.load(tmp_path / "state.map")


@pytest.mark.parametrize("text", ["", "[]", "{}", "null", "{", "[" * 100_000, '{"format": 1}', '{"format": 2}'])
def test_a_stored_plan_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(Refused, match="the stored plan cannot be read"):
        Plan.from_json(text)


@pytest.mark.parametrize("text", ["", "[1]", "null", "{", "[" * 100_000, '{"service": 1}'])
def test_rows_of_the_store_that_cannot_be_read_are_told(text: str) -> None:
    reads: tuple[Callable[[], object], ...] = (
        lambda: records.read_release({**RELEASE, "manifest": text}),  # type: ignore[arg-type]
        lambda: records.read_rollout({**ROLLOUT, "plan": text}).checked(),  # type: ignore[arg-type]
    )
    for read in reads:
        with pytest.raises(Refused, match="cannot be read"):
            read()
    if text != '{"service": 1}':
        with pytest.raises(StoreDamaged, match=r"step 1 \(forward\) of a rollout cannot be read"):
            records.read_entry({"n": 1, "phase": "forward", "detail": text})  # type: ignore[arg-type]


@pytest.mark.parametrize("text", ["", "[]", "null", '{"pid": "../../1"}', '{"state": 1}', '{"x": 1}', "[" * 100_000])
def test_files_of_an_instance_that_are_damaged_are_told(tmp_path: Path, text: str) -> None:
    for name in (spec.FILE, status.FILE, record.FILE):
        (tmp_path / name).write_text(text)
    reads: tuple[Callable[[Path], object], ...] = (spec.load, status.load, record.load)
    for read in reads:
        with pytest.raises(DriverFailed, match="cannot be read"):
            read(tmp_path)


@pytest.mark.parametrize("text", ["", "[]", "1", '{"A": 1}', "[" * 100_000])
def test_secrets_that_are_damaged_are_told(tmp_path: Path, text: str) -> None:
    (tmp_path / "shop").mkdir()
    (tmp_path / "shop" / "r1.json").write_text(text)

    with pytest.raises(Refused, match="the secrets of shop r1 cannot be read"):
        Vault(tmp_path).load("shop", 1, frozenset({"A"}))


@pytest.mark.parametrize("value", [10**400, "1_0", "٣", "9" * 5000 + "x", True, None, [1]])
def test_what_only_looks_like_a_number_is_none(value: object) -> None:
    with pytest.raises(Unreadable, match="is not a number"):
        finite(value)


@pytest.mark.parametrize("bucket", [10**12, -1, 1089])
def test_a_recording_cannot_ask_for_any_amount_of_memory(bucket: int) -> None:
    with pytest.raises(ValueError, match="beyond the last bucket"):
        unpacked({"share": 1, "stable": [1, 0, [bucket, 1]]})


def test_a_file_with_an_odd_name_is_no_recording_of_ours(tmp_path: Path) -> None:
    for name in ("²", "1", "2"):
        (tmp_path / f"{name}.jsonl").touch()

    assert recording.prune(tmp_path, 1) == ("1.jsonl",)
    assert (tmp_path / "².jsonl").exists()


def test_a_process_may_have_any_name(monkeypatch: pytest.MonkeyPatch) -> None:
    stat = b"7 (\x85) S 1 (" + b") S " + b" ".join(str(n).encode() for n in range(40))
    monkeypatch.setattr(Path, "read_bytes", lambda _path: stat)

    assert Process.of(7) == Process(7, 18)


@pytest.mark.parametrize("ports", ["²000-3000", "21000", "1-2", "30000-20000", f"{LONG}-{LONG}", "", "21000-28999 "])
def test_ports_that_are_none_are_refused(monkeypatch: pytest.MonkeyPatch, ports: str) -> None:
    monkeypatch.setenv("DEPLOYER_PORTS", ports)

    with pytest.raises(Refused, match="DEPLOYER_PORTS is"):
        _ports()


@pytest.mark.parametrize(
    ("name", "address"),
    [
        ("shop-r1-1", "127.0.0.1:1\nshutdown sessions server shop_blue/x"),
        ("shop-r1-1; disable server shop_blue/x", "127.0.0.1:1"),
        ("", "127.0.0.1:1"),
        ("shop-r1-1", "localhost:1"),
    ],
)
def test_an_instance_cannot_carry_a_command_to_the_proxy(name: str, address: str) -> None:
    with pytest.raises(DriverFailed, match="cannot be a server of the proxy"):
        refuse_odd([Server("shop-r1-2", "[::1]:2"), Server(name, address)])


LABELS = {
    "service": "shop",
    "colour": "blue",
    "release": "1",
    "index": "1",
    "config": "h",
    "rollout": "1",
    "address": "a",
}


@pytest.mark.parametrize("wrong", [{"colour": "red"}, {"release": LONG}, {"index": "one"}, {"rollout": ""}])
def test_labels_of_somebody_else_are_told(wrong: dict[str, str]) -> None:
    labels = {f"deployer.{key}": value for key, value in (LABELS | wrong).items()}
    state = {"Status": "running"}

    with pytest.raises(ValueError):
        options.observed({"Config": {"Labels": labels}, "State": state, "Name": "/x", "Id": "1"})


@pytest.mark.parametrize("text", ["[" * 100_000, "null", "[]", '{"format": 1}', ""])
def test_a_record_that_an_instance_carries_may_be_damaged(text: str) -> None:
    with pytest.raises(ValueError, match="record"):
        release_record.read(text)


HEADER = '{"recording":1,"service":"shop"}\n{"watch":[500,10000,0],"at":1}\n'


@pytest.mark.parametrize(
    "text",
    [
        '{"recording":1,"routes":[[]]}\n',
        '{"recording":1,"judge":{"errors":5}}\n',
        '{"recording":1,"started_at":"soon"}\n',
        '{"recording":1,"rollout":1e999}\n',
        HEADER + '{"at":1,"share":500,"stable":[1,2,[]]}\n',
        HEADER + '{"at":1e999,"share":500}\n',
        HEADER + '{"at":1,"share":-1}\n',
        HEADER + '{"at":1,"share":500,"coins":[{"p":7}]}\n',
        HEADER + "[" * 100_000 + "\n",
        "time,side,status,share\n1,stable,200,1e999\n",
        "time,side,status,share\n1e400,stable,200,1\n",
        "time,side,status,share\n1,stable,200,1\r2\n" + "x" * 200_000,
        '{"time":' * 30_000 + "\n",
        '{"time":1,"side":"stable","status":200,"share":1}\n' + '{"a":' * 30_000 + "\n",
    ],
    ids=range(14),
)
def test_a_stream_that_cannot_be_judged_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "stream").write_text(text)

    with pytest.raises(Refused):
        judged(tmp_path / "stream")


def judged(file: Path) -> replay.Judgement:
    source = replay.open_source(file)
    return replay.judge(source, replay.recorded_policy(source))
