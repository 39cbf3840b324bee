"""What a process of ours takes from its environment, settled before the settings read it.

Knows nothing of Django; works on any mapping, so that it can be tried without touching our own.
"""

import os
from collections.abc import MutableMapping
from pathlib import Path

from config import generated

SETTINGS_MODULE = "config.settings"

# libpq reads these beside the address that it is given. The embedded server needs none of them.
_LIBPQ = (
    *("PGHOST", "PGHOSTADDR", "PGPORT", "PGDATABASE", "PGUSER", "PGPASSWORD", "PGPASSFILE"),
    *("PGSERVICE", "PGSERVICEFILE", "PGOPTIONS", "PGDATA", "PGSSLMODE", "PGCHANNELBINDING"),
    *("PGREQUIREAUTH", "PGREQUIREPEER", "PGTARGETSESSIONATTRS", "PGCLIENTENCODING", "PGTZ"),
)


def tidy(environ: MutableMapping[str, str]) -> None:
    """Make `environ` name this project's settings, and only servers that are meant for it.

    Another project's DJANGO_SETTINGS_MODULE, left exported in a terminal, must not win.
    """
    environ["DJANGO_SETTINGS_MODULE"] = SETTINGS_MODULE
    if not environ.get("DATABASE_URL"):
        for name in _LIBPQ:
            environ.pop(name, None)


def for_up(environ: MutableMapping[str, str], root: Path) -> None:
    """Fill in what `manage.py up` wants otherwise than production, where nobody has set it.

    The data directory becomes absolute, and its secrets are made if there are none.

    Raises:
        generated.Unreadable, places.Trouble, OSError: the data directory cannot be used.
    """
    data_dir = Path(environ.get("EVALSCHED_DATA_DIR") or root / ".evalsched").absolute()
    environ["EVALSCHED_DATA_DIR"] = str(data_dir)
    environ.setdefault("EVALSCHED_DEMO", "1")
    environ.setdefault("EVALSCHED_TICK_SECONDS", "2")
    # A newcomer's first model is a local one, or the demonstration's.
    environ.setdefault("EVALSCHED_PRIVATE_HOSTS", "127.0.0.0/8,::1,localhost")
    environ.setdefault("EVALSCHED_LOG_FORMAT", "console")
    generated.ensure(data_dir)


def for_child(environ: MutableMapping[str, str]) -> dict[str, str]:
    """Return the environment for a process that `manage.py up` starts."""
    without = {"PYTHONPATH", "PYTHONHOME", "GUNICORN_CMD_ARGS", "WEB_CONCURRENCY"}
    kept = {name: value for name, value in environ.items() if name not in without}
    return kept | {"PYTHONUNBUFFERED": "1", "DJANGO_SETTINGS_MODULE": SETTINGS_MODULE}


def path_without_strangers(path: list[str], environ: MutableMapping[str, str]) -> list[str]:
    """Return `path`, an import path, with what PYTHONPATH put there moved to its end.

    So another project's packages never shadow ours, and what was meant as an addition stays one.
    """
    foreign = {
        str(Path(entry).absolute())
        for entry in environ.get("PYTHONPATH", "").split(os.pathsep)
        if entry
    }
    ours = [entry for entry in path[1:] if entry not in foreign]
    return path[:1] + ours + [entry for entry in path[1:] if entry in foreign]
