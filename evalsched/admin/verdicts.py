"""How the comparison of a run with its baseline reads on its page."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from django.template.loader import render_to_string
from django.utils.safestring import SafeString, mark_safe

from access.admin import words
from access.admin.base import change_url
from evalsched import reports
from evalsched.metrics import RATES, Metric
from evalsched.models import Run, RunStatus, Schedule
from evalsched.verdicts import Verdict

_TONES: dict[Verdict, words.Tone] = {
    Verdict.REGRESSED: "danger",
    Verdict.DRIFTED_DOWN: "warning",
    Verdict.UNCHANGED: "success",
    Verdict.DRIFTED_UP: "success",
    Verdict.IMPROVED: "success",
    Verdict.INCONCLUSIVE: "info",
    Verdict.INSUFFICIENT: "",
    Verdict.NOT_COMPARABLE: "",
}


@dataclass(frozen=True)
class Row:
    """One metric in the table, ready to be shown."""

    name: str
    gated: bool
    verdict: SafeString
    change: str
    interval: str
    sentence: str


def of_run(run: Run) -> SafeString:
    """Return the run in a word, as a list has room for."""
    if run.regression_details is None:
        return mark_safe(words.NOTHING)  # noqa: S308  a constant
    if run.regression_detected:
        return words.label("regression", "danger", title=run.regression_details["sentence"])
    compared = bool(run.regression_details["metrics"])
    shown: tuple[str, words.Tone] = (
        ("no regression", "success") if compared else ("not compared", "")
    )
    return words.label(*shown, title=run.regression_details["sentence"])


def sentence(run: Run) -> SafeString | str:
    details = run.regression_details
    return words.NOTHING if details is None else words.sentence("{}", details["sentence"])


def table(run: Run) -> SafeString | str:
    metrics: Mapping[str, Any] = (run.regression_details or {}).get("metrics", {})
    if not metrics:
        return words.NOTHING
    # In their own order: the database keeps the object's names in another one.
    rows = [_row(metric, metrics[metric]) for metric in Metric if metric in metrics]
    shown = render_to_string("admin/evalsched/verdicts.html", {"rows": rows})
    return mark_safe(shown)  # noqa: S308  the template escapes


def baseline(run: Run) -> SafeString | str:
    if run.baseline is None:
        return words.NOTHING
    return words.link(change_url(run.baseline), run.baseline)


def may_be_baseline(run: Run) -> bool:
    return run.status == RunStatus.COMPLETED and run.batch_id is not None


def pinned(schedule: Schedule) -> SafeString | str:
    """Return what the schedule's runs are compared with."""
    if schedule.baseline is None:
        return "the last good run"
    return words.link(change_url(schedule.baseline), schedule.baseline)


def _row(metric: Metric, found: Mapping[str, Any]) -> Row:
    verdict = Verdict(found["verdict"])
    interval = found["interval"]
    return Row(
        name=reports.NAMES[metric],
        gated=found["gated"],
        verdict=words.label(verdict.replace("_", " "), _TONES[verdict]),
        change=_figure(metric, found, found["estimate"]),
        interval=words.NOTHING
        if interval is None
        else " to ".join(_figure(metric, found, bound) for bound in interval),
        sentence=found["sentence"],
    )


def _figure(metric: Metric, found: Mapping[str, Any], value: float | None) -> str:
    if value is None:
        return words.NOTHING
    if found["scale"] == "ratio":
        return f"{(value - 1) * 100:+.1f} %"
    return f"{value * 100:+.1f} points" if metric in RATES else f"{value:+.3g}"
