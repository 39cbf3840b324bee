"""A rule's minutes in pages: rows that are alike are stored together and shown one by one."""

import uuid
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from rest_framework.request import Request

from access.api.cursors import MOST_COUNTED, CursorPagination
from access.errors import Invalid
from alerts import history
from alerts.history import MINUTE, Evaluated
from alerts.rule_models import AlertRule

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class EvaluationPages(CursorPagination):
    """A cursor names a minute, and how many of its groups were shown already."""

    def page(self, rule: AlertRule, request: Request) -> list[dict[str, Any]]:
        self.request = request
        self.limit, self.offset = self.get_limit(request), self.get_offset(request)
        minute, shown = _read(request.query_params.get("cursor", ""))
        self.count = history.count(rule, most=MOST_COUNTED)
        rows = history.of_rule(
            rule,
            before=None if minute is None else minute + MINUTE,
            limit=self.limit + 1,
            offset=self.offset + shown,
        )
        page = rows[: self.limit]
        self._next = _written(page, minute, shown) if len(rows) > len(page) else ""
        lates = history.late(rule, page)
        return [_shown(rule, one, late) for one, late in zip(page, lates, strict=True)]


def _written(page: Sequence[Evaluated], minute: datetime | None, shown: int) -> str:
    last = page[-1].minute
    of_last = sum(one.minute == last for one in page) + (shown if last == minute else 0)
    return f"{(last - _EPOCH) // MINUTE}-{of_last}"


def _read(text: str) -> tuple[datetime | None, int]:
    if not text:
        return None, 0
    minute, _, shown = text.partition("-")
    if not all(part.isascii() and part.isdigit() and len(part) <= 9 for part in (minute, shown)):  # noqa: PLR2004  a billion minutes are within a year 4000
        raise Invalid.field("cursor", "Take it from `next` of the page before.")
    return _EPOCH + timedelta(minutes=int(minute)), int(shown)


def _shown(rule: AlertRule, one: Evaluated, late: int) -> dict[str, Any]:
    window = one.window_minutes
    return {
        # The row may be stored together with others: its minute and group are what it is.
        "id": uuid.uuid5(rule.pk, f"{one.minute:%Y-%m-%dT%H:%M}Z {one.group}"),
        "rule_id": rule.pk,
        "project_id": rule.project_id,
        "user_id": rule.user_id,
        "group": one.group or None,
        "status": one.status,
        "metric_value": one.metric_value,
        "threshold_value": one.threshold_value,
        "triggered": one.triggered,
        "state": one.state,
        "health": one.health,
        "time_window_start": None if window is None else one.minute - window * MINUTE,
        "time_window_end": one.minute,
        "sample_count": one.sample_count,
        "metadata": {"late_samples": late, "error_message": one.error_message},
        "evaluated_at": one.evaluated_at,
        "created_at": one.evaluated_at,
    }
