from django.apps import AppConfig


class EvalschedConfig(AppConfig):
    name = "evalsched"
