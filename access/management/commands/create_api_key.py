"""`manage.py create_api_key --user NAME --name NAME --scopes read,write`: prints the key alone."""

from typing import Any
from uuid import UUID

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import transaction

from access import clock, keys, projects
from access.actors import ALL_SCOPES, Actor
from access.errors import Refusal
from access.models import Role, User


class Command(BaseCommand):
    help = "Make an API key and print it. It is shown this once."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--user", required=True, help="whose key it is")
        parser.add_argument("--name", required=True, help="what people will know it by")
        parser.add_argument("--scopes", default="read,write", help="read, write, ingest")
        parser.add_argument("--project", type=UUID, help="its project; the personal one if absent")

    def handle(self, *args: Any, **options: Any) -> None:
        user = User.objects.filter(username=options["user"], is_active=True).first()
        if user is None:
            raise CommandError(f"There is no active user named '{options['user']}'.")
        scopes = [scope.strip() for scope in options["scopes"].split(",")]
        try:
            project_id = options["project"] or projects.personal_of(user).pk
            member = projects.membership(user, project_id)
            actor = Actor(user, member.project, Role(member.role), ALL_SCOPES, via="command")
            with transaction.atomic():
                _, text = keys.create(
                    actor, name=options["name"], scopes=scopes, now=clock.database_now()
                )
        except Refusal as refusal:
            raise CommandError(refusal.message) from None
        self.stdout.write(text)
