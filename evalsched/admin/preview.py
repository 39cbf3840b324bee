"""The live preview of a schedule's form: its sentence, its next five times, what to watch for."""

from datetime import datetime
from typing import Any

from django.http import HttpRequest, JsonResponse

from access import clock
from access.admin import words
from access.errors import Invalid
from evalsched import occurrences
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
        return JsonResponse(_meaning(timing, clock.database_now()))
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
