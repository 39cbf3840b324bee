"""The base of every page for members: who acts, in which project, within which limits.

As in the API (`access.api.views`), the handler runs inside `isolation.acting_in`. The project is
the one that `?project=` names, else the one looked at last, else the person's own.
"""

import uuid
from contextlib import AbstractContextManager
from datetime import datetime
from typing import Any, ClassVar, cast

from django.conf import settings
from django.contrib.auth.views import redirect_to_login
from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.shortcuts import render
from django.views import View

from access import audit, clock, isolation, projects, rate_limits
from access.actors import ALL_SCOPES, Actor
from access.errors import Forbidden, NotFound, RateLimited, Refusal
from access.models import Project, Role, Scope, User

_LAST = "evalsched_project"


class Page(View):
    http_method_names: ClassVar = ["get", "head", "post"]  # type: ignore[misc]
    # The handler streams, and opens `self.acting()` itself.
    streams: ClassVar[bool] = False

    actor: Actor
    now: datetime
    projects: list[Project]

    def dispatch(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        if not request.user.is_authenticated:
            return redirect_to_login(request.get_full_path())
        self.now = clock.database_now()
        try:
            self._enter(request)
            if self.streams:
                return super().dispatch(request, *args, **kwargs)
            with self.acting():
                return super().dispatch(request, *args, **kwargs)
        except Refusal as refusal:
            return self.refused(refusal)

    def acting(self) -> AbstractContextManager[None]:
        return isolation.acting_in(self.actor.project.pk, self.actor.user.pk)

    def shown(self, template: str, context: dict[str, Any], *, status: int = 200) -> HttpResponse:
        """Return the page, rendered here and now: what it reads, it reads in the project."""
        actor = getattr(self, "actor", None)
        about = {
            "actor": actor,
            "projects": getattr(self, "projects", []),
            "may_change": actor is not None and actor.role != Role.VIEWER,
            "in_project": "" if actor is None else f"project={actor.project.pk}",
        }
        return render(self.request, template, about | context, status=status)

    def refused(self, refusal: Refusal) -> HttpResponse:
        context = {"sentence": refusal.message}
        page = self.shown("pages/refused.html", context, status=refusal.status_code)
        if isinstance(refusal, RateLimited):
            page["Retry-After"] = str(refusal.retry_after)
        return page

    def _enter(self, request: HttpRequest) -> None:
        user = cast(User, request.user)
        safe = request.method in {"GET", "HEAD"}
        kind = "read" if safe else "write"
        limits = {
            "read": settings.EVALSCHED_RATE_LIMIT_READS,
            "write": settings.EVALSCHED_RATE_LIMIT_WRITES,
        }
        rate_limits.spend(kind, str(user.pk), per_minute=limits[kind])
        members = {member.project_id: member for member in projects.of_user(user)}
        self.projects = sorted(
            (member.project for member in members.values()), key=lambda project: project.name
        )
        project, role = self._chosen(request, user, members)
        self.actor = Actor(user=user, project=project, role=role, scopes=ALL_SCOPES, via="session")
        if request.session.get(_LAST) != str(project.pk):
            request.session[_LAST] = str(project.pk)
        try:
            self.actor.require(
                Scope.READ if safe else Scope.WRITE, Role.VIEWER if safe else Role.EDITOR
            )
        except Forbidden:
            details = {"method": request.method, "path": request.path[:200]}
            audit.record(self.actor, "request.refused", project, details)
            raise

    def _chosen(
        self, request: HttpRequest, user: User, members: dict[uuid.UUID, Any]
    ) -> tuple[Project, Role]:
        """Return the project to act in; operators look into every one."""
        asked = request.GET.get("project")
        wanted = _uuid(request.session.get(_LAST, "") if asked is None else asked)
        if wanted in members:
            role = Role.ADMIN if user.is_superuser else Role(members[wanted].role)
            return members[wanted].project, role
        project = None
        if user.is_superuser and wanted is not None:
            project = Project.objects.filter(pk=wanted).first()
        if project is not None:
            self.projects.append(project)
            return project, Role.ADMIN
        if asked is not None:
            raise NotFound("There is no such project, or you are not a member of it.")
        return projects.personal_of(user), Role.ADMIN


def _uuid(text: str) -> uuid.UUID | None:
    try:
        return uuid.UUID(text)
    except ValueError:
        return None
