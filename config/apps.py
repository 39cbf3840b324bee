from django.apps import AppConfig


class WiringConfig(AppConfig):
    name = "config"
    verbose_name = "Wiring"

    def ready(self) -> None:
        from config import celery, checks  # noqa: F401  the app and the checks register themselves
