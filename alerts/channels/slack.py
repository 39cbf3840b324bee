"""Slack's incoming webhooks: blocks within their limits, text that cannot become markup.

Source: docs.slack.dev, "Block Kit" (limits), "Formatting message text" (escaping), "Rate limits".
"""

import json
from dataclasses import replace
from datetime import datetime, timedelta
from http import HTTPStatus
from typing import Any

from alerts.channels import http, wording
from alerts.channels.results import Result
from alerts.models import AttemptOutcome, Channel, Event

# One message a second and channel.
PACE = timedelta(seconds=1)
_HEADER = 150
_SECTION = 3000
_FIELD = 2000
_FIELDS_A_SECTION = 10
_MOST_FIELDS = 40
_MOST_LINKS = 4
_ADDRESS, _LABEL = 600, 100
# Slack refuses messages of about 13,000 characters, wherever they stand; its docs do not say so.
_MOST_CHARACTERS = 10_000
_ESCAPES = {"&": "&amp;", "<": "&lt;", ">": "&gt;"}


def send(event: Event, channel: Channel, *, now: datetime) -> Result:
    """POST the event to the channel's address, which is its secret.

    Raises:
        UnreadableSecret: the key that encrypted the address is gone.
    """
    body = json.dumps(message(event)).encode()
    return _judged(http.post(channel.secret.reveal(), body, {}, now=now))


def _judged(result: Result) -> Result:
    """A message that Slack refuses stays refused; 404 and 410 mean that the webhook was removed."""
    if result.status_code in {HTTPStatus.NOT_FOUND, HTTPStatus.GONE}:
        sentence = f"{result.status_code} from Slack: the webhook or its channel was removed"
        return replace(result, outcome=AttemptOutcome.GONE, sentence=sentence)
    return replace(result, final=result.outcome == AttemptOutcome.REJECTED)


def message(event: Event) -> dict[str, Any]:
    """Return what is posted: `text` for the phone's notification, `blocks` for the screen."""
    left = _MOST_CHARACTERS
    subject = escaped(wording.one_line(event.subject) or "evalsched", _HEADER)
    blocks: list[dict[str, Any]] = [{"type": "header", "text": _plain(subject)}]
    summary = escaped(event.summary, _SECTION)
    if summary:
        blocks.append({"type": "section", "text": _plain(summary)})
    left -= len(subject) * 2 + len(summary)
    fields = []
    for label, value in event.facts[:_MOST_FIELDS]:
        text = escaped(f"{label}\n{value}", min(_FIELD, left))
        if not text:
            break
        fields.append(_plain(text))
        left -= len(text)
    blocks += [
        {"type": "section", "fields": fields[start : start + _FIELDS_A_SECTION]}
        for start in range(0, len(fields), _FIELDS_A_SECTION)
    ]
    if links := _links(event):
        blocks.append({"type": "section", "text": {"type": "mrkdwn", "text": links}})
    return {"text": subject, "blocks": blocks, "unfurl_links": False, "unfurl_media": False}


def escaped(text: str, longest: int) -> str:
    """Return `text` with Slack's control characters escaped, cut so that `longest` holds after."""
    pieces: list[str] = []
    room = longest
    for character in text:
        piece = _ESCAPES.get(character, character)
        if len(piece) > room:
            while pieces and room < 1:
                room += len(pieces.pop())
            return "".join(pieces) + "…" if room > 0 else ""
        pieces.append(piece)
        room -= len(piece)
    return "".join(pieces)


def _plain(text: str) -> dict[str, Any]:
    """Return a text in which nothing is markup: neither stars and backticks, nor mentions."""
    return {"type": "plain_text", "text": text, "emoji": False}


def _links(event: Event) -> str:
    """Return the links, whose addresses and labels are ours."""
    wanted = [("Look at it", event.path), *event.links] if event.path else event.links
    return "   ".join(
        f"<{escaped(wording.url(path), _ADDRESS)}|{escaped(label, _LABEL)}>"
        for label, path in wanted[:_MOST_LINKS]
    )
