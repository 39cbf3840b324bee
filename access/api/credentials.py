"""The three ways in, and the project a request acts in.

The first credential header that is present decides; there is no falling through to the next.
"""

import hmac
import uuid
from typing import Any

from django.conf import settings
from drf_spectacular.extensions import OpenApiAuthenticationExtension
from rest_framework.authentication import BaseAuthentication, SessionAuthentication
from rest_framework.request import Request

from access import clock, keys, projects
from access.actors import ALL_SCOPES, Actor
from access.errors import NotFound, Unauthenticated
from access.models import Role, Scope, User


class Credentials(BaseAuthentication):
    """Answers (user, actor): DRF's `request.auth` is the `Actor` of the request."""

    def authenticate(self, request: Request) -> tuple[User, Actor] | None:
        if "X-Service-Role-Key" in request.headers:
            return _actor_of_service_role(request)
        authorization = request.headers.get("Authorization")
        if authorization is not None:
            scheme, _, text = authorization.partition(" ")
            if scheme.lower() != "bearer":
                raise Unauthenticated("Authorization must be 'Bearer <API key>'.")
            return _actor_of_key(request, text.strip())
        if "X-API-Key" in request.headers:
            return _actor_of_key(request, request.headers["X-API-Key"])
        return _actor_of_session(request)

    def authenticate_header(self, request: Request) -> str:
        return "Bearer"


def client_address(request: Request) -> str:
    """Return the address a request came from: behind a trusted proxy, the one that this saw."""
    if settings.TRUSTED_PROXY and (forwarded := request.headers.get("X-Forwarded-For")):
        # Whatever stands before the last may be the client's own words.
        return forwarded.rpartition(",")[2].strip()[:64]
    return str(request.META.get("REMOTE_ADDR", ""))


def _actor_of_service_role(request: Request) -> tuple[User, Actor]:
    expected = settings.SERVICE_ROLE_KEY
    given = request.headers["X-Service-Role-Key"]
    # An unset key is a closed door, not one that an empty header opens.
    if not expected or not hmac.compare_digest(expected.encode(), given.encode()):
        raise Unauthenticated("The service role key is wrong, or this way in is closed.")
    user_id = _uuid(request.headers.get("X-User-Id", ""))
    user = User.objects.filter(pk=user_id, is_active=True).first() if user_id else None
    if user is None:
        raise Unauthenticated("X-User-Id must name an active user, beside the service role key.")
    return user, _in_project(request, user, via="service_role", scopes=ALL_SCOPES)


def _actor_of_key(request: Request, text: str) -> tuple[User, Actor]:
    key = keys.authenticate(text, now=clock.database_now())
    wanted = request.headers.get("X-Project-Id")
    if wanted is not None and _uuid(wanted) != key.project_id:
        raise NotFound("This API key belongs to another project than X-Project-Id names.")
    member = projects.membership(key.user, key.project_id)
    actor = Actor(
        user=key.user,
        project=key.project,
        role=Role(member.role),
        scopes=frozenset(Scope(scope) for scope in key.scopes),
        via="api_key",
        key_id=key.pk,
    )
    return key.user, actor


def _actor_of_session(request: Request) -> tuple[User, Actor] | None:
    user = getattr(request._request, "user", None)
    if not isinstance(user, User) and not getattr(user, "is_authenticated", False):
        return None
    if user is None or not user.is_active:
        return None
    SessionAuthentication().enforce_csrf(request)
    return user, _in_project(request, user, via="session", scopes=ALL_SCOPES)


def _in_project(request: Request, user: User, *, via: str, scopes: frozenset[Scope]) -> Actor:
    wanted = request.headers.get("X-Project-Id")
    if wanted is None:
        project_id = projects.personal_of(user).pk
    else:
        named = _uuid(wanted)
        if named is None:
            raise NotFound("X-Project-Id is not the id of a project.")
        project_id = named
    member = projects.membership(user, project_id)
    return Actor(user=user, project=member.project, role=Role(member.role), scopes=scopes, via=via)


def _uuid(text: str) -> uuid.UUID | None:
    try:
        return uuid.UUID(text)
    except ValueError:
        return None


class _CredentialsInSchema(OpenApiAuthenticationExtension):  # type: ignore[no-untyped-call]
    target_class = Credentials
    name = ["apiKey", "apiKeyHeader", "session"]

    def get_security_definition(self, auto_schema: Any) -> Any:
        return [
            {"type": "http", "scheme": "bearer", "description": "An API key."},
            {"type": "apiKey", "in": "header", "name": "X-API-Key"},
            {"type": "apiKey", "in": "cookie", "name": "sessionid"},
        ]
