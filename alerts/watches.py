"""A rule as one evaluation reads it: what it asks of a window, and what a minute says to it."""

import uuid
from collections.abc import Collection
from decimal import Decimal
from typing import NamedTuple

import structlog

from alerts import rules
from alerts.rule_models import AlertRule, Health, Metric, SourceFilter
from alerts.rules import Finding, Judged, Policy
from alerts.windows import PERCENTILES, Measured, Series, Shape

logger = structlog.get_logger(__name__)
# Of one rule; with more it could not be read any more.
MOST_GROUPS = 100


class Watch(NamedTuple):
    """The columns of a rule that decide, in the version that the evaluation belongs to."""

    id: uuid.UUID
    user_id: uuid.UUID
    metric_type: str
    threshold_value: Decimal
    comparison_operator: str
    time_window_minutes: int
    aggregation_method: str
    model_filter: str
    operation_filter: str
    status_filter: str
    source_filter: str
    group_by: str
    cooldown_minutes: int
    renotify: bool
    for_minutes: int
    keep_firing_minutes: int
    recovery_threshold: Decimal | None
    tolerance: Decimal
    min_samples: int
    no_data_mode: str

    @property
    def shape(self) -> Shape:
        return Shape(
            self.metric_type,
            self.aggregation_method,
            self.time_window_minutes,
            "" if self.source_filter == SourceFilter.ANY else self.source_filter,
            self.model_filter,
            self.operation_filter,
            self.status_filter,
            self.group_by,
        )

    @property
    def policy(self) -> Policy:
        mode = rules.no_data_mode("", self.metric_type, self.aggregation_method)
        return Policy(
            self.comparison_operator,
            self.threshold_value,
            self.recovery_threshold,
            self.tolerance,
            self.for_minutes,
            self.keep_firing_minutes,
            self.cooldown_minutes,
            self.renotify,
            self.min_samples,
            self.no_data_mode or mode,
            mode == "zero" or self.metric_type == Metric.ANOMALY_SEVERITY,
        )

    @property
    def values_of(self) -> str:
        """The quantity whose single values it needs, or an empty text."""
        severity = self.metric_type == Metric.ANOMALY_SEVERITY
        if severity or self.aggregation_method not in PERCENTILES:
            return ""
        return "tokens" if self.metric_type == Metric.TOKEN_USAGE else self.metric_type


def of(rule: AlertRule) -> Watch:
    return Watch(*(getattr(rule, name) for name in Watch._fields))


class Result(NamedTuple):
    """What a minute says to one group of a rule."""

    watch: Watch
    group: str
    samples: int
    judged: Judged
    error: str = ""


def look(
    watch: Watch, policy: Policy, series: Series, known: Collection[str] = (), *, ago: int = 0
) -> list[Result]:
    """Judge the window that ends `ago` minutes before the end of the series.

    `known` are the groups seen before: of those that are silent now, silence is judged.
    """
    shape = watch.shape._replace(ago=ago) if ago else watch.shape
    try:
        problem, measured = _measured(shape, series, known)
    except Exception as error:
        logger.exception("rule not measured", rule=str(watch.id))
        problem, measured = f"It could not be measured: {type(error).__name__}.", {}
    if problem:
        return failed(watch, problem)
    return [
        Result(watch, group, found.samples, rules.judge(policy, found))
        for group, found in measured.items()
    ]


def failed(watch: Watch, problem: str) -> list[Result]:
    """Return what a minute says to a rule, of all its groups, that cannot be judged."""
    return [Result(watch, "", 0, Judged(Finding.UNKNOWN, Health.ERROR, None), problem)]


def _measured(
    shape: Shape, series: Series, known: Collection[str]
) -> tuple[str, dict[str, Measured]]:
    """Return what makes it impossible to judge, or an empty text, and the values by group."""
    apart = shape.model or shape.operation or shape.group_by
    if apart and series.crowded(shape.window_minutes, shape.ago):
        return (
            "More than 500 pairs of model and operation in a minute: the smallest were put "
            "together and cannot be told apart. Use fewer names, or no filter and no group.",
            {},
        )
    measured = series.measure(shape)
    if shape.group_by:
        silent = [group for group in known if group and group not in measured]
        if silent:
            nothing = series.nothing(shape)
            measured = measured | dict.fromkeys(silent, nothing)
        if len(measured) > MOST_GROUPS:
            return (
                f"More than {MOST_GROUPS} groups. Add a filter, or group by something else.",
                {},
            )
    return "", measured
