"""Who acts, and in which project. Domain functions take an `Actor`, never a request."""

import uuid
from dataclasses import dataclass

from access.errors import Forbidden
from access.models import Project, Role, Scope, User

_ORDER = [Role.VIEWER, Role.EDITOR, Role.ADMIN]
ALL_SCOPES = frozenset(Scope)


@dataclass(frozen=True)
class Actor:
    """A person (or their key) acting in one project.

    `via` is the way in: session, api_key, service_role, admin or command.
    """

    user: User
    project: Project
    role: Role
    scopes: frozenset[Scope]
    via: str
    key_id: uuid.UUID | None = None

    @property
    def principal(self) -> str:
        """Whose idempotency keys these are: the key's, else the person's."""
        return str(self.key_id or self.user.pk)

    def require(self, scope: Scope, role: Role) -> None:
        """Refuse where the key's scopes or the member's role are too small.

        Raises:
            Forbidden: with a sentence that names what is missing.
        """
        # Who may write may report traces as well; `ingest` alone is for programs.
        held = self.scopes | {Scope.INGEST} if Scope.WRITE in self.scopes else self.scopes
        if scope not in held:
            raise Forbidden(f"This API key lacks the scope '{scope}'. Make a key that has it.")
        if _ORDER.index(self.role) < _ORDER.index(role):
            raise Forbidden(
                f"Your role in this project is '{self.role}'; this needs '{role}'. "
                "Ask an admin of the project."
            )
