"""Results as files: whole, safe to open, readable by those they are for, and flat in memory."""

import csv
import io
import json
import tracemalloc
from contextlib import nullcontext
from datetime import datetime
from xml.etree import ElementTree

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from access.actors import Actor
from access.errors import Conflict
from batches import batches, documents
from batches.batches import Config
from batches.exports import formats, rows
from batches.models import Batch, Document, Job
from tests.clients import Api, with_key
from tests.evalsched.compared_runs import bring_results
from tests.factories import (
    NOW,
    make_batch,
    make_document,
    make_endpoint,
    make_experiment,
    make_suite,
)

pytestmark = pytest.mark.django_db

NASTY = "=1+1\n<script>alert('x')</script> ]]> & \" \x01 end"


def exported(format_: str, *found: Batch) -> str:
    return "".join(formats.export("mine", format_, list(found), nullcontext).pieces)


@pytest.fixture
def batch(actor: Actor) -> Batch:
    """Three cases twice; case 2 fails with a nasty answer, case 3 meets a broken endpoint."""
    made = make_batch(actor, suite=make_suite(actor, cases=3, name="A <suite>"), repeats=2)
    bring_results(made.pk, NOW, wrong={2}, broken={3})
    Job.objects.filter(batch=made, ordinal=1).update(
        output=NASTY,
        assertions=[{"type": "contains", "passed": False, "score": 0, "reason": NASTY}],
    )
    made.refresh_from_db()
    return made


def test_csv_holds_every_call_and_no_formula(batch: Batch) -> None:
    found = list(csv.DictReader(io.StringIO(exported("csv", batch), newline="")))

    assert [(row["case_key"], row["repeat"]) for row in found] == [
        (f"case-{number}", str(repeat)) for number in (1, 2, 3) for repeat in (1, 2)
    ]
    assert found[2]["output"] == f"'{NASTY}"
    assert found[0]["prompt"] == "Say 1."
    assert found[0]["finished_at"] == NOW.isoformat()
    assert tuple(found[0]) == rows.COLUMNS
    assert not [
        cell for row in found for cell in row.values() if cell.startswith(("=", "+", "-", "@"))
    ]


def test_jsonl_and_json_tell_the_same(batch: Batch) -> None:
    lines = [json.loads(line) for line in exported("jsonl", batch).splitlines()]
    document = json.loads(exported("json", batch))

    assert document["results"] == lines
    assert [line["outcome"] for line in lines] == ["passed"] * 2 + ["failed"] * 2 + ["error"] * 2
    assert lines[2]["output"] == NASTY
    assert datetime.fromisoformat(lines[0]["finished_at"]) == NOW
    (told,) = document["batches"]
    assert (told["id"], told["passed"], told["rate_scored"]) == (str(batch.pk), 2, 0.5)


def test_a_batch_without_results_is_valid_json_too(actor: Actor) -> None:
    Job.objects.filter(batch=(made := make_batch(actor))).delete()

    assert json.loads(exported("json", made))["results"] == []


def test_junit_counts_what_it_tells(batch: Batch) -> None:
    (suite,) = ElementTree.fromstring(exported("junit", batch))

    counts = {name: suite.get(name) for name in ("tests", "failures", "errors", "skipped")}
    assert counts == {"tests": "6", "failures": "2", "errors": "2", "skipped": "0"}
    kinds = [[child.tag for child in test] for test in suite]
    assert kinds == [[], [], ["failure"], ["failure"], ["error"], ["error"]]
    failure = suite[2][0]
    assert failure.get("message") == f"contains: {NASTY}".replace("\x01", "\ufffd")
    assert "<script>" in (failure.text or "")
    assert suite[2].get("classname") == "A <suite>"
    assert suite[2].get("name") == "case-2 #1"
    assert suite.get("timestamp") == "2025-01-15T10:00:00"


def test_junit_skips_what_was_not_run_and_refuses_what_is_under_way(actor: Actor) -> None:
    made = make_batch(actor)
    with pytest.raises(Conflict, match="under way"):
        exported("junit", made)
    batches.cancel(made, now=NOW)
    made.refresh_from_db()

    (suite,) = ElementTree.fromstring(exported("junit", made))

    assert (suite.get("tests"), suite.get("skipped")) == ("3", "3")
    assert {test[0].tag for test in suite} == {"skipped"}


def test_html_is_one_page_with_everything_escaped(batch: Batch) -> None:
    page = exported("html", batch)

    assert "<script" not in page
    assert "&lt;script&gt;alert(&#x27;x&#x27;)" in page
    assert "A &lt;suite&gt;" in page
    assert not [word for word in ("src=", "href=", "url(", "@import") if word in page]
    assert page.count("<tr>") == page.count("</tr>") == 2 + 1 + 6


def make_asked(actor: Actor, *asked: Document) -> Batch:
    endpoint, config = make_endpoint(actor), Config()
    return batches.create(
        user_id=actor.user.pk, endpoint=endpoint, config=config, documents=asked, now=NOW
    )


def test_the_question_of_a_document_is_its_text_of_which_a_long_one_is_cut(actor: Actor) -> None:
    fetched = make_document(actor, content="A <short> text.")
    Document.objects.filter(pk=fetched.pk).update(source_url="https://example.org/a")
    long = make_document(actor, content="x" * (rows.LONGEST_QUESTION + 1))
    gone = make_document(actor, content="Gone.")
    made = make_asked(actor, fetched, long, gone)
    documents.delete(actor, gone)

    told = [json.loads(line) for line in exported("jsonl", made).splitlines()]
    cells = list(csv.DictReader(io.StringIO(exported("csv", made), newline="")))
    page = exported("html", made)

    assert [line["prompt"] for line in told] == [
        "A <short> text.",
        "x" * rows.LONGEST_QUESTION + " [...]",
        None,
    ]
    assert [line["source_url"] for line in told] == ["https://example.org/a", None, None]
    assert (cells[0]["prompt"], cells[2]["prompt"]) == ("A <short> text.", "")
    assert "A &lt;short&gt; text." in page
    assert "It was deleted, or changed since." in page
    assert "null" not in page


def test_a_document_that_was_changed_since_is_not_what_was_asked(actor: Actor) -> None:
    document = make_document(actor, content="Old text.")
    made = make_asked(actor, document)
    documents.change(actor, document, content="New text.")
    waiting = json.loads(exported("jsonl", made))
    bring_results(made.pk, NOW)

    done = json.loads(exported("jsonl", made))

    assert (waiting["prompt"], done["prompt"]) == ("New text.", None)


def test_memory_does_not_grow_with_the_documents(actor: Actor) -> None:
    asked = [make_document(actor, content="x" * 200_000) for _ in range(40)]
    made = make_asked(actor, *asked)
    asked.clear()

    tracemalloc.start()
    for _ in formats.export("mine", "jsonl", [made], nullcontext).pieces:
        pass
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()

    assert most < 40 * 200_000 / 2, most


def test_memory_does_not_grow_with_the_calls(actor: Actor) -> None:
    suite = make_suite(actor, cases=50)

    def peak(repeats: int) -> int:
        made = make_batch(actor, suite=suite, repeats=repeats)
        Job.objects.filter(batch=made).update(output="x" * 2_000)
        tracemalloc.start()
        for _ in formats.export("mine", "csv", [made], nullcontext).pieces:
            pass
        most = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return most

    peak(4)
    few, many = peak(8), peak(80)

    assert many < few * 1.5, (few, many)


def test_each_page_is_a_read_of_its_own(actor: Actor) -> None:
    made = make_batch(actor, suite=make_suite(actor, cases=5), repeats=100)

    with CaptureQueriesContext(connection) as queries:
        found = list(rows.jobs(made, nullcontext))

    assert [(job.ordinal, job.repeat) for job in found] == [
        (ordinal, repeat) for ordinal in range(5) for repeat in range(1, 101)
    ]
    # The last one finds nothing.
    assert len(queries) == -(-500 // rows.PAGE) + 1


@pytest.mark.parametrize("format_", formats.MEDIA_TYPES)
def test_a_program_downloads_a_batch(batch: Batch, api: Api, format_: str) -> None:
    answer = api.read(f"batches/{batch.pk}/export?format={format_}", Accept="text/html")

    text = b"".join(answer.streaming_content).decode()
    assert answer.status_code == 200
    assert answer["Content-Type"] == formats.MEDIA_TYPES[format_]
    assert f"batch-{batch.pk}." in answer["Content-Disposition"]
    assert "case-3" in text


def test_an_experiment_is_exported_batch_after_batch(actor: Actor) -> None:
    old = make_experiment(actor, tracking_id="mine", documents=2)
    new = make_experiment(actor, tracking_id="mine", documents=1)

    answer = with_key(actor).read("experiments/mine/export")

    lines = [json.loads(line) for line in b"".join(answer.streaming_content).splitlines()]
    assert [line["batch_id"] for line in lines] == [str(old.pk)] * 2 + [str(new.pk)]


def test_unknown_formats_and_experiments_are_refused(batch: Batch, api: Api) -> None:
    unknown = api.read(f"batches/{batch.pk}/export?format=pdf")

    assert unknown.status_code == 400
    assert unknown.json()["details"] == {
        "format": ["Choose one of: csv, jsonl, json, junit, html."]
    }
    assert api.read("experiments/none/export").status_code == 404
