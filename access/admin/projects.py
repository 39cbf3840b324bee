"""Projects and their members."""

from typing import TYPE_CHECKING, Any

from django import forms
from django.contrib import admin
from django.db.models import Count, QuerySet
from django.http import HttpRequest

from access import projects
from access.admin.base import DomainAdmin, actor_in, instant, personal_actor
from access.admin.forms import DomainForm
from access.models import Membership, Project, Role, User

if TYPE_CHECKING:
    _TabularInline = admin.TabularInline[Any, Any]
    _ModelForm = forms.ModelForm[Any]
else:
    from unfold.admin import TabularInline as _TabularInline

    _ModelForm = forms.ModelForm


class MemberForm(_ModelForm):
    """One member. Who it is cannot be changed: remove them and add somebody else."""

    class Meta:
        model = Membership
        fields = ("user", "role")

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if not self.instance._state.adding:
            self.fields["user"].disabled = True

    def _post_clean(self) -> None:
        """Leave the row to `projects`, which answers in sentences."""


class MemberInline(_TabularInline):
    model = Membership
    form = MemberForm
    extra = 0
    hide_title = True
    verbose_name = "member"
    verbose_name_plural = "members"

    def get_queryset(self, request: HttpRequest) -> QuerySet[Membership]:
        return super().get_queryset(request).select_related("user")

    def formfield_for_foreignkey(self, db_field: Any, request: HttpRequest, **kwargs: Any) -> Any:
        # Looked up once for the request, not once for every row.
        if db_field.name == "user":
            kwargs["queryset"] = User.objects.filter(is_active=True).order_by("username")
        return super().formfield_for_foreignkey(db_field, request, **kwargs)


class ProjectForm(DomainForm):
    class Meta:
        model = Project
        fields = ("name",)


@admin.register(Project)
class ProjectAdmin(DomainAdmin):
    form = ProjectForm
    inlines = (MemberInline,)
    empty_text = "A project owns schedules, suites and models. Everybody gets one of their own."
    list_display = ("name", "owner", "kind", "members", "made")
    made = instant("created_at", "Made")
    list_select_related = ("user", "personal_of")
    search_fields = ("name", "user__username")
    ordering = ("-id",)

    def get_queryset(self, request: HttpRequest) -> QuerySet[Project]:
        found: QuerySet[Project] = super().get_queryset(request)
        return found.annotate(member_count=Count("memberships"))

    def get_inlines(self, request: HttpRequest, obj: Any) -> Any:
        # Whoever makes a project is its first member; others join once it is there.
        return super().get_inlines(request, obj) if obj is not None else ()

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def create(self, request: HttpRequest, form: Any) -> Project:
        return projects.create(personal_actor(request), name=form.cleaned_data["name"])

    def change(self, request: HttpRequest, row: Any, form: Any) -> Project:
        if "name" not in form.changed_data:
            return Project.objects.get(pk=row.pk)
        return projects.rename(actor_in(request, row), row, name=form.cleaned_data["name"])

    def save_formset(self, request: HttpRequest, form: Any, formset: Any, change: bool) -> None:
        """Bring the members in line, newcomers first: a project must never be without an admin."""
        actor = actor_in(request, form.instance)
        formset.new_objects, formset.changed_objects, formset.deleted_objects = [], [], []
        for member in sorted(formset.forms, key=lambda sent: not sent.instance._state.adding):
            role = Role(member.cleaned_data.get("role") or Role.EDITOR)
            if member.instance._state.adding:
                if member.has_changed() and not member.cleaned_data.get("DELETE"):
                    username = member.cleaned_data["user"].username
                    projects.add_member(actor, username=username, role=role)
            elif member.cleaned_data.get("DELETE"):
                projects.remove_member(actor, member.instance)
            elif "role" in member.changed_data:
                projects.change_role(actor, member.instance, role=role)

    @admin.display(description="Owner", ordering="user__username")
    def owner(self, project: Project) -> str:
        return project.user.username

    @admin.display(description="Kind")
    def kind(self, project: Project) -> str:
        return "personal" if project.personal_of_id else "shared"

    @admin.display(description="Members", ordering="member_count")
    def members(self, project: Any) -> int:
        return int(project.member_count)
