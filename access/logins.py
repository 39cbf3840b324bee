"""The login form: Django's, with a limit on guesses."""

from typing import Any

from django.conf import settings
from django.core.exceptions import ValidationError
from unfold.forms import AuthenticationForm

from access import rate_limits
from access.errors import RateLimited


class LoginForm(AuthenticationForm):  # type: ignore[misc]
    """Refuses further guesses at one person's password, right ones too, before it is compared."""

    def clean(self) -> dict[str, Any]:
        username = str(self.cleaned_data.get("username", "")).lower()
        try:
            rate_limits.spend("login", username, per_minute=settings.EVALSCHED_RATE_LIMIT_LOGINS)
        except RateLimited as refusal:
            raise ValidationError(
                f"Too many attempts to log in. Wait {refusal.retry_after} s and try again."
            ) from None
        cleaned: dict[str, Any] = super().clean()
        return cleaned
