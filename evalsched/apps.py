from django.apps import AppConfig


class EvalschedConfig(AppConfig):
    name = "evalsched"

    def ready(self) -> None:
        from evalsched import receivers  # noqa: F401  connects them
