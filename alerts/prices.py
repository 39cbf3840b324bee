"""What a call cost, from its tokens and the prices of its model."""

from dataclasses import dataclass, replace
from datetime import datetime
from decimal import Decimal
from functools import lru_cache
from typing import Any

_MILLION = Decimal(1_000_000)
# Prices change by the day at most, and a process lives for hours.
_REMEMBERED = 512


@dataclass(frozen=True)
class Prices:
    """USD per million tokens; None is unknown.

    Input that a cache gave or took, and that has no price of its own, costs as input does.
    `source` says whose they are: `endpoint` for those that somebody entered, `list` for those of
    the maintained list. Some models cost more for long inputs: `above` holds the number of input
    tokens beyond which other prices hold for the whole call, in rising order.
    """

    input: Decimal | None
    output: Decimal | None
    cached_input: Decimal | None = None
    written_input: Decimal | None = None
    source: str = "endpoint"
    unknown_because: str = ""
    above: "tuple[tuple[int, Prices], ...]" = ()

    def of_input(self, input_tokens: int) -> "Prices":
        """Return the prices that hold for a call with so many input tokens."""
        held = self
        for start, prices in self.above:
            if input_tokens > start:
                held = prices
        return held

    def as_json(self) -> dict[str, str | None]:
        """Return what is kept with a result: decimal strings, and whose prices they are."""
        named = {"input": self.input, "cached_input": self.cached_input, "output": self.output}
        written = {
            name: None if price is None else f"{price.normalize():f}"
            for name, price in named.items()
        }
        return {**written, "source": self.source}


@dataclass(frozen=True)
class Priced:
    """What a call cost in USD, by which prices; `cost` is None where it is unknown, with why."""

    cost: Decimal | None
    prices: Prices | None = None
    unknown_because: str = ""


def cost(
    prices: Prices,
    *,
    input_tokens: int | None,
    output_tokens: int | None,
    cached_tokens: int = 0,
    written_tokens: int = 0,
) -> Decimal | None:
    """Return the cost in USD, or None where a price or a count it needs is unknown.

    The tokens are counted as in `priced`.
    """
    return priced(
        prices,
        input_tokens=input_tokens,
        output_tokens=output_tokens,
        cached_tokens=cached_tokens,
        written_tokens=written_tokens,
    ).cost


def priced(
    prices: Prices,
    *,
    input_tokens: int | None,
    output_tokens: int | None,
    cached_tokens: int = 0,
    written_tokens: int = 0,
) -> Priced:
    """Return the cost with the prices it was made with, or with the reason why it is unknown.

    `input_tokens` include those that were read from a cache and those that were written into one.
    Where there is no output, as of embeddings, its price need not be known.
    """
    if prices.input is None or (prices.output is None and output_tokens != 0):
        return Priced(None, unknown_because=prices.unknown_because or "The price is unknown.")
    if input_tokens is None or output_tokens is None:
        return Priced(None, unknown_because="The server did not say how many tokens it counted.")
    held = prices.of_input(input_tokens)
    if held.input is None or (held.output is None and output_tokens):
        return Priced(None, unknown_because="The price of inputs as long as this is unknown.")
    cached = min(cached_tokens, input_tokens)
    written = min(written_tokens, input_tokens - cached)
    cached_price = held.input if held.cached_input is None else held.cached_input
    written_price = held.input if held.written_input is None else held.written_input
    total = (
        (input_tokens - cached - written) * held.input
        + cached * cached_price
        + written * written_price
        + output_tokens * (held.output or 0)
    )
    return Priced(total / _MILLION, held)


def listed(
    model: str, base_url: str | None = None, *, provider: str | None = None, at: datetime
) -> Prices:
    """Return what the maintained price list has for `model` on the server of `base_url`.

    Where the server is not known, its provider's name says whose model it is, or the model's alone.
    The list is that of the installed genai-prices: nothing is asked over the network. A server
    that it does not know is nobody's idea of a price, whatever its models are called.
    """
    return _listed(model, base_url, provider, at.replace(minute=0, second=0, microsecond=0))


@lru_cache(maxsize=_REMEMBERED)
def _listed(model: str, base_url: str | None, provider: str | None, at: datetime) -> Prices:
    # It takes 0.4 s, so only processes pay for it that need it.
    from genai_prices import Usage, calc_price

    whose: dict[str, Any] = (
        {"provider_api_url": base_url} if base_url is not None else {"provider_id": provider}
    )
    try:
        found = calc_price(
            Usage(), model_ref=model, genai_request_timestamp=at, **whose
        ).model_price
    except LookupError:
        return Prices(
            None,
            None,
            source="list",
            unknown_because=(
                "The price list does not know this server and model; set the endpoint's prices."
            ),
        )
    if getattr(found, "requests_kcount", None):
        why = "This model is also paid by the request; set the endpoint's prices."
        return Prices(None, None, source="list", unknown_because=why)
    base = _table(found, 0)
    why = ""
    if base.input is None or base.output is None:
        why = "The price list has no price per token for this model; set the endpoint's prices."
    parts = (found.input_mtok, found.output_mtok, found.cache_read_mtok, found.cache_write_mtok)
    starts = sorted({tier.start for price in parts for tier in getattr(price, "tiers", ())})
    above = tuple((start, _table(found, start + 1)) for start in starts)
    return replace(base, above=above, unknown_because=why)


def _table(found: Any, input_tokens: int) -> Prices:
    """Return the list's prices for a call with so many input tokens."""
    return Prices(
        input=_up_to(found.input_mtok, input_tokens),
        output=_up_to(found.output_mtok, input_tokens),
        cached_input=_up_to(found.cache_read_mtok, input_tokens),
        written_input=_up_to(found.cache_write_mtok, input_tokens),
        source="list",
    )


def _up_to(price: Any, input_tokens: int) -> Decimal | None:
    # Some of the list's prices have steps.
    if price is None or isinstance(price, Decimal):
        return price
    held: Decimal = price.base
    for tier in price.tiers:
        if input_tokens > tier.start:
            held = tier.price
    return held
