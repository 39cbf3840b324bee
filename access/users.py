"""People: the first operator, made once."""

import secrets
from dataclasses import dataclass

from access.models import User


@dataclass(frozen=True)
class Operator:
    """The first operator; `password` is None unless it was set at this moment."""

    user: User
    password: str | None


def ensure_operator(*, username: str, password: str, email: str) -> Operator:
    """Return the first operator, made with `password`, or a generated one, if there is none yet.

    An operator that exists keeps their password, whatever is given.
    """
    existing = User.objects.filter(username=username).first()
    if existing is not None:
        return Operator(existing, None)
    chosen = password or secrets.token_urlsafe(12)
    return Operator(User.objects.create_superuser(username, email, chosen), chosen)
