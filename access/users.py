"""People: the first operator, made once."""

import secrets
from dataclasses import dataclass

from access.errors import Conflict
from access.models import User


@dataclass(frozen=True)
class Operator:
    """The first operator; `password` is None unless it was set at this moment."""

    user: User
    password: str | None


def ensure_operator(*, username: str, password: str, email: str) -> Operator:
    """Return the first operator, made with `password`, or a generated one, if there is none yet.

    An operator that exists keeps their password, whatever is given.

    Raises:
        Conflict: the name is somebody's who is no operator, or is one no longer.
    """
    existing = User.objects.filter(username=username).first()
    if existing is not None and not (existing.is_superuser and existing.is_active):
        raise Conflict(
            f"The name '{username}' is taken by somebody who is no active operator. Set "
            "EVALSCHED_ADMIN_USERNAME to another name, or let an operator change them in the admin."
        )
    if existing is not None:
        return Operator(existing, None)
    chosen = password or secrets.token_urlsafe(12)
    return Operator(User.objects.create_superuser(username, email, chosen), chosen)
