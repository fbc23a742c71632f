"""What a manifest may hold never breaks out of its place; and the proof that a text which does would be seen."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from deployer.core.errors import Refused
from deployer.drivers.traffic.haproxy import backend, binary, quote, routing_rules
from deployer.drivers.traffic.haproxy.spec import Spec
from deployer.manifest.models import Force, Health, Manifest
from tests.fuzz import rendered, target
from tests.fuzz.draws import HOSTILE
from tests.services import require

GOOD = {"service": "shop", "image": "shop:1", "port": 8080, "health": {"http": "/up"}}


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(st.binary(max_size=1200))
def test_any_manifest_is_refused_with_its_lines_or_taken_by_haproxy(data: bytes) -> None:
    require("haproxy", "openssl")
    target.load("manifest_values").check(data)


def test_what_waits_for_haproxy_is_read_by_it() -> None:
    require("haproxy", "openssl")
    target.load("manifest_values").finish()


def plain() -> Spec:
    return rendered.spec_of(Manifest.model_validate({**GOOD, "traffic": {"force": {"header": "x-a", "cookie": "a"}}}))


def with_path(text: str) -> Spec:
    """Return a spec whose health path was never checked."""
    spec = plain()
    for place in spec.places:
        never_checked = spec.side(place).model_copy(update={"health": Health.model_construct(http=text)})
        spec = spec.with_side(place, never_checked)
    return spec


def with_cookie(text: str) -> Spec:
    """Return a spec whose cookie was never checked."""
    spec = plain()
    force = Force.model_construct(header=None, cookie=text, networks=())
    return spec.model_copy(update={"entry": spec.entry.model_copy(update={"force": force})})


@pytest.mark.parametrize("text", ['/up"\n  bind :1', '/a" if { always_true } #', "/a b", "/up\n", '/"'])
def test_a_path_that_was_not_quoted_would_be_seen(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setattr(backend, "quoted", lambda text: f'"{text}"' if " " not in text else text)

    with pytest.raises(AssertionError):
        rendered.check_text(with_path(text))


@pytest.mark.parametrize("text", ["a b", "a }", "a\n  bind :1", '"'])
def test_a_name_that_was_not_checked_would_be_seen(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setattr(routing_rules, "word", str)

    with pytest.raises(AssertionError):
        rendered.check_text(with_cookie(text))


@pytest.mark.parametrize("text", HOSTILE)
def test_nothing_hostile_leaves_its_quotes(text: str) -> None:
    """The second line of defence: the driver's own, whatever a manifest let pass."""
    for make in (with_path, with_cookie):
        try:
            rendered.check_text(make(text))
        except Refused:
            continue


@pytest.mark.parametrize("text", ["-f", "-x"])
def test_what_haproxy_itself_refuses_is_found(state: Path, monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    require("haproxy")
    monkeypatch.setattr(routing_rules, "word", str)
    proxy = rendered.Proxy(state, binary.find())

    assert [number for number, _ in proxy.refused([plain(), with_cookie(text), plain()])] == [1]


@pytest.mark.parametrize("text", ["-i", "-f", "-", "--"])
def test_a_word_like_an_option_is_refused(text: str) -> None:
    """HAProxy takes a cookie called -i for `compare without case`, and says nothing."""
    with pytest.raises(Refused):
        quote.word(text)
