"""Line charts as SVG, drawn where the page is made: nothing to load, nothing to run."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString

_WIDTH, _HEIGHT = 600, 180
_LEFT, _TOP, _BOTTOM = 88, 14, 30
# At most so many steps of the axis, each 1, 2, 2.5 or 5 of a power of ten.
_STEPS = 4
_ROUND = (1.0, 2.0, 2.5, 5.0, 10.0)


@dataclass(frozen=True)
class Chart:
    title: str
    picture: SafeString


@dataclass(frozen=True)
class _Scale:
    first: datetime
    last: datetime
    step: float
    steps: int

    @property
    def top(self) -> float:
        return self.step * self.steps

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
    """Draw the points in the order of their instants; None leaves a gap.

    `unit` stands behind each number, or before it where it is "$".
    """
    values = [value for _, value in points if value is not None]
    if not values:
        sentence = "Nothing of this kind in this time."
        return Chart(title, format_html('<p class="es-quiet">{}</p>', sentence))
    step, steps = _axis(max([*values, threshold or 0.0]))
    scale = _Scale(points[0][0], points[-1][0], step, steps)
    marks = format_html_join("", "{}", ((mark,) for mark in _marks(scale, unit)))
    limit = "" if threshold is None else _threshold(scale, threshold, unit)
    picture = format_html(
        '<svg viewBox="0 0 {} {}" role="img" aria-label="{}" class="es-chart">{}{}{}</svg>',
        _WIDTH,
        _HEIGHT,
        f"{title}: last {_amount(values[-1], unit)}",
        marks,
        limit,
        format_html_join(
            "",
            '<polyline points="{}" stroke-linecap="round"/>',
            ((stretch,) for stretch in _stretches(scale, points)),
        ),
    )
    return Chart(title, picture)


def _axis(greatest: float) -> tuple[float, int]:
    """Return the step of the axis and how many there are up to the greatest value."""
    if greatest <= 0:
        return 1.0, 1
    power = 10.0 ** math.floor(math.log10(greatest / _STEPS))
    step = next(power * part for part in _ROUND if power * part * _STEPS >= greatest * 0.999)
    return step, math.ceil(greatest * 0.999 / step)


def _amount(value: float, unit: str) -> str:
    places = max(0, 2 - math.floor(math.log10(abs(value)))) if value else 0
    text = f"{value:,.{places}f}"
    text = text.rstrip("0").rstrip(".") if "." in text else text
    return f"${text}" if unit == "$" else f"{text}{unit}"


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
    for number in range(scale.steps + 1):
        value = scale.step * number
        y = scale.y(value)
        marks.append(
            format_html(
                '<line x1="{}" x2="{}" y1="{}" y2="{}"/>'
                '<text x="{}" y="{}" text-anchor="end">{}</text>',
                *(_LEFT, _WIDTH, y, y, _LEFT - 6, y + 4, _amount(value, unit)),
            )
        )
    for instant, anchor in ((scale.first, "start"), (scale.last, "end")):
        marks.append(
            format_html(
                '<text x="{}" y="{}" text-anchor="{}">{}</text>',
                *(scale.x(instant), _HEIGHT - 4, anchor, f"{instant:%H:%M} UTC"),
            )
        )
    return marks


def _threshold(scale: _Scale, value: float, unit: str) -> SafeString:
    y, shown = scale.y(value), _amount(value, unit)
    return format_html(
        '<line x1="{}" x2="{}" y1="{}" y2="{}" class="es-limit" stroke-dasharray="6 4">'
        "<title>Threshold {}</title></line>"
        '<text x="{}" y="{}" text-anchor="end" class="es-limit">threshold {}</text>',
        *(_LEFT, _WIDTH, y, y, shown, _WIDTH - 4, max(y - 4, 10), shown),
    )
