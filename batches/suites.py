"""Test suites and their versions. A case is never edited: its row is removed and another added."""

import hashlib
import itertools
import json
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

from django.db import IntegrityError, transaction
from django.db.models import Max

from access import audit, rows
from access.actors import Actor
from access.errors import Invalid
from batches import case_rows, cases
from batches.cases import CaseDraft
from batches.models import TestCase, TestSuite
from batches.scoring.fields import settled
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


@dataclass(frozen=True)
class Preview:
    """What an import would do, and of the first cases what would become of each.

    That is `added`, `changed` or `unchanged`.
    """

    outcome: Import
    first: list[tuple[str, CaseDraft]]


@dataclass(frozen=True)
class _Plan:
    """Which drafts are new, which take a row's place, and which rows go for good."""

    fresh: list[CaseDraft]
    edited: list[CaseDraft]
    unchanged: int
    # The rows of `edited`, by key, and of what is removed.
    replaced: dict[str, tuple[uuid.UUID, int]]
    removed: list[uuid.UUID]

    @property
    def changes(self) -> bool:
        return bool(self.fresh or self.edited or self.removed)

    def outcome(self, version: int) -> Import:
        return Import(
            added=len(self.fresh),
            changed=len(self.edited),
            removed=len(self.removed),
            unchanged=self.unchanged,
            version=version,
        )


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
        plan = _plan(suite, drafts, replace=replace)
        if plan.changes:
            _next_version(suite, plan)
            audit.record(
                actor,
                "suite.cases_changed",
                suite,
                {"version": suite.version, "added": len(plan.fresh), "changed": len(plan.edited)},
            )
        return plan.outcome(suite.version)


def preview(
    suite: TestSuite, drafts: Sequence[CaseDraft], *, replace: bool = False, shown: int = 10
) -> Preview:
    """Return what `put` would do at this moment, and change nothing.

    Raises:
        Invalid: `put` would refuse.
    """
    _refuse_repeated_keys(drafts)
    plan = _plan(suite, drafts, replace=replace)
    fate = dict.fromkeys((draft.key for draft in plan.fresh), "added")
    fate |= dict.fromkeys(plan.replaced, "changed")
    return Preview(
        plan.outcome(suite.version + plan.changes),
        [(fate.get(draft.key, "unchanged"), draft) for draft in drafts[:shown]],
    )


def remove(actor: Actor, suite: TestSuite, case: TestCase) -> None:
    """Take a case out of the suite, in a new version. Earlier versions keep it."""
    with transaction.atomic():
        suite = rows.locked(suite)
        if TestCase.objects.filter(pk=case.pk).current().exists():
            _next_version(suite, _Plan([], [], 0, {}, [case.pk]))
            audit.record(actor, "suite.case_removed", suite, {"key": case.key})


def draft_of(case: TestCase) -> CaseDraft:
    """Return the stored case as the value that can be rendered, scored and exported."""
    return cases.draft({name: getattr(case, name) for name in cases.FIELDS})


def exported(
    suite: TestSuite, acting: Callable[[], AbstractContextManager[None]] = nullcontext
) -> Iterator[CaseDraft]:
    """Yield the cases of the version that `suite` was read in, in their order.

    Each page is read in a transaction of its own, opened by `acting`: whoever reads slowly holds
    nothing, and since rows are never edited the pages are of one version all the same.
    """
    of_version = TestCase.objects.filter(suite=suite).of_version(suite.version)
    last = -1
    while True:
        with acting():
            page = list(of_version.filter(position__gt=last).order_by("position")[:_CHUNK])
        yield from map(draft_of, page)
        if len(page) < _CHUNK:
            return
        last = page[-1].position


def _plan(suite: TestSuite, drafts: Sequence[CaseDraft], *, replace: bool) -> _Plan:
    """Compare drafts with the suite's current cases.

    Raises:
        Invalid: there would be too many cases.
    """
    current = {
        key: (pk, position, _seen(content_hash, tags, metadata))
        for pk, key, position, content_hash, tags, metadata in TestCase.objects.filter(suite=suite)
        .current()
        .order_by()
        .values_list("pk", "key", "position", "content_hash", "tags", "metadata")
        .iterator(chunk_size=_CHUNK)
    }
    fresh, edited, replaced = [], [], {}
    for draft in drafts:
        row = current.pop(draft.key, None)
        if row is None:
            fresh.append(draft)
        elif row[2] != _seen(cases.content_hash(draft), list(draft.tags), draft.metadata):
            edited.append(draft)
            replaced[draft.key] = row[:2]
    kept = 0 if replace else len(current)
    if len(drafts) + kept > MAX_CASES:
        raise Invalid(f"A suite holds at most {MAX_CASES:,} cases.")
    removed = [pk for pk, _, _ in current.values()] if replace else []
    return _Plan(fresh, edited, len(drafts) - len(fresh) - len(edited), replaced, removed)


def _seen(content_hash: str, tags: list[str], metadata: object) -> tuple[str, str]:
    """Return what differs where storing a case again would change what anybody can see."""
    shown = json.dumps([tags, settled(metadata)], sort_keys=True)
    return content_hash, shown


def _next_version(suite: TestSuite, plan: _Plan) -> None:
    """Write version + 1. The suite's row is locked by the caller."""
    suite.version += 1
    gone = [*plan.removed, *(pk for pk, _ in plan.replaced.values())]
    for start in range(0, len(gone), _CHUNK):
        chunk = TestCase.objects.filter(pk__in=gone[start : start + _CHUNK])
        chunk.update(removed_in=suite.version)
    highest = TestCase.objects.filter(suite=suite).aggregate(Max("position", default=-1))
    ends = itertools.count(highest["position__max"] + 1)
    placed = itertools.chain(
        ((draft, plan.replaced[draft.key][1]) for draft in plan.edited),
        zip(plan.fresh, ends, strict=False),
    )
    while page := list(itertools.islice(placed, _CHUNK)):
        case_rows.insert(suite, page)
    hashed, count = hashlib.sha256(), 0
    pairs = TestCase.objects.filter(suite=suite).current().order_by("position")
    for key, content_hash in pairs.values_list("key", "content_hash").iterator(chunk_size=_CHUNK):
        hashed.update(("\n" if count else "").encode() + f"{key} {content_hash}".encode())
        count += 1
    suite.case_count = count
    suite.content_hash = hashed.hexdigest()
    suite.save(update_fields=["version", "case_count", "content_hash", "updated_at"])


def _refuse_repeated_keys(drafts: Sequence[CaseDraft]) -> None:
    seen: set[str] = set()
    for index, draft in enumerate(drafts):
        if draft.key in seen:
            raise Invalid.field(f"cases[{index}].key", f"The key '{draft.key}' occurs twice.")
        seen.add(draft.key)
