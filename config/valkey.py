"""The embedded Valkey, which speaks Redis' protocol: broker, cache and rate limits."""

import signal
import socket
from pathlib import Path

from config import places
from config.server import Server


class Valkey(Server):
    """A Valkey server of ours, reached by its socket only."""

    SOCKET = "redis.sock"
    name = "redis"
    PROGRAM = "valkey-server"
    ENDS_ON = signal.SIGTERM
    LEFT_ENDS_ON = signal.SIGTERM

    def command(self) -> list[str]:
        """The server with everything that is not its default.

        `noeviction`: a broker that drops messages to make room would be worse than one that
        refuses them. 64 databases: a pair for each worker of the tests.
        """
        return [
            *(str(self._home.programs.valkey), "--port", "0", "--daemonize", "no"),
            *("--unixsocket", str(self.socket()), "--unixsocketperm", "700"),
            *("--dir", str(self.directory), "--pidfile", str(self.directory / "pid")),
            *("--appendonly", "yes" if self._durable else "no", "--save", ""),
            *("--maxmemory-policy", "noeviction", "--databases", "64"),
        ]

    def prepare(self) -> None:
        """Make its directory, and clear a stale socket away."""
        places.own(self.directory, self._home.account)
        self.socket().unlink(missing_ok=True)

    def socket(self) -> Path:
        """Where it is reached."""
        return self._home.sockets / self.SOCKET

    def ready(self) -> bool:
        """Whether it answers PING; while it reads its file it answers that it is loading."""
        with socket.socket(socket.AF_UNIX) as probe:
            probe.settimeout(1)
            try:
                probe.connect(str(self.socket()))
                probe.sendall(b"PING\r\n")
                return probe.recv(64).startswith(b"+PONG")
            except OSError:
                return False

    def noted(self) -> int | None:
        """The process id in its pid file."""
        try:
            return int((self.directory / "pid").read_text(encoding="ascii"))
        except (OSError, ValueError):
            return None
