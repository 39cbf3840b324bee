"""How long a server asks to be left alone."""

from datetime import UTC, datetime
from email.utils import parsedate_to_datetime


def retry_after_s(value: str | None, now: datetime, *, most_s: float) -> float | None:
    """Return the seconds that a Retry-After header asks for, 0 to `most_s`, or None.

    Source: RFC 9110, 10.2.3: a number of seconds or an HTTP date; fractions occur in the wild.
    """
    if not value:
        return None
    try:
        seconds = float(value)
    except ValueError:
        try:
            date = parsedate_to_datetime(value)
        except ValueError:
            return None
        seconds = (date.replace(tzinfo=date.tzinfo or UTC) - now).total_seconds()
    if seconds != seconds:  # noqa: PLR0124  not a number
        return None
    return min(max(seconds, 0.0), most_s)
