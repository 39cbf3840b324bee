"""The assertion about a number in an answer."""

import re
from decimal import Context, Decimal, DecimalException

from access.errors import Invalid
from batches.scoring import fields
from batches.scoring.assertions import Answer, Assertion, Finding, Kind
from batches.scoring.complaints import clipped, shown

# The answer to a question for a number stands at the end; what comes before this is not looked at.
MAX_SEARCHED_CHARACTERS = 10_000
# Beyond these an output is noise, and an exact difference of two numbers would be long.
MAX_DIGITS = 400
MAX_EXPONENT = 400

# Exact for every pair of numbers within these bounds.
_EXACT = Context(prec=2 * (MAX_DIGITS + MAX_EXPONENT), Emax=99_999, Emin=-99_999)

# A digit inside of a word (H2O, v2) is no number; a sign after one (10-12) is a hyphen.
_NUMBER = re.compile(
    r"(?<![\w.])(?P<sign>(?<!\w)[-+\u2212])?[$€£¥]?"
    r"(?P<digits>[0-9][0-9,]*+(?:\.[0-9]++)?|\.[0-9]++)"
    r"(?P<exponent>[eE][-+]?[0-9]++)?"
)
_THOUSANDS = re.compile(r"[0-9]{1,3}(?:,[0-9]{3})+(?:\.[0-9]+)?")


def numeric(assertion: Assertion, answer: Answer) -> Finding:
    """Pass when the number in the answer is within `tolerance` of the value; exact, in decimals.

    The number is the last one in the text, so an answer that is a number alone is that number.
    """
    found = last_number(answer.output)
    if found is None:
        return Finding.of(False, f"there is no number in {shown(answer.output)}")
    wanted = _exact(str(assertion.value))
    if wanted is None:
        return Finding.unscored(f"{shown(assertion.value)} is not a number")
    tolerance = Decimal(str(assertion.tolerance or 0))
    within = abs(_EXACT.subtract(found, wanted)) <= tolerance
    came = f"the number is {clipped(found)}"
    return Finding.of(within, f"{came}, the tolerance {tolerance:f}" if tolerance else came)


def last_number(text: str) -> Decimal | None:
    """Return the last number in `text`: 1,234.50, -3, .5, 6e23, with or without a currency sign.

    None where there is none. Commas group thousands; any other comma separates numbers.
    """
    found = None
    for match in _NUMBER.finditer(text, max(0, len(text) - MAX_SEARCHED_CHARACTERS)):
        found = match
    if found is None:
        return None
    sign = "" if found["sign"] in (None, "+") else "-"
    digits = found["digits"].rstrip(",")
    if _THOUSANDS.fullmatch(digits):
        digits = digits.replace(",", "")
    elif "," in digits:
        # "3,14" and "1,2,3" are not thousands: the last part is a number of its own.
        sign, digits = "", digits.rpartition(",")[2]
    return _exact(f"{sign}{digits}{found['exponent'] or ''}")


def value(raw: object) -> object:
    """Validate the value: a number, a text that spells one, or a template for one."""
    if isinstance(raw, str):
        if "{{" not in raw and _exact(raw) is None:
            raise Invalid("This must be a number, or a template such as {{ answer }}.")
        return fields.text(raw)
    if raw is None:
        raise Invalid("A value is needed.")
    return fields.number(raw)


def _exact(text: str) -> Decimal | None:
    """Return the finite number that `text` spells, None where it is none or out of bounds."""
    try:
        number = Decimal(text.strip()[: 2 * MAX_DIGITS])
    except DecimalException:
        return None
    if not number.is_finite():
        return None
    _, digits, exponent = number.as_tuple()
    fits = len(digits) <= MAX_DIGITS and abs(int(exponent)) <= MAX_EXPONENT
    return number if fits else None


KINDS = {"numeric": Kind(numeric, value, fields.share, has_tolerance=True)}
