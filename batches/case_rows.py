"""Writing the rows of cases, thousands in a statement. Knows nothing of which ones are to be."""

import json
from collections.abc import Iterable

from django.db import connection

from access.ids import uuid7
from batches import cases
from batches.cases import CaseDraft
from batches.models import TestSuite

# Through models it takes four times as long. COPY is refused under row-level security.
_INSERT = """
    INSERT INTO batches_testcase (
        id, project_id, user_id, created_at, suite_id, added_in, position, content_hash, key,
        prompt, messages, variables, expected, assertions, tags, weight, threshold, metadata
    )
    SELECT
        id, %s, %s, statement_timestamp(), %s, %s, position, content_hash, key,
        prompt, messages, variables, expected, assertions, tags, weight, threshold, metadata
    FROM jsonb_to_recordset(%s::jsonb) AS r(
        id uuid, position int, content_hash text, key text, prompt text, messages jsonb,
        variables jsonb, expected jsonb, assertions jsonb, tags text[], weight float8,
        threshold float8, metadata jsonb
    )
"""


def insert(suite: TestSuite, placed: Iterable[tuple[CaseDraft, int]]) -> None:
    """Add drafts at their positions to the suite's version, in one statement."""
    rows = [
        {
            "id": str(uuid7()),
            "position": position,
            "content_hash": cases.content_hash(draft),
            **draft.as_json(),
        }
        for draft, position in placed
    ]
    with connection.cursor() as cursor:
        cursor.execute(
            _INSERT,
            [suite.project_id, suite.user_id, suite.pk, suite.version, json.dumps(rows)],
        )
