"""Whatever is done to the audit log behind our back is found: changed, removed, reordered, cut off, rewritten."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from deployer.app.doctor import examine
from deployer.cli import main
from deployer.core.clock import SystemClock
from deployer.core.errors import Refused
from deployer.store import AuditEntry, Store
from deployer.store.audit import COLUMNS, AuditRecord, genesis, seal
from deployer.store.audit_chain import GUARDS, Chain, verify_file
from tests.documents import REPOSITORY, blocks
from tests.house import Scene

RECORDS = 7
REST = ", ".join(c for c in COLUMNS if c != "n")


@pytest.fixture
def store(state: Path) -> Iterator[Store]:
    """Yield a store with seven records."""
    store = Store(state, SystemClock())
    for n in range(1, RECORDS + 1):
        store.audit.record(
            AuditEntry("start", "shop" if n % 2 else "blog", rollout=n, release=n, detail="d", reason=f"reason {n}")
        )
    yield store
    store.database.close()


def tamper(store: Store, *statements: str, values: tuple[Any, ...] = ()) -> None:
    """Do what somebody does who may write the file: without our guards, and put them back."""
    with closing(sqlite3.connect(store.folder / "deployer.db", isolation_level=None)) as db:
        guards = db.execute("select name, sql from sqlite_master where type = 'trigger'").fetchall()
        assert {name for name, _ in guards} == GUARDS
        for name, _ in guards:
            db.execute(f"drop trigger {name}")
        for statement in statements:
            assert db.execute(statement, values).rowcount != 0, statement
        for _, sql in guards:
            db.execute(sql)


def record(store: Store, n: int) -> AuditRecord:
    return next(r for r in store.audit_log.newest(1000) if r.n == n)


def made_anew(store: Store, first: int, **changed: Any) -> None:
    """Change a record and make all hashes from it on anew, as somebody does who knows how."""
    before = record(store, first).before
    for n in range(first, RECORDS + 1):
        content = {**vars(record(store, n)), **(changed if n == first else {}), "before": before}
        before = seal(content)
        sets = ", ".join(f"{name} = ?" for name in COLUMNS)
        tamper(store, f"update audit set {sets} where n = {n}", values=tuple({**content, "hash": before}.values()))


def test_a_whole_chain(store: Store) -> None:
    head = record(store, RECORDS).hash
    assert store.audit_log.verify() == Chain(RECORDS, head)
    assert record(store, 1).before == genesis(store.secret("installation"))
    assert [r.n for r in store.audit_log.newest(2, "blog")] == [6, 4]


@pytest.mark.parametrize("column", [c for c in COLUMNS if c != "n"])
def test_a_changed_field(store: Store, column: str) -> None:
    value = getattr(record(store, 4), column)
    other = value + 1 if isinstance(value, int) else f"{value}x"
    tamper(store, f"update audit set {column} = ? where n = 4", values=(other,))
    chain = store.audit_log.verify()
    assert (chain.records, chain.broken) == (3, 4)
    assert "record 4 was changed" in chain.problem


@pytest.mark.parametrize("value", ["4", 4.5, b"\xff\xfe", ""])
def test_a_field_of_another_kind(store: Store, value: object) -> None:
    tamper(store, "update audit set rollout = ? where n = 4", values=(value,))
    assert store.audit_log.verify().broken == (0 if value == "4" else 4), "SQLite makes a number of such a text"


def test_text_that_is_no_text(store: Store) -> None:
    tamper(store, "update audit set reason = cast(x'fffe' as text) where n = 2")
    assert store.audit_log.verify().broken == 2
    assert len(store.audit_log.newest(10)) == RECORDS, "it can still be listed"


@pytest.mark.parametrize("n", range(1, RECORDS))
def test_a_removed_record(store: Store, n: int) -> None:
    tamper(store, f"delete from audit where n = {n}")
    chain = store.audit_log.verify()
    assert (chain.records, chain.broken) == (n - 1, n)
    assert chain.problem == f"record {n} is missing: {n + 1} comes next"


def test_a_removed_record_with_the_rest_moved_up(store: Store) -> None:
    tamper(store, "delete from audit where n = 3", "update audit set n = n - 1 where n > 3")
    assert store.audit_log.verify().broken == 3


def test_records_in_another_order(store: Store) -> None:
    swap = (
        "update audit set n = 100 where n = 3",
        "update audit set n = 3 where n = 4",
        "update audit set n = 4 where n = 100",
    )
    tamper(store, *swap)
    assert store.audit_log.verify().broken == 3


def test_a_record_put_in_between(store: Store) -> None:
    shift = [f"update audit set n = {n + 1} where n = {n}" for n in range(RECORDS, 3, -1)]
    tamper(store, *shift, f"insert into audit select 4, {REST} from audit where n = 2")
    assert store.audit_log.verify().broken == 4


def test_a_record_added_at_the_end_without_its_hash(store: Store) -> None:
    tamper(store, f"insert into audit select {RECORDS + 1}, {REST} from audit where n = {RECORDS}")
    assert store.audit_log.verify().broken == RECORDS + 1


@pytest.mark.parametrize(
    ("last", "told"), [(6, "record 7 is missing at the end"), (2, "records 3 to 7 are missing at the end")]
)
def test_a_cut_end_is_found_by_the_count(store: Store, last: int, told: str) -> None:
    tamper(store, f"delete from audit where n > {last}")
    chain = store.audit_log.verify()
    assert (chain.records, chain.broken, chain.problem) == (last, last + 1, told)
    assert chain.head == record(store, last).hash


def test_a_cut_end_whose_count_was_mended_is_found_by_a_hash_kept_elsewhere(store: Store) -> None:
    kept = store.audit_log.verify().head
    tamper(store, "delete from audit where n > 4", "update sqlite_sequence set seq = 4 where name = 'audit'")
    assert not store.audit_log.verify().broken, "the store alone cannot know"
    chain = store.audit_log.verify(kept)
    assert chain.broken == 5
    assert kept in chain.problem


def test_an_emptied_log(store: Store) -> None:
    kept = store.audit_log.verify().head
    tamper(store, "delete from audit", "delete from sqlite_sequence where name = 'audit'")
    assert store.audit_log.verify() == Chain(0, genesis(store.secret("installation")))
    assert store.audit_log.verify(kept).broken == 1


def test_a_chain_made_anew_is_found_by_a_hash_kept_elsewhere(store: Store) -> None:
    kept = record(store, 6).hash
    made_anew(store, 3, reason="never mind")
    assert not store.audit_log.verify().broken, "the store alone cannot know"
    assert store.audit_log.verify(kept).broken
    assert not store.audit_log.verify(record(store, 2).hash).broken, "what was before the change is as it was"


def test_a_kept_hash_says_how_much_came_since(store: Store) -> None:
    assert store.audit_log.verify(record(store, 5).hash).since == 2
    assert store.audit_log.verify(record(store, RECORDS).hash).since == 0
    assert store.audit_log.verify(genesis(store.secret("installation"))).since == RECORDS
    assert store.audit_log.verify().since is None


def test_the_log_of_another_installation(store: Store) -> None:
    with store.database.transaction() as db:
        db.execute("update meta set value = '0ddba11' where key = 'installation'")
    again = Store(store.folder, SystemClock())
    chain = again.audit_log.verify()
    again.database.close()
    assert (chain.broken, chain.records) == (1, 0)
    assert "another" in chain.problem


def test_lost_guards(store: Store) -> None:
    with store.database.transaction() as db:
        db.execute("drop trigger audit_no_update")
    chain = store.audit_log.verify()
    assert chain.broken
    assert "audit_no_update" in chain.problem


@pytest.mark.parametrize(
    "statement",
    [
        "update audit set reason = '' where n = 3",
        "update audit set reason = reason",
        "delete from audit where n = 7",
        "delete from audit",
        "insert or replace into audit select * from audit where n = 3",
        "replace into audit select * from audit where n = 7",
        f"insert into audit select 100, {REST} from audit where n = 7",
        f"insert into audit select 8, {REST} from audit where n = 7",
    ],
)
def test_the_guards_refuse(store: Store, statement: str) -> None:
    with pytest.raises(sqlite3.IntegrityError, match="only added to"), store.database.transaction() as db:
        db.execute(statement)
    assert store.audit_log.verify().records == RECORDS


# -- two at once, and killed


SPAWN = multiprocessing.get_context("spawn")


def write(folder: Path, many: int, together: Any) -> None:
    """Write records, each when all others are about to write theirs too."""
    store = Store(folder, SystemClock())
    for n in range(many):
        together.wait(300)
        store.audit.record(AuditEntry("start", f"from {os.getpid()}", rollout=n))
    store.database.close()


def test_processes_that_write_at_once(store: Store) -> None:
    together = SPAWN.Barrier(3)
    processes = [SPAWN.Process(target=write, args=(store.folder, 40, together)) for _ in range(3)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(300)
        assert process.exitcode == 0
    assert store.audit_log.verify().records == RECORDS + 3 * 40
    writers = [r.service for r in store.audit_log.newest(120)]
    assert len({*writers}) == 3
    assert sum(a != b for a, b in pairwise(writers)) > 2, "they took turns"


def test_a_process_that_is_killed_while_it_writes(store: Store) -> None:
    together = SPAWN.Barrier(2)
    process = SPAWN.Process(target=write, args=(store.folder, 1000, together))
    process.start()
    for _ in range(10):
        together.wait(300)
    process.kill()
    process.join(60)
    assert process.exitcode == -signal.SIGKILL
    chain = store.audit_log.verify()
    assert not chain.broken
    assert chain.records > RECORDS
    store.audit.record(AuditEntry("start", "shop"))
    assert store.audit_log.verify().records == chain.records + 1


# -- exported


@pytest.fixture
def exported(store: Store, tmp_path: Path) -> Path:
    file = tmp_path / "audit.jsonl"
    file.write_text("".join(f"{line}\n" for line in store.audit_log.export()))
    return file


def test_an_export_is_followed_without_the_store(store: Store, exported: Path) -> None:
    whole = store.audit_log.verify()
    assert verify_file(exported) == whole
    assert verify_file(exported, record(store, 3).hash) == Chain(RECORDS, whole.head, since=4)


def first_away(lines: list[str]) -> None:
    del lines[1]


def last_away(lines: list[str]) -> None:
    del lines[-1]


def swapped(lines: list[str]) -> None:
    lines[2], lines[3] = lines[3], lines[2]


def twice(lines: list[str]) -> None:
    lines.insert(3, lines[3])


def broken_json(lines: list[str]) -> None:
    lines[4] = lines[4][:-10]


def not_an_object(lines: list[str]) -> None:
    lines[4] = "[]"


def another_reason(lines: list[str]) -> None:
    lines[4] = lines[4].replace("reason 4", "reason 5")


def a_field_more(lines: list[str]) -> None:
    lines[4] = json.dumps({**json.loads(lines[4]), "note": "mine"})


def another_installation(lines: list[str]) -> None:
    lines[0] = json.dumps({**json.loads(lines[0]), "installation": "other"})


CHANGES = (
    first_away,
    last_away,
    swapped,
    twice,
    broken_json,
    not_an_object,
    another_reason,
    a_field_more,
    another_installation,
)


@pytest.mark.parametrize("change", CHANGES, ids=lambda change: change.__name__)
def test_an_export_that_was_changed(exported: Path, change: Callable[[list[str]], None]) -> None:
    lines = exported.read_text().splitlines()
    change(lines)
    exported.write_text("\n".join(lines))
    assert verify_file(exported).broken


@pytest.mark.parametrize(
    "text", ["", "{}\n", "hello\n", '{"audit": 2, "records": 0}\n', '{"audit": 1, "records": "x"}\n']
)
def test_a_file_that_is_no_export(tmp_path: Path, text: str) -> None:
    file = tmp_path / "other"
    file.write_text(text)
    with pytest.raises(Refused, match="is not an exported audit log"):
        verify_file(file)
    with pytest.raises(Refused, match="cannot be read"):
        verify_file(tmp_path / "missing")


def test_the_program_in_the_documents_finds_the_same(exported: Path) -> None:
    page = REPOSITORY / "docs/security.md"
    program = next(b.text for b in blocks(page) if b.language == "python" and "audit" in b.text)

    def run() -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-I", "-c", program, str(exported)], capture_output=True, text=True, timeout=120
        )

    head = json.loads(exported.read_text().splitlines()[0])["head"]
    assert (run().returncode, run().stdout) == (0, f"{RECORDS} records, head {head}\n")
    exported.write_text(exported.read_text().replace("reason 4", "reason 5"))
    assert run().returncode != 0
    assert "record 4" in run().stderr


# -- the command


def deploy(store: Store, *words: str) -> int:
    return main(["audit", *words, "--state", str(store.folder)])


def test_the_command_lists(store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    assert deploy(store, "--limit", "2") == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 3
    assert lines[1].startswith("7 ")
    assert "d: reason 7" in lines[1]
    assert deploy(store, "--service", "blog", "--output", "json") == 0
    assert [r["n"] for r in json.loads(capsys.readouterr().out)["records"]] == [6, 4, 2]


def test_the_command_verifies(store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    head = record(store, RECORDS).hash
    assert deploy(store, "verify", "--head", record(store, 4).hash) == 0
    assert (
        capsys.readouterr().out
        == f"intact: the audit log: 7 records, 3 since the hash that was given\nlast hash: {head}\n"
    )
    tamper(store, "update audit set reason = '' where n = 4")
    assert deploy(store, "verify") == 8
    assert capsys.readouterr().out.startswith("broken: the audit log: record 4 was changed")
    assert deploy(store, "verify", "--output", "json") == 8
    assert json.loads(capsys.readouterr().out)["broken"] == 4


def test_the_command_exports(store: Store, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "audit.jsonl"
    assert deploy(store, "export", "-o", str(file)) == 0
    capsys.readouterr()
    assert deploy(store, "export") == 0
    assert capsys.readouterr().out == file.read_text()
    assert file.stat().st_mode & 0o777 == 0o600
    assert deploy(store, "verify", str(file)) == 0


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["verify", "--head", "abc"], "abc is not a hash"),
        (["verify", "/nonexistent/file"], "cannot be read"),
        (["export", "-o", "/nonexistent/file"], "cannot be written"),
    ],
)
def test_the_command_refuses(store: Store, words: list[str], told: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert deploy(store, *words) == 2
    assert told in capsys.readouterr().err


def test_options_before_the_inner_command_are_refused(store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["audit", "--state", str(store.folder), "verify"]) == 2
    assert "write options after `verify`" in capsys.readouterr().err


def test_the_doctor_looks_at_it(state: Path) -> None:
    scene = Scene(state)
    with scene.house as house:
        scene.deploy("1.0")
        lines = {f.level: f.text for f in examine(house, None).findings if f.what == "audit log"}
        assert lines == {"ok": "3 records, each follows the one before"}
        tamper(house.store, "delete from audit where n = 2")
        assert [f.level for f in examine(house, None).findings if f.what == "audit log"] == ["bad"]
