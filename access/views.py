"""The API of projects, members and keys."""

from typing import Any

from drf_spectacular.utils import extend_schema
from rest_framework.request import Request
from rest_framework.response import Response

from access import keys, projects
from access.api.views import ApiView
from access.errors import Forbidden
from access.models import ApiKey, AuditEvent, Membership, Project, Role
from access.serializers import (
    ApiKeySerializer,
    AuditEventSerializer,
    MemberSerializer,
    MeSerializer,
    NewApiKeySerializer,
    NewMemberSerializer,
    ProjectSerializer,
)


class Me(ApiView):
    queryset = Membership.objects.none()
    serializer_class = MeSerializer

    def get(self, request: Request) -> Response:
        """Who this request acts as, where, and what it may do."""
        actor = self.actor
        return self.shown(
            {
                "user_id": actor.user.pk,
                "username": actor.user.username,
                "email": actor.user.email,
                "project_id": actor.project.pk,
                "role": actor.role,
                "scopes": sorted(actor.scopes),
                "projects": self._projects(),
            }
        )

    def _projects(self) -> list[Membership]:
        rows = projects.of_user(self.actor.user)
        # A key reaches one project only, and does not tell of others.
        if self.actor.key_id is not None:
            rows = rows.filter(project=self.actor.project)
        return list(rows)


class Projects(ApiView):
    queryset = Project.objects.all()
    serializer_class = ProjectSerializer
    # Anybody may make a project; the role in the present one does not matter.
    write_role = Role.VIEWER
    lists = True

    def get_queryset(self) -> Any:
        if getattr(self, "swagger_fake_view", False):
            return Project.objects.none()
        rows = Project.objects.filter(memberships__user=self.actor.user)
        return rows.filter(pk=self.actor.project.pk) if self.actor.key_id else rows

    def get(self, request: Request) -> Response:
        return self.listed()

    @extend_schema(responses={201: ProjectSerializer})
    def post(self, request: Request) -> Response:
        if self.actor.key_id is not None:
            raise Forbidden("An API key belongs to one project. Log in to make another.")
        return self.shown(projects.create(self.actor, **self.given()), status=201)


class OneProject(ApiView):
    queryset = Project.objects.all()
    serializer_class = ProjectSerializer
    project_argument = "project_id"
    write_role = Role.ADMIN

    def get_queryset(self) -> Any:
        if getattr(self, "swagger_fake_view", False):
            return Project.objects.none()
        return Project.objects.filter(pk=self.actor.project.pk)

    def get(self, request: Request, project_id: Any) -> Response:
        return self.shown(self.found())

    def patch(self, request: Request, project_id: Any) -> Response:
        project = self.found()
        given = self.given(project, partial=True)
        return self.shown(projects.rename(self.actor, project, **given) if given else project)


class Members(ApiView):
    # Under the API's role a person's password hash cannot be read.
    queryset = Membership.objects.select_related("user").only(
        "id", "project_id", "role", "created_at", "updated_at", "user__username"
    )
    serializer_class = MemberSerializer
    project_argument = "project_id"
    write_role = Role.ADMIN
    lists = True

    def get(self, request: Request, project_id: Any) -> Response:
        return self.listed()

    @extend_schema(request=NewMemberSerializer, responses={201: MemberSerializer})
    def post(self, request: Request, project_id: Any) -> Response:
        serializer = NewMemberSerializer(data=request.data)
        serializer.is_valid(raise_exception=True)
        return self.shown(projects.add_member(self.actor, **serializer.validated_data), status=201)


class OneMember(ApiView):
    queryset = Members.queryset
    serializer_class = MemberSerializer
    project_argument = "project_id"
    write_role = Role.ADMIN

    def get(self, request: Request, project_id: Any, member_id: Any) -> Response:
        return self.shown(self.found(pk=member_id))

    def patch(self, request: Request, project_id: Any, member_id: Any) -> Response:
        member = self.found(pk=member_id)
        given = self.given(member, partial=True)
        return self.shown(projects.change_role(self.actor, member, **given) if given else member)

    def role_to_write(self) -> Role:
        # Anybody may leave.
        leaves = self.request.method == "DELETE" and projects.leaves(
            self.actor, self.kwargs["member_id"]
        )
        return Role.VIEWER if leaves else self.write_role

    def delete(self, request: Request, project_id: Any, member_id: Any) -> Response:
        """Show a member out; who names themselves leaves, whatever their role."""
        projects.remove_member(self.actor, self.found(pk=member_id))
        return Response(status=204)


class _Keys(ApiView):
    queryset = ApiKey.objects.all()
    serializer_class = ApiKeySerializer
    # A viewer's key can do no more than the viewer.
    write_role = Role.VIEWER

    def initial(self, request: Request, *args: Any, **kwargs: Any) -> None:
        super().initial(request, *args, **kwargs)
        if self.actor.via != "session":
            raise Forbidden("API keys are managed after a login only, not with a key.")

    def get_queryset(self) -> Any:
        rows = super().get_queryset()
        return (
            rows if getattr(self, "swagger_fake_view", False) else rows.filter(user=self.actor.user)
        )


class Keys(_Keys):
    def get(self, request: Request) -> Response:
        return self.listed()

    lists = True

    @extend_schema(request=ApiKeySerializer, responses={201: NewApiKeySerializer})
    def post(self, request: Request) -> Response:
        key, text = keys.create(self.actor, now=self.now, **self.given())
        return Response(self.get_serializer(key).data | {"key": text}, status=201)


class OneKey(_Keys):
    def get(self, request: Request, key_id: Any) -> Response:
        return self.shown(self.found(pk=key_id))

    def delete(self, request: Request, key_id: Any) -> Response:
        """Revoke a key. It stays listed, with the date."""
        keys.revoke(self.actor, self.found(pk=key_id), now=self.now)
        return Response(status=204)


class Audit(ApiView):
    queryset = AuditEvent.objects.all()
    serializer_class = AuditEventSerializer
    filterset_fields = ("action", "object_id")
    lists = True

    def get(self, request: Request) -> Response:
        """Who did what, newest first."""
        return self.listed()
