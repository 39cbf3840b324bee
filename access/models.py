"""Who may reach what: people, projects, keys, and the trail they leave."""

import uuid

from django.contrib.auth.models import AbstractUser, UserManager
from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.db.models import Q

from access.ids import uuid7


class User(AbstractUser):
    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    timezone = models.CharField(max_length=64, default="UTC")

    objects = UserManager()  # type: ignore[misc]  # a class variable to Django, and in effect


class Project(models.Model):
    """What owns everything else. `personal_of` marks the one that comes with a person."""

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    name = models.CharField(max_length=200)
    user = models.ForeignKey(User, models.PROTECT, related_name="+")
    personal_of = models.OneToOneField(
        User, models.PROTECT, null=True, blank=True, related_name="personal_project"
    )
    created_at = models.DateTimeField(auto_now_add=True)
    updated_at = models.DateTimeField(auto_now=True)

    class Meta:
        ordering = ["-created_at"]

    def __str__(self) -> str:
        return self.name


class Role(models.TextChoices):
    """What a member may do. Each role may do what the ones before it may."""

    VIEWER = "viewer"  # read
    EDITOR = "editor"  # change and start things
    ADMIN = "admin"  # change members and the project itself


class Membership(models.Model):
    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    project = models.ForeignKey(Project, models.CASCADE, related_name="memberships")
    user = models.ForeignKey(User, models.CASCADE, related_name="memberships")
    role = models.CharField(max_length=10, choices=Role, default=Role.EDITOR)
    created_at = models.DateTimeField(auto_now_add=True)
    updated_at = models.DateTimeField(auto_now=True)

    class Meta:
        ordering = ["-created_at"]
        constraints = [
            models.UniqueConstraint(fields=["project", "user"], name="one_membership"),
            models.CheckConstraint(condition=Q(role__in=Role.values), name="membership_role"),
        ]

    def __str__(self) -> str:
        return f"{self.role} of {self.project_id}"


class Scope(models.TextChoices):
    READ = "read"
    WRITE = "write"
    INGEST = "ingest"  # traces only


class ApiKey(models.Model):
    """A key for programs. Only its prefix and a hash are stored; the key itself is shown once."""

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    project = models.ForeignKey(Project, models.CASCADE, related_name="api_keys")
    user = models.ForeignKey(User, models.CASCADE, related_name="api_keys")
    name = models.CharField(max_length=200)
    prefix = models.CharField(max_length=16, unique=True)
    key_hash = models.CharField(max_length=64)
    scopes = ArrayField(models.CharField(max_length=10, choices=Scope))
    expires_at = models.DateTimeField(null=True, blank=True)
    revoked_at = models.DateTimeField(null=True, blank=True)
    last_used_at = models.DateTimeField(null=True, blank=True)
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering = ["-created_at"]
        verbose_name = "API key"
        constraints = [
            models.CheckConstraint(
                condition=Q(scopes__contained_by=Scope.values) & Q(scopes__len__gte=1),
                name="api_key_scopes",
            )
        ]

    def __str__(self) -> str:
        return f"{self.name} ({self.prefix}…)"


class Owned(models.Model):
    """A row that belongs to a project and remembers who made it.

    Its table is set up by the migration operation `access.isolation.OwnedTable`. Foreign keys
    between owned tables are made with `isolation.owned_key`; the database holds them together with
    the project.
    """

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    project = models.ForeignKey(Project, models.PROTECT, related_name="+")
    user = models.ForeignKey(User, models.PROTECT, related_name="+")
    created_at = models.DateTimeField(auto_now_add=True)

    # Set where the row is made; declared here for those who read it.
    project_id: uuid.UUID
    user_id: uuid.UUID

    class Meta:
        abstract = True


class AuditEvent(Owned):
    """Who did what to which object. Written in the transaction of the change."""

    via = models.CharField(max_length=20)
    action = models.CharField(max_length=60)
    object_type = models.CharField(max_length=60)
    object_id = models.CharField(max_length=64)
    object_name = models.CharField(max_length=200, blank=True)
    details = models.JSONField(default=dict, blank=True)
    correlation_id = models.CharField(max_length=64, blank=True)

    class Meta:
        ordering = ["-created_at"]
        indexes = [
            models.Index(fields=["project", "-created_at"], name="audit_newest"),
            models.Index(fields=["object_id"], name="audit_of_object"),
        ]


class IdempotencyKey(Owned):
    """The answer that was given to a POST, kept for 24 hours for the client that asks again."""

    principal = models.CharField(max_length=64)
    route = models.CharField(max_length=200)
    key = models.CharField(max_length=200)
    body_hash = models.CharField(max_length=64)
    status_code = models.PositiveSmallIntegerField(null=True)
    answer = models.JSONField(null=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["project", "principal", "route", "key"], name="one_answer_per_key"
            )
        ]


class Heartbeat(models.Model):
    """When a part of the service was last seen. Nobody's: it belongs to no project."""

    name = models.CharField(max_length=200, primary_key=True)
    seen_at = models.DateTimeField()
    # What it found when it was last seen, for parts that look at something.
    found = models.JSONField(default=dict)

    def __str__(self) -> str:
        return self.name
