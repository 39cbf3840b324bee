"""Test suites and their versions. A case is never edited: its row is removed and another added."""

import hashlib
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from django.db import IntegrityError, transaction

from access import audit, rows
from access.actors import Actor
from access.errors import Invalid
from batches import cases
from batches.cases import CaseDraft
from batches.models import TestCase, TestSuite
from batches.users import refuse_if_used

# What one batch can run in reasonable time, and one version be compared by.
MAX_CASES = 100_000
_CHUNK = 2_000
_NAME_TAKEN = Invalid.field("name", "A suite of this project has this name already.")


@dataclass(frozen=True)
class Import:
    """What an import did; `unchanged` cases keep their rows and their version."""

    added: int
    changed: int
    removed: int
    unchanged: int
    version: int


def create(actor: Actor, **fields: Any) -> TestSuite:
    suite = TestSuite(project=actor.project, user=actor.user, **fields)
    try:
        with transaction.atomic():
            suite.save(force_insert=True)
    except IntegrityError:
        raise _NAME_TAKEN from None
    audit.record(actor, "suite.created", suite, {"fields": sorted(fields)})
    return suite


def change(actor: Actor, suite: TestSuite, **fields: Any) -> TestSuite:
    try:
        with transaction.atomic():
            suite = rows.locked(suite)
            for name, value in fields.items():
                setattr(suite, name, value)
            # These alone: the version belongs to `put`.
            suite.save(update_fields=[*fields, "updated_at"])
    except IntegrityError:
        raise _NAME_TAKEN from None
    audit.record(actor, "suite.changed", suite, {"fields": sorted(fields)})
    return suite


def delete(actor: Actor, suite: TestSuite) -> None:
    """Delete a suite with its cases. What its batches found stays.

    Raises:
        Conflict: a schedule uses it.
    """
    refuse_if_used(suite)
    audit.record(actor, "suite.deleted", suite)
    suite.delete()


def find(project_id: uuid.UUID, suite_id: uuid.UUID, *, field: str = "test_suite_id") -> TestSuite:
    """Return the project's suite.

    Raises:
        Invalid: there is none of that id; `field` is the one to blame.
    """
    suite = TestSuite.objects.filter(project_id=project_id, pk=suite_id).first()
    if suite is None:
        raise Invalid.field(
            field, "There is no such test suite in this project. See /api/test-suites."
        )
    return suite


def put(
    actor: Actor, suite: TestSuite, drafts: Sequence[CaseDraft], *, replace: bool = False
) -> Import:
    """Bring cases into the suite by their keys, as one new version.

    A case whose content is unchanged keeps its row; another content takes its place. With
    `replace` the cases that are not among `drafts` are removed. Nothing changed: no new version.

    Raises:
        Invalid: two drafts share a key, or there would be too many cases.
    """
    _refuse_repeated_keys(drafts)
    with transaction.atomic():
        suite = rows.locked(suite)
        current = {case.key: case for case in TestCase.objects.filter(suite=suite).current()}
        wanted = {draft.key: draft for draft in drafts}
        fresh = [draft for draft in drafts if draft.key not in current]
        edited = [
            draft
            for draft in drafts
            if draft.key in current and not same(current[draft.key], draft)
        ]
        gone = [case.pk for key, case in current.items() if replace and key not in wanted]
        gone += [current[draft.key].pk for draft in edited]
        if len(current) - len(gone) + len(fresh) + len(edited) > MAX_CASES:
            raise Invalid(f"A suite holds at most {MAX_CASES:,} cases.")
        if fresh or gone:
            positions = {draft.key: current[draft.key].position for draft in edited}
            _next_version(suite, gone, [*edited, *fresh], positions)
            audit.record(
                actor,
                "suite.cases_changed",
                suite,
                {"version": suite.version, "added": len(fresh), "changed": len(edited)},
            )
        return Import(
            added=len(fresh),
            changed=len(edited),
            removed=len(gone) - len(edited),
            unchanged=len(drafts) - len(fresh) - len(edited),
            version=suite.version,
        )


def remove(actor: Actor, suite: TestSuite, case: TestCase) -> None:
    """Take a case out of the suite, in a new version. Earlier versions keep it."""
    with transaction.atomic():
        suite = rows.locked(suite)
        if TestCase.objects.filter(pk=case.pk).current().exists():
            _next_version(suite, [case.pk], [], {})
            audit.record(actor, "suite.case_removed", suite, {"key": case.key})


def draft_of(case: TestCase) -> CaseDraft:
    """Return the stored case as the value that can be rendered, scored and exported."""
    return cases.draft({name: getattr(case, name) for name in cases.FIELDS})


def same(case: TestCase, draft: CaseDraft) -> bool:
    """Whether storing `draft` would change nothing that anybody can see."""
    return (
        case.content_hash == cases.content_hash(draft)
        and case.tags == list(draft.tags)
        and case.metadata == draft.metadata
    )


def _next_version(
    suite: TestSuite,
    gone: Sequence[uuid.UUID],
    drafts: Sequence[CaseDraft],
    positions: dict[str, int],
) -> None:
    """Write version + 1. The suite's row is locked by the caller."""
    suite.version += 1
    TestCase.objects.filter(pk__in=gone).update(removed_in=suite.version)
    last = (
        TestCase.objects.filter(suite=suite).order_by("-position").values_list("position").first()
    )
    end = last[0] + 1 if last else 0
    fresh = []
    for draft in drafts:
        position = positions.get(draft.key)
        if position is None:
            position, end = end, end + 1
        fresh.append(_row(suite, draft, position))
    TestCase.objects.bulk_create(fresh, batch_size=_CHUNK)
    pairs = list(
        TestCase.objects.filter(suite=suite)
        .current()
        .order_by("position")
        .values_list("key", "content_hash")
    )
    suite.case_count = len(pairs)
    suite.content_hash = hashlib.sha256(
        "\n".join(f"{key} {content_hash}" for key, content_hash in pairs).encode()
    ).hexdigest()
    suite.save(update_fields=["version", "case_count", "content_hash", "updated_at"])


def _row(suite: TestSuite, draft: CaseDraft, position: int) -> TestCase:
    return TestCase(
        project_id=suite.project_id,
        user_id=suite.user_id,
        suite=suite,
        position=position,
        content_hash=cases.content_hash(draft),
        added_in=suite.version,
        **draft.as_json(),
    )


def _refuse_repeated_keys(drafts: Sequence[CaseDraft]) -> None:
    seen: set[str] = set()
    for index, draft in enumerate(drafts):
        if draft.key in seen:
            raise Invalid.field(f"cases[{index}].key", f"The key '{draft.key}' occurs twice.")
        seen.add(draft.key)
