"""Makes a model's text fit to be stored: PostgreSQL takes neither NUL nor lone surrogates."""


def clean(text: str) -> str:
    """Return `text` with its surrogate pairs joined, and NUL and lone surrogates replaced.

    JSON may spell one character as two escapes, and a stream may part them, so this is for the
    whole text, not for its pieces.
    """
    text = text.replace("\0", "\N{REPLACEMENT CHARACTER}")
    if not any("\ud800" <= char <= "\udfff" for char in text):
        return text
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
