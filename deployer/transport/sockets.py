"""Connections that a deadline ends, whatever the other side does."""

from __future__ import annotations

import ipaddress
import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager

# A proxy in front of the instance (Docker's userland proxy is one) accepts first, and hangs up when nobody listens
# behind it. On one host that takes a few milliseconds.
_HANGS_UP_WITHIN = 0.1


class NoAnswer(Exception):
    """There was no usable answer; the text says what was seen."""


def split_address(address: str) -> tuple[str, int]:
    """Split `host:port`; an IPv6 host may stand in brackets."""
    host, _, port = address.rpartition(":")
    return host.strip("[]"), int(port)


@contextmanager
def connection(address: str, seconds: float, tls_name: str | None = None) -> Iterator[socket.socket]:
    """Open a connection for at most `seconds`, all of its use included; TLS with `tls_name` as server name if given.

    Raises NoAnswer for whatever goes wrong on the way, also inside the block.
    """
    late = threading.Event()
    held: list[socket.socket] = []

    def cut() -> None:
        # A time-out of the socket starts afresh with every byte, so a peer that dribbles would never run into it.
        late.set()
        for sock in held:
            _shutdown(sock)

    timer = threading.Timer(max(seconds, 0.001), cut)
    timer.daemon = True
    timer.start()
    try:
        held.append(socket.create_connection(split_address(address), timeout=max(seconds, 0.001)))
        if tls_name is not None:
            held[0] = _context(address).wrap_socket(held[0], server_hostname=tls_name, do_handshake_on_connect=False)
            if isinstance(held[0], ssl.SSLSocket):
                held[0].do_handshake()
        yield held[0]
        if late.is_set():  # what was read may be cut short without looking so
            raise TimeoutError
    except (OSError, NoAnswer) as error:
        over = late.is_set() or isinstance(error, TimeoutError)
        raise NoAnswer(f"no response within {seconds:g} s" if over else describe(error)) from error
    finally:
        timer.cancel()
        timer.join()  # before the descriptor is closed: its number may be somebody else's a moment later
        for sock in held:
            sock.close()


def connect(address: str, seconds: float) -> None:
    """Connect and hang up. Raises NoAnswer when nobody accepts, or when the other side hangs up at once."""
    with connection(address, seconds) as sock:
        sock.settimeout(min(_HANGS_UP_WITHIN, seconds))
        try:
            said = sock.recv(1, socket.MSG_PEEK)
        except TimeoutError:
            return  # it waits for us to speak first
        if not said:
            raise NoAnswer("the connection was accepted and closed at once; nothing listens behind it")


def describe(error: Exception) -> str:
    """Return in a few words what a failed connection met."""
    match error:
        case ConnectionRefusedError():
            return "connection refused"
        case ConnectionResetError() | BrokenPipeError():
            return "the connection was reset"
        case ssl.SSLCertVerificationError():
            return f"its certificate was not accepted: {error.verify_message}"
        case ssl.SSLError():
            return f"TLS failed: {error.reason or error}"
        case socket.gaierror():
            return f"the name cannot be resolved: {error.strerror}"
        case OSError() if error.strerror:
            return error.strerror.lower()
    return str(error) or type(error).__name__


def _shutdown(sock: socket.socket) -> None:
    try:
        # Not SSLSocket.shutdown: it drops the TLS state under the thread that is reading.
        socket.socket.shutdown(sock, socket.SHUT_RDWR)
    except OSError:
        return  # not connected (any more); its own time-out ends it


def _context(address: str) -> ssl.SSLContext:
    """Make the TLS settings for one connection.

    On loopback the address itself says who answers: this host's proxy, often with a certificate that no authority
    signed or that is out of date on a test host. The smoke test is about the candidate, so the certificate is not
    judged there. Anywhere else it is verified against the name of the service.
    """
    context = ssl.create_default_context()
    if _is_loopback(split_address(address)[0]):
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
