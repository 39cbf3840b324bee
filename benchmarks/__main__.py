"""`make bench`: measures on embedded servers of its own, prints a table and writes JSON.

Every figure stands beside a floor measured in the same run: what the same machine does when
nothing but the bare work is done. Ratios travel between machines, seconds do not.
"""

import json
import os
import platform
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import django
import psutil  # type: ignore[import-untyped]
from django.core.management import call_command

from benchmarks.figures import Figure
from config import embedded, generated
from tests import servers

RESULTS = Path(__file__).parent / "results"
SETTINGS = {
    "EVALSCHED_PRIVATE_HOSTS": "127.0.0.0/8",
    "EVALSCHED_LOG_LEVEL": "WARNING",
    "EVALSCHED_RATE_LIMIT_WRITES": "100000",
    "ALLOWED_HOSTS": "testserver",
    "EMAIL_URL": "dummymail://",
}


@contextmanager
def environment() -> Iterator[Path]:
    """Start servers in a temporary directory, as durable as those of `make up`, and migrate."""
    servers.clean(os.environ)
    data_dir = Path(tempfile.mkdtemp(prefix="evalsched-bench-"))
    data_dir.chmod(0o711 if os.geteuid() == 0 else 0o700)
    started = embedded.start(data_dir, durable=True)
    try:
        addresses = started.addresses
        broker, redis = addresses.redis(0)
        os.environ |= SETTINGS | generated.ensure(data_dir)
        os.environ |= {
            "EVALSCHED_DATA_DIR": str(data_dir),
            "DATABASE_URL": addresses.database_url,
            "CELERY_BROKER_URL": broker,
            "REDIS_URL": redis,
        }
        django.setup()
        call_command("migrate", interactive=False, verbosity=0)
        yield data_dir
    finally:
        started.stop()
        servers.remove(data_dir)
        shutil.rmtree(data_dir, ignore_errors=True)


def measure() -> list[Figure]:
    with environment() as data_dir:
        # These need the settings, which need the servers.
        from benchmarks import batches, dispatch, rules, traces

        return [
            *batches.measure(data_dir),
            *dispatch.measure(),
            *traces.measure(data_dir),
            *rules.measure(),
        ]


def main() -> None:
    figures = measure()
    for figure in figures:
        print(f"{figure.what:<64} {figure.value:>12,.2f} {figure.unit}")
    RESULTS.mkdir(exist_ok=True)
    now = datetime.now(UTC)
    about = {
        "measured_at": now.isoformat(timespec="seconds"),
        "python": sys.version.split()[0],
        "machine": platform.platform(),
        "cores": psutil.cpu_count(),
        "figures": [vars(figure) for figure in figures],
    }
    path = RESULTS / f"{now:%Y%m%dT%H%M%S}.json"
    path.write_text(json.dumps(about, indent=1) + "\n", encoding="utf-8")
    print(f"written to {path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path}")


if __name__ == "__main__":
    main()
