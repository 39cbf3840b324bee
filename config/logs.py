"""Structured logs: one JSON object a line, or a readable line under `manage.py up`."""

import logging.config
from typing import Any

import structlog

_SHARED: list[Any] = [
    structlog.contextvars.merge_contextvars,
    structlog.stdlib.add_log_level,
    structlog.stdlib.add_logger_name,
    structlog.processors.TimeStamper(fmt="iso", utc=True),
    structlog.stdlib.PositionalArgumentsFormatter(),
]


# Of the configuration, at a terminal; the JSON logs hold all of it.
_CONFIGURATION = ("event", "level", "process", "database", "data_dir", "tick_seconds", "SECRET_KEY")


def configure(config: dict[str, str]) -> None:
    """Set up structlog and the standard library's logging with the same processors.

    `config` is `settings.LOGGING`: `format` is "json" or "console", `level` a level's name.
    """
    renderers: list[Any] = (
        [structlog.processors.format_exc_info, structlog.processors.JSONRenderer()]
        if config["format"] == "json"
        else [
            _brief,
            structlog.dev.ConsoleRenderer(
                colors=False,
                pad_event_to=0,
                # The default prints local variables, and with them people's prompts and keys.
                exception_formatter=structlog.dev.plain_traceback,
            ),
        ]
    )
    logging.config.dictConfig(
        {
            "version": 1,
            "disable_existing_loggers": False,
            "formatters": {
                "structured": {
                    "()": structlog.stdlib.ProcessorFormatter,
                    "processors": [
                        structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                        *renderers,
                    ],
                    "foreign_pre_chain": _SHARED,
                }
            },
            "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "structured"}},
            "root": {"handlers": ["stderr"], "level": config["level"]},
            "loggers": {
                # Their INFO lines tell of messages, ours of the rows that count.
                "celery": {"level": "WARNING"},
                "celery.beat": {"level": "WARNING"},
                "django_celery_beat": {"level": "WARNING"},
                "kombu": {"level": "WARNING"},
                "django.request": {"level": "ERROR"},
            },
        }
    )
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *_SHARED,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=True,
    )


def _brief(_: object, __: str, event: dict[str, Any]) -> dict[str, Any]:
    """Drop what a person at a terminal does not need on every line."""
    if event.get("event") == "configuration":
        event = {name: event[name] for name in _CONFIGURATION if name in event}
    for name in ("logger", "timestamp", "task_id", "parent_task_id", "user_id", "request_id"):
        event.pop(name, None)
    return event
