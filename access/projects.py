"""Projects and their members."""

import uuid

from django.conf import settings
from django.db import transaction
from django.db.models import QuerySet

from access import audit, isolation
from access.actors import ALL_SCOPES, Actor
from access.errors import Conflict, Invalid, NotFound
from access.models import Membership, Project, Role, Scope, User


def personal_of(user: User) -> Project:
    """Return the person's own project; it is made on first need, once."""
    try:
        return Project.objects.get(personal_of=user)
    except Project.DoesNotExist:
        with transaction.atomic():
            project, made = Project.objects.get_or_create(
                personal_of=user, defaults={"name": f"{user.username}'s project", "user": user}
            )
            if made:
                Membership.objects.create(project=project, user=user, role=Role.ADMIN)
        return project


def membership(user: User, project_id: uuid.UUID) -> Membership:
    """Return how `user` belongs to the project.

    Raises:
        NotFound: not at all; the project may or may not exist.
    """
    found = (
        Membership.objects.select_related("project")
        .filter(user=user, project_id=project_id)
        .first()
    )
    if found is None:
        raise NotFound("There is no such project, or you are not a member of it.")
    return found


def commanded_by(username: str | None, project_id: uuid.UUID | None) -> Actor:
    """Return who acts by a command that writes: the first operator, in their own project, if None.

    Raises:
        Invalid: there is no such person.
        NotFound: they are not in the project.
        Forbidden: they may only look at it.
    """
    name = username or settings.EVALSCHED_ADMIN_USERNAME
    user = User.objects.filter(username=name, is_active=True).first()
    if user is None:
        raise Invalid(f"There is no active user named '{name}'. Say one with --user.")
    member = membership(user, project_id or personal_of(user).pk)
    actor = Actor(user, member.project, Role(member.role), ALL_SCOPES, via="command")
    actor.require(Scope.WRITE, Role.EDITOR)
    return actor


def of_user(user: User) -> QuerySet[Membership]:
    personal_of(user)
    return Membership.objects.filter(user=user).select_related("project").order_by("created_at")


def create(actor: Actor, *, name: str) -> Project:
    """Make a shared project; whoever makes it is its first admin."""
    project = Project(name=name, user=actor.user)
    project.save(force_insert=True)
    with isolation.acting_in(project.pk, actor.user.pk):
        Membership(project=project, user=actor.user, role=Role.ADMIN).save(force_insert=True)
    audit.record(actor, "project.created", project, {"name": name})
    return project


def rename(actor: Actor, project: Project, *, name: str) -> Project:
    project.name = name
    project.save(update_fields=["name", "updated_at"])
    audit.record(actor, "project.renamed", project, {"name": name})
    return project


def add_member(actor: Actor, *, username: str, role: Role) -> Membership:
    """Let another person into the actor's project.

    Raises:
        Invalid: nobody has that name, or they are a member already.
    """
    # Under the API's role a person's password hash cannot be read.
    person = User.objects.filter(username=username, is_active=True).only("username").first()
    if person is None:
        raise Invalid.field("username", f"There is no user named '{username}'.")
    member, made = Membership.objects.get_or_create(
        project=actor.project, user=person, defaults={"role": role}
    )
    if not made:
        raise Invalid.field("username", f"'{username}' is a member already; change their role.")
    audit.record(actor, "member.added", member, {"username": username, "role": role})
    return member


def change_role(actor: Actor, member: Membership, *, role: Role) -> Membership:
    _keep_an_admin(actor, member, unless=role == Role.ADMIN)
    member.role = role
    member.save(update_fields=["role", "updated_at"])
    audit.record(actor, "member.changed", member, {"role": role})
    return member


def remove_member(actor: Actor, member: Membership) -> None:
    _keep_an_admin(actor, member, unless=False)
    audit.record(actor, "member.removed", member, {"user_id": str(member.user_id)})
    member.delete()


def _keep_an_admin(actor: Actor, member: Membership, *, unless: bool) -> None:
    """Refuse to leave a project without an admin. The lock makes two leaving admins take turns."""
    if unless:
        return
    admins = Membership.objects.select_for_update().filter(project=actor.project, role=Role.ADMIN)
    if {admin.pk for admin in admins} == {member.pk}:
        raise Conflict("This is the project's last admin. Make somebody else admin first.")
