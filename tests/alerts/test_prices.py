"""Prices: an endpoint's own, the maintained list's, and costs that are unknown with a reason."""

from datetime import UTC, datetime
from decimal import Decimal

import pytest
from genai_prices import Usage, calc_price
from hypothesis import given
from hypothesis import strategies as st

from alerts.prices import Prices, cost, listed, priced

NOW = datetime(2026, 3, 1, 12, 30, tzinfo=UTC)
OPENAI = "https://api.openai.com/v1"
GOOGLE = "https://generativelanguage.googleapis.com/v1beta/openai"
OWN = Prices(Decimal("1.5"), Decimal(6), Decimal("0.15"))


def test_cached_input_is_part_of_the_input() -> None:
    found = priced(OWN, input_tokens=1000, output_tokens=100, cached_tokens=400)

    # 600 at 1.5, 400 at 0.15 and 100 at 6 USD per million.
    assert found.cost == Decimal("0.00156")
    assert found.prices is OWN
    assert found.unknown_because == ""


def test_input_that_a_cache_takes_has_a_price_of_its_own() -> None:
    prices = Prices(Decimal(3), Decimal(15), Decimal("0.3"), Decimal("3.75"))

    found = priced(
        prices, input_tokens=1000, output_tokens=0, cached_tokens=400, written_tokens=500
    )

    # 100 at 3, 400 at 0.30 and 500 at 3.75 USD per million.
    assert found.cost == Decimal("0.002295")


def test_cached_input_without_a_price_costs_as_input() -> None:
    prices = Prices(Decimal(2), Decimal(6))

    assert cost(prices, input_tokens=10, output_tokens=0, cached_tokens=10) == Decimal("0.00002")


@pytest.mark.parametrize(
    ("prices", "tokens", "why"),
    [
        (Prices(None, Decimal(1)), (1, 1), "price is unknown"),
        (Prices(Decimal(1), None, unknown_because="Because."), (1, 1), "Because."),
        (Prices(Decimal(1), None), (1, None), "price is unknown"),
        (OWN, (None, 1), "how many tokens"),
        (OWN, (1, None), "how many tokens"),
    ],
)
def test_an_unknown_cost_has_a_reason_and_is_never_zero(
    prices: Prices, tokens: tuple[int | None, int | None], why: str
) -> None:
    found = priced(prices, input_tokens=tokens[0], output_tokens=tokens[1])

    assert found.cost is None
    assert found.prices is None
    assert why in found.unknown_because


def test_without_output_its_price_need_not_be_known() -> None:
    assert cost(Prices(Decimal(2), None), input_tokens=1000, output_tokens=0) == Decimal("0.002")


def test_a_model_that_the_list_prices_by_its_input_alone_costs_that() -> None:
    table = listed("text-embedding-3-small", OPENAI, at=NOW)

    embedded = priced(table, input_tokens=100_000, output_tokens=0)
    answered = priced(table, input_tokens=100_000, output_tokens=1)

    assert (embedded.cost, embedded.unknown_because) == (Decimal("0.002"), "")
    assert answered.cost is None
    assert "no price per token" in answered.unknown_because


def test_what_is_kept_says_the_prices_as_decimals_and_whose_they_are() -> None:
    assert OWN.as_json() == {
        "input": "1.5",
        "cached_input": "0.15",
        "output": "6",
        "source": "endpoint",
    }
    assert Prices(Decimal("1E+2"), None).as_json()["input"] == "100"


@given(
    st.sampled_from([("gpt-4o", OPENAI), ("gpt-4o-mini", OPENAI), ("gemini-2.5-pro", GOOGLE)]),
    st.integers(0, 500_000),
    st.integers(0, 500_000),
    st.integers(0, 10_000),
)
def test_the_lists_costs_are_the_lists(
    of: tuple[str, str], new: int, cached: int, output: int
) -> None:
    model, base_url = of
    usage = Usage(input_tokens=new + cached, cache_read_tokens=cached, output_tokens=output)
    wanted = calc_price(
        usage, model_ref=model, provider_api_url=base_url, genai_request_timestamp=NOW
    )

    found = priced(
        listed(model, base_url, at=NOW),
        input_tokens=new + cached,
        output_tokens=output,
        cached_tokens=cached,
    )

    assert found.cost == wanted.total_price
    assert found.prices is not None
    assert found.prices.source == "list"


def test_a_long_input_is_kept_with_the_prices_that_held_for_it() -> None:
    table = listed("gemini-2.5-pro", GOOGLE, at=NOW)

    short = priced(table, input_tokens=200_000, output_tokens=1)
    long = priced(table, input_tokens=200_001, output_tokens=1)

    assert short.prices is not None
    assert long.prices is not None
    assert short.prices.input is not None
    assert long.prices.input == 2 * short.prices.input


@pytest.mark.parametrize(
    ("model", "base_url", "why"),
    [
        ("gpt-4o", "https://models.example/v1", "does not know"),
        ("gpt-4o", "http://127.0.0.1:8000/v1", "does not know"),
        ("gpt-4o", "https://example.com/api.openai.com", "does not know"),
        ("no-such-model", OPENAI, "does not know"),
        ("sonar", "https://api.perplexity.ai", "by the request"),
        ("gpt-4o", "", "does not know"),
    ],
)
def test_a_server_or_model_that_the_list_does_not_know_has_no_price(
    model: str, base_url: str, why: str
) -> None:
    found = listed(model, base_url, at=NOW)

    assert (found.input, found.output) == (None, None)
    assert why in found.unknown_because
