"""From what came of a call to the job's result: scored, priced, and fit to be stored."""

from dataclasses import asdict

from alerts import prices
from alerts.prices import Prices
from batches import calls, scoring
from batches.cases import CaseDraft
from batches.grading import Graded
from batches.models import JobOutcome
from batches.providers.base import ErrorClass
from batches.providers.text import clean
from batches.results import Claim, Result

# From so many characters on every answer takes long to score.
HEAVY_CHARACTERS = 20_000
# Not the model's own doing.
ENDPOINTS_FAULT = {ErrorClass.INFRA, ErrorClass.REJECTED}


def result_of(
    claim: Claim,
    case: CaseDraft,
    outcome: calls.Outcome,
    prices_of_endpoint: Prices,
    graded: Graded,
) -> Result:
    """Score an outcome, with what others found about it.

    A model that declined or took too long scores 0; a broken endpoint leaves the score alone.
    """
    answer = outcome.answer
    if answer is None:
        at_fault = outcome.error_class in ENDPOINTS_FAULT
        return Result(
            claim,
            JobOutcome.ERROR if at_fault else JobOutcome.FAILED,
            attempts=outcome.attempts,
            wall_ms=outcome.wall_ms,
            weight=case.weight,
            score=None if at_fault else 0.0,
            error_class=outcome.error_class or "",
            error_message=clean(outcome.error),
        )
    priced = prices.priced(
        prices_of_endpoint,
        input_tokens=answer.input_tokens,
        output_tokens=answer.output_tokens,
        cached_tokens=answer.cached_tokens or 0,
        written_tokens=answer.written_tokens or 0,
    )
    scored = scoring.score(
        scoring.effective(case.assertions, case.expected),
        scoring.Answer(answer.output, answer.latency_ms, priced.cost),
        variables=case.variables,
        threshold=case.threshold,
        found=graded.found,
    )
    return Result(
        claim,
        outcome_of(scored.passed),
        attempts=outcome.attempts,
        wall_ms=round(outcome.wall_ms, 3),
        weight=case.weight,
        output=answer.output,
        score=scored.score,
        assertions=[asdict(item) for item in scored.assertions],
        latency_ms=round(answer.latency_ms, 3),
        ttft_ms=None if answer.ttft_ms is None else round(answer.ttft_ms, 3),
        input_tokens=answer.input_tokens,
        cached_tokens=answer.cached_tokens,
        output_tokens=answer.output_tokens,
        cost=priced.cost,
        prices=None if priced.prices is None else priced.prices.as_json(),
        cost_unknown_because=priced.unknown_because,
        judge_cost=None if graded.unpriced else graded.cost,
        judge_unpriced=graded.unpriced,
        judge_failure=graded.failure,
    )


def takes_long(case: CaseDraft, outcome: calls.Outcome) -> bool:
    """Return whether scoring may take so long that the loop should not wait for it."""
    if outcome.answer is None:
        return False
    assertions = scoring.effective(case.assertions, case.expected)
    return len(outcome.answer.output) >= HEAVY_CHARACTERS or scoring.is_slow(assertions)


def outcome_of(passed: bool | None) -> JobOutcome:
    if passed is None:
        return JobOutcome.UNSCORED
    return JobOutcome.PASSED if passed else JobOutcome.FAILED
