"""The pages of logging in, for members and operators: Django's views, with our forms and texts."""

from typing import Any

from django.conf import settings
from django.contrib.auth import views
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.urls import path

from access.logins import MemberLoginForm, ResetForm


def home(request: HttpRequest) -> HttpResponse:
    """Lead operators to the admin and everybody else to their experiments."""
    if not request.user.is_authenticated:
        return redirect("login")
    return redirect("admin:index" if request.user.is_superuser else "experiments")


class Login(views.LoginView):
    authentication_form = MemberLoginForm
    template_name = "pages/login.html"
    redirect_authenticated_user = True
    next_page = "home"


class AskForReset(views.PasswordResetView):
    form_class = ResetForm
    template_name = "pages/password_reset.html"
    subject_template_name = "pages/password_mail_subject.txt"
    email_template_name = "pages/password_mail.txt"

    @property
    def extra_email_context(self) -> dict[str, Any]:  # type: ignore[override]
        # Not the Host header, which whoever asks may choose.
        return {"public_url": settings.PUBLIC_URL}


# What answers without credentials; the link in the mail carries a token of its own.
ROUTES = (
    path("login", Login.as_view(), name="login"),
    path("logout", views.LogoutView.as_view(next_page="login"), name="logout"),
    # The theme's login page shows a link to the address of this name.
    path("password-reset", AskForReset.as_view(), name="admin_password_reset"),
    path(
        "password-reset/sent",
        views.PasswordResetDoneView.as_view(template_name="pages/password_sent.html"),
        name="password_reset_done",
    ),
    path(
        "password-reset/<uidb64>/<token>",
        views.PasswordResetConfirmView.as_view(template_name="pages/password_new.html"),
        name="password_reset_confirm",
    ),
    path(
        "password-reset/done",
        views.PasswordResetCompleteView.as_view(template_name="pages/password_done.html"),
        name="password_reset_complete",
    ),
)
