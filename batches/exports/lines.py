"""Results as CSV, as JSON lines, and as one JSON document."""

import csv
from collections.abc import Iterable, Iterator, Sequence
from io import StringIO

from batches.exports import rows
from batches.exports.rows import Acting
from batches.models import Batch

# Source: OWASP, CSV injection. A leading apostrophe makes it text.
_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n")


def as_csv(batches: Sequence[Batch], acting: Acting) -> Iterator[str]:
    """Yield the header and a line for each call, as RFC 4180 has it; times in UTC.

    Texts that a spreadsheet would take for formulas begin with an apostrophe.
    """
    buffer = StringIO()
    writer = csv.writer(buffer)

    def line(cells: Iterable[str]) -> str:
        buffer.seek(0)
        buffer.truncate()
        writer.writerow(cells)
        return buffer.getvalue()

    yield line(rows.COLUMNS)
    for batch in batches:
        for job in rows.jobs(batch, acting):
            yield line(_cell(value) for value in rows.values(batch, job).values())


def as_jsonl(batches: Sequence[Batch], acting: Acting) -> Iterator[str]:
    """Yield a line of JSON for each call."""
    for batch in batches:
        for job in rows.jobs(batch, acting):
            yield rows.as_json(rows.values(batch, job)) + "\n"


def as_document(batches: Sequence[Batch], acting: Acting) -> Iterator[str]:
    """Yield `{"batches": [...], "results": [...]}` in pieces: figures, and every call."""
    yield '{"batches": ' + rows.as_json([rows.summary(batch) for batch in batches])
    before = ', "results": [\n'
    for line in as_jsonl(batches, acting):
        yield before + line.rstrip("\n")
        before = ",\n"
    yield "\n]}\n" if before == ",\n" else ', "results": []}\n'


def _cell(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, (list, dict, bool)):
        return rows.as_json(value)
    text = value if isinstance(value, str) else rows.as_json(value).strip('"')
    return f"'{text}" if text.startswith(_FORMULA) else text
