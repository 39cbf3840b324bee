"""Line charts as SVG, drawn here: nothing is loaded for them, and they are read aloud, too."""

from collections.abc import Sequence
from dataclasses import dataclass

from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString

# About as wide as a phone, so that the letters stay readable there.
_WIDTH, _HEIGHT = 400, 160
_LEFT, _RIGHT, _TOP, _BOTTOM = 56, 12, 12, 24
_GRID = 4
LEAST_POINTS = 2


@dataclass(frozen=True)
class Point:
    """A value at a time; None where there is none, which leaves a gap bridged."""

    label: str
    value: float | None


def line_chart(
    title: str, unit: str, points: Sequence[Point], *, top: float | None = None
) -> SafeString:
    """Return a chart of `points`, oldest first, over 0 to `top`, or to the highest value."""
    known = [point.value for point in points if point.value is not None]
    most = top or max(known, default=0) or 1
    step = (_WIDTH - _LEFT - _RIGHT) / max(len(points) - 1, 1)
    places = [
        (_LEFT + number * step, _y(point.value, most), point)
        for number, point in enumerate(points)
        if point.value is not None
    ]
    return format_html(
        '<svg class="es-chart" viewBox="0 0 {} {}" role="img" aria-label="{}">{}'
        '<polyline points="{}"/>{}{}</svg>',
        _WIDTH,
        _HEIGHT,
        _read_aloud(title, unit, points, known),
        _grid(most, unit),
        " ".join(f"{x:.1f},{y:.1f}" for x, y, _ in places),
        format_html_join(
            "",
            '<circle cx="{}" cy="{}" r="3"><title>{}: {} {}</title></circle>',
            (
                (f"{x:.1f}", f"{y:.1f}", point.label, _short(point.value or 0), unit)
                for x, y, point in places
            ),
        ),
        _ends(points),
    )


def _y(value: float, most: float) -> float:
    return _TOP + (_HEIGHT - _TOP - _BOTTOM) * (1 - value / most)


def _grid(most: float, unit: str) -> SafeString:
    return format_html_join(
        "",
        '<line x1="{}" x2="{}" y1="{}" y2="{}"/><text x="{}" y="{}" text-anchor="end">{} {}</text>',
        (
            (
                *(_LEFT, _WIDTH - _RIGHT, f"{_y(value, most):.1f}", f"{_y(value, most):.1f}"),
                *(_LEFT - 6, f"{_y(value, most) + 4:.1f}", _short(value), unit),
            )
            for value in (most * part / _GRID for part in range(_GRID + 1))
        ),
    )


def _ends(points: Sequence[Point]) -> SafeString:
    return format_html(
        '<text x="{}" y="{}">{}</text><text x="{}" y="{}" text-anchor="end">{}</text>',
        *(_LEFT, _HEIGHT - 6, points[0].label),
        *(_WIDTH - _RIGHT, _HEIGHT - 6, points[-1].label),
    )


def _read_aloud(title: str, unit: str, points: Sequence[Point], known: Sequence[float]) -> str:
    if not known:
        return f"{title}: no values."
    low, high, last = (_short(value) for value in (min(known), max(known), known[-1]))
    return (
        f"{title}, {len(known)} runs from {points[0].label} to {points[-1].label}: "
        f"between {low} and {high} {unit}, {last} {unit} last."
    )


def _short(value: float) -> str:
    return f"{value:,.0f}" if value >= 10 or value == int(value) else f"{value:.2g}"  # noqa: PLR2004
