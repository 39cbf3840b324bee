"""Runs as CSV, line by line, for spreadsheets that must not take text for formulas."""

import csv
from collections.abc import Iterable, Iterator
from datetime import datetime
from io import StringIO

from django.http import StreamingHttpResponse

from evalsched.models import Run

COLUMNS = (
    *("id", "scheduled_for", "status", "trigger", "triggered_at", "started_at", "completed_at"),
    *("batch_test_run_id", "total_prompts", "successful_prompts", "failed_prompts"),
    *("avg_quality_score", "avg_latency_ms", "p95_latency_ms", "avg_ttft_ms", "total_cost"),
    *("schedule_name", "test_suite_name", "model_name", "error_message", "agent_name"),
)
_SNAPSHOT = frozenset({"schedule_name", "test_suite_name", "model_name", "agent_name"})
# Source: OWASP, CSV injection. A leading apostrophe makes it text.
_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n")


def response(runs: Iterable[Run]) -> StreamingHttpResponse:
    """Answer the runs as a file to be kept."""
    answer = StreamingHttpResponse(lines(runs), content_type="text/csv; charset=utf-8")
    answer["Content-Disposition"] = 'attachment; filename="runs.csv"'
    return answer


def lines(runs: Iterable[Run]) -> Iterator[str]:
    """Yield the header and a line for each run, as RFC 4180 has it; times in UTC."""
    buffer = StringIO()
    writer = csv.writer(buffer)

    def line(cells: Iterable[str]) -> str:
        buffer.seek(0)
        buffer.truncate()
        writer.writerow(cells)
        return buffer.getvalue()

    yield line(COLUMNS)
    for run in runs:
        yield line(_cell(run, column) for column in COLUMNS)


def _cell(run: Run, column: str) -> str:
    if column in _SNAPSHOT:
        value = run.snapshot.get(column)
    else:
        value = getattr(run, {"batch_test_run_id": "batch_id"}.get(column, column))
    return as_text(value)


def as_text(value: object) -> str:
    """Return a cell's value as text that no spreadsheet takes for a formula."""
    if isinstance(value, datetime):
        return value.isoformat()
    text = "" if value is None else str(value)
    return f"'{text}" if text.startswith(_FORMULA) else text
