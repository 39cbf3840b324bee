"""A pytest plugin: the embedded servers, started once for the session before settings are read.

The xdist controller (or the single process) starts them; workers inherit their addresses. Whatever
servers the developer's environment names are neither used nor reached.
"""

import os
import shutil
import tempfile
from collections.abc import Generator, Iterator, MutableMapping
from contextlib import contextmanager
from pathlib import Path

import pytest

from config import embedded, generated, places, surroundings

_PREFIX = "evalsched-tests-"
_FOREIGN = (
    *("DATABASE_URL", "CELERY_BROKER_URL", "REDIS_URL", "SECRET_KEY", "FIELD_ENCRYPTION_KEYS"),
    *("SERVICE_ROLE_KEY", "ALLOWED_HOSTS", "CSRF_TRUSTED_ORIGINS", "DEBUG", "PUBLIC_URL"),
    *("EMAIL_URL", "DEFAULT_FROM_EMAIL", "TRUSTED_PROXY", "HOST", "PORT", "REMAP_SIGTERM"),
)
# What the fault tests go by, which is no setting of the service.
_OURS = ("EVALSCHED_SOAK", "EVALSCHED_SOAK_SEED", "EVALSCHED_FAULTS_REPORT")
# Short, so that a test of a lost lease or of a second tick takes seconds.
_TIMES = {
    "EVALSCHED_TICK_SECONDS": "1",
    "EVALSCHED_LEASE_SECONDS": "3",
    "EVALSCHED_SLICE_SECONDS": "2",
    # Days of partitioned tables, each of which is emptied after many a test.
    "EVALSCHED_TRACE_RETENTION_DAYS": "2",
    "EVALSCHED_EVALUATION_RETENTION_DAYS": "2",
}


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_load_initial_conftests(early_config: pytest.Config) -> Generator[None, None, None]:
    """Start the servers before pytest-django reads the settings, whose hook this one wraps."""
    worker = os.environ.get("PYTEST_XDIST_WORKER")
    if worker is None:
        _start(early_config)
    take_databases(os.environ, worker)
    return (yield)


def take_databases(environ: MutableMapping[str, str], worker: str | None) -> None:
    """Point `environ` at the Redis databases of the xdist worker named like "gw1".

    PostgreSQL's database is pytest-django's matter: it puts the worker's name behind it.
    """
    number = 0 if worker is None else int(worker.removeprefix("gw")) + 1
    addresses = embedded.addresses(Path(environ["EVALSCHED_DATA_DIR"]))
    environ["CELERY_BROKER_URL"], environ["REDIS_URL"] = addresses.redis(number)


def child_environment(database: str) -> dict[str, str]:
    """Return the environment for a real worker, beat or web process that a test starts.

    `database` is the name of the test's database, `connection.settings_dict["NAME"]`. The Redis
    databases are those of the calling test's worker already.
    """
    url = os.environ["DATABASE_URL"].replace("@/evalsched?", f"@/{database}?")
    return surroundings.for_child(os.environ) | {"DATABASE_URL": url}


def clean(environ: MutableMapping[str, str]) -> None:
    """Take everything out of `environ` that would change what the settings say."""
    for name in list(environ):
        if name in _FOREIGN or (name.startswith("EVALSCHED_") and name not in _OURS):
            del environ[name]
    surroundings.tidy(environ)


@contextmanager
def apart() -> Iterator[embedded.Servers]:
    """Start servers beside those of the session, for a test that kills them or makes them wait.

    Durable: the others forget the last moments before a kill, which is not what production does.
    """
    data_dir = _make_data_dir()
    try:
        servers = embedded.start(data_dir, durable=True)
        try:
            yield servers
        finally:
            servers.stop()
    finally:
        remove(data_dir)


def remove(data_dir: Path) -> None:
    """Remove a data directory whose servers have ended, wherever its clusters lie."""
    for path in {places.noted(data_dir), data_dir, places.sockets(data_dir)}:
        shutil.rmtree(path, ignore_errors=True)


def _start(config: pytest.Config) -> None:
    clean(os.environ)
    _sweep()
    data_dir = _make_data_dir()
    config.add_cleanup(lambda: remove(data_dir))
    servers = embedded.start(data_dir, durable=False)
    config.add_cleanup(servers.stop)
    os.environ |= {
        "EVALSCHED_DATA_DIR": str(data_dir),
        "DATABASE_URL": servers.addresses.database_url,
        **generated.ensure(data_dir),
        **_TIMES,
    }


def _make_data_dir() -> Path:
    data_dir = Path(tempfile.mkdtemp(prefix=_PREFIX))
    data_dir.chmod(0o711 if os.geteuid() == 0 else 0o700)
    return data_dir


def _sweep() -> None:
    """Remove what killed sessions of ours have left."""
    for path in Path(tempfile.gettempdir()).glob(f"{_PREFIX}*"):
        try:
            ours = path.stat().st_uid == os.geteuid() and (path / "lock").exists()
            if ours and embedded.holder(path) is None:
                embedded.end_leftovers(path)
                remove(path)
        except (OSError, places.Trouble):
            continue
