"""The table of single values: the installation, keys, numbers that outlive what they numbered."""

from __future__ import annotations

import sqlite3


def value(db: sqlite3.Connection, key: str) -> str:
    """Return the value of a key; "" where it has none."""
    row = db.execute("select value from meta where key = ?", (key,)).fetchone()
    return str(row["value"]) if row else ""


def put(db: sqlite3.Connection, key: str, text: str) -> None:
    """Write the value of a key, in the transaction of the caller."""
    db.execute("insert or replace into meta values (?, ?)", (key, text))
