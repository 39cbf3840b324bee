"""Metrics over windows of minutes. Pure: arrays in, numbers out; knows no database.

Cost follows the distinct shapes that are asked for, not how often: each is worked out once. Values
of cost are exact: they are counted in 1e-12 USD and answered as Decimal, except for percentiles,
which are float64 as PostgreSQL's own.
"""

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from alerts.rule_models import Aggregation, GroupBy, Metric

Array: TypeAlias = NDArray[Any]
Value = float | Decimal

# The quantities of a span, and how their values are kept.
KINDS: Mapping[str, str] = {"latency": "<f8", "ttft": "<f8", "tokens": "<i8", "cost": "<i8"}
PERCENTILES = {"p50": 0.5, "p95": 0.95, "p99": 0.99}
OTHER = "_other"
# Sums of cost are kept in two parts, of which neither can overflow.
COST_PART = 10**9
_COST_UNIT = Decimal("1e-12")
_OF_MINUTES: Mapping[str, Callable[[Array], Any]] = {
    Aggregation.AVG: np.mean,
    Aggregation.MAX: np.max,
    Aggregation.MIN: np.min,
    Aggregation.SUM: np.sum,
    Aggregation.COUNT: np.count_nonzero,
}
_KIND_OF = {"latency": "latency", "ttft": "ttft", "token_usage": "tokens", "cost": "cost"}


class Group(NamedTuple):
    source: str
    model: str
    operation: str
    status: str


class Anomalous(NamedTuple):
    """A minute that was unusual for a model, `age` minutes before the end of all windows."""

    age: int
    model: str
    severity: int


class Shape(NamedTuple):
    """What is asked of a window. Empty filters let everything through."""

    metric: str
    aggregation: str
    window_minutes: int
    source: str = ""
    model: str = ""
    operation: str = ""
    status: str = ""
    group_by: str = ""
    # How many minutes before the end of the series the window ends.
    ago: int = 0


class Measured(NamedTuple):
    """A metric's value, None where the window holds nothing of it, and of how many spans."""

    value: Value | None
    samples: int


@dataclass(frozen=True)
class Quantity:
    """One quantity in one minute, group after group. `values` None: they were not read.

    `stats` has a row for each group: its sum (of cost two parts), its least and its greatest.
    """

    counts: Array
    stats: Array
    values: Array | None


@dataclass(frozen=True)
class Minute:
    """What ended in the minute that begins `age` minutes before the end of all windows.

    The youngest minute has age 1. `groups` is a JSON list.
    """

    age: int
    groups: str
    crowded: bool
    quantities: Mapping[str, Quantity]


@dataclass
class _Table:
    """One quantity over all groups (rows) and minutes (columns, the oldest first)."""

    counts: Array
    stats: Array
    values: Array = field(default_factory=lambda: np.empty(0))
    # Where in `values` each group ends; its values stand in the order of the minutes.
    ends: Array = field(default_factory=lambda: np.empty(0, int))


class Series:
    """A project's minutes up to one instant, from which any shape is measured."""

    def __init__(self, minutes: Sequence[Minute], anomalies: Sequence[Anomalous] = ()) -> None:
        self._minutes = minutes
        self._anomalies = anomalies
        self._length = max((minute.age for minute in minutes), default=0)
        self._crowded = [minute.age for minute in minutes if minute.crowded]
        self._groups: list[Group] = []
        self._places = self._place_groups()
        self._codes = {
            name: np.array([group[index] for group in self._groups], object)
            for index, name in enumerate(Group._fields)
        }
        self._tables: dict[str, _Table] = {}
        self._selected: dict[tuple[str, ...], Array] = {}
        self._sorted: dict[tuple[Any, ...], Array] = {}
        self._measured: dict[Shape, dict[str, Measured]] = {}

    def measure(self, shape: Shape) -> dict[str, Measured]:
        """Return the shape's values by group; without `group_by` there is one, named ``""``."""
        found = self._measured.get(shape)
        if found is None:
            found = self._measured[shape] = self._measure(shape)
        return found

    def nothing(self, shape: Shape) -> Measured:
        """Return what the shape would be of a group without spans."""
        if shape.metric == Metric.ANOMALY_SEVERITY:
            return _of_severities(shape.aggregation, np.zeros(shape.window_minutes))
        return self._value(shape, np.empty(0, np.intp))

    def crowded(self, window_minutes: int, ago: int = 0) -> bool:
        """Whether a minute of the window had too many groups to be kept apart."""
        return any(age - ago <= window_minutes and age > ago for age in self._crowded)

    def _measure(self, shape: Shape) -> dict[str, Measured]:
        if shape.metric == Metric.ANOMALY_SEVERITY:
            return self._severities(shape)
        chosen = self._select(shape.source, shape.model, shape.operation, shape.status)
        if not shape.group_by:
            return {"": self._value(shape, chosen)}
        names = self._codes[GroupBy(shape.group_by)][chosen]
        spans = self._counts("latency", chosen, self._columns(shape)).sum(axis=1)
        return {
            str(name): self._value(shape, chosen[names == name])
            for name in sorted(set(names[spans > 0]))
            if name
        }

    def _severities(self, shape: Shape) -> dict[str, Measured]:
        """Measure the worst of each minute, which is 0 where nothing was unusual."""
        worst: dict[str, Array] = {}
        if not shape.group_by:
            worst[""] = np.zeros(shape.window_minutes)
        for age, model, severity in self._anomalies:
            place = age - shape.ago
            if 1 <= place <= shape.window_minutes and shape.model in {"", model}:
                group = model if shape.group_by else ""
                minutes = worst.setdefault(group, np.zeros(shape.window_minutes))
                minutes[-place] = max(minutes[-place], severity)
        return {group: _of_severities(shape.aggregation, worst[group]) for group in worst}

    def _value(self, shape: Shape, chosen: Array) -> Measured:
        if shape.metric in {Metric.ERROR_RATE, Metric.THROUGHPUT}:
            return self._counted(shape, chosen)
        kind, columns = _KIND_OF[shape.metric], self._columns(shape)
        samples = int(self._counts(kind, chosen, columns).sum())
        if shape.aggregation == Aggregation.COUNT:
            return Measured(float(samples), samples)
        if not samples:
            return Measured(_zero(kind) if shape.aggregation == Aggregation.SUM else None, 0)
        if shape.aggregation in PERCENTILES:
            share = PERCENTILES[shape.aggregation]
            return Measured(percentile(self._ordered(kind, chosen, columns), share), samples)
        stats = self._table(kind).stats[chosen, columns]
        return Measured(_aggregate(kind, shape.aggregation, stats, samples), samples)

    def _counted(self, shape: Shape, chosen: Array) -> Measured:
        """Measure what needs no values: how many spans there are, and how many failed."""
        columns, mean = self._columns(shape), shape.aggregation == Aggregation.AVG
        spans = int(self._counts("latency", chosen, columns).sum())
        if shape.metric == Metric.THROUGHPUT:
            return Measured(spans / shape.window_minutes if mean else float(spans), spans)
        failed = chosen[self._codes["status"][chosen] == "error"]
        errors = int(self._counts("latency", failed, columns).sum())
        if mean:
            return Measured(100 * errors / spans if spans else None, spans)
        return Measured(float(errors), spans)

    def _columns(self, shape: Shape) -> slice:
        """Return the columns of the window; there are none for minutes without any span."""
        end = max(self._length - shape.ago, 0)
        return slice(max(end - shape.window_minutes, 0), end)

    def _select(self, *wanted: str) -> Array:
        """Return the places of the groups that pass (source, model, operation, status)."""
        found = self._selected.get(wanted)
        if found is None:
            passing: Array = np.ones(len(self._groups), bool)
            for name, value in zip(Group._fields, wanted, strict=True):
                if value:
                    passing &= self._codes[name] == value
            found = self._selected[wanted] = np.flatnonzero(passing)
        return found

    def _counts(self, kind: str, chosen: Array, columns: slice) -> Array:
        return self._table(kind).counts[chosen, columns]

    def _ordered(self, kind: str, chosen: Array, columns: slice) -> Array:
        """Return the chosen groups' values of the window in ascending order."""
        key = (kind, chosen.tobytes(), columns.start, columns.stop)
        found = self._sorted.get(key)
        if found is None:
            table = self._table(kind)
            lengths = table.counts[chosen, columns].sum(axis=1)
            ends = table.ends[chosen] - table.counts[chosen, columns.stop :].sum(axis=1)
            parts = [table.values[end - n : end] for end, n in zip(ends, lengths, strict=True) if n]
            found = np.sort(np.concatenate(parts))
            if kind == "cost":
                found = found / 1e12
            self._sorted[key] = found
        return found

    def _place_groups(self) -> list[Array]:
        """Return for each minute where its groups stand among all groups."""
        known: dict[str, Array] = {}
        numbers: dict[Group, int] = {}
        for minute in self._minutes:
            if minute.groups not in known:
                listed = [Group(*names) for names in json.loads(minute.groups)]
                known[minute.groups] = np.array(
                    [numbers.setdefault(group, len(numbers)) for group in listed], np.intp
                )
        self._groups = list(numbers)
        return [known[minute.groups] for minute in self._minutes]

    def _table(self, kind: str) -> _Table:
        if kind not in self._tables:
            self._tables[kind] = self._make_table(kind)
        return self._tables[kind]

    def _make_table(self, kind: str) -> _Table:
        shape = (len(self._groups), self._length)
        counts: Array = np.zeros(shape, np.int64)
        floating = KINDS[kind] == "<f8"
        stats: Array = np.zeros(
            (*shape, 4 if kind == "cost" else 3), np.float64 if floating else np.int64
        )
        stats[:, :, -2] = np.inf if floating else np.iinfo(np.int64).max
        stats[:, :, -1] = -np.inf if floating else np.iinfo(np.int64).min
        parts: list[Array] = []
        codes: list[Array] = []
        for minute, places in sorted(
            zip(self._minutes, self._places, strict=True), key=lambda pair: -pair[0].age
        ):
            given = minute.quantities[kind]
            column = self._length - minute.age
            counts[places, column] = given.counts
            there = given.counts > 0
            stats[places[there], column] = given.stats[there]
            if given.values is not None:
                parts.append(given.values)
                codes.append(np.repeat(places, given.counts))
        table = _Table(counts, stats)
        if parts:
            # The fewer bits the faster they are sorted, and there are few groups.
            code = np.concatenate(codes).astype(np.uint16 if shape[0] < 2**16 else np.int64)
            table.values = np.concatenate(parts)[np.argsort(code, kind="stable")]
            table.ends = np.bincount(code, minlength=shape[0]).cumsum()
        return table


def percentile(ordered: Array, share: float) -> float:
    """Return the interpolated percentile of values in ascending order.

    Source: PostgreSQL's percentile_cont, to the last bit.
    """
    place = share * (len(ordered) - 1)
    below, above = math.floor(place), math.ceil(place)
    low, high = float(ordered[below]), float(ordered[above])
    return low if below == above else low + (place - below) * (high - low)


def _of_severities(aggregation: str, minutes: Array) -> Measured:
    """Aggregate the minutes of a window; a count is of the unusual ones."""
    if aggregation in PERCENTILES:
        return Measured(percentile(np.sort(minutes), PERCENTILES[aggregation]), len(minutes))
    value = _OF_MINUTES[aggregation](minutes)
    return Measured(float(value), len(minutes))


def _aggregate(kind: str, aggregation: str, stats: Array, samples: int) -> Value:
    if aggregation in {Aggregation.MIN, Aggregation.MAX}:
        # Cells without values hold what loses every comparison.
        least = aggregation == Aggregation.MIN
        extreme = stats[:, :, -2].min() if least else stats[:, :, -1].max()
        return _exact(int(extreme)) if kind == "cost" else float(extreme)
    total = _sum(kind, stats)
    return total if aggregation == Aggregation.SUM else total / samples


def _sum(kind: str, stats: Array) -> Value:
    if kind == "cost":
        return _exact(int(stats[:, :, 0].sum()) * COST_PART + int(stats[:, :, 1].sum()))
    return float(stats[:, :, 0].sum())


def _exact(units: int) -> Decimal:
    return units * _COST_UNIT


def _zero(kind: str) -> Value:
    return Decimal(0) if kind == "cost" else 0.0
