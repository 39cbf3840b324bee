"""The live preview of a schedule's form: its sentence, its next five times, what to watch for."""

import uuid
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from django.http import HttpRequest, JsonResponse

from access import clock
from access.admin import words
from access.errors import Invalid
from batches.models import Agent, TestSuite
from evalsched import forecasts, occurrences
from evalsched.occurrences import Timing

_TIMES = 5


def answer(request: HttpRequest) -> JsonResponse:
    """Answer with what the sent timing means, or with what is wrong with it, in words."""
    sent = request.GET
    timing = Timing(
        schedule_type=sent.get("schedule_type", ""),
        cron_expression=sent.get("cron_expression", "").strip(),
        timezone=sent.get("timezone", "").strip(),
        dst_gap=sent.get("dst_gap") or None,
        dst_overlap=sent.get("dst_overlap") or None,
    )
    try:
        meaning = _meaning(timing, clock.database_now())
        meaning["warnings"] += _too_long(sent)
        return JsonResponse(meaning)
    except Invalid as refusal:
        sentences = [text for texts in refusal.details.values() for text in texts]
        return JsonResponse({"errors": sentences or [refusal.message]})


def _meaning(timing: Timing, now: datetime) -> dict[str, Any]:
    occurrences.validate(timing)
    return {
        "description": occurrences.describe(timing),
        "warnings": occurrences.warnings(timing, now),
        "occurrences": [
            {
                "relative": words.relative(found.scheduled_for, now),
                "utc": words.utc(found.scheduled_for),
                "local": found.local[:16].replace("T", " "),
                "note": found.note or "",
            }
            for found in occurrences.preview(timing, now, None, _TIMES)
        ],
    }


def _too_long(sent: Mapping[str, str]) -> list[str]:
    """Warn of runs that take too long, as far as the form is filled in."""
    try:
        suite_id = uuid.UUID(sent.get("suite", ""))
        answering = uuid.UUID(sent.get("agent") or sent.get("endpoint", ""))
        concurrency, repeats = int(sent.get("concurrency", "")), int(sent.get("repeats", ""))
    except ValueError:
        return []
    suite = TestSuite.objects.filter(pk=suite_id).first()
    if suite is None or concurrency < 1:
        return []
    agent = Agent.objects.filter(pk=answering).first()
    endpoint_id = answering if agent is None else agent.endpoint_id
    return forecasts.warnings(suite, endpoint_id, concurrency=concurrency, repeats=repeats)
