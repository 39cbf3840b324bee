"""People. An operator is a superuser: there is no half of one here."""

from typing import TYPE_CHECKING, Any, ClassVar

from django import forms
from django.contrib import admin
from django.contrib.auth.admin import UserAdmin as DjangoUserAdmin
from django.core.exceptions import ValidationError
from django.http import HttpRequest

from access import audit
from access.admin.base import OperatorAdmin, instant, operator, personal_actor
from access.admin.forms import TimezoneInput, zone_names
from access.models import User

if TYPE_CHECKING:
    from django.contrib.auth.forms import AdminPasswordChangeForm, UserChangeForm, UserCreationForm

    _ChangeForm = UserChangeForm[Any]
    _CreationForm = UserCreationForm[Any]
    _DjangoUserAdmin = DjangoUserAdmin[Any]
else:
    from unfold.forms import AdminPasswordChangeForm
    from unfold.forms import UserChangeForm as _ChangeForm
    from unfold.forms import UserCreationForm as _CreationForm

    _DjangoUserAdmin = DjangoUserAdmin


class _Person(forms.Form):
    """What both forms of a person check."""

    def clean_timezone(self) -> str:
        name: str = self.cleaned_data["timezone"]
        if name not in zone_names():
            raise ValidationError("There is no such time zone. Choose one from the list.")
        return name


class UserForm(_Person, _ChangeForm):
    timezone = forms.CharField(widget=TimezoneInput(), max_length=64)

    class Meta:
        model = User
        fields = "__all__"


class NewUserForm(_Person, _CreationForm):
    timezone = forms.CharField(widget=TimezoneInput(), max_length=64, initial="UTC")

    class Meta:
        model = User
        fields = ("username",)


@admin.register(User)
class UserAdmin(OperatorAdmin, _DjangoUserAdmin):
    form = UserForm
    add_form = NewUserForm
    change_password_form = AdminPasswordChangeForm
    add_form_template = None
    empty_text = "Nobody is here yet."
    list_display = ("username", "email", "operator", "is_active", "seen")
    seen = instant("last_login", "Last login")
    joined = instant("date_joined", "Joined")
    list_filter = ("is_superuser", "is_active")
    search_fields = ("username", "email", "first_name", "last_name")
    filter_horizontal: ClassVar = ()
    fieldsets = (
        (None, {"fields": ("username", "password")}),
        ("Person", {"fields": ("first_name", "last_name", "email", "timezone")}),
        ("Access", {"fields": ("is_active", "is_superuser")}),
        ("Dates", {"fields": ("seen", "joined")}),
    )
    add_fieldsets = (
        (None, {"fields": ("username", "email", "timezone", "usable_password")}),
        ("Password", {"fields": ("password1", "password2")}),
        ("Access", {"fields": ("is_superuser",)}),
    )
    readonly_fields = ("seen", "joined")

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        # What a person made stays, and names them.
        return False

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> Any:
        """Nobody locks themselves out: another operator has to do it."""
        if obj is not None and obj.pk == operator(request).pk:
            return (*self.readonly_fields, "is_active", "is_superuser")
        return self.readonly_fields

    def formfield_for_dbfield(self, db_field: Any, request: HttpRequest, **kwargs: Any) -> Any:
        field = super().formfield_for_dbfield(db_field, request, **kwargs)
        if db_field.name == "is_superuser" and field is not None:
            field.label = "Operator"
            field.help_text = "Uses this admin and sees every project. Members need it not."
        if db_field.name == "is_active" and field is not None:
            field.help_text = "Take this away instead of deleting: keys and sessions stop working."
        return field

    def save_model(self, request: HttpRequest, obj: Any, form: Any, change: bool) -> None:
        # The login form of Django's admin asks for staff; here that is nothing of its own.
        obj.is_staff = obj.is_superuser
        super().save_model(request, obj, form, change)
        details = {"fields": form.changed_data} if change else {"operator": obj.is_superuser}
        audit.record(
            personal_actor(request), f"user.{'changed' if change else 'created'}", obj, details
        )

    @admin.display(description="Operator", boolean=True, ordering="is_superuser")
    def operator(self, user: User) -> bool:
        return user.is_superuser
