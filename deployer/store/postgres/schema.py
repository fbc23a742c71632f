"""The tables of the store in the words of PostgreSQL: made of the same migrations, but for what guards the audit log.

Numbers are given out in the transaction that uses them, from the table `numbers`: they have no gaps, so a reader
that asks for what came after the last number it saw misses nothing. Sequences do not promise that.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

# Beside the tables of the migrations: the version of the schema, numbers, and the functions of SQLite that queries use.
FIRST = (
    "create table schema_version (version bigint not null)",
    "insert into schema_version values (0)",
    "create table numbers (name text primary key, last bigint not null)",
    """create function next_number(which text) returns bigint language sql as $$
        insert into numbers values (which, 1) on conflict (name) do update set last = numbers.last + 1 returning last
    $$""",
    """create table claims (
        holder text primary key, name text not null, at bigint not null, exclusive boolean not null,
        until double precision not null
    )""",
    "create index claims_of_name on claims (name)",
    "create table claim_words (name text primary key, words text not null)",
    """create table recordings (
        rollout bigint not null, at bigint not null, lines text not null, primary key (rollout, at)
    )""",
    """create table sealed (
        service text not null, release bigint not null, text text not null, primary key (service, release)
    )""",
    """create function json_extract(doc text, path text) returns text language sql immutable as $$
        select jsonb_path_query_first(doc::jsonb, path::jsonpath) #>> '{}'
    $$""",
    """create function audit_only_added_to() returns trigger language plpgsql as $$
        begin raise exception 'the audit log is only added to'; end
    $$""",
    """create function audit_appended() returns trigger language plpgsql as $$
        declare last record;
        begin
            select n, hash into last from audit order by n desc limit 1;
            if new.n is distinct from coalesce(last.n, 0) + 1
                or new.before is distinct from coalesce(last.hash, new.before) then
                raise exception 'the audit log is only added to';
            end if;
            insert into numbers values ('audit', new.n) on conflict (name) do update
                set last = greatest(numbers.last, excluded.last);
            return new;
        end
    $$""",
)
_TRIGGERS = {
    "audit_no_update": "before update on audit for each row execute function audit_only_added_to()",
    "audit_no_delete": "before delete or truncate on audit for each statement execute function audit_only_added_to()",
    "audit_appends": "before insert on audit for each row execute function audit_appended()",
}
_TYPES = (
    (re.compile(r"\bowed integer not null default 0\b"), "owed boolean not null default false"),
    (re.compile(r"\binteger\b"), "bigint"),
    (re.compile(r"\breal\b"), "double precision"),
)
_NUMBERED = re.compile(r"\bbigint primary key autoincrement\b")
_TABLE = re.compile(r"create table (\w+)")
_TRIGGER = re.compile(r"create trigger (\w+)")


def statements(script: str) -> Iterator[str]:
    """Yield the statements of a migration as PostgreSQL takes them."""
    for statement in _parts(script):
        trigger = _TRIGGER.search(statement)
        yield f"create trigger {trigger[1]} {_TRIGGERS[trigger[1]]}" if trigger else _translated(statement)


def _translated(statement: str) -> str:
    for pattern, words in _TYPES:
        statement = pattern.sub(words, statement)
    table = _TABLE.search(statement)
    return _NUMBERED.sub(f"bigint primary key default next_number('{table[1] if table else ''}')", statement)


def _parts(script: str) -> Iterator[str]:
    """Split a script into its statements, without comments; a trigger ends with `end`."""
    statement = ""
    for line in script.splitlines():
        statement += f"{line.partition('--')[0].rstrip()}\n"
        ended = statement.rstrip().endswith(";")
        if ended and not (_TRIGGER.search(statement) and not statement.rstrip().endswith("end;")):
            yield statement.strip().rstrip(";")
            statement = ""
