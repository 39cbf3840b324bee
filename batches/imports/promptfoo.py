"""promptfoo's files: a configuration or a list of tests in YAML, or tests in CSV. Pure.

Source: promptfoo's documentation of configurations, test cases and assertions.
"""

import re

from batches.imports import promptfoo_csv, promptfoo_yaml
from batches.imports.files import Options, Parsed, text_of

# How YAML begins that is a mapping, a list, or JSON; a header of CSV does not.
_YAML = re.compile(r"(?:---|%|-(?:\s|$)|[\[{]|[\w$-]+\s*:(?:\s|$))")
_COMMENT = re.compile(r"(?:\s*+(?:#[^\n]*)?(?:\n|$))*+", re.ASCII)


def parse(content: bytes | str, options: Options | None = None) -> Parsed:
    """Return the cases of a file, one for each test, prompt and combination of listed variables.

    Raises:
        ImportRefused: something is wrong, or would run code, or there is no case.
    """
    text = text_of(content)
    read = promptfoo_yaml.parse if is_yaml(text) else promptfoo_csv.parse
    return read(text, options or Options())


def is_yaml(text: str) -> bool:
    """Return whether `text` begins like YAML and not like the header of a table."""
    start = _COMMENT.match(text)
    return _YAML.match(text, start.end() if start else 0) is not None
