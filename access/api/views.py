"""The base of every API view: who acts, in which project, within which limits.

A request is authenticated under the owner's role; its handler then runs inside
`isolation.acting_in`, where PostgreSQL shows one project only. A view that calls out, waits or
streams sets `calls_out` and opens `self.acting()` itself, once to read and once to record.
"""

import json
import uuid
from contextlib import AbstractContextManager
from datetime import datetime
from typing import Any, ClassVar

import structlog
from django.conf import settings
from django.db.models import Model, QuerySet
from rest_framework.generics import GenericAPIView
from rest_framework.renderers import JSONRenderer
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.serializers import BaseSerializer

from access import audit, clock, idempotency, isolation, projects, rate_limits
from access.actors import Actor
from access.api.credentials import Credentials, client_address
from access.api.filters import OF_EVERY_LIST
from access.api.parsing import ApiRequest
from access.errors import Forbidden, Invalid, NotFound, Unauthenticated
from access.models import Role, Scope

_SAFE = {"GET", "HEAD", "OPTIONS"}


class ApiView(GenericAPIView):  # type: ignore[type-arg]
    authentication_classes = (Credentials,)
    queryset: Any = None
    calls_out: ClassVar[bool] = False
    # GET answers a page of rows.
    lists: ClassVar[bool] = False
    # POSTs that start work take an Idempotency-Key.
    starts_work: ClassVar[bool] = False
    write_scope: ClassVar[Scope] = Scope.WRITE
    write_role: ClassVar[Role] = Role.EDITOR
    # The URL's argument that names the project to act in, where that is not the request's own.
    project_argument: ClassVar[str] = ""
    max_body_bytes: ClassVar[int | None] = None

    actor: Actor
    now: datetime

    def dispatch(self, request: Any, *args: Any, **kwargs: Any) -> Response:
        """Do as DRF does, with the handler inside the actor's project."""
        self.args, self.kwargs = args, kwargs
        self.headers = self.default_response_headers
        request = self.request = self.initialize_request(request, *args, **kwargs)
        try:
            self.initial(request, *args, **kwargs)
            response = self._handle(request)
        except Exception as error:  # noqa: BLE001  DRF's own way: handle_exception re-raises
            response = self.handle_exception(error)
        self.response = self.finalize_response(request, response, *args, **kwargs)
        return self.response

    def initialize_request(self, request: Any, *args: Any, **kwargs: Any) -> ApiRequest:
        return ApiRequest(
            request,
            parsers=self.get_parsers(),
            authenticators=self.get_authenticators(),
            negotiator=self.get_content_negotiator(),
            parser_context=self.get_parser_context(request),
        )

    def initial(self, request: Request, *args: Any, **kwargs: Any) -> None:
        try:
            super().initial(request, *args, **kwargs)
            self.actor = self._authenticated(request)
        except Unauthenticated:
            limit = settings.EVALSCHED_RATE_LIMIT_REFUSED
            rate_limits.spend("unauthenticated", client_address(request), per_minute=limit)
            raise
        self.now = clock.database_now()
        structlog.contextvars.bind_contextvars(user_id=str(self.actor.user.pk))
        safe = request.method in _SAFE
        kind, limit = self._limit(safe)
        # All that a person's keys do counts as theirs, so a further key brings no further requests
        # and none of them can do more than the person.
        rate_limits.spend(kind, str(self.actor.user.pk), per_minute=limit)
        if self.project_argument:
            self.actor = self._in_project_of_path(self.actor, kwargs[self.project_argument])
        self._authorise(safe)

    def _authenticated(self, request: Request) -> Actor:
        if not isinstance(request.auth, Actor):
            raise Unauthenticated("Send an API key as 'Authorization: Bearer <key>', or log in.")
        return request.auth

    def _limit(self, safe: bool) -> tuple[str, int]:
        """Return what is counted, and how many of it a minute are too many."""
        if safe:
            return "read", settings.EVALSCHED_RATE_LIMIT_READS
        if self.write_scope == Scope.INGEST:
            return "ingest", settings.EVALSCHED_RATE_LIMIT_INGEST
        return "write", settings.EVALSCHED_RATE_LIMIT_WRITES

    def role_to_write(self) -> Role:
        """Return the role that this request needs, where it changes something."""
        return self.write_role

    def _authorise(self, safe: bool) -> None:
        scope, role = (
            (Scope.READ, Role.VIEWER) if safe else (self.write_scope, self.role_to_write())
        )
        try:
            self.actor.require(scope, role)
        except Forbidden:
            audit.record(self.actor, "request.refused", self.actor.project, self._what())
            raise
        if self.actor.via == "service_role":
            audit.record(self.actor, "service_role.used", self.actor.project, self._what())

    def _what(self) -> dict[str, Any]:
        return {"method": self.request.method, "path": self.request.path[:200]}

    def _in_project_of_path(self, actor: Actor, project_id: uuid.UUID) -> Actor:
        if actor.key_id is not None and project_id != actor.project.pk:
            raise NotFound("There is no such project, or this API key belongs to another one.")
        member = projects.membership(actor.user, project_id)
        return Actor(
            user=actor.user,
            project=member.project,
            role=Role(member.role),
            scopes=actor.scopes,
            via=actor.via,
            key_id=actor.key_id,
        )

    def _handle(self, request: Request) -> Response:
        method = (request.method or "").lower()
        handler = getattr(self, method, None) if method in self.http_method_names else None
        if handler is None:
            return self.http_method_not_allowed(request)
        if self.calls_out:
            response: Response = handler(request, **self.kwargs)
            return response
        with self.acting():
            key = request.headers.get("Idempotency-Key")
            if method == "post" and key and self.starts_work:
                return self._handle_once(handler, request, key)
            answered: Response = handler(request, **self.kwargs)
            return answered

    def _handle_once(self, handler: Any, request: Request, key: str) -> Response:
        def work() -> idempotency.Answer:
            response = handler(request, **self.kwargs)
            # Through the renderer and back: the stored answer is what the client saw.
            body = json.loads(JSONRenderer().render(response.data))
            return idempotency.Answer(response.status_code, body)

        answer = idempotency.once(
            self.actor,
            route=f"{request.method} {request.path}"[:200],
            key=key,
            # Sorted: the same body is the same however its fields are ordered.
            body=json.dumps(request.data, sort_keys=True).encode(),
            now=self.now,
            work=work,
        )
        return Response(answer.body, status=answer.status_code)

    def acting(self) -> AbstractContextManager[None]:
        return isolation.acting_in(self.actor.project.pk, self.actor.user.pk)

    def get_queryset(self) -> QuerySet[Any]:
        """Return the project's own rows; every view's rows come from here."""
        queryset: QuerySet[Any] = super().get_queryset()
        if getattr(self, "swagger_fake_view", False):
            return queryset.none()
        return queryset.filter(project=self.actor.project)

    def found(self, queryset: QuerySet[Any] | None = None, **by: Any) -> Any:
        """Return the one row, or refuse as if nothing of that id existed anywhere."""
        rows = self.get_queryset() if queryset is None else queryset
        row = rows.filter(**by).first()
        if row is None:
            name = rows.model._meta.verbose_name
            raise NotFound(f"There is no such {name} in this project.")
        return row

    def listed(
        self, queryset: QuerySet[Any] | None = None, *, count: int | None = None
    ) -> Response:
        """Return a page of the rows; `count` is how many there are in all, where that is known."""
        paginator: Any = self.paginator
        of_pages: frozenset[str] = getattr(paginator, "parameters", frozenset())
        if not set(self.request.query_params) - OF_EVERY_LIST - of_pages:
            paginator.known_count = count
        rows = self.filter_queryset(self.get_queryset() if queryset is None else queryset)
        page = self.paginate_queryset(rows)
        return self.get_paginated_response(self.get_serializer(page, many=True).data)

    def given(self, row: Model | None = None, *, partial: bool = False) -> dict[str, Any]:
        """Return the body's validated fields."""
        if not isinstance(self.request.data, dict):
            raise Invalid("The body must be a JSON object.")
        serializer: BaseSerializer[Any] = self.get_serializer(
            row, data=self.request.data, partial=partial
        )
        serializer.is_valid(raise_exception=True)
        return dict(serializer.validated_data)

    def shown(self, row: Any, *, status: int = 200) -> Response:
        return Response(self.get_serializer(row).data, status=status)
