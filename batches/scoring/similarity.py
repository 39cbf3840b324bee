"""The assertion about closeness in meaning, from vectors that an embedding model gave. Pure."""

import math
from collections.abc import Sequence

from batches.scoring import fields
from batches.scoring.assertions import Answer, Assertion, Finding, Kind
from batches.scoring.overlaps import graded, references
from batches.scoring.rubrics import unasked

# promptfoo's, for whoever gives no threshold.
DEFAULT_SIMILARITY = 0.75

Vector = Sequence[float]


def similar(
    assertion: Assertion, answer: Answer, output: Vector, wanted: Sequence[Vector]
) -> Finding:
    """Score the cosine of the output and the closest reference, at least 0."""
    cosines = [_cosine(output, vector) for vector in wanted]
    known = [cosine for cosine in cosines if cosine is not None]
    if not known:
        return Finding.unscored("an embedding is zero and has no direction")
    return graded("the similarity", max(known), assertion, answer, default=DEFAULT_SIMILARITY)


def _cosine(one: Vector, other: Vector) -> float | None:
    """Return the cosine of two equally long vectors, None where one has no direction."""
    # Scaled first: squares of huge or tiny numbers would leave the range of doubles.
    largest, other_largest = max(map(abs, one)), max(map(abs, other))
    if not largest or not other_largest:
        return None
    first = [value / largest for value in one]
    second = [value / other_largest for value in other]
    product = math.fsum(a * b for a, b in zip(first, second, strict=True))
    return product / (math.hypot(*first) * math.hypot(*second))


KINDS = {"similar": Kind(unasked, references, fields.share, asks=True)}
