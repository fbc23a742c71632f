"""The table of single values: the installation, keys, numbers that outlive what they numbered."""

from __future__ import annotations

from deployer.store.database import Connection


def value(db: Connection, key: str) -> str:
    """Return the value of a key; "" where it has none."""
    row = db.execute("select value from meta where key = ?", (key,)).fetchone()
    return str(row["value"]) if row else ""


def put(db: Connection, key: str, text: str) -> None:
    """Write the value of a key, in the transaction of the caller."""
    db.execute("insert into meta values (?, ?) on conflict (key) do update set value = excluded.value", (key, text))
