"""Sensitive values: hidden at any depth, put back where their mask is sent again."""

from typing import Any

import pytest

from access.errors import Invalid
from evalsched import masks

MASKED = {"api_key", "API_KEY", "apiKey", "Api-Key", "token", "Password", "SECRET", "Authorization"}


@pytest.mark.parametrize("key", sorted(MASKED))
def test_these_keys_are_always_sensitive_in_any_case(key: str) -> None:
    shown = masks.masked({key: "s3cret", "a": {"b": [{key: "s3cret"}]}})

    assert "s3cret" not in str(shown)
    assert masks.is_mask(shown[key])
    assert shown["a"]["b"][0][key] == shown[key]


def test_what_is_not_sensitive_is_shown_as_it_is() -> None:
    plain = {"prompt": "Say hello.", "max_tokens": 5, "tokens": 7, "stop": ["a", None], "n": {}}

    assert masks.masked(plain) == plain
    assert not masks.any_in(plain)


def test_the_client_names_further_keys_which_are_shown_themselves() -> None:
    shown = masks.masked({"sensitive": ["tenant", "X-Key"], "a": {"TENANT": "t"}, "x_key": "x"})

    assert shown["sensitive"] == ["tenant", "X-Key"]
    assert masks.is_mask(shown["a"]["TENANT"])
    assert masks.is_mask(shown["x_key"])


@pytest.mark.parametrize("value", [7, 0.5, ["a", "b"], {"deep": {"er": 1}}], ids=str)
def test_a_value_of_any_type_is_masked_whole(value: Any) -> None:
    shown = masks.masked({"secret": value})

    assert masks.is_mask(shown["secret"])
    assert masks.restored(shown, {"secret": value}) == {"secret": value}


@pytest.mark.parametrize("value", [None, "", True, False, [], {}], ids=repr)
def test_where_there_is_nothing_to_hide_nothing_is_hidden(value: Any) -> None:
    assert masks.masked({"secret": value}) == {"secret": value}


def test_masks_tell_values_apart_and_give_nothing_away() -> None:
    first, second, again = (
        masks.masked({"token": value})["token"] for value in ("alpha", "beta", "alpha")
    )

    assert first == again != second
    assert len(first) == len(second)


def test_masks_that_are_sent_back_keep_their_values() -> None:
    stored = {"api_key": "A", "headers": {"Authorization": "B"}, "x": 1}

    assert masks.restored(masks.masked(stored) | {"x": 2}, stored) == stored | {"x": 2}


def test_a_value_is_found_again_wherever_its_key_has_moved() -> None:
    stored = {"servers": [{"token": "A"}, {"token": "B"}, {"token": "C"}]}
    first, second, third = masks.masked(stored)["servers"]

    moved = {"only": third, "servers": [second], "Token": first["token"]}

    assert masks.restored(moved, stored) == {
        "only": {"token": "C"},
        "servers": [{"token": "B"}],
        "Token": "A",
    }


def test_a_new_value_takes_the_place_of_the_old_one() -> None:
    assert masks.restored({"token": "new"}, {"token": "old"}) == {"token": "new"}


@pytest.mark.parametrize(
    ("given", "place"),
    [
        ({"token": "********00000000"}, "p.token"),
        ({"token": "********"}, "p.token"),
        ({"a": [{"secret": "{mask}"}]}, "p.a[0].secret"),
        ({"prompt": "{mask}"}, "p.prompt"),
        ({"messages": [{"content": "{mask}"}]}, "p.messages[0].content"),
    ],
    ids=["of nothing", "bare", "under another key", "as a prompt", "in a message"],
)
def test_a_mask_that_keeps_nothing_is_refused_at_its_place(
    given: dict[str, Any], place: str
) -> None:
    stored = {"token": "old"}
    mask = masks.masked(stored)["token"]

    def filled(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: filled(inner) for key, inner in value.items()}
        if isinstance(value, list):
            return [filled(inner) for inner in value]
        return value.replace("{mask}", mask)

    with pytest.raises(Invalid) as caught:
        masks.restored(filled(given), stored, path="p")

    assert list(caught.value.details) == [place]
    assert "old" not in caught.value.message


def test_a_key_that_is_sensitive_no_more_gets_no_value_back() -> None:
    stored = {"sensitive": ["tenant"], "tenant": "T"}
    shown = masks.masked(stored)

    with pytest.raises(Invalid, match="sensitive key"):
        masks.restored({"tenant": shown["tenant"]}, stored)
