"""The admin pages about people, projects, keys and the audit trail, and what all pages share."""

from django.contrib import admin
from django.contrib.auth.models import Group
from django.http import HttpRequest

from access.admin import audit, keys, projects, users

__all__ = ["audit", "keys", "projects", "users"]


def superusers_only(request: HttpRequest) -> bool:
    """Whether the admin is for this person. It shows every project: staff is too little."""
    return request.user.is_active and bool(getattr(request.user, "is_superuser", False))


admin.site.has_permission = superusers_only  # type: ignore[method-assign]

# Roles are memberships of projects here; Django's groups would promise what nothing keeps.
if admin.site.is_registered(Group):
    admin.site.unregister(Group)
