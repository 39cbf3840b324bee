"""Assertions about what an answer took: time and money. An unknown figure is never a wrong one."""

import math

from batches.scoring import fields
from batches.scoring.assertions import Answer, Assertion, Finding, Kind


def latency(assertion: Assertion, answer: Answer) -> Finding:
    """Pass when the answer took at most `threshold` milliseconds, without waiting and retries."""
    took = answer.latency_ms
    if took is None or not math.isfinite(took):
        return Finding.unscored("the latency is unknown")
    assert assertion.threshold is not None  # validated when it was saved
    return Finding.of(took <= assertion.threshold, f"it took {took:,.0f} ms")


def cost(assertion: Assertion, answer: Answer) -> Finding:
    """Pass when the answer cost at most `threshold` USD, compared as decimals."""
    price = answer.cost
    if price is None or not price.is_finite():
        return Finding.unscored("the cost is unknown, for want of a price or of a token count")
    assert assertion.threshold is not None  # validated when it was saved
    return Finding.of(price <= assertion.threshold, f"it cost {price.normalize():f} USD")


KINDS = {
    "latency": Kind(latency, fields.nothing, fields.milliseconds),
    "cost": Kind(cost, fields.nothing, fields.usd),
}
