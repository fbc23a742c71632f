"""The way to the engine of another host by TCP: TLS, in which both sides prove who they are.

Connections are kept and used again, by all calls to one engine.
"""

from __future__ import annotations

import socket
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

from deployer.core.errors import Unreachable
from deployer.core.host import Host
from deployer.drivers.runtime.docker.bounds import bound
from deployer.transport.certificates import CONNECT_SECONDS, Certificates, said
from deployer.transport.timeouts import MISSED, QUICK

if TYPE_CHECKING:
    import docker
    import requests
    from requests.adapters import BaseAdapter

_KEPT = 8  # connections to one engine
_OLDEST = "1.41"  # of its API; for the question what it speaks, in which no version is said
# A cable that was pulled is noticed as soon as by ssh, also while a call waits long for its answer.
_SOCKET = (
    (socket.IPPROTO_TCP, socket.TCP_NODELAY, 1),
    (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1),
    (socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, QUICK.alive),
    (socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, QUICK.alive),
    (socket.IPPROTO_TCP, socket.TCP_KEEPCNT, MISSED),
    (socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, QUICK.lost * 1000),
)


class TlsEngine:
    """One host's engine, reached by TLS."""

    def __init__(self, host: Host) -> None:
        self._address = host.engine
        self._certificates = Certificates(Path(host.engine_certs))
        self._shared = _pool()
        self.proven = False  # it has answered: it took our certificate
        self._closed = False

    def connect(self, timeout: float, version: str | None) -> docker.DockerClient:
        """Return a client of the engine, as `engine.connect` does for that of this host.

        Raises Unreachable, saying what was refused by which side, here and later when a call opens a connection.
        """
        if self._closed:
            raise Unreachable("the link is closed")
        for trouble in self._certificates.troubles():
            raise Unreachable(trouble.text, trouble.remedy)
        if version is None:
            with closing(self._client(timeout, _OLDEST)) as asking:
                version = str(asking.version(api_version=False)["ApiVersion"])
        return self._client(timeout, version)

    def close(self) -> None:
        """Close all connections."""
        self._closed = True
        self._shared.close()

    def _client(self, timeout: float, version: str) -> docker.DockerClient:
        import docker
        from docker.tls import TLSConfig

        files = self._certificates
        tls = TLSConfig(client_cert=(str(files.cert), str(files.key)), ca_cert=str(files.ca), verify=True)
        client = docker.DockerClient(base_url=self._address, tls=tls, timeout=timeout, version=version)  # type: ignore[arg-type]
        # Else variables of the environment say whom to believe (REQUESTS_CA_BUNDLE), and which way leads there.
        client.api.trust_env = False
        client.api.mount("https://", self._lent())
        bound(client, timeout)
        return client

    def _lent(self) -> BaseAdapter:
        """Return connections of a pool to one client, which leaves them open when it is closed."""
        import requests
        import urllib3
        from requests.adapters import BaseAdapter

        link, pool = self, self._shared

        class Borrowed(BaseAdapter):
            def send(self, request: requests.PreparedRequest, *arguments: Any, **options: Any) -> requests.Response:
                given = options["timeout"]  # which `bound` has seen to; two for a stream, whose reads may wait for long
                connect, read = given if isinstance(given, tuple) else (given, given)
                options["timeout"] = (min(CONNECT_SECONDS, connect), read)
                try:
                    answer = pool.send(request, *arguments, **options)
                except (requests.exceptions.SSLError, requests.ConnectTimeout) as error:
                    raise link._unreachable(error) from error
                except requests.ConnectionError as error:
                    never = bool(error.args) and isinstance(error.args[0], urllib3.exceptions.MaxRetryError)
                    if never or not link.proven:
                        raise link._unreachable(error) from error
                    raise
                link.proven = True
                return answer

            def close(self) -> None:
                """The pool is closed by whoever owns it."""

        return Borrowed()

    def _unreachable(self, error: Exception) -> Unreachable:
        trouble = said(error, self._address, self._certificates)
        return Unreachable(trouble.text, trouble.remedy)


def _pool() -> BaseAdapter:
    from requests.adapters import HTTPAdapter

    class TlsAdapter(HTTPAdapter):
        def init_poolmanager(self, *arguments: Any, **options: Any) -> None:
            super().init_poolmanager(*arguments, **options, socket_options=_SOCKET)

    return TlsAdapter(pool_connections=1, pool_maxsize=_KEPT)
