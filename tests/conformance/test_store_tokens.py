"""Tokens of the HTTP API over control hosts that share a store: made and ended on one, they are so on all."""

from __future__ import annotations

import base64
import shutil
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from deployer.core.clock import SystemClock
from deployer.core.errors import Refused, StoreDamaged
from deployer.server.tokens import Tokens
from deployer.store import Store, meta
from deployer.store.postgres.shared import opened
from tests.postgres import Server

pytestmark = pytest.mark.xdist_group("postgres")


@pytest.fixture
def pair(state: Path, postgres: Server) -> Iterator[tuple[Store, Store]]:
    """Yield a store as two control hosts have it, with one key."""
    clock, address = SystemClock(), postgres.schema()
    folders = state / "one", state / "two"
    for folder in folders:
        folder.mkdir(mode=0o700)
    with closing(Store(folders[0], clock, shared=opened(address, clock))) as one:
        one.vault.unlock()
        shutil.copy(folders[0] / "store.key", folders[1] / "store.key")
        with closing(Store(folders[1], clock, shared=opened(address, clock))) as two:
            yield one, two


def tokens(store: Store) -> Tokens:
    return Tokens(store.folder, store.clock)


def kept(store: Store) -> str:
    with store.database.reading() as db:
        return meta.value(db, "sealed:api-tokens")


def test_a_token_of_one_host_opens_the_other_until_it_is_revoked_there(pair: tuple[Store, Store]) -> None:
    here, there = map(tokens, pair)
    made, text = here.create("ci", "operator", ("shop",), 0, "ann")
    here.share(pair[0])
    assert there.find(text) is None
    there.share(pair[1])
    assert there.find(text) == made
    there.revoke("ci", "bob")
    assert here.find(text) == made, "until it is told"
    there.share(pair[1])
    here.share(pair[0])
    assert here.find(text) is None
    assert not here.standing(made)
    assert here.all() == there.all()
    assert here.all()[0].revoked_by == "bob"


def test_what_both_hosts_had_before_is_brought_together(pair: tuple[Store, Store]) -> None:
    here, there = map(tokens, pair)
    _, one = here.create("ci", "operator", (), 0, "ann")
    _, two = there.create("ann", "admin", (), 0, "bob")
    for each, store in ((here, pair[0]), (there, pair[1]), (here, pair[0])):
        each.share(store)
    assert all(each.find(text) for each in (here, there) for text in (one, two))
    before = kept(pair[0])
    here.share(pair[0])
    assert kept(pair[0]) == before, "nothing is written where nothing is new"


def test_whoever_can_write_to_the_database_makes_no_token(pair: tuple[Store, Store]) -> None:
    here, there = map(tokens, pair)
    _, text = here.create("pipeline-of-shop", "operator", (), 0, "ann")
    here.share(pair[0])
    assert b"pipeline-of-shop" not in base64.b64decode(kept(pair[0]))
    assert text.encode() not in base64.b64decode(kept(pair[0]))
    with pair[0].database.transaction() as db:
        db.execute("update meta set value = ? where key = ?", ("e30=" * 20, "sealed:api-tokens"))
    with pytest.raises(StoreDamaged, match=r"api-tokens in .* cannot be read"):
        there.share(pair[1])
    assert there.all() == ()
    assert here.find(text), "those that are known stand"


def test_a_store_of_one_host_shares_nothing(state: Path) -> None:
    with closing(Store(state, SystemClock())) as store:
        tokens(store).share(store)
        made, _ = tokens(store).create("ci", "viewer", (), 0, "ann")
        assert kept(store) == ""
        with pytest.raises(Refused, match="there is a token named ci"):
            tokens(store).create("ci", "viewer", (), 0, "ann")
        assert tokens(store).all() == (made,)
