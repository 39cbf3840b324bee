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
    """Return the person's own project, whose admin they are.

    It is made on first need, once; so is their place in it, should that have been lost.
    """
    own = Project.objects.filter(
        personal_of=user, memberships__user=user, memberships__role=Role.ADMIN
    ).first()
    if own is not None:
        return own
    with transaction.atomic():
        project, _ = Project.objects.get_or_create(
            personal_of=user, defaults={"name": f"{user.username}'s project", "user": user}
        )
        # The API's role lets nobody into another project than the one it acts in.
        with isolation.acting_in(project.pk, user.pk):
            Membership.objects.update_or_create(
                project=project, user=user, defaults={"role": Role.ADMIN}
            )
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
    """Give a member another role.

    Raises:
        Conflict: the project would be without an admin, or is the member's personal one.
    """
    if role != Role.ADMIN:
        _keep_the_owner(actor, member)
        _keep_an_admin(actor, member)
    member.role = role
    member.save(update_fields=["role", "updated_at"])
    audit.record(actor, "member.changed", member, {"role": role})
    return member


def remove_member(actor: Actor, member: Membership) -> None:
    """Show a member out, or let them leave.

    Raises:
        Conflict: the project would be without an admin, or is the member's personal one.
    """
    _keep_the_owner(actor, member)
    _keep_an_admin(actor, member)
    audit.record(actor, "member.removed", member, {"user_id": str(member.user_id)})
    member.delete()


def leaves(actor: Actor, member_id: uuid.UUID) -> bool:
    """Return whether taking this member out of the actor's project is the actor's own leaving."""
    own = Membership.objects.filter(project=actor.project, user=actor.user, pk=member_id)
    return own.exists()


def _keep_the_owner(actor: Actor, member: Membership) -> None:
    """Refuse to shut somebody out of the project that all of their requests begin in."""
    if actor.project.personal_of_id == member.user_id:
        raise Conflict("This is the member's personal project; they stay its admin.")


def _keep_an_admin(actor: Actor, member: Membership) -> None:
    """Refuse to leave a project without an admin. The lock makes two leaving admins take turns."""
    admins = Membership.objects.select_for_update().filter(project=actor.project, role=Role.ADMIN)
    if {admin.pk for admin in admins} == {member.pk}:
        raise Conflict("This is the project's last admin. Make somebody else admin first.")
