"""What a call cost, from its tokens and the prices of its model."""

from dataclasses import dataclass
from decimal import Decimal

_MILLION = Decimal(1_000_000)


@dataclass(frozen=True)
class Prices:
    """USD per million tokens; None is unknown. Cached input without a price costs as input."""

    input: Decimal | None
    output: Decimal | None
    cached_input: Decimal | None = None


def cost(
    prices: Prices, *, input_tokens: int | None, output_tokens: int | None, cached_tokens: int = 0
) -> Decimal | None:
    """Return the cost in USD, or None where a price or a count it needs is unknown.

    `input_tokens` include the cached ones.
    """
    if prices.input is None or prices.output is None:
        return None
    if input_tokens is None or output_tokens is None:
        return None
    cached = min(cached_tokens, input_tokens)
    cached_price = prices.input if prices.cached_input is None else prices.cached_input
    total = (
        (input_tokens - cached) * prices.input
        + cached * cached_price
        + output_tokens * prices.output
    )
    return total / _MILLION
