"""What claimed jobs ask: their cases or documents, read from the database in one go."""

from collections.abc import Collection, Sequence
from dataclasses import replace

from batches import scoring, suites
from batches.cases import CaseDraft
from batches.claims import Claim
from batches.models import Document, DocumentStatus, TestCase
from batches.scoring import Assertion


def read(claims: Collection[Claim], assertions: Sequence[Assertion] = ()) -> dict[int, CaseDraft]:
    """Return what each claimed job asks, by job; those whose question is gone are left out.

    `assertions` are the agent's: they hold for every answer, beside the case's own.
    """
    cases = TestCase.objects.in_bulk({claim.case_id for claim in claims if claim.case_id})
    wanted = {claim.document_id for claim in claims if claim.document_id}
    ready = Document.objects.filter(status=DocumentStatus.READY)
    documents = ready.in_bulk(wanted) if wanted else {}
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
        key=document.title[:128],
        prompt="{{ document }}",
        messages=None,
        variables={"document": document.content},
        expected=None,
        assertions=tuple(assertions),
        tags=(),
        weight=1,
        threshold=None,
        metadata={},
    )
