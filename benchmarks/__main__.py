"""`make bench`: measures on embedded servers of its own, prints a table and writes JSON.

`python -m benchmarks batches lists` measures those parts only. Every speed stands beside a floor
measured in the same run: what the same machine does when nothing but the bare work is done. Ratios
travel between machines, seconds do not.
"""

import argparse
import json
import os
import platform
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from importlib import import_module
from pathlib import Path

import django
import psutil  # type: ignore[import-untyped]
from django.apps import apps
from django.core.management import call_command
from django.db import connection

from benchmarks.figures import Figure
from config import embedded, generated
from tests import servers

PARTS = (
    *("batches", "faulty", "allowances", "fairness", "lists"),
    *("dispatch", "imports", "calibration", "results", "cleanup"),
    *("traces", "rules"),
)
APPS = ("access", "alerts", "batches", "evalsched")
RESULTS = Path(__file__).parent / "results"
SETTINGS = {
    "EVALSCHED_PRIVATE_HOSTS": "127.0.0.0/8",
    "EVALSCHED_LOG_LEVEL": "WARNING",
    "EVALSCHED_RATE_LIMIT_READS": "1000000",
    "EVALSCHED_RATE_LIMIT_WRITES": "1000000",
    "ALLOWED_HOSTS": "testserver",
    "EMAIL_URL": "dummymail://",
}


@contextmanager
def environment() -> Iterator[None]:
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
        yield
    finally:
        started.stop()
        servers.remove(data_dir)
        shutil.rmtree(data_dir, ignore_errors=True)


def measure(part: str) -> list[Figure]:
    """Measure one part on empty tables, and print what it finds as it comes."""
    # They need the settings, which need the servers.
    module = import_module(f"benchmarks.{part}")
    empty()
    print(f"\n== {part}", flush=True)
    started = time.monotonic()
    figures: list[Figure] = []
    for figure in module.measure():
        print(figure, flush=True)
        figures.append(figure)
    print(f"{part} took {time.monotonic() - started:.0f} s")
    return figures


def empty() -> None:
    """Empty the tables of our apps; what beat sends lies in others and stays."""
    models = [model for app in APPS for model in apps.get_app_config(app).get_models()]
    tables = ", ".join(f'"{model._meta.db_table}"' for model in models)
    with connection.cursor() as cursor:
        cursor.execute(f"TRUNCATE {tables} CASCADE")


def write(measured: dict[str, list[Figure]]) -> Path:
    RESULTS.mkdir(exist_ok=True)
    now = datetime.now(UTC)
    about = {
        "measured_at": now.isoformat(timespec="seconds"),
        "python": sys.version.split()[0],
        "machine": platform.platform(),
        "cores": psutil.cpu_count(),
        "load": os.getloadavg(),
        "parts": {
            part: [vars(figure) | {"ok": figure.ok} for figure in figures]
            for part, figures in measured.items()
        },
    }
    path = RESULTS / f"{now:%Y%m%dT%H%M%S}.json"
    path.write_text(json.dumps(about, indent=1) + "\n", encoding="utf-8")
    return path


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks", description=__doc__.splitlines()[0]
    )
    parser.add_argument("parts", nargs="*", metavar="part", help=", ".join(PARTS))
    parts = parser.parse_args().parts or PARTS
    if unknown := set(parts) - set(PARTS):
        parser.error(f"there is no {', '.join(sorted(unknown))}; choose from {', '.join(PARTS)}")
    with environment():
        measured = {part: measure(part) for part in parts}
    path = write(measured)
    print(
        f"\nwritten to {path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path}"
    )
    over = [figure for figures in measured.values() for figure in figures if figure.ok is False]
    print(f"{len(over)} over their limit" if over else "every limit is kept")
    for figure in over:
        print(figure)


if __name__ == "__main__":
    main()
