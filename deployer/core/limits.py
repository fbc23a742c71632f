"""Limits that hold at more than one place. The emergency path reads them, too: nothing is imported here."""

REASON = 2000  # characters of a reason that a person gives, and of a text in the audit log
MOST_REPLICAS = 100  # instances of a release on one host
SERVICE_LETTERS = 40  # of the name of a service
TENANT = "[a-z]([a-z0-9-]{0,30}[a-z0-9])?"
SERVICE = "[a-z][a-z0-9-]{0,%d}" % (SERVICE_LETTERS - 1)  # noqa: UP031 - braces are the pattern's
PROXY_KEEP = 3600.0  # seconds that instances are kept for a proxy that is lost, unless a manifest says otherwise
# The path of a Unix socket has 108 bytes, one of which ends it (unix(7)).
SOCKET_PATH = 107
SOCKET_OF_SSH = SOCKET_PATH - 17  # ssh adds a dot and 16 letters while it makes its control socket
SOCKET_OF_HAPROXY = SOCKET_PATH - 10  # HAProxy binds a socket under a temporary name first
READABLE_LOGS = frozenset({"json-file", "local", "journald"})  # log drivers of Docker that give back what they got
