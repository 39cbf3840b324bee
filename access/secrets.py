"""Secrets at rest: a model field that stores what MultiFernet made of a text.

A value read back is a `Secret`, which shows itself only to `reveal()`; prints, logs, errors and
serializers see the word `configured`. Keys are `FIELD_ENCRYPTION_KEYS`, newest first.
"""

import base64
import hashlib
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from cryptography.fernet import Fernet, InvalidToken, MultiFernet
from django.conf import settings
from django.db import models

from access.errors import Refusal


class UnreadableSecret(Refusal):
    """A stored secret was encrypted with a key that FIELD_ENCRYPTION_KEYS no longer holds."""

    type = "unreadable_secret"


class Secret:
    """An encrypted text. Empty secrets are empty strings, not `Secret`s."""

    __slots__ = ("_token",)

    def __init__(self, token: str) -> None:
        self._token = token

    @classmethod
    def hide(cls, text: str) -> "Secret":
        return cls(_cipher(tuple(settings.FIELD_ENCRYPTION_KEYS)).encrypt(text.encode()).decode())

    def reveal(self) -> str:
        """Return the text.

        Raises:
            UnreadableSecret: no key fits; put the old key back, or type the secret in again.
        """
        try:
            return self._cipher().decrypt(self._token.encode()).decode()
        except InvalidToken:
            raise UnreadableSecret(
                "A stored secret cannot be decrypted: its key is not in FIELD_ENCRYPTION_KEYS. "
                "Put the old key back at the end of the list, or enter the secret again."
            ) from None

    def rotated(self) -> "Secret":
        """Return the same secret, encrypted with the newest key."""
        try:
            return Secret(self._cipher().rotate(self._token.encode()).decode())
        except InvalidToken:
            raise UnreadableSecret(
                "A stored secret cannot be decrypted, so it was not rotated: "
                "FIELD_ENCRYPTION_KEYS lacks its key."
            ) from None

    @property
    def token(self) -> str:
        """What the database stores; useless without the key."""
        return self._token

    def __repr__(self) -> str:
        return "configured"

    __str__ = __repr__

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and other._token == self._token

    def __hash__(self) -> int:
        return hash(self._token)

    @staticmethod
    def _cipher() -> MultiFernet:
        return _cipher(tuple(settings.FIELD_ENCRYPTION_KEYS))


@lru_cache(maxsize=4)
def _cipher(keys: tuple[str, ...]) -> MultiFernet:
    return MultiFernet([Fernet(_fernet_key(key)) for key in keys])


def _fernet_key(key: str) -> bytes:
    """Accept any passphrase of 32 characters or more, besides keys of Fernet's own form."""
    try:
        if len(base64.urlsafe_b64decode(key)) == 32:  # noqa: PLR2004  a Fernet key's bytes
            return key.encode()
    except ValueError:
        pass
    return base64.urlsafe_b64encode(hashlib.sha256(key.encode()).digest())


if TYPE_CHECKING:
    _TextField = models.TextField[Any, Any]
else:
    _TextField = models.TextField


class SecretField(_TextField):
    """A text column holding ciphertext. Assign a `str`; read a `Secret` or an empty string."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        kwargs.update(blank=True, default="", editable=False)
        super().__init__(*args, **kwargs)

    def from_db_value(self, value: str | None, *_: object) -> Secret | str:
        return Secret(value) if value else ""

    def get_prep_value(self, value: Any) -> str:
        if isinstance(value, Secret):
            return value.token
        return Secret.hide(str(value)).token if value else ""
