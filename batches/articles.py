"""The text of what an address answers: an article out of HTML, or text as it is. Pure."""

from dataclasses import dataclass
from typing import Any

from access.errors import Invalid
from batches.providers.text import clean

_HTML = {"text/html", "application/xhtml+xml"}
_TEXT = {"text/plain", "text/markdown", "text/csv", "application/json"}


@dataclass(frozen=True)
class Article:
    """What was found. `title` is empty where the source has none."""

    title: str
    text: str


def read(body: bytes, content_type: str) -> Article:
    """Return the article's text, without menus and footers.

    Raises:
        Invalid: another kind of content, nothing to read in it, or not the text it says it is.
    """
    kind, _, rest = content_type.partition(";")
    kind = kind.strip().lower()
    if kind in _HTML:
        # Much to load, for whoever does read pages.
        import trafilatura

        # A Document where the arguments ask for no dictionary.
        found: Any = trafilatura.bare_extraction(body, with_metadata=True, include_comments=False)
        title, text = (found.title or "", found.text or "") if found else ("", "")
    elif kind in _TEXT:
        title, text = "", _decoded(body, rest)
    else:
        known = ", ".join(sorted(_HTML | _TEXT))
        raise Invalid(f"It answered with {kind or 'no content type'}; what can be read is {known}.")
    text = clean(text).strip()
    if not text:
        raise Invalid("There is no article text in it.")
    return Article(clean(title).strip(), text)


def _decoded(body: bytes, parameters: str) -> str:
    name = "utf-8"
    for parameter in parameters.split(";"):
        key, _, value = parameter.partition("=")
        if key.strip().lower() == "charset":
            name = value.strip().strip("\"'")
    try:
        return body.decode(name)
    except (LookupError, UnicodeDecodeError):
        raise Invalid(f"Its text is not {name[:40]} as it says.") from None
