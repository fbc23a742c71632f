"""The running proxy: our own, which we keep running, or the one of a team, which we only ask to reload."""

from __future__ import annotations

import errno
import os
import socket
import stat
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from deployer import supervisor
from deployer.core import later
from deployer.core.clock import Clock, Deadline
from deployer.core.errors import DriverFailed, Refused
from deployer.core.limits import SOCKET_OF_HAPROXY
from deployer.core.listening import program_at
from deployer.drivers.traffic.haproxy import internal_sockets, layout
from deployer.drivers.traffic.haproxy.layout import Home
from deployer.drivers.traffic.haproxy.master import MasterSocket, complaints
from deployer.supervisor import ProcessSpec

if TYPE_CHECKING:
    from deployer.drivers.traffic.haproxy import binary, command_line
    from deployer.drivers.traffic.haproxy.listeners import Listen
    from deployer.manifest.models import HAProxy
else:  # for starting one, and for its configuration: no question does that
    binary = later.module("deployer.drivers.traffic.haproxy.binary")
    command_line = later.module("deployer.drivers.traffic.haproxy.command_line")

SOCKET_WITHIN = 2.0  # seconds after which a socket that is not there is gone, and not just coming
GRACE = 10.0  # seconds that running requests get when our own proxy is stopped


class Proxy(Protocol):
    """What the driver asks of either proxy."""

    own: bool
    home: Home
    master: MasterSocket

    def validate(self, config: Path) -> None:
        """Let HAProxy read a configuration. Raises Refused with its own words."""
        ...

    def ready(self, deadline: Deadline) -> None:
        """Make sure that the proxy answers. Raises DriverFailed when it does not."""
        ...

    def require(self, deadline: Deadline) -> None:
        """Raise Refused or DriverFailed when the proxy is not set up as it has to be; nothing is started."""
        ...

    def load(self, deadline: Deadline) -> None:
        """Make the proxy run the files that are there. Raises Refused when it goes on with what it had."""
        ...

    def leave(self, deadline: Deadline) -> None:
        """Serve nothing any more: end a proxy that is ours, take our part out of one that is not."""
        ...


class OwnProxy:
    """A HAProxy of ours: all its files in one folder, kept running by a supervisor beyond the life of any command."""

    own = True

    def __init__(self, folder: Path, clock: Clock, program: Path | None = None) -> None:
        self.home = Home(folder, folder / "haproxy.cfg")
        self.master = MasterSocket(folder / "master.sock", clock)
        self._clock = clock
        self._program = program
        self._supervised = folder / "process"
        self._log = folder / "haproxy.log"
        _refuse_long(self.master.path)
        _refuse_long(self.home.requests)

    def validate(self, config: Path) -> None:
        """Let HAProxy read a configuration. Raises Refused with its own words."""
        _refuse(self._binary().validate(config), config)

    def ready(self, deadline: Deadline) -> None:
        """Make sure that the proxy answers: one that is gone (a reboot, a killed supervisor) is started again."""
        status = supervisor.read_status(self._supervised)
        if status is None or not status.supervisor_pid:
            self._start(deadline)
        self._refuse_without_socket(deadline)
        try:
            self.master.current(deadline)
        except DriverFailed as failed:
            last = tuple(self._said().splitlines()[-5:])
            raise DriverFailed(
                f"deployer's HAProxy does not run: {failed.message}",
                f"`deploy doctor --fix` writes its files again and starts it; its log is {self._log}",
                log=last,
            ) from None

    def _refuse_without_socket(self, deadline: Deadline) -> None:
        """Raise DriverFailed where HAProxy serves and nobody can reach it: only when it starts it makes the file."""
        if Deadline.after(self._clock, min(SOCKET_WITHIN, deadline.left())).wait(self.master.path.exists, every=0.02):
            return
        status = supervisor.read_status(self._supervised)
        if status is not None and status.pid:
            raise DriverFailed(
                f"deployer's HAProxy (pid {status.pid}) serves its users, but the file of its master socket,"
                f" {self.master.path}, is gone: traffic cannot be moved",
                "`deploy doctor --fix` starts it again: it interrupts traffic for about a second",
            )

    def require(self, deadline: Deadline) -> None:
        """Do nothing: it is set up when it is started."""

    def load(self, deadline: Deadline) -> None:
        """Start the proxy, or reload the one that runs."""
        status = supervisor.read_status(self._supervised)
        if status is not None and status.supervisor_pid and self.master.answers():
            _refuse_lines(self.master.reload(deadline))
        else:
            self._start(deadline)
        self.master.current(deadline)

    def leave(self, deadline: Deadline) -> None:
        """End the proxy: running requests get their time."""
        supervisor.stop(self._supervised, deadline)

    def _start(self, deadline: Deadline) -> None:
        status = supervisor.read_status(self._supervised)
        if status is None or not status.pid:  # else it outlived its supervisor, and writes there
            self._log.unlink(missing_ok=True)
        supervisor.ensure_running(self._supervised, self._spec(), deadline)
        deadline.wait(lambda: self.master.answers() or self._has_ended(), every=0.01)
        if not self.master.answers():
            supervisor.stop(self._supervised, Deadline.after(self._clock, GRACE))
            _refuse_lines(complaints(self._said()) or ("the proxy did not come up", *self._said().splitlines()[-5:]))

    def _has_ended(self) -> bool:
        status = supervisor.read_status(self._supervised)
        return status is None or status.state == "exited"

    def _said(self) -> str:
        return self._log.read_text(errors="replace") if self._log.exists() else ""

    def _binary(self) -> binary.Binary:
        return binary.at(self._program) if self._program else binary.find()

    def _spec(self) -> ProcessSpec:
        socket_option = f"{self.master.path},mode,600"
        return ProcessSpec(
            argv=(str(self._binary().path), "-W", "-S", socket_option, "-f", str(self.home.config)),
            cwd=str(self.home.root),
            log=str(self._log),
            stop_signal="SIGUSR1",
            grace=GRACE,
        )


class TeamProxy:
    """A HAProxy that a team runs: one file of ours in a folder that its command line loads, and its master socket."""

    own = False

    def __init__(self, settings: HAProxy, clock: Clock) -> None:
        folder = Path(settings.config).absolute()
        self.home = home_in(folder, settings.main)
        self.master = MasterSocket(Path(settings.socket).absolute(), clock)
        self._main = tuple(Path(path) for path in settings.main)
        self._binary = settings.binary
        _refuse_long(self.home.requests)
        if not folder.is_dir():
            raise Refused(
                f"{folder} is not a folder", "make it, and add `-f` with it to the command line of your HAProxy"
            )

    def validate(self, config: Path) -> None:
        """Let HAProxy read the team's files and ours, in the order of the team's command line."""
        _refuse(binary.at(self._binary).validate(*self._main, config), config)

    def ready(self, deadline: Deadline) -> None:
        """Make sure that the proxy answers; starting it is the team's."""
        try:
            mode = self.master.path.stat().st_mode
        except OSError as error:
            raise DriverFailed(
                f"{self.master.path}: {error.strerror}",
                "start your HAProxy with -W and -S, see `deploy doctor`; if it runs, the file was removed: restart it",
            ) from None
        if not stat.S_ISSOCK(mode):
            raise DriverFailed(f"{self.master.path} is not a socket", "give the master socket (-S) of your HAProxy")
        self.master.current(deadline)

    def require(self, deadline: Deadline) -> None:
        """See that it runs, and with our folder on its command line."""
        self.ready(deadline)
        command_line.refuse_not_loaded(self.home.config.parent, self.master, deadline)

    def load(self, deadline: Deadline) -> None:
        """Reload."""
        _refuse_lines(self.master.reload(deadline))
        self.master.current(deadline)

    def leave(self, deadline: Deadline) -> None:
        """Have it load its configuration without our part."""
        before = layout.read(self.home.config)
        self.home.config.unlink(missing_ok=True)
        try:
            self.load(deadline)
        except BaseException:
            if before is not None:
                layout.write(self.home.config, before)
            raise


def home_in(folder: Path, main: Iterable[str] = ()) -> Home:
    """Return the place of our files in the folder of a team's proxy, which begins with the files `main`."""
    root = folder / "deployer"
    # Their HAProxy may run as another user, and has to read our maps.
    return Home(root, folder / "deployer.cfg", mode=0o755, inside=internal_sockets.of_team(root, map(Path, main)))


def refuse_taken(listens: Iterable[Listen]) -> None:
    """Try to listen on addresses that are new to the proxy. Raises Refused for one that somebody else has."""
    for listen in listens:
        family = socket.AF_INET6 if ":" in listen.host else socket.AF_INET
        with socket.socket(family) as trial:
            trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                trial.bind((listen.host, listen.port))
                trial.listen(1)
            except OSError as error:
                if error.errno == errno.EADDRINUSE:
                    who = program_at(listen.port)
                    raise Refused(
                        f"{listen.address} is taken by another program{f': {who}' if who else ''}",
                        "stop it, or choose another `traffic.listen`",
                    ) from None
                if error.errno == errno.EADDRNOTAVAIL:
                    raise Refused(f"{listen.address} is not an address of this host", "choose another one") from None
                # EACCES: whether the proxy may is for the proxy to say; a team's often runs as root, we do not.


def _refuse_long(path: Path) -> None:
    length = len(os.fsencode(path))
    if length > SOCKET_OF_HAPROXY:
        raise Refused(
            f"{path}: {length} bytes, {SOCKET_OF_HAPROXY} is the most that a socket of HAProxy can have",
            "choose a folder with a shorter path",
        )


def _refuse(said: str, config: Path) -> None:
    if said:
        lines = complaints(said) or tuple(said.splitlines()[-5:])
        _refuse_lines(tuple(line.replace(f"{config.parent}/", "") for line in lines))


def _refuse_lines(lines: tuple[str, ...]) -> None:
    if lines:
        told = "\n".join(f"  {line}" for line in lines)
        raise Refused(
            f"HAProxy refused the configuration; the running one was not touched:\n{told}", "see the lines above"
        )
