"""Line charts as SVG, drawn where the page is made: nothing to load, nothing to run."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString

_WIDTH, _HEIGHT = 600, 160
_LEFT, _TOP, _BOTTOM = 56, 8, 20
_LABELS = 4


@dataclass(frozen=True)
class Chart:
    title: str
    picture: SafeString


@dataclass(frozen=True)
class _Scale:
    first: datetime
    last: datetime
    top: float

    def x(self, instant: datetime) -> float:
        whole = (self.last - self.first).total_seconds() or 1
        share = (instant - self.first).total_seconds() / whole
        return round(_LEFT + share * (_WIDTH - _LEFT - 4), 1)

    def y(self, value: float) -> float:
        return round(_TOP + (1 - value / self.top) * (_HEIGHT - _TOP - _BOTTOM), 1)


def line(
    title: str,
    points: Sequence[tuple[datetime, float | None]],
    *,
    unit: str = "",
    threshold: float | None = None,
) -> Chart:
    """Draw the points in the order of their instants; None leaves a gap."""
    values = [value for _, value in points if value is not None]
    if not values:
        sentence = "Nothing of this kind in this time."
        return Chart(title, format_html('<p class="es-quiet">{}</p>', sentence))
    top = max([*values, threshold or 0.0]) * 1.05 or 1.0
    scale = _Scale(points[0][0], points[-1][0], top)
    marks = format_html_join("", "{}", ((mark,) for mark in _marks(scale, unit)))
    limit = "" if threshold is None else _threshold(scale, threshold)
    picture = format_html(
        '<svg viewBox="0 0 {} {}" role="img" aria-label="{}" class="es-chart">{}{}{}</svg>',
        _WIDTH,
        _HEIGHT,
        f"{title}: last {values[-1]:,.4g}{unit}",
        marks,
        limit,
        format_html_join(
            "",
            '<polyline points="{}" fill="none" stroke="currentColor" stroke-width="2"'
            ' stroke-linecap="round"/>',
            ((stretch,) for stretch in _stretches(scale, points)),
        ),
    )
    return Chart(title, picture)


def _stretches(scale: _Scale, points: Sequence[tuple[datetime, float | None]]) -> list[str]:
    """Return the coordinates of each unbroken stretch; a lone point is a short line."""
    found: list[list[str]] = [[]]
    for instant, value in points:
        if value is None:
            found.append([])
        else:
            found[-1].append(f"{scale.x(instant)},{scale.y(value)}")
    return [" ".join(part if len(part) > 1 else part * 2) for part in found if part]


def _marks(scale: _Scale, unit: str) -> list[SafeString]:
    marks = []
    for number in range(_LABELS):
        value = scale.top * number / (_LABELS - 1)
        y = scale.y(value)
        marks.append(
            format_html(
                '<line x1="{}" x2="{}" y1="{}" y2="{}" stroke="currentColor" opacity="0.15"/>'
                '<text x="{}" y="{}" text-anchor="end" font-size="11" fill="currentColor">'
                "{}</text>",
                *(_LEFT, _WIDTH, y, y, _LEFT - 6, y + 4, f"{value:,.3g}{unit}"),
            )
        )
    for instant, anchor in ((scale.first, "start"), (scale.last, "end")):
        marks.append(
            format_html(
                '<text x="{}" y="{}" text-anchor="{}" font-size="11" fill="currentColor">{}</text>',
                *(scale.x(instant), _HEIGHT - 4, anchor, f"{instant:%H:%M} UTC"),
            )
        )
    return marks


def _threshold(scale: _Scale, value: float) -> SafeString:
    y = scale.y(value)
    return format_html(
        '<line x1="{}" x2="{}" y1="{}" y2="{}" stroke="#dc2626" stroke-dasharray="6 4">'
        "<title>Threshold {}</title></line>",
        *(_LEFT, _WIDTH, y, y, f"{value:g}"),
    )
