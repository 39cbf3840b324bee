"""Sessions in the database, asked only for keys that a session can have."""

from typing import Any

from django.contrib.sessions.backends import db
from django.contrib.sessions.backends.base import VALID_KEY_CHARS


class SessionStore(db.SessionStore):
    def _validate_session_key(self, key: Any) -> bool:
        # PostgreSQL takes no NUL, and whoever sends the cookie chooses what it holds.
        valid: bool = super()._validate_session_key(key)  # type: ignore[misc]  # not in the stubs
        return valid and set(key) <= set(VALID_KEY_CHARS)
