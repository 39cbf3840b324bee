"""Results as one page of HTML that needs nothing else: to be sent, kept, or printed."""

from collections.abc import Iterator, Sequence

from django.utils.html import escape, format_html, format_html_join

from batches import figures
from batches.exports import rows
from batches.exports.rows import Acting
from batches.models import Batch, Job

_STYLE = """
body { font: 15px/1.45 system-ui, sans-serif; margin: 2rem auto; max-width: 70rem; padding: 0 1rem;
  color: #1c1c1c; background: #fff; }
table { border-collapse: collapse; width: 100%; margin: 1rem 0 2rem; }
th, td { text-align: left; vertical-align: top; padding: .4rem .6rem;
  border-bottom: 1px solid #ddd; }
pre { white-space: pre-wrap; overflow-wrap: anywhere; margin: .3rem 0; }
.passed { color: #176b2c; } .failed, .error { color: #a3160f; } .unscored { color: #6b5500; }
@media (prefers-color-scheme: dark) {
  body { color: #e6e6e6; background: #161616; } th, td { border-color: #3a3a3a; }
  .passed { color: #7ddb94; } .failed, .error { color: #ff938c; } .unscored { color: #e6c65c; }
}
"""
_FIGURES = ("Batch", "Suite", "Status", "Passed", "Failed", "Errors", "Unscored", "Score", "Cost")
_CALLS = ("Case", "Outcome", "Score", "Latency", "Question, answer and reasons")


def document(title: str, batches: Sequence[Batch], acting: Acting) -> Iterator[str]:
    """Yield the page in pieces; whatever a model or a person wrote is escaped."""
    yield (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)}</title><style>{_STYLE}</style></head>\n"
        f"<body><h1>{escape(title)}</h1>\n{_head(_FIGURES)}"
    )
    yield "".join(map(_figures, batches)) + "</table>\n"
    for batch in batches:
        yield format_html("<h2>{}</h2>\n", str(batch)) + _head(_CALLS)
        for job in rows.jobs(batch, acting):
            yield _call(batch, job)
        yield "</table>\n"
    yield "</body></html>\n"


def _head(names: Sequence[str]) -> str:
    return format_html("<table><tr>{}</tr>\n", format_html_join("", "<th>{}</th>", zip(names)))


def _figures(batch: Batch) -> str:
    score = figures.of(batch).avg_score
    suite = f"{batch.suite_name}, version {batch.suite_version}" if batch.suite_name else ""
    cells = (
        str(batch),
        suite,
        batch.status,
        f"{batch.passed:,} of {batch.total:,}",
        f"{batch.failed:,}",
        f"{batch.errors:,}",
        f"{batch.unscored:,}",
        "" if score is None else f"{score:.3f}",
        "unknown" if batch.total_cost is None else f"{batch.total_cost:.6f} USD",
    )
    return _row(cells)


def _call(batch: Batch, job: Job) -> str:
    told = rows.values(batch, job)
    asked = told["prompt"]
    if asked is None:
        asked = "It was deleted, or changed since."
    elif not isinstance(asked, str):
        asked = rows.as_json(asked)
    outcome = job.outcome or job.status
    return _row(
        (
            job.case_key if batch.repeats == 1 else f"{job.case_key} #{job.repeat}",
            format_html('<span class="{}">{}</span>', outcome, outcome),
            "" if job.score is None else f"{job.score:.3f}",
            "" if job.latency_ms is None else f"{job.latency_ms:,.0f} ms",
            format_html(
                "<details><summary>{}</summary><pre>{}</pre></details><pre>{}</pre>{}",
                "Question",
                asked,
                job.output,
                format_html_join("", "<p>{}</p>", ((why,) for why in rows.reasons(job))),
            ),
        )
    )


def _row(cells: Sequence[str]) -> str:
    return format_html(
        "<tr>{}</tr>\n", format_html_join("", "<td>{}</td>", ((cell,) for cell in cells))
    )
