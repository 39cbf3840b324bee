"""`manage.py create_operator`: make the first operator, once. Doing it again changes nothing."""

from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError
from django.db import transaction

from access import users
from access.errors import Conflict


class Command(BaseCommand):
    help = (
        "Make the first operator from EVALSCHED_ADMIN_USERNAME, _PASSWORD and _EMAIL, unless there "
        "is one of that name. Prints the password where it was generated."
    )

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            with transaction.atomic():
                operator = users.ensure_operator(
                    username=settings.EVALSCHED_ADMIN_USERNAME,
                    password=settings.EVALSCHED_ADMIN_PASSWORD,
                    email=settings.EVALSCHED_ADMIN_EMAIL,
                )
        except Conflict as conflict:
            raise CommandError(conflict.message) from None
        if operator.password is None:
            self.stdout.write(f"The operator '{operator.user.username}' exists; nothing changed.")
        elif settings.EVALSCHED_ADMIN_PASSWORD:
            self.stdout.write(f"Made the operator '{operator.user.username}'.")
        else:
            self.stdout.write(
                f"Made the operator '{operator.user.username}' with the password "
                f"{operator.password} (shown this once)."
            )
