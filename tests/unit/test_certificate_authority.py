"""What an authority, the way to it, a name server or a foreign web server says, in words; with real sockets."""

from __future__ import annotations

import http.server
import os
import socket
import ssl
import stat
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, ClassVar

import pytest
from acme import messages

from deployer.core.clock import SystemClock
from deployer.core.commands import CommandFailed
from deployer.core.errors import Refused
from deployer.drivers.certificates import CertificateKeeper, OrderFailed, authority, keys, probe, problems, proofs
from deployer.drivers.certificates.dns import DnsRecords
from deployer.drivers.certificates.files import AcmeAccount
from deployer.manifest.tls import AutoTls
from deployer.planning.certificates import Suggestion
from tests.acme_handler import AcmeHandler, answering
from tests.live.certificates import certificate
from tests.ports import free_port
from tests.waiting import within

DOMAIN = "shop.example.com"


class Answers(AcmeHandler):
    """As much of an authority as is asked before it refuses an order."""

    status = 429
    problem: ClassVar[Any] = {"type": "urn:ietf:params:acme:error:rateLimited", "detail": "too many"}
    more: ClassVar[dict[str, str]] = {}
    window: ClassVar[Any] = {}

    def do_GET(self) -> None:  # noqa: N802
        if self.path.startswith("/renewal/"):
            self.send(200, {"suggestedWindow": self.window}, {"Retry-After": "600"})
            return
        names = {name: f"{self.base}/{name}" for name in ("newNonce", "newAccount", "newOrder")}
        self.send(200, {**names, "renewalInfo": f"{self.base}/renewal"})

    def do_POST(self) -> None:  # noqa: N802
        self.rfile.read(int(self.headers["Content-Length"]))
        if self.path == "/newAccount":
            self.send(201, {"status": "valid"}, {"Location": "http://127.0.0.1/account/1"})
        else:
            self.send(self.status, self.problem, self.more, "application/problem+json")


@contextmanager
def serving(**how: Any) -> Iterator[str]:
    with answering(type("Some", (Answers,), how)) as base:
        yield f"{base}/"


def at(directory: str, ca: str = "", registered: list[str] | None = None, address: str = "") -> authority.Authority:
    key = keys.new_key()
    account = AcmeAccount(directory, authority.thumbprint(key), key, address)
    keep = (registered if registered is not None else []).append
    return authority.Authority(directory, ca, account, keep, SystemClock(), within(30))


def failed(directory: str, ca: str = "") -> OrderFailed:
    with pytest.raises(OrderFailed) as raised:
        at(directory, ca).order(DOMAIN, keys.new_key(), "", proofs.HttpProof())
    return raised.value


def test_an_authority_that_is_down() -> None:
    port = free_port()
    error = failed(f"https://127.0.0.1:{port}/dir")
    assert (
        error.message == f"{DOMAIN}: the authority at https://127.0.0.1:{port}/dir cannot be used: connection refused"
    )
    assert "what is in use stays; `deploy serve`, or `deploy certs renew` from a timer, tries again" in error.hint


@pytest.mark.parametrize("said", ["3600", "date"])
def test_a_rate_limit_says_until_when(said: str) -> None:
    now = time.time()
    text = time.strftime("%a, %d %b %Y %H:%M:%S GMT", time.gmtime(now + 3600)) if said == "date" else said
    registered: list[str] = []
    with serving(more={"Retry-After": text}) as directory, pytest.raises(OrderFailed) as raised:
        at(directory, registered=registered).order(DOMAIN, keys.new_key(), "ops@example.com", proofs.HttpProof())
    assert raised.value.message == f"{DOMAIN}: the authority takes no more orders for now: too many"
    assert now + 3590 <= raised.value.wait_until <= time.time() + 3600
    assert "it wants no other order before" in raised.value.hint
    assert registered == ["http://127.0.0.1/account/1"]


def test_a_wrong_date_of_an_authority_does_not_end_renewals_for_good() -> None:
    with serving(more={"Retry-After": "Fri, 31 Dec 9999 23:59:59 GMT"}) as directory:
        assert failed(directory).wait_until <= time.time() + problems.LONGEST_WAIT


def test_an_account_that_the_authority_does_not_know_is_registered_by_the_next_order() -> None:
    problem = {"type": "urn:ietf:params:acme:error:accountDoesNotExist", "detail": "no such account"}
    with serving(status=400, problem=problem) as directory:
        registered: list[str] = []
        with pytest.raises(OrderFailed, match="does not know the account") as raised:
            at(directory, registered=registered).order(DOMAIN, keys.new_key(), "", proofs.HttpProof())
    assert registered == ["http://127.0.0.1/account/1", ""]
    assert "the next order registers it" in raised.value.hint


def test_another_program_orders_only_with_an_account_that_the_authority_knows() -> None:
    problem = {"type": "urn:ietf:params:acme:error:accountDoesNotExist", "detail": "no such account"}
    registered: list[str] = []
    with serving(status=400, problem=problem) as directory:
        known = at(directory, registered=registered, address=f"{directory}account/1")
        with pytest.raises(OrderFailed, match="does not know the account"):
            known.register(DOMAIN, "")
        assert registered == [""]
        at(directory, registered=registered).register(DOMAIN, "")
    with serving(status=200, problem={"status": "valid"}) as directory:
        at(directory, registered=registered, address=f"{directory}account/1").register(DOMAIN, "")
    assert registered == ["", "http://127.0.0.1/account/1"]


def test_an_authority_with_trouble_of_its_own() -> None:
    began = time.time()
    with serving(status=503, problem="<html>", more={"Retry-After": "60"}) as directory:
        error = failed(directory)
    assert f"the authority at {directory} answered HTTP 503" in error.message
    assert began + 59 < error.wait_until <= time.time() + 60


@pytest.mark.parametrize(
    ("code", "means", "hint"),
    [
        ("caa", "its CAA records forbid this authority", "add a CAA record"),
        ("connection", "the authority could not connect to it", "open port 80"),
        ("dns", "the authority could not resolve it", "let an A or AAAA record"),
        ("unauthorized", "something other than the proxy answered the authority", "all of them, point to the proxy"),
        ("rejectedIdentifier", "the authority issues nothing for it", "public domain"),
        ("malformed", "the authority refused the order", ""),
    ],
)
def test_a_problem_document_in_words(code: str, means: str, hint: str) -> None:
    problem = messages.Error.from_json({"type": f"urn:ietf:params:acme:error:{code}", "detail": "as it says"})
    error = problems.of_problem(DOMAIN, problem)
    assert error.message == f"{DOMAIN}: {means}: as it says"
    assert hint in error.hint


def test_what_another_program_repeats_of_a_problem_document() -> None:
    said = "`lego` failed with exit code 1: acme: error: 403 :: urn:ietf:params:acme:error:{} :: as it says"
    by_code = {
        code: problems.of_program(DOMAIN, CommandFailed(said.format(code)), 0.0) for code in ("dns", "caa", "odd")
    }
    assert by_code["dns"].message == f"{DOMAIN}: the authority did not find the record: {said.format('dns')}"
    assert "at all of its name servers" in by_code["dns"].hint
    assert "add a CAA record" in by_code["caa"].hint
    assert by_code["odd"].message == f"{DOMAIN}: the authority refused the order: {said.format('odd')}"
    repeated = f"[INFO] acme: error: 400 :: urn:ietf:params:acme:error:badNonce :: repeated, {said.format('caa')}"
    assert "add a CAA record" in problems.of_program(DOMAIN, CommandFailed(repeated), 0.0).hint
    assert "every nonce" in problems.of_program(DOMAIN, CommandFailed(said.format("badNonce")), 0.0).message
    missing = problems.of_program(
        DOMAIN, CommandFailed("`lego` cannot be started", "is it installed, and on PATH?"), 0.0
    )
    assert (missing.message, missing.hint) == (f"{DOMAIN}: `lego` cannot be started", "is it installed, and on PATH?")


@pytest.mark.parametrize("moment", ["2026-11-30 12:00:00 UTC", "2026-11-30T12:00:00Z"])
def test_the_moment_before_which_no_other_order_is_wanted_is_read_from_what_a_program_repeats(moment: str) -> None:
    said = (
        "acme: error: 429 :: urn:ietf:params:acme:error:rateLimited :: too many certificates (5), retry after {}: see"
    )
    noon = 1796040000.0

    def at(now: float, text: str = moment) -> OrderFailed:
        return problems.of_program(DOMAIN, CommandFailed(said.format(text)), now)

    assert at(noon - 3600).wait_until == noon
    assert "it wants no other order before 2026-11-" in at(noon - 3600).hint
    assert at(0.0).wait_until == problems.LONGEST_WAIT, "a wrong date does not end renewals for good"
    assert at(noon, "a while").wait_until == 0.0
    assert at(noon, "2026-99-99 12:00:00 UTC").wait_until == 0.0


def test_the_clock_is_named_where_it_may_be_wrong(tmp_path: Path) -> None:
    late = ssl.SSLCertVerificationError("certificate verify failed")
    late.verify_code, late.verify_message = 10, "certificate has expired"
    error = problems.of_request(DOMAIN, "https://ca/", late, 1.0, 0.0)
    assert "certificate has expired" in error.message
    assert error.hint == "is the clock of this host right? It says 1970-01-01 00:00 UTC; let NTP set it"
    early = problems.of_clock(DOMAIN, 86400.0, 2 * 86400.0, 0.0)
    assert early is not None
    assert "valid from 1970-01-02 00:00 UTC, and the clock of this host says 1970-01-01 00:00 UTC" in early.message
    assert problems.of_clock(DOMAIN, 0.0, 1.0, 0.5) is None


def test_the_authority_suggests_a_window(tmp_path: Path) -> None:
    pem = Path(__file__).with_name("with_authority_key.pem")
    window = {"start": "2030-01-02T04:00:00Z", "end": "2030-01-03T04:00:00Z"}
    began = time.time()
    with serving(window=window) as directory:
        found = at(directory).suggestion(DOMAIN, pem.read_text())
        assert (found.start, found.end) == (1893556800.0, 1893643200.0)
        assert began + 599 < found.ask_again <= time.time() + 600
    odds: list[Any] = [[], "soon", {"start": 5, "end": None}, {"start": "2030-01-02T04:00:00Z"}]
    for odd in odds:
        with serving(window=odd) as directory:
            assert at(directory).suggestion(DOMAIN, pem.read_text()).end == 0
    with serving() as directory:
        # a certificate that names no key of its authority cannot be asked about
        mine = certificate(tmp_path / "mine.pem", DOMAIN).read_text()
        silent = at(directory).suggestion(DOMAIN, mine)
        assert silent == Suggestion(ask_again=silent.ask_again)
        assert silent.ask_again > time.time() + 21000


def test_the_name_by_which_renewal_is_asked_for_is_that_of_the_rfc() -> None:
    pem = Path(__file__).with_name("with_authority_key.pem").read_text()  # the example of RFC 9773, 4.1, has these
    assert keys.renewal_id(pem) == "aYhba4dGQEHhs3uEe6CuLN4ByNQ.AIdlQyE"


# -- the record of a domain


def program(folder: Path, body: str) -> tuple[str, ...]:
    file = folder / "record"
    file.write_text(f"#!/bin/sh\n{body}\n")
    file.chmod(file.stat().st_mode | stat.S_IXUSR)
    return (str(file),)


def test_a_record_is_set_and_removed_whatever_happens_between(tmp_path: Path) -> None:
    said = tmp_path / "said"
    records = DnsRecords(program(tmp_path, f'echo "$1 $2 $3" >> {said}'), 0.0, os.environ, tmp_path, SystemClock())

    def proven() -> None:
        with records.proving("_acme-challenge.example.com.", "value"):
            assert said.read_text() == "present _acme-challenge.example.com. value\n"
            raise KeyError

    with pytest.raises(KeyError):
        proven()
    assert said.read_text().splitlines()[1:] == ["cleanup _acme-challenge.example.com. value"]


def test_a_program_that_fails_says_why(tmp_path: Path) -> None:
    records = DnsRecords(program(tmp_path, "echo no such zone >&2; exit 3"), 0.0, os.environ, tmp_path, SystemClock())
    with (
        pytest.raises(OrderFailed, match=r"`tls\.auto\.dns\.run`.*exit code 3: no such zone"),
        records.proving("n.", "v"),
    ):
        pass


def test_a_record_is_removed_where_the_program_failed_to_set_it_and_the_first_error_is_told(tmp_path: Path) -> None:
    said = tmp_path / "said"
    body = f'echo "$1" >> {said}; echo "no $1" >&2; exit 3'
    records = DnsRecords(program(tmp_path, body), 0.0, os.environ, tmp_path, SystemClock())
    with pytest.raises(OrderFailed, match="no present"), records.proving("n.", "v"):
        pytest.fail("there is no record")
    assert said.read_text().split() == ["present", "cleanup"]


def test_variables_that_cannot_be_read_are_refused_before_an_authority_is_asked(tmp_path: Path) -> None:
    variables = tmp_path / "dns.env"
    auto = AutoTls.model_validate({"dns": {"lego": "exec", "env_file": str(variables)}})
    keeper = CertificateKeeper(tmp_path, SystemClock())
    with pytest.raises(Refused, match=f"{variables} cannot be read: No such file"):
        keeper.order(DOMAIN, auto, within())
    variables.write_text("of-the-provider\n= x\n")
    with pytest.raises(Refused, match=f"{variables} is not NAME=value"):
        keeper.order(DOMAIN, auto, within())


# -- where a domain leads


class Proxy(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        body = f"{self.path.rpartition('/')[2]}.THUMB".encode()
        self.send_response(200)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_given: object) -> None:
        pass


def test_where_a_domain_leads() -> None:
    server = http.server.HTTPServer(("127.0.0.1", 0), Proxy)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    port = server.server_port

    def asked(account: str, *found: str) -> tuple[str, str]:
        return probe.elsewhere(DOMAIN, account, port, within(), lambda _domain: found)

    try:
        assert asked("THUMB", "127.0.0.1") == ("", "")
        why, hint = asked("OTHER", "127.0.0.1")
        assert why == f"{DOMAIN} leads to 127.0.0.1, where something (HTTP 200) answered instead of the proxy"
        assert "`tls.auto.probe: false`" in hint
    finally:
        server.shutdown()
        server.server_close()
    assert asked("THUMB", "127.0.0.1") == ("", "")  # nobody answers: that decides nothing

    def unknown(_domain: str) -> tuple[str, ...]:
        raise OSError("Name or service not known")

    why, hint = probe.elsewhere(DOMAIN, "THUMB", port, within(), unknown)
    assert why == f"{DOMAIN} cannot be resolved here: Name or service not known"


def test_a_host_that_sends_a_byte_now_and_then_holds_an_order_no_longer_than_its_deadline() -> None:
    gone = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def dribble() -> None:
            with suppress(OSError):
                while not gone.is_set():
                    connection, _ = listener.accept()
                    with connection, suppress(OSError):
                        connection.sendall(b"HTTP/1.1 200 OK\r\n")
                        while not gone.wait(0.05):
                            connection.sendall(b"X")  # a header that never ends: each byte ends a wait

        threading.Thread(target=dribble, daemon=True).start()
        port = listener.getsockname()[1]
        try:
            assert probe.elsewhere(DOMAIN, "THUMB", port, within(0.3), lambda _domain: ("127.0.0.1",)) == ("", "")
        finally:
            gone.set()
