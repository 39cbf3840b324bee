"""A mail server and a webhook's receiver, as this process meets them."""

from collections.abc import Iterator

import pytest
from pytest_django import Settings

from tests.alerts.mail_server import MailServer
from tests.alerts.receiver import Receiver


@pytest.fixture
def mailbox(settings: Settings) -> Iterator[MailServer]:
    """A real mail server that this process sends to."""
    with MailServer() as server:
        settings.EMAIL_BACKEND = "django.core.mail.backends.smtp.EmailBackend"
        settings.EMAIL_HOST, settings.EMAIL_PORT = "127.0.0.1", server.port
        settings.EMAIL_TIMEOUT = 5
        settings.DEFAULT_FROM_EMAIL = "evalsched <alerts@evals.example>"
        settings.PUBLIC_URL = "https://evals.example"
        yield server


@pytest.fixture
def receiver(settings: Settings) -> Iterator[Receiver]:
    """A real HTTP server that this process may call."""
    settings.EVALSCHED_PRIVATE_HOSTS = ["127.0.0.1"]
    settings.PUBLIC_URL = "https://evals.example"
    with Receiver() as server:
        yield server
