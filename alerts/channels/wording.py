"""How texts are made fit for a message. Text from models and people is never trusted."""

from django.conf import settings

from alerts.models import AlertType, Event

_ELLIPSIS = "…"
# How the subject of an event begins that tells of the end of something bad.
RESOLVED = "Resolved"
_GOOD = frozenset({AlertType.JOB_STARTED, AlertType.JOB_COMPLETED, AlertType.BATCH_COMPLETED})


def one_line(text: str) -> str:
    """Return `text` fit for a header: names that people typed may hold line breaks."""
    return " ".join(text.split())


def clipped(text: str, longest: int) -> str:
    """Return at most `longest` characters, the last one an ellipsis where some were cut."""
    return text if len(text) <= longest else text[: longest - 1] + _ELLIPSIS


def url(path: str) -> str:
    """Return the address that people open for a path of ours, or an empty string."""
    return settings.PUBLIC_URL + path if path else ""


def is_good_news(event: Event) -> bool:
    return event.alert_type in _GOOD or event.subject.startswith(f"{RESOLVED}: ")
