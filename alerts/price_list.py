"""Prices of models that nobody has entered: the maintained list, read offline."""

from datetime import UTC, date, datetime
from decimal import Decimal
from functools import lru_cache
from typing import NamedTuple

_PROBE = 1000


class Rates(NamedTuple):
    """USD per token."""

    input: Decimal
    cached: Decimal
    written: Decimal
    output: Decimal


class Usage(NamedTuple):
    """`input` includes the cached and the written tokens, `output` the reasoning."""

    input: int
    output: int
    cached: int = 0
    written: int = 0


def cost(provider: str, model: str, usage: Usage, *, on: date) -> Decimal | None:
    """Return the cost in USD, or None where the list does not know the model.

    Dearer rates for very long prompts are left out of account.
    """
    rates = _rates(provider, model, on)
    if rates is None:
        return None
    cached = min(usage.cached, usage.input)
    written = min(usage.written, usage.input - cached)
    return (
        (usage.input - cached - written) * rates.input
        + cached * rates.cached
        + written * rates.written
        + usage.output * rates.output
    )


@lru_cache(maxsize=4096)
def _rates(provider: str, model: str, on: date) -> Rates | None:
    # It takes 0.3 s and 90 MB, so only processes that meet a span without a cost load it.
    import genai_prices

    def price(**tokens: int) -> Decimal:
        asked = genai_prices.calc_price(
            genai_prices.Usage(**tokens),
            model_ref=model,
            provider_id=provider or None,
            genai_request_timestamp=datetime(on.year, on.month, on.day, 12, tzinfo=UTC),
        )
        return Decimal(asked.total_price) / _PROBE

    try:
        return Rates(
            input=price(input_tokens=_PROBE),
            cached=price(input_tokens=_PROBE, cache_read_tokens=_PROBE),
            written=price(input_tokens=_PROBE, cache_write_tokens=_PROBE),
            output=price(output_tokens=_PROBE),
        )
    except (LookupError, ValueError):
        return None
