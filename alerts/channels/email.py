"""Mail: text and HTML from templates, through whatever Django backend is configured."""

from email.utils import parseaddr

from django.conf import settings
from django.core.mail import EmailMultiAlternatives
from django.template.loader import render_to_string

from alerts.models import Event, Notification


def send(notification: Notification, event: Event) -> None:
    """Send one mail. Whatever the backend raises goes to the caller."""
    about = {
        "event": event,
        "url": settings.PUBLIC_URL + event.path if event.path else "",
        "settings_url": settings.PUBLIC_URL,
    }
    _, sender = parseaddr(settings.DEFAULT_FROM_EMAIL)
    mail = EmailMultiAlternatives(
        subject=one_line(event.subject),
        body=render_to_string("alerts/mail.txt", about),
        to=[notification.address],
        headers={
            # The same for every attempt: a mail that arrives twice is shown once.
            "Message-ID": f"<{notification.pk}@{sender.rpartition('@')[2] or 'evalsched'}>",
            "Auto-Submitted": "auto-generated",
        },
    )
    mail.attach_alternative(render_to_string("alerts/mail.html", about), "text/html")
    mail.send()


def one_line(text: str) -> str:
    """Return `text` fit for a header: names that people typed may hold line breaks."""
    return " ".join(text.split())
