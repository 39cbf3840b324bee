"""What promptfoo's tests have in common, in YAML and in CSV: their variables and names. Pure."""

from collections.abc import Mapping

from access.errors import Invalid
from batches.imports.expected import refuse_files
from batches.imports.naming import digest, key_from

_PROMPT = "prompt"


def check_variable(value: object) -> None:
    """Refuse a variable that promptfoo would not take as it stands: a file, or a template.

    Raises:
        Invalid: with what to do instead.
    """
    refuse_files(value)
    if isinstance(value, str) and ("{{" in value or "{%" in value):
        raise Invalid("A variable that holds a template is not supported: write its text out.")


def default_prompt(variables: Mapping[str, object]) -> str:
    """Return the template of tests that come without one: the variable `prompt`, or the only one.

    Raises:
        Invalid: there are several, and none of that name.
    """
    names = [_PROMPT] if _PROMPT in variables else list(variables)
    if len(names) != 1:
        raise Invalid(
            "There is no prompt. Name one column (or variable) prompt, or say the prompt that "
            "these tests are for, such as: Translate {{ text }} into {{ language }}."
        )
    return f"{{{{ {names[0]} }}}}"


def key_of(description: str, variables: Mapping[str, object], *, varied: bool = False) -> str:
    """Return a key that stays when what is expected is corrected.

    It is made of the description, else of the variables; `varied` tests share a description.
    """
    named = key_from(description)
    told_apart = digest(variables)[:12]
    if not named:
        return f"test-{told_apart}"
    return f"{named}-{told_apart[:8]}" if varied else named
