"""The formats of an export by name, each with its media type."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from access.errors import Conflict, Invalid
from batches.exports import junit, lines, page
from batches.exports.rows import Acting
from batches.models import BATCH_OPEN, Batch

MEDIA_TYPES = {
    "csv": "text/csv; charset=utf-8",
    "jsonl": "application/x-ndjson",
    "json": "application/json",
    "junit": "application/xml",
    "html": "text/html; charset=utf-8",
}
_ENDINGS = {"junit": "xml"}


class Export(NamedTuple):
    """A file in pieces, which read the results only when they are taken."""

    name: str
    media_type: str
    pieces: Iterator[str]


def export(name: str, format_: str, batches: Sequence[Batch], acting: Acting) -> Export:
    """Return the batches' results; `acting` opens the context in which they are read.

    Raises:
        Invalid: there is no such format.
        Conflict: JUnit's counts come first, and a batch is under way.
    """
    if format_ not in MEDIA_TYPES:
        raise Invalid.field("format", f"Choose one of: {', '.join(MEDIA_TYPES)}.")
    if format_ == "junit" and any(batch.status in BATCH_OPEN for batch in batches):
        raise Conflict("A batch is under way. Export it as junit when it has ended.")
    match format_:
        case "csv":
            pieces = lines.as_csv(batches, acting)
        case "jsonl":
            pieces = lines.as_jsonl(batches, acting)
        case "json":
            pieces = lines.as_document(batches, acting)
        case "junit":
            pieces = junit.document(batches, acting)
        case _:
            pieces = page.document(name, batches, acting)
    ending = _ENDINGS.get(format_, format_)
    return Export(f"{name}.{ending}", MEDIA_TYPES[format_], pieces)
