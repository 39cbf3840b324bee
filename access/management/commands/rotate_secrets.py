"""`manage.py rotate_secrets`: encrypt every stored secret with the newest key."""

from typing import Any

from django.apps import apps
from django.core.management.base import BaseCommand
from django.db import models

from access.secrets import Secret, SecretField, UnreadableSecret


class Command(BaseCommand):
    help = "Encrypt every stored secret with the newest of FIELD_ENCRYPTION_KEYS."

    def handle(self, *args: Any, **options: Any) -> None:
        rotated = unreadable = 0
        for model in apps.get_models():
            if model._meta.proxy:
                continue
            for field in model._meta.get_fields():
                if isinstance(field, SecretField):
                    done, failed = self._rotate(model, field.name)
                    rotated, unreadable = rotated + done, unreadable + failed
        self.stdout.write(f"{rotated} secrets are encrypted with the newest key.")
        if unreadable:
            self.stderr.write(f"{unreadable} could not be read: no key fits. Enter them again.")

    def _rotate(self, model: type[models.Model], name: str) -> tuple[int, int]:
        done = failed = 0
        rows = model._default_manager.exclude(**{name: ""}).only("pk", name)
        for row in rows.iterator(chunk_size=500):
            secret: Secret = getattr(row, name)
            try:
                fresh = secret.rotated()
            except UnreadableSecret:
                failed += 1
                continue
            # Only where it is still the one that was read: somebody may be saving a new one.
            one = model._default_manager.filter(pk=row.pk, **{name: secret})
            done += one.update(**{name: fresh})
        return done, failed
