"""Mail: text and HTML from templates, through whatever Django backend is configured."""

import smtplib
from email.utils import parseaddr

import css_inline
from django.conf import settings
from django.core.mail import EmailMultiAlternatives
from django.template.loader import render_to_string

from alerts.channels import wording
from alerts.channels.results import Result
from alerts.models import AttemptOutcome, Event, Notification

# Mail programs honour styles in the elements; what depends on the screen has to stay in the head.
_INLINER = css_inline.CSSInliner(load_remote_stylesheets=False, keep_at_rules=True)
_PERMANENT = 500


def send(notification: Notification, event: Event) -> None:
    """Send one mail. Whatever the backend raises goes to the caller."""
    about = {
        "event": event,
        "url": wording.url(event.path),
        "links": [(label, wording.url(path)) for label, path in event.links],
        "good": wording.is_good_news(event),
        "channel": notification.channel and wording.one_line(notification.channel.name),
        "to_admin": notification.to_admin,
    }
    mail = EmailMultiAlternatives(
        subject=wording.one_line(event.subject),
        body=render_to_string("alerts/mail.txt", about),
        to=[notification.address],
        headers=_headers(notification, event),
    )
    html = _INLINER.inline(render_to_string("alerts/mail.html", about))
    mail.attach_alternative(html, "text/html")
    mail.send()


def _headers(notification: Notification, event: Event) -> dict[str, str]:
    """The id is the same for every attempt: a mail that arrives twice is shown once.

    Mails of one episode refer to one root that was never sent: enough to be shown together.
    Source: RFC 5322, 3.6.4; RFC 3834, 5.
    """
    _, sender = parseaddr(settings.DEFAULT_FROM_EMAIL)
    domain = sender.rpartition("@")[2] or "evalsched"
    headers = {
        "Message-ID": f"<{notification.pk}@{domain}>",
        "Auto-Submitted": "auto-generated",
        "X-Auto-Response-Suppress": "All",
    }
    if event.episode:
        root = f"<episode.{''.join(event.episode.split())}@{domain}>"
        headers |= {"In-Reply-To": root, "References": root}
    return headers


def failed(error: Exception) -> Result:
    """Return what an exception of the mail's backend means."""
    sentence = f"{type(error).__name__}: {error}"[:500]
    code = _code(error)
    if code is not None:
        refused = AttemptOutcome.REJECTED if code >= _PERMANENT else AttemptOutcome.SERVER_ERROR
        return Result(refused, sentence, code)
    if isinstance(error, TimeoutError):
        return Result(AttemptOutcome.TIMEOUT, sentence)
    if isinstance(error, OSError):
        return Result(AttemptOutcome.NETWORK, sentence)
    return Result(AttemptOutcome.ERROR, sentence)


def _code(error: Exception) -> int | None:
    """Return the mail server's code, where it gave one."""
    if isinstance(error, smtplib.SMTPResponseException):
        return error.smtp_code
    if isinstance(error, smtplib.SMTPRecipientsRefused):
        return max((code for code, _ in error.recipients.values()), default=None)
    return None
