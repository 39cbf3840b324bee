"""Logging in, being turned away, and choosing a new password by mail."""

import re

import pytest
from django.core import mail
from django.test import Client
from pytest_django import Settings

from access.models import User
from tests.factories import make_actor, make_experiment, make_user

PASSWORD = "correct horse battery"
pytestmark = pytest.mark.django_db


@pytest.fixture
def maria() -> User:
    user = make_user("maria")
    user.set_password(PASSWORD)
    user.save()
    return user


def log_in(client: Client, password: str = PASSWORD, **more: str) -> str:
    """Send the login form and return where it leads, or what it says."""
    answer = client.post("/login", {"username": "maria", "password": password, **more})
    return answer["Location"] if answer.status_code == 302 else answer.content.decode()


def test_a_member_logs_in_and_gets_to_the_experiments(maria: User) -> None:
    client = Client()

    assert log_in(client) == "/"
    assert client.get("/")["Location"] == "/experiments"
    assert client.get("/experiments").status_code == 200


def test_the_login_leads_back_to_the_page_that_was_asked_for(maria: User) -> None:
    client = Client()
    asked = client.get("/experiments/trial?show=results")["Location"]

    assert "next=/experiments/trial%3Fshow%3Dresults" in asked
    assert log_in(client, next="/experiments/trial") == "/experiments/trial"
    assert log_in(Client(), next="https://elsewhere.example/") == "/"


@pytest.mark.parametrize("form", ["extend", "delete"])
def test_a_form_sent_after_the_session_ended_leads_back_to_its_page(maria: User, form: str) -> None:
    batch = make_experiment(make_actor(maria), tracking_id="trial")
    client = Client()
    door = client.post(f"/experiments/trial/{form}", {"days": "9"})["Location"]

    page = client.post(door, {"username": "maria", "password": PASSWORD}, follow=True)

    assert page.status_code == 200
    assert page.redirect_chain[-1][0].startswith("/experiments/trial?")
    assert "Nothing was changed: your session had ended" in page.content.decode()
    before = batch.expires_at
    batch.refresh_from_db()
    assert batch.expires_at == before


def test_an_operator_gets_to_the_admin(maria: User) -> None:
    User.objects.filter(pk=maria.pk).update(is_superuser=True, is_staff=True)
    client = Client()
    log_in(client)

    assert client.get("/")["Location"] == "/admin/"


def test_guesses_are_limited_at_both_doors_together(maria: User, settings: Settings) -> None:
    settings.EVALSCHED_RATE_LIMIT_LOGINS = 2
    guess = {"username": "Maria", "password": "wrong"}

    Client().post("/admin/login/", guess)
    assert "correct username and password" in log_in(Client(), "wrong")
    assert "Too many attempts to log in." in log_in(Client())


def test_logging_out_ends_the_session(maria: User) -> None:
    client = Client()
    log_in(client)

    client.post("/logout")

    assert client.get("/experiments")["Location"].startswith("/login")


def test_a_new_password_is_chosen_by_a_link_that_works_once(
    maria: User, settings: Settings
) -> None:
    settings.PUBLIC_URL = "https://evals.example"
    client = Client()

    asked = client.post("/password-reset", {"email": maria.email.upper()}, follow=True)
    message = mail.outbox[0]
    link = re.findall(r"https://evals\.example(/password-reset/\S+)", str(message.body))[0]
    form = client.get(link, follow=True)
    new = {"new_password1": "another long one 7", "new_password2": "another long one 7"}
    done = client.post(form.redirect_chain[-1][0], new, follow=True)

    assert "Look into your mail" in asked.content.decode()
    assert message.to == [maria.email]
    assert "Your password is set" in done.content.decode()
    assert log_in(Client(), "another long one 7") == "/"
    assert "used up" in Client().get(link, follow=True).content.decode()


def test_asking_for_a_link_does_not_tell_who_is_here(maria: User) -> None:
    answers = [
        Client().post("/password-reset", {"email": email}, follow=True)
        for email in (maria.email, "nobody@example.org")
    ]

    assert answers[0].content == answers[1].content
    assert len(mail.outbox) == 1


def test_links_are_limited_too(maria: User, settings: Settings) -> None:
    settings.EVALSCHED_RATE_LIMIT_LOGINS = 1

    answers = [Client().post("/password-reset", {"email": maria.email}) for _ in range(2)]

    assert "asked for too often" in answers[1].content.decode()
    assert len(mail.outbox) == 1
