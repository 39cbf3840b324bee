"""What the two embedded servers have in common: their process, its log, and its end."""

import signal
import subprocess
from abc import ABC, abstractmethod
from pathlib import Path

from config import places, processes
from config.places import Home

_LOG_BYTES = 10 * 1024 * 1024


class Server(ABC):
    """One embedded server. Start it from the main thread: it ends when that thread does."""

    name: str
    PROGRAM: str
    """The name of the process, as the kernel has it."""
    ENDS_ON: signal.Signals
    """Ends it in order, with everything stored."""
    LEFT_ENDS_ON: signal.Signals
    """Ends what a killed run has left, each process on its own."""

    def __init__(self, home: Home, *, durable: bool) -> None:
        self.directory = home.directory / self.name
        self._home = home
        self._durable = durable
        self._process: subprocess.Popen[bytes] | None = None
        self._answered = False

    @abstractmethod
    def command(self) -> list[str]:
        """The program and its arguments."""

    @abstractmethod
    def prepare(self) -> None:
        """Make what the program needs, and clear away what a killed one left."""

    @abstractmethod
    def socket(self) -> Path:
        """Where it is reached."""

    @abstractmethod
    def ready(self) -> bool:
        """Whether it answers."""

    def noted(self) -> int | None:
        """The process id in the server's own pid file, where it has one."""
        return None

    def launch(self) -> None:
        """Start it, without waiting until it answers. Ends what an earlier run left, first."""
        self.kill()
        places.private(self._home.sockets, self._home.account)
        self.prepare()
        with self._log_file().open("ab") as log:
            self._process = processes.spawn(
                self.command(),
                env=places.ENVIRONMENT,
                cwd=self.directory,
                output=log,
                orphaned=self.ENDS_ON,
                account=self._home.account,
            )

    def dead(self) -> bool:
        """Whether nobody can reach it any more, although nobody stopped it.

        Its process has ended, or somebody's cleaning of /tmp took its socket.
        """
        if self._process is None:
            return False
        if self._process.poll() is not None:
            return True
        self._answered = self._answered or self.ready()
        return self._answered and not self.socket().exists()

    def ask(self) -> None:
        """Ask it to end in order. Does not wait."""
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(self.ENDS_ON)

    def ended(self) -> bool:
        """Whether it has ended, or never began."""
        return self._process is None or self._process.poll() is not None

    def kill(self) -> None:
        """End it at once, with everything it started or an earlier run left.

        PostgreSQL's backends have sessions of their own, so its group is not all of it.
        """
        if self._process is not None:
            processes.kill_group(self._process)
            self._process.wait()
            self._process = None
        self._answered = False
        processes.end(
            lambda: processes.working_in(self.directory, self.PROGRAM, self.noted()),
            gently=self.LEFT_ENDS_ON,
            patience=3,
        )

    def last_words(self) -> str:
        """The end of its log, for a message about what went wrong."""
        try:
            lines = self._log_file().read_text(errors="replace").splitlines()
        except OSError:
            return ""
        return "\n".join(lines[-10:])

    def _log_file(self) -> Path:
        path = self._home.logs / f"{self.name}.log"
        if path.exists() and path.stat().st_size > _LOG_BYTES:
            path.replace(path.with_suffix(".log.old"))
        return path
