"""The secrets that `manage.py up` and the tests generate once and keep in the data directory.

Production gives them in the environment instead. Knows nothing of Django.
"""

import base64
import json
import os
import secrets
from pathlib import Path

from config import places

_NAME = "secrets.json"


class Unreadable(Exception):
    """The file of secrets cannot be read. Put it back from a backup; a new one opens nothing."""


def load(data_dir: Path) -> dict[str, str]:
    """Return the kept secrets by their environment variable's name; none where there is no file.

    Raises:
        Unreadable: the file is there and is no JSON object of texts, or belongs to somebody else.
    """
    path = data_dir / _NAME
    try:
        kept = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except (OSError, ValueError) as problem:
        raise Unreadable(f"The generated secrets in {path} cannot be read: {problem}") from problem
    if not isinstance(kept, dict) or not all(isinstance(value, str) for value in kept.values()):
        raise Unreadable(
            f"The generated secrets in {path} are not what was written there. Put the file back "
            "from a backup: what is encrypted in the database opens with those keys only."
        )
    return kept


def ensure(data_dir: Path) -> dict[str, str]:
    """Return the kept secrets, made first where there are none. The file's mode is 0600.

    Raises:
        Unreadable: see `load`.
    """
    if kept := load(data_dir):
        return kept
    places.make_data_directory(data_dir)
    fresh = {
        "SECRET_KEY": secrets.token_urlsafe(50),
        # A Fernet key: 32 random bytes in URL-safe base64.
        "FIELD_ENCRYPTION_KEYS": base64.urlsafe_b64encode(secrets.token_bytes(32)).decode(),
    }
    draft = data_dir / f".{_NAME}.{os.getpid()}.{secrets.token_hex(4)}"
    try:
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            json.dump(fresh, file, indent=1)
            file.flush()
            os.fsync(descriptor)
        # A link, not a rename: of two that start at once, the second takes the first one's keys.
        (data_dir / _NAME).hardlink_to(draft)
    except FileExistsError:
        return load(data_dir)
    finally:
        draft.unlink(missing_ok=True)
    return fresh
