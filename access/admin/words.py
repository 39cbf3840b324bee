"""How instants, amounts and states read on admin pages. Knows no model."""

from datetime import datetime, timedelta
from decimal import Decimal
from typing import Literal

from django.template.loader import render_to_string
from django.utils.html import format_html
from django.utils.safestring import SafeString, mark_safe
from django.utils.timesince import timesince

Tone = Literal["info", "success", "warning", "danger", ""]

NOTHING = "\N{EN DASH}"
_MINUTE = timedelta(minutes=1)


def utc(instant: datetime | None) -> str:
    return NOTHING if instant is None else f"{instant:%Y-%m-%d %H:%M} UTC"


def relative(instant: datetime, now: datetime) -> str:
    """Return how far `instant` lies from `now`: "in 5 minutes", "2 hours ago"."""
    if abs(instant - now) < _MINUTE:
        return "just now" if instant <= now else "in under a minute"
    if instant > now:
        return f"in {timesince(now, instant, depth=1)}"
    return f"{timesince(instant, now, depth=1)} ago"


def when(instant: datetime | None, now: datetime) -> SafeString | str:
    """Return `instant` both ways: relative, and beneath it absolute in UTC."""
    if instant is None:
        return NOTHING
    return format_html(
        '<span class="es-two"><span>{}</span><small>{}</small></span>',
        relative(instant, now),
        utc(instant),
    )


def money(amount: Decimal | None) -> str:
    """Return an amount in USD with as many places as it needs to be told from nothing."""
    if amount is None:
        return "unknown"
    if not amount:
        return "$0"
    return f"${amount:,.2f}" if amount >= 1 else f"${amount:.6f}".rstrip("0").rstrip(".")


def share(value: float | None) -> str:
    return NOTHING if value is None else f"{value * 100:.1f} %"


def score(value: float | None) -> str:
    return NOTHING if value is None else f"{value:.2f}"


def milliseconds(value: float | None) -> str:
    if value is None:
        return NOTHING
    return f"{value:,.0f} ms" if value < 10_000 else f"{value / 1000:,.1f} s"  # noqa: PLR2004


def duration(start: datetime | None, end: datetime | None) -> str:
    """Return the time between two instants: "4.2 s", "3 min 05 s", "1 h 10 min"."""
    if start is None or end is None:
        return NOTHING
    seconds = max((end - start) / timedelta(seconds=1), 0)
    if seconds < 60:  # noqa: PLR2004
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:  # noqa: PLR2004
        return f"{minutes} min {rest:02d} s"
    return f"{minutes // 60} h {minutes % 60:02d} min"


def label(text: str, tone: Tone = "", *, title: str = "") -> SafeString:
    """Return a coloured label; `title` is what the mouse over it says."""
    context = {"text": text, "type": tone, "label_title": title}
    return mark_safe(render_to_string("unfold/helpers/label.html", context))  # noqa: S308  escapes


def progress(done: int, total: int, left_s: float | None = None) -> SafeString:
    """Return a bar with its numbers, and the seconds that are left where they are known."""
    rest = "" if left_s is None else f", about {left_s:.0f} s left"
    return format_html(
        '<span class="es-progress"><progress max="{}" value="{}"></progress>'
        "<small>{} of {}{}</small></span>",
        total or 1,
        done,
        done,
        total,
        rest,
    )


def link(url: str, text: object) -> SafeString:
    return format_html('<a class="es-link" href="{}">{}</a>', url, text)


def block(text: str | None) -> SafeString | str:
    """Return a long text as it was written, line ends and all."""
    return format_html('<pre class="es-block">{}</pre>', text) if text else NOTHING


def clipped(text: str) -> SafeString:
    """Return the beginning of a text in one line; the mouse over it shows all."""
    return format_html('<span class="es-clip" title="{}">{}</span>', text, text[:120] or NOTHING)


def sentence(template: str, *parts: object) -> SafeString:
    """Return `template` with its parts escaped, unless they are safe themselves."""
    return format_html(template, *parts)
