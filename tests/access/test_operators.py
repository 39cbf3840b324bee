"""The first operator: made once, and never somebody else of that name."""

from io import StringIO

import pytest
from django.core.management import CommandError, call_command
from pytest_django import Settings

from access.models import User
from tests.factories import make_user


@pytest.fixture(autouse=True)
def _named(settings: Settings, db: None) -> None:
    settings.EVALSCHED_ADMIN_USERNAME = "boss"
    settings.EVALSCHED_ADMIN_PASSWORD = ""


def _made() -> str:
    out = StringIO()
    call_command("create_operator", stdout=out)
    return out.getvalue()


def test_the_first_operator_is_made_once() -> None:
    assert "shown this once" in _made()
    assert "nothing changed" in _made()
    assert User.objects.get(username="boss").is_superuser


@pytest.mark.parametrize(
    "person", [{}, {"superuser": True, "is_active": False}], ids=["a member", "one who has left"]
)
def test_somebody_else_of_that_name_is_not_taken_for_the_operator(
    person: dict[str, bool],
) -> None:
    make_user("boss", **person)

    with pytest.raises(CommandError, match="EVALSCHED_ADMIN_USERNAME"):
        _made()
