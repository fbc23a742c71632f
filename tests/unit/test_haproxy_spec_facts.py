"""The facts of a spec: read without its models, and never more certain than these."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from deployer.drivers.traffic.haproxy import identity, spec, spec_facts
from deployer.drivers.traffic.haproxy.spec_facts import SpecFacts
from deployer.manifest.models import Manifest
from deployer.model import Place, Server

KEY = identity.new_key()
ONE, TWO = Server("shop-r1-1", "127.0.0.1:1"), Server("shop-r1-2", "127.0.0.1:2")


def manifest(**traffic: Any) -> Manifest:
    return Manifest.model_validate({"service": "shop", "image": "shop:1", "port": 80, "traffic": traffic})


def saved(folder: Path, *steps: tuple[Manifest, Place | None]) -> SpecFacts:
    """Return the facts after a proxy was configured so, one after the other."""
    known = None
    for made, place in steps:
        known = spec.configured(known, "shop", made, place)
    assert known
    known = known.model_copy(update={"key": KEY})
    known = known.with_side("blue", known.blue.having([ONE, TWO]).leaving([TWO.name]))
    spec.save(folder, known)
    return SpecFacts(folder, "shop")


OLD, NEW = manifest(), manifest(timeouts={"response": "9s"})


@pytest.mark.parametrize("place", ["blue", "green", None])
def test_what_was_configured_is_followed_and_nothing_else(tmp_path: Path, place: Place | None) -> None:
    facts = saved(tmp_path, (OLD, "blue"))
    assert facts.follows(OLD, place, "")
    assert facts.follows(OLD, place, KEY)
    assert not facts.follows(OLD, place, identity.new_key())
    assert not facts.follows(NEW, place, "")


def test_a_place_is_followed_only_with_the_rules_about_a_candidate_that_belong_to_it(tmp_path: Path) -> None:
    facts = saved(tmp_path, (OLD, "blue"), (NEW, "green"))
    assert facts.follows(NEW, "green", "")
    assert not facts.follows(NEW, None, "")
    assert not facts.follows(OLD, "blue", ""), "budget and shield are those of the other release now"
    assert not facts.follows(OLD, None, "")
    assert saved(tmp_path, (OLD, "blue"), (NEW, "green"), (NEW, None)).follows(NEW, None, "")


def test_what_was_learned_is_followed_until_it_is_another_number(tmp_path: Path) -> None:
    scale = {"max": 4, "concurrency": "auto"}
    learns = Manifest.model_validate({"service": "shop", "image": "shop:1", "port": 80, "scale": scale})
    known = spec.configured(None, "shop", learns, "blue", 12).model_copy(update={"key": KEY})
    spec.save(tmp_path, known)
    facts = SpecFacts(tmp_path, "shop")
    assert facts.concurrency("blue") == 12
    assert facts.follows(learns, "blue", "", learned=12)
    assert not facts.follows(learns, "blue", "", learned=13)
    assert spec.configured(known, "shop", learns, "blue", 13).blue.concurrency == 13
    assert spec.configured(known, "shop", learns, "blue").blue.concurrency == 16
    assert saved(tmp_path, (OLD, "blue")).concurrency("blue") == 0


def test_the_entry_is_not_followed_while_there_is_a_baseline(tmp_path: Path) -> None:
    facts = saved(tmp_path, (OLD, "blue"), (OLD, "baseline"))
    assert facts.places == ("blue", "green", "baseline")
    assert facts.follows(OLD, "baseline", "")
    assert not facts.follows(OLD, None, "")
    known = spec.load(tmp_path, "shop")
    assert known
    spec.save(tmp_path, known.model_copy(update={"baseline": None}))
    ended = SpecFacts(tmp_path, "shop")
    assert not ended.follows(OLD, "baseline", "")
    assert ended.follows(OLD, None, "")


def test_certificates_may_have_been_renewed(tmp_path: Path) -> None:
    secure = manifest(tls={"certificates": ["/etc/ssl/shop.pem"]})
    assert not saved(tmp_path, (secure, "blue")).follows(secure, "blue", "")


def test_another_version_of_deployer_may_write_other_rules_for_the_same_manifest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    facts = saved(tmp_path, (OLD, "blue"))
    monkeypatch.setattr(spec_facts, "__version__", "0.1.1")
    assert not facts.follows(OLD, "blue", "")
    assert not facts.follows(OLD, None, "")
    assert saved(tmp_path, (OLD, "blue")).follows(OLD, "blue", "")


def test_servers_that_leave_or_have_another_address_are_not_there(tmp_path: Path) -> None:
    facts = saved(tmp_path, (OLD, "blue"))
    assert facts.has("blue", [ONE])
    assert not facts.has("blue", [ONE, TWO])
    assert not facts.has("blue", [Server(ONE.name, "127.0.0.1:9")])
    assert not facts.has("green", [ONE])
    assert not facts.has("baseline", [ONE])


@pytest.mark.parametrize("text", ["", "{", "[]", '{"said": 1, "blue": 2}', '{"blue": {"members": [1]}}', "null"])
def test_what_cannot_be_read_is_no_fact(tmp_path: Path, text: str) -> None:
    (tmp_path / "shop.json").write_text(text)
    facts = SpecFacts(tmp_path, "shop")
    assert facts.places == ("blue", "green")
    assert not facts.follows(OLD, "blue", "")
    assert not facts.has("blue", [ONE])
