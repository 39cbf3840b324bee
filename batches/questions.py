"""What claimed jobs ask: their cases or documents, read in one go, or their batch's request."""

from collections.abc import Collection, Sequence
from dataclasses import replace
from typing import Any

from batches import scoring, suites
from batches.cases import CaseDraft, Message
from batches.claims import note_content
from batches.models import Document, DocumentStatus, TestCase
from batches.results import Claim
from batches.scoring import Assertion


def read(
    claims: Collection[Claim],
    assertions: Sequence[Assertion] = (),
    messages: Sequence[Message] = (),
) -> dict[int, CaseDraft]:
    """Return what each claimed job asks, by job; those whose question is gone are left out.

    Cases never change. A document may, so the job is given the hash of the content it asks.

    `assertions` are the agent's: they hold for every answer, beside the case's own. `messages` are
    those of a batch that is one request.
    """
    if messages:
        return {claim.job_id: _of_request(messages) for claim in claims}
    cases = TestCase.objects.in_bulk({claim.case_id for claim in claims if claim.case_id})
    wanted = {claim.document_id for claim in claims if claim.document_id}
    ready = Document.objects.filter(status=DocumentStatus.READY)
    documents = ready.in_bulk(wanted) if wanted else {}
    if documents:
        asked = [claim for claim in claims if claim.document_id in documents]
        note_content({claim: documents[claim.document_id].content_hash for claim in asked})
    found = {}
    for claim in claims:
        if claim.case_id in cases:
            found[claim.job_id] = of_case(cases[claim.case_id], assertions)
        elif claim.document_id in documents:
            found[claim.job_id] = _of_document(documents[claim.document_id], assertions)
    return found


def of_case(case: TestCase, assertions: Sequence[Assertion]) -> CaseDraft:
    """Return the case with `assertions` beside its own."""
    draft = suites.draft_of(case)
    if not assertions:
        return draft
    own = scoring.effective(draft.assertions, draft.expected)
    return replace(draft, assertions=(*own, *assertions))


def _of_document(document: Document, assertions: Sequence[Assertion]) -> CaseDraft:
    """The document is the user's message, and no template: it comes in as a variable."""
    return CaseDraft(
        **_PLAIN,
        key=document.title[:128],
        prompt="{{ document }}",
        messages=None,
        variables={"document": document.content},
        assertions=tuple(assertions),
    )


def _of_request(messages: Sequence[Message]) -> CaseDraft:
    """Each message is asked as it is, and no template: it comes in as a variable."""
    names = [f"message {number}" for number, _ in enumerate(messages)]
    return CaseDraft(
        **_PLAIN,
        key="request",
        prompt=None,
        messages=[
            Message(role=turn["role"], content=f"{{{{ {name} }}}}")
            for name, turn in zip(names, messages, strict=True)
        ],
        variables={name: turn["content"] for name, turn in zip(names, messages, strict=True)},
        assertions=(),
    )


# What only cases have.
_PLAIN: dict[str, Any] = {
    "expected": None,
    "tags": (),
    "weight": 1,
    "threshold": None,
    "metadata": {},
}
