"""Suites and their versions: cases are never edited, only replaced."""

import pytest

from access.errors import Invalid
from access.models import AuditEvent
from batches import suites
from batches.models import TestCase, TestSuite
from tests.factories import make_actor, make_case_draft, make_suite
from tests.processes_at_work import at_once

pytestmark = pytest.mark.django_db


def keys(suite: TestSuite) -> list[str]:
    return list(
        TestCase.objects.filter(suite=suite)
        .current()
        .order_by("position")
        .values_list("key", flat=True)
    )


def test_the_first_cases_are_the_first_version() -> None:
    suite = make_suite(cases=3)

    assert (suite.version, suite.case_count) == (1, 3)
    assert keys(suite) == ["case-1", "case-2", "case-3"]
    assert len(suite.content_hash) == 64


def test_putting_the_same_again_makes_no_version() -> None:
    actor = make_actor()
    suite = make_suite(actor, cases=2)

    done = suites.put(actor, suite, [make_case_draft(1), make_case_draft(2)])

    assert (done.unchanged, done.added, done.changed, done.version) == (2, 0, 0, 1)
    assert TestCase.objects.count() == 2


def test_an_edit_is_a_new_row_in_the_same_place() -> None:
    actor = make_actor()
    suite = make_suite(actor, cases=3)
    before = suite.content_hash

    done = suites.put(actor, suite, [make_case_draft(2, prompt="Say two.")])

    suite.refresh_from_db()
    assert (done.changed, done.unchanged, done.version) == (1, 0, 2)
    assert keys(suite) == ["case-1", "case-2", "case-3"]
    assert suite.content_hash != before
    rows = TestCase.objects.filter(suite=suite, key="case-2").order_by("added_in")
    assert [(row.prompt, row.added_in, row.removed_in) for row in rows] == [
        ("Say 2.", 1, 2),
        ("Say two.", 2, None),
    ]


def test_going_back_to_the_old_content_brings_the_old_hash_back() -> None:
    actor = make_actor()
    suite = make_suite(actor, cases=2)
    before = suite.content_hash
    suites.put(actor, suite, [make_case_draft(1, prompt="Say one.")])

    suites.put(actor, suite, [make_case_draft(1)])

    suite.refresh_from_db()
    assert (suite.version, suite.content_hash) == (3, before)


def test_every_version_is_what_it_was() -> None:
    actor = make_actor()
    suite = make_suite(actor, cases=2)
    suites.put(actor, suite, [make_case_draft(1, prompt="Say one."), make_case_draft(3)])
    suites.put(actor, suite, [make_case_draft(3)], replace=True)

    def of(version: int) -> list[tuple[str, str | None]]:
        cases = TestCase.objects.filter(suite=suite).of_version(version).order_by("position")
        return list(cases.values_list("key", "prompt"))

    assert of(1) == [("case-1", "Say 1."), ("case-2", "Say 2.")]
    assert of(2) == [("case-1", "Say one."), ("case-2", "Say 2."), ("case-3", "Say 3.")]
    assert of(3) == [("case-3", "Say 3.")]


def test_replacing_removes_what_is_not_given() -> None:
    actor = make_actor()
    suite = make_suite(actor, cases=3)

    done = suites.put(actor, suite, [make_case_draft(2), make_case_draft(8)], replace=True)

    suite.refresh_from_db()
    assert (done.added, done.removed, done.unchanged, suite.case_count) == (1, 2, 1, 2)
    assert keys(suite) == ["case-2", "case-8"]


def test_removing_a_case_twice_makes_one_version() -> None:
    actor = make_actor()
    suite = make_suite(actor, cases=2)
    case = TestCase.objects.get(suite=suite, key="case-1")

    suites.remove(actor, suite, case)
    suites.remove(actor, suite, case)

    suite.refresh_from_db()
    assert (suite.version, suite.case_count) == (2, 1)


def test_a_preview_is_what_putting_does() -> None:
    actor = make_actor()
    suite = make_suite(actor, cases=3)
    drafts = [make_case_draft(1), make_case_draft(2, prompt="Say two."), make_case_draft(8)]

    found = suites.preview(suite, drafts, replace=True, shown=2)

    assert [(change, draft.key) for change, draft in found.first] == [
        ("unchanged", "case-1"),
        ("changed", "case-2"),
    ]
    assert TestCase.objects.count() == 3
    assert suites.put(actor, suite, drafts, replace=True) == found.outcome


def test_other_tags_or_metadata_are_a_change() -> None:
    actor = make_actor()
    suite = make_suite(actor, cases=[make_case_draft(1, metadata={"a": 0.5})])

    same = suites.put(actor, suite, [make_case_draft(1, metadata={"a": 0.5})])
    tagged = suites.put(actor, suite, [make_case_draft(1, metadata={"a": 0.5}, tags=["t"])])
    noted = suites.put(actor, suite, [make_case_draft(1, metadata={"a": True}, tags=["t"])])

    assert [done.changed for done in (same, tagged, noted)] == [0, 1, 1]


def test_many_cases_are_written_in_chunks_and_keep_their_order(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(suites, "_CHUNK", 2)
    actor = make_actor()
    suite = make_suite(actor, cases=7)
    hashed = suite.content_hash

    suites.put(actor, suite, [make_case_draft(n, prompt="Say it.") for n in range(1, 8)])
    suites.put(actor, suite, [make_case_draft(n) for n in range(1, 8)])

    suite.refresh_from_db()
    assert keys(suite) == [f"case-{n}" for n in range(1, 8)]
    assert (suite.version, suite.content_hash) == (3, hashed)
    assert [draft.key for draft in suites.exported(suite)] == keys(suite)


def test_a_key_that_occurs_twice_is_refused_by_its_place() -> None:
    actor = make_actor()
    suite = make_suite(actor, cases=0)

    with pytest.raises(Invalid, match="'case-1' occurs twice") as refused:
        suites.put(actor, suite, [make_case_draft(1), make_case_draft(2), make_case_draft(1)])

    assert list(refused.value.details) == ["cases[2].key"]
    assert not TestCase.objects.exists()


def test_a_suite_has_a_most(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(suites, "MAX_CASES", 3)
    actor = make_actor()
    suite = make_suite(actor, cases=3)

    with pytest.raises(Invalid, match="at most 3 cases"):
        suites.put(actor, suite, [make_case_draft(4)])
    suites.put(actor, suite, [make_case_draft(4)], replace=True)
    assert keys(suite) == ["case-4"]


def test_what_is_stored_reads_back_as_the_same_case() -> None:
    actor = make_actor()
    full = make_case_draft(
        1,
        prompt=None,
        messages=[{"role": "user", "content": "Hello {{name}}"}],
        variables={"name": "Ada", "n": 3},
        expected="Hi",
        tags=["a", "b"],
        weight=2.5,
        threshold=0.5,
        metadata={"cluster": "greetings", "deep": {"er": [1, None]}},
    )
    suite = make_suite(actor, cases=[full])

    stored = suites.draft_of(TestCase.objects.get(suite=suite))

    assert stored == full


def test_names_are_unique_in_a_project() -> None:
    actor = make_actor()
    make_suite(actor, name="Mine")

    with pytest.raises(Invalid, match="this name already"):
        make_suite(actor, name="Mine")
    make_suite(name="Mine")


def test_changes_leave_a_trail() -> None:
    actor = make_actor()
    suite = make_suite(actor, cases=1)
    suites.change(actor, suite, description="new")
    suites.delete(actor, suite)

    actions = AuditEvent.objects.order_by("pk").values_list("action", flat=True)
    assert list(actions) == [
        "suite.created",
        "suite.cases_changed",
        "suite.changed",
        "suite.deleted",
    ]
    assert not TestCase.objects.exists()


@pytest.mark.django_db(transaction=True)
def test_edits_at_once_are_versions_one_after_the_other() -> None:
    actor = make_actor()
    suite = make_suite(actor, cases=1)

    at_once(
        *[
            lambda number=number: suites.put(actor, suite, [make_case_draft(number)])
            for number in range(2, 8)
        ]
    )

    suite.refresh_from_db()
    assert (suite.version, suite.case_count) == (7, 7)
    positions = TestCase.objects.values_list("position", flat=True)
    assert sorted(positions) == list(range(7))
