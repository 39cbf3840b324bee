"""Two texts, word by word."""

from hypothesis import given
from hypothesis import strategies as st

from evalsched.text_differences import pieces


def test_words_that_changed_are_taken_out_and_put_in() -> None:
    assert [tuple(piece) for piece in pieces("The sky is blue.", "The sky was blue.")] == [
        ("same", "The sky "),
        ("gone", "is"),
        ("new", "was"),
        ("same", " blue."),
    ]


_TEXTS = st.lists(st.sampled_from(["a", "b", " ", "\n", "ä", ".", "word"])).map("".join)


@given(_TEXTS, _TEXTS)
def test_both_texts_can_be_read_from_the_pieces(old: str, new: str) -> None:
    found = pieces(old, new)

    assert "".join(piece.text for piece in found if piece.kind != "new") == old
    assert "".join(piece.text for piece in found if piece.kind != "gone") == new


def test_very_long_texts_are_compared_by_their_lines() -> None:
    lines = [f"word {number}\n" for number in range(15_000)]
    changed = [*lines[:7], "another\n", *lines[8:]]

    found = pieces("".join(lines), "".join(changed))

    assert [(piece.kind, piece.text) for piece in found if piece.kind != "same"] == [
        ("gone", "word 7\n"),
        ("new", "another\n"),
    ]
