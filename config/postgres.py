"""The embedded PostgreSQL: its cluster, its process, and the login that evalsched uses."""

import shutil
import signal
import subprocess
from pathlib import Path

from config import places
from config.places import POSTGRES_VERSION, Trouble
from config.server import Server

PORT = 5432
"""Only a part of the socket's name."""

# The login owns its database and may make further ones (tests) and roles (row-level security),
# but is no superuser: a superuser would not notice a missing policy or grant.
_FURNISH = r"""
SELECT 'CREATE ROLE evalsched LOGIN CREATEDB CREATEROLE'
 WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'evalsched') \gexec
SELECT 'CREATE DATABASE evalsched OWNER evalsched'
 WHERE NOT EXISTS (SELECT FROM pg_database WHERE datname = 'evalsched') \gexec
"""
_FAST_AND_FORGETFUL = ("fsync=off", "synchronous_commit=off", "full_page_writes=off")


class Postgres(Server):
    """A PostgreSQL cluster of ours. Reached by its socket only, by whoever may enter its place."""

    name = "postgres"
    PROGRAM = "postgres"
    ENDS_ON = signal.SIGINT  # its "fast" shutdown: open transactions are rolled back
    LEFT_ENDS_ON = signal.SIGQUIT  # the one that also ends backends whose server is gone

    def command(self) -> list[str]:
        """The server with everything that is not its default."""
        options = [
            "listen_addresses=",
            f"port={PORT}",
            f"unix_socket_directories={self._home.sockets}",
            "unix_socket_permissions=0700",
            "timezone=UTC",
            "log_timezone=UTC",
            "log_destination=stderr",
            "logging_collector=off",
            "max_connections=200",
            *(() if self._durable else _FAST_AND_FORGETFUL),
        ]
        return [
            str(self._home.programs.postgres),
            "-D",
            str(self.directory),
            *(part for option in options for part in ("-c", option)),
        ]

    def prepare(self) -> None:
        """Make the cluster if there is none, check its version, and clear stale pid files away."""
        version = self.directory / "PG_VERSION"
        if not version.exists():
            self._initialise()
        elif (found := version.read_text(encoding="ascii").strip()) != POSTGRES_VERSION:
            raise Trouble(
                f"{self.directory} was written by PostgreSQL {found}, and this release brings "
                f"{POSTGRES_VERSION}. Start the release that wrote it, dump the database with "
                "pg_dump, move the directory away, and load the dump with this one."
            )
        # Nobody serves the cluster (see `launch`), but a reused process id would look like it.
        (self.directory / "postmaster.pid").unlink(missing_ok=True)
        for path in (self.socket(), self.socket().with_name(f"{self.socket().name}.lock")):
            path.unlink(missing_ok=True)

    def socket(self) -> Path:
        """Where it is reached."""
        return self._home.sockets / f".s.PGSQL.{PORT}"

    def ready(self) -> bool:
        """Whether it takes connections, as its pid file says it (pg_ctl waits for the same)."""
        lines = self._pid_file()
        return (
            self._process is not None
            and len(lines) > 7  # noqa: PLR2004  the eighth line is the status
            and lines[0] == str(self._process.pid)
            and lines[7].strip() == "ready"
        )

    def noted(self) -> int | None:
        """The process id in postmaster.pid."""
        lines = self._pid_file()
        return int(lines[0]) if lines and lines[0].isdigit() else None

    def furnish(self) -> None:
        """Make the role and the database `evalsched`, where they are missing.

        Raises:
            Trouble: PostgreSQL refuses, in its words.
        """
        done = self._run(
            [
                *(str(self._home.programs.psql), "--no-psqlrc", "--quiet", "--no-password"),
                *("--set", "ON_ERROR_STOP=1", "--host", str(self._home.sockets)),
                *("--port", str(PORT), "--username", "postgres", "--dbname", "postgres"),
            ],
            given=_FURNISH,
        )
        if done.returncode != 0:
            raise Trouble(f"The embedded PostgreSQL cannot be prepared:\n{done.stdout}")

    def _initialise(self) -> None:
        """Make the cluster beside its place and move it there: a killed run leaves no half one."""
        if self.directory.exists() and any(self.directory.iterdir()):
            raise Trouble(
                f"{self.directory} is not empty and holds no PostgreSQL cluster. Move it away."
            )
        draft = self.directory.with_name("postgres.new")
        shutil.rmtree(draft, ignore_errors=True)
        places.own(draft, self._home.account)
        done = self._run(
            [
                *(str(self._home.programs.initdb), "-D", str(draft), "--username=postgres"),
                *("--auth-local=trust", "--auth-host=reject", "--encoding=UTF8", "--locale=C"),
                *("--locale-provider=builtin", "--builtin-locale=C.UTF-8"),
                *(() if self._durable else ("--no-sync",)),
            ],
        )
        if done.returncode != 0:
            raise Trouble(f"initdb cannot make a cluster in {draft}:\n{done.stdout}")
        draft.replace(self.directory)

    def _run(self, command: list[str], *, given: str = "") -> subprocess.CompletedProcess[str]:
        """Run a program of the wheel to its end, as the servers' user."""
        account = self._home.account
        return subprocess.run(  # noqa: S603  our own arguments, no shell
            command,
            env=places.ENVIRONMENT,
            cwd=Path("/"),
            input=given,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            user=None if account is None else account.uid,
            group=None if account is None else account.gid,
            extra_groups=None if account is None else [],
            check=False,
        )

    def _pid_file(self) -> list[str]:
        try:
            return (self.directory / "postmaster.pid").read_text(errors="replace").splitlines()
        except OSError:
            return []
