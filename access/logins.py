"""The forms of logging in: Django's, with a limit on guesses and on mails that are asked for."""

from typing import TYPE_CHECKING, Any

from django.conf import settings
from django.contrib.auth import forms as auth_forms
from django.core.exceptions import ValidationError
from unfold.forms import AuthenticationForm as OperatorForm

from access import rate_limits
from access.errors import RateLimited

if TYPE_CHECKING:
    _Form = auth_forms.AuthenticationForm
else:
    _Form = object


class _FewGuesses(_Form):
    """Refuses further guesses at one person's password, right ones too, before it is compared."""

    def clean(self) -> dict[str, Any]:
        username = str(self.cleaned_data.get("username", "")).lower()
        _spend("login", username, "Too many attempts to log in.")
        cleaned: dict[str, Any] = super().clean()
        return cleaned


class LoginForm(_FewGuesses, OperatorForm):  # type: ignore[misc]
    """The admin's: for operators alone."""


class MemberLoginForm(_FewGuesses, auth_forms.AuthenticationForm):
    """The members' pages': for everybody."""


class ResetForm(auth_forms.PasswordResetForm):
    """Sends a link to choose a new password; it does not tell whether there is such a person."""

    def clean_email(self) -> str:
        email: str = self.cleaned_data["email"]
        _spend("password reset", email.lower(), "A link was asked for too often.")
        return email


def _spend(kind: str, who: str, complaint: str) -> None:
    try:
        rate_limits.spend(kind, who, per_minute=settings.EVALSCHED_RATE_LIMIT_LOGINS)
    except RateLimited as refusal:
        raise ValidationError(f"{complaint} Wait {refusal.retry_after} s and try again.") from None
