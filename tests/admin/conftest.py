"""An operator who is logged in."""

import pytest
from django.test import Client

from access.actors import Actor
from access.models import User
from tests.factories import make_actor, make_user


@pytest.fixture
def operator(db: None) -> User:
    return make_user("operator", superuser=True)


@pytest.fixture
def own(operator: User) -> Actor:
    """The operator, acting in their personal project."""
    return make_actor(operator)


@pytest.fixture
def browser(operator: User) -> Client:
    client = Client()
    client.force_login(operator)
    return client
