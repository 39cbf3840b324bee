"""Scoring an answer: every assertion by its scorer, then the case from its assertions."""

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from types import MappingProxyType

from access.errors import Invalid
from batches.scoring import patience, registry, templates
from batches.scoring.assertions import Answer, Assertion, AssertionScore, CaseScore, Finding
from batches.scoring.complaints import shown
from batches.scoring.templates import Scalar

# A mean that equals the threshold on paper may miss it in binary: 0.1 + 0.2 against 0.3.
_ROUNDING = 1e-9


def effective(assertions: Sequence[Assertion], expected: str | None) -> tuple[Assertion, ...]:
    """Return what a case is scored by: its assertions, or where it has none, its `expected`.

    `expected` alone means: the answer equals it, white space around either aside.
    """
    if assertions or expected is None:
        return tuple(assertions)
    return (Assertion("equals", expected, trimmed=True),)


def score(
    assertions: Sequence[Assertion],
    answer: Answer,
    *,
    variables: Mapping[str, Scalar],
    threshold: float | None,
    found: Mapping[int, Finding] = MappingProxyType({}),
) -> CaseScore:
    """Return how `answer` did. Raises for no answer, however long or strange.

    `found` holds what other models found, by the place of the assertion that `questions` gave.

    The score is the weighted mean. The case passes if every assertion with a weight passes or,
    where it has a `threshold`, if the score reaches it. It is unscored (None, None) without
    assertions, or when one with a weight could not be scored: a missing figure is not a wrong one.
    """
    with patience.limited():
        scores = tuple(
            _scored(assertion, answer, variables, found.get(place))
            for place, assertion in enumerate(assertions)
        )
    # promptfoo's rule: weight 0 is for the record only.
    deciding = [item for item in scores if item.weight > 0]
    known = [item.score for item in deciding if item.score is not None]
    if not deciding or len(known) < len(deciding):
        return CaseScore(None, None, scores)
    total = math.fsum(item.weight for item in deciding)
    weighted = math.fsum(item.weight * value for item, value in zip(deciding, known, strict=True))
    mean = min(weighted / total, 1.0)
    if threshold is None:
        return CaseScore(mean, all(item.passed for item in deciding), scores)
    return CaseScore(mean, mean >= threshold - _ROUNDING, scores)


def questions(
    assertions: Sequence[Assertion], variables: Mapping[str, Scalar]
) -> Iterator[tuple[int, Assertion]]:
    """Yield the assertions that another model has to be asked about, filled, with their places.

    Those that cannot be filled are left to `score`, which says why.
    """
    for place, assertion in enumerate(assertions):
        if registry.kind(assertion.type).asks:
            with suppress(Invalid):
                filled = _filled(assertion, variables)
                if filled.value != "":
                    yield place, filled


def is_slow(assertions: Sequence[Assertion]) -> bool:
    """Return whether scoring may take so long that it should not hold up a loop."""
    return any(registry.kind(assertion.type).slow for assertion in assertions)


def _filled(assertion: Assertion, variables: Mapping[str, Scalar]) -> Assertion:
    return replace(assertion, value=templates.fill_all(assertion.value, variables))


def _scored(
    assertion: Assertion,
    answer: Answer,
    variables: Mapping[str, Scalar],
    finding: Finding | None = None,
) -> AssertionScore:
    filled = assertion
    try:
        filled = _filled(assertion, variables)
    except Invalid as refusal:
        # An agent's assertion may name a variable that this case does not have.
        finding = Finding.unscored(refusal.message.removesuffix("."))
    if finding is None:
        finding = _found(filled, answer)
    passed, value = finding.passed, finding.score
    if assertion.negated and passed is not None and value is not None:
        passed, value = not passed, 1 - value
    return AssertionScore(
        type=assertion.type,
        metric=assertion.metric,
        passed=passed,
        score=value,
        weight=assertion.weight,
        reason=f"Expected {_claim(filled)}; {finding.came}.",
    )


def _found(assertion: Assertion, answer: Answer) -> Finding:
    # Every text contains an empty one: a value that its variables left empty would always pass.
    if assertion.value == "" and assertion.base not in ("equals", "levenshtein"):
        return Finding.unscored("the value is empty once its variables are filled in")
    try:
        patience.check()
        return registry.kind(assertion.type).scorer(assertion, answer)
    except patience.OutOfTime:
        return Finding.unscored("scoring this answer takes too long")


def _claim(assertion: Assertion) -> str:
    """Return the assertion as a piece of a sentence: `contains "Paris"`, `latency <= 500`."""
    if assertion.value is not None:
        return f"{assertion.type} {shown(assertion.value)}"
    threshold = assertion.threshold
    return assertion.type if threshold is None else f"{assertion.type} <= {threshold}"
