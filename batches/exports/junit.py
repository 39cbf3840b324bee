"""Batches as JUnit's XML, which CI servers read. Each batch is a suite, each call a test.

Source: the schema of Jenkins' xUnit plugin, junit-10.xsd, and what the others leave out.
"""

import re
from collections.abc import Iterator, Sequence
from xml.sax.saxutils import escape, quoteattr

from batches.exports import rows
from batches.exports.rows import Acting
from batches.models import Batch, Job, JobOutcome

# What XML 1.0 has no way to write.
_UNWRITABLE = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def document(batches: Sequence[Batch], acting: Acting) -> Iterator[str]:
    """Yield the document in pieces. The batches have ended: their counts come before their calls.

    Wrong answers are failures, calls that were not answered are errors; what was not run or could
    not be scored is skipped. Times are the model's, in seconds.
    """
    yield '<?xml version="1.0" encoding="UTF-8"?>\n<testsuites>\n'
    for batch in batches:
        yield _opened(batch)
        for job in rows.jobs(batch, acting):
            yield _test(batch, job)
        yield "</testsuite>\n"
    yield "</testsuites>\n"


def _opened(batch: Batch) -> str:
    skipped = batch.total - batch.passed - batch.failed - batch.errors
    began = (batch.started_at or batch.created_at).replace(microsecond=0, tzinfo=None)
    return (
        f"<testsuite name={_attribute(str(batch))} tests='{batch.total}' "
        f"failures='{batch.failed}' errors='{batch.errors}' skipped='{skipped}' "
        f"time='{batch.latency_sum_ms / 1000:.3f}' timestamp='{began.isoformat()}'>\n"
    )


def _test(batch: Batch, job: Job) -> str:
    name = job.case_key if batch.repeats == 1 else f"{job.case_key} #{job.repeat}"
    return (
        f"<testcase classname={_attribute(batch.suite_name or 'documents')} "
        f"name={_attribute(name)} time='{(job.latency_ms or 0) / 1000:.3f}'>"
        f"{_outcome(job)}</testcase>\n"
    )


def _outcome(job: Job) -> str:
    why = rows.reasons(job)
    match job.outcome:
        case JobOutcome.PASSED:
            return ""
        case JobOutcome.FAILED:
            message, kind = why[0] if why else "failed", job.error_class or "assertion"
            told = [*why, "", "Answer:", job.output]
            return _element("failure", kind, message, "\n".join(told))
        case JobOutcome.ERROR:
            message = job.error_message or "no answer"
            return _element("error", job.error_class or "infra", message, message)
        case JobOutcome.UNSCORED:
            return f"<skipped message={_attribute(why[0] if why else 'unscored')}/>"
    return f"<skipped message={_attribute(job.status)}/>"


def _element(name: str, kind: str, message: str, text: str) -> str:
    return (
        f"<{name} type={_attribute(kind)} message={_attribute(message)}>"
        f"{escape(_writable(text))}</{name}>"
    )


def _attribute(text: str) -> str:
    return quoteattr(_writable(text))


def _writable(text: str) -> str:
    return _UNWRITABLE.sub("\ufffd", text)
