"""The state machine of a rule: every transition, and every timeline of its definition."""

from datetime import timedelta
from decimal import Decimal
from itertools import pairwise, product
from typing import Any

import pytest

from alerts import rules
from alerts.rule_models import Health, NoDataMode, RuleStatus
from alerts.rules import Finding, Judged, Memory, Notice, Policy, Step
from alerts.windows import Measured
from tests.factories import NOW

MINUTE = timedelta(minutes=1)
INACTIVE, PENDING = RuleStatus.INACTIVE, RuleStatus.PENDING
FIRING, RECOVERING = RuleStatus.FIRING, RuleStatus.RECOVERING
# What a letter of a timeline stands for.
LETTERS = {
    "B": Finding.BREACH,
    "-": Finding.BETWEEN,
    "c": Finding.CLEAR,
    "?": Finding.UNKNOWN,
}
STATES = {INACTIVE: "i", PENDING: "p", FIRING: "F", RECOVERING: "r"}
NOTICES = {Notice.FIRING: "!", Notice.AGAIN: "+", Notice.RESOLVED: "o", None: "."}


def policy(comparison: str = ">", threshold: str = "100", **fields: Any) -> Policy:
    return Policy(comparison, Decimal(threshold), **fields)


def run(line: str, given: Policy) -> tuple[str, str]:
    """Return the states and the notices of a timeline, a letter for each minute."""
    memory, states, notices = Memory(), "", ""
    for number, letter in enumerate(line.replace(" ", "")):
        step = rules.step(given, memory, LETTERS[letter], NOW + number * MINUTE)
        memory = step.memory
        states += STATES[memory.state]
        notices += NOTICES[step.notice]
    return states, notices


# --- Every transition ------------------------------------------------------------------------

WAITED = timedelta(minutes=5)
TABLE = {
    (INACTIVE, Finding.BREACH): (PENDING, PENDING),
    (INACTIVE, Finding.BETWEEN): (INACTIVE, INACTIVE),
    (INACTIVE, Finding.CLEAR): (INACTIVE, INACTIVE),
    (INACTIVE, Finding.UNKNOWN): (INACTIVE, INACTIVE),
    # Before and after its time.
    (PENDING, Finding.BREACH): (PENDING, FIRING),
    (PENDING, Finding.BETWEEN): (INACTIVE, INACTIVE),
    (PENDING, Finding.CLEAR): (INACTIVE, INACTIVE),
    (PENDING, Finding.UNKNOWN): (PENDING, PENDING),
    (FIRING, Finding.BREACH): (FIRING, FIRING),
    (FIRING, Finding.BETWEEN): (FIRING, FIRING),
    (FIRING, Finding.CLEAR): (RECOVERING, RECOVERING),
    (FIRING, Finding.UNKNOWN): (FIRING, FIRING),
    (RECOVERING, Finding.BREACH): (FIRING, FIRING),
    (RECOVERING, Finding.BETWEEN): (FIRING, FIRING),
    (RECOVERING, Finding.CLEAR): (RECOVERING, INACTIVE),
    (RECOVERING, Finding.UNKNOWN): (RECOVERING, RECOVERING),
}


def _step(state: RuleStatus, finding: Finding, waited: timedelta) -> Step:
    waits = state in {PENDING, RECOVERING}
    memory = Memory(state, NOW if waits else None, None, told=state in rules.ACTIVE)
    return rules.step(policy(for_minutes=5, keep_firing_minutes=5), memory, finding, NOW + waited)


@pytest.mark.parametrize(("state", "finding"), list(product(RuleStatus, Finding)))
def test_every_state_and_finding_leads_where_the_table_says(
    state: RuleStatus, finding: Finding
) -> None:
    early = _step(state, finding, WAITED - MINUTE)
    late = _step(state, finding, WAITED)

    assert (early.memory.state, late.memory.state) == TABLE[state, finding]


@pytest.mark.parametrize(("state", "finding"), list(product(RuleStatus, Finding)))
def test_no_step_leaves_a_memory_that_the_database_refuses(
    state: RuleStatus, finding: Finding
) -> None:
    for waited in (timedelta(0), WAITED):
        step = _step(state, finding, waited)
        memory = step.memory
        assert (memory.since is not None) == (memory.state in {PENDING, RECOVERING})
        assert not memory.told or memory.state in rules.ACTIVE
        was, now = state in rules.ACTIVE, memory.state in rules.ACTIVE
        assert (step.began, step.ended) == (now and not was, was and not now)


# --- Timelines -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("line", "fields", "states", "notices"),
    [
        # At once, and over at once.
        ("ccBBcc", {}, "iiFFii", "..!.o."),
        # for: the third minute after the first breach.
        ("BBBBB", {"for_minutes": 3}, "pppFF", "...!."),
        ("B", {"for_minutes": 1}, "p", "."),
        ("BB", {"for_minutes": 1}, "pF", ".!"),
        # A clear minute in between starts anew, silently.
        ("BBcBBBB", {"for_minutes": 3}, "ppipppF", "......!"),
        # Silence keeps the state, and its time goes on.
        ("BB??B", {"for_minutes": 3}, "ppppF", "....!"),
        ("BB?c", {"for_minutes": 3}, "pppi", "...."),
        ("BB???c", {}, "FFFFFi", "!....o"),
        # keep-firing: over at the first clear minute so long after the first one.
        ("Bcccc", {"keep_firing_minutes": 3}, "Frrri", "!...o"),
        ("Bcc?cc", {"keep_firing_minutes": 3}, "Frrrii", "!...o."),
        ("Bccc??c", {"keep_firing_minutes": 5}, "Frrrrri", "!.....o"),
        # A breach in between fires again, resets the time, and is nothing new.
        ("BccBcccc", {"keep_firing_minutes": 3}, "FrrFrrri", "!......o"),
        # The recovery threshold: between the two what fires goes on, and nothing begins.
        ("-B--c", {}, "iFFFi", ".!..o"),
        ("Bc-cccc", {"keep_firing_minutes": 3}, "FrFrrri", "!.....o"),
        ("BB-B", {"for_minutes": 2}, "ppip", "...."),
        # Cooldown: a new episode inside it waits until it ends, if it still fires.
        ("Bc BBBBB", {"cooldown_minutes": 5}, "FiFFFFF", "!o...!."),
        # It cleared meanwhile: neither its beginning nor its end is told.
        ("Bc Bc ccc B", {"cooldown_minutes": 5}, "FiFiiiiF", "!o.....!"),
        # Deferred over more than one short episode.
        ("BcBcBcBc", {"cooldown_minutes": 5}, "FiFiFiFi", "!o....!o"),
        # The same episode: told again each time it has passed.
        ("BBBBBBBB", {"cooldown_minutes": 3}, "FFFFFFFF", "!..+..+."),
        ("BBBBBBBB", {"cooldown_minutes": 3, "renotify": False}, "FFFFFFFF", "!......."),
        # Without a cooldown only the first.
        ("BBBB", {"cooldown_minutes": 0}, "FFFF", "!..."),
        ("BcBcBc", {"cooldown_minutes": 0}, "FiFiFi", "!o!o!o"),
        # Silent minutes tell nothing; the next one that is breached does.
        ("B????BB", {"cooldown_minutes": 3}, "FFFFFFF", "!....+."),
        # Neither does what recovers.
        ("BcccB", {"cooldown_minutes": 2, "keep_firing_minutes": 9}, "FrrrF", "!...+"),
        # The cooldown neither blocks the state nor the end.
        ("BBc", {"cooldown_minutes": 60}, "FFi", "!.o"),
    ],
    ids=str,
)
def test_timeline(line: str, fields: dict[str, Any], states: str, notices: str) -> None:
    assert run(line, policy(**{"cooldown_minutes": 60} | fields)) == (states, notices)


HEALTHS = {
    Health.OK: "k",
    Health.NO_DATA: "n",
    Health.INSUFFICIENT: "s",
    Health.ERROR: "e",
}
OVER_100 = Policy(">", Decimal(100), cooldown_minutes=60)
UNDER_5 = Policy("<", Decimal(5), cooldown_minutes=60, no_data="zero", always_sufficient=True)
RECOVERS = OVER_100._replace(recovery=Decimal(80))


@pytest.mark.parametrize(
    ("given", "line", "states", "healths", "notices"),
    [
        # Values with the samples behind them, `200x3`; a dash is an empty window.
        # No data: what fires goes on, what is inactive stays so, and nothing is told.
        (OVER_100, "50 - 200 - - 50 -", "iiFFFii", "knknnkn", "..!..o."),
        # The time of what is pending goes on through silence, but only a breach ends it.
        (OVER_100._replace(for_minutes=3), "200 - - - 200", "ppppF", "knnnk", "....!"),
        (OVER_100._replace(for_minutes=3), "200 - - - 50", "ppppi", "knnnk", "....."),
        # And of what recovers, until a clear minute.
        (OVER_100._replace(keep_firing_minutes=2), "200 50 - - 50", "Frrri", "kknnk", "!...o"),
        # Silence is an alert where the rule says so, and a value under the threshold ends it.
        (OVER_100._replace(no_data="alert"), "50 - - 50", "iFFi", "knnk", ".!.o"),
        (OVER_100._replace(no_data="alert", for_minutes=1), "- - 50", "pFi", "nnk", ".!o"),
        # Silence is zero: it breaches where too little does, and ends where too much does.
        (UNDER_5, "9 - - 9", "iFFi", "kkkk", ".!.o"),
        (OVER_100._replace(no_data="zero"), "200 - -", "Fii", "kkk", "!o."),
        # Too few samples neither begin nor end anything, however far beyond the value is.
        (OVER_100._replace(min_samples=3), "900x2 900x3 50x2 50x3", "iFFi", "sksk", ".!.o"),
        (OVER_100._replace(min_samples=3), "900x3 - 50x1 -", "FFFF", "knsn", "!..."),
        # An empty window is no data and never insufficient; counts need no number of samples.
        (OVER_100._replace(min_samples=3, no_data="alert"), "50x3 - 900x1", "iFF", "kns", ".!."),
        (UNDER_5._replace(min_samples=3), "9 2x2 -", "iFF", "kkk", ".!."),
        # The recovery threshold: it fires on between the two and ends on the safe side.
        (RECOVERS, "90 101 90 81 80 90", "iFFFii", "kkkkkk", ".!..o."),
        (
            RECOVERS._replace(keep_firing_minutes=2),
            "200 70 90 70 - 70",
            "FrFrri",
            "kkkknk",
            "!....o",
        ),
        # The cooldown counts silent minutes, and the first breach after it tells.
        (OVER_100._replace(cooldown_minutes=3), "200 50 - 200 200", "FiiFF", "kknkk", "!o.!."),
        (
            OVER_100._replace(cooldown_minutes=4),
            "200 50 200 - 200 50",
            "FiFFFi",
            "kkknkk",
            "!o..!o",
        ),
        # Deferred, and over before the cooldown was: nobody hears of it.
        (OVER_100._replace(cooldown_minutes=4), "200 50 200 - 50 50", "FiFFii", "kkknkk", "!o...."),
        # Told again each time it has passed, unless that is off.
        (
            OVER_100._replace(cooldown_minutes=2),
            "200 200 - 200 200 200",
            "FFFFFF",
            "kknkkk",
            "!..+.+",
        ),
        (
            OVER_100._replace(cooldown_minutes=2, renotify=False),
            *("200 200 - 200 200 50", "FFFFFi", "kknkkk", "!....o"),
        ),
    ],
    ids=str,
)
def test_timeline_of_values(
    given: Policy, line: str, states: str, healths: str, notices: str
) -> None:
    memory, found = Memory(), ["", "", ""]
    for number, word in enumerate(line.split()):
        value, _, samples = word.partition("x")
        window = Measured(None, 0) if word == "-" else Measured(float(value), int(samples or 5))
        judged = rules.judge(given, window)
        step = rules.step(given, memory, judged.finding, NOW + number * MINUTE)
        memory = step.memory
        found[0] += STATES[memory.state]
        found[1] += HEALTHS[judged.health]
        found[2] += NOTICES[step.notice]

    assert found == [states, healths, notices]


def test_the_cooldown_is_the_least_time_between_two_firing_notices_whatever_happens() -> None:
    """All timelines of eight minutes: never two within it, never one in vain."""
    given = policy(cooldown_minutes=3, keep_firing_minutes=1)
    for line in product("Bc?", repeat=8):
        states, notices = run("".join(line), given)
        told = [minute for minute, notice in enumerate(notices) if notice in "!+"]
        assert all(b - a >= 3 for a, b in pairwise(told)), line
        assert all(states[minute] == "F" for minute in told), line
        # Each end that is told had a beginning that was, and no two follow each other.
        sequence = notices.replace(".", "").replace("+", "")
        assert sequence in ("!o" * 4)[: len(sequence)], line


def test_after_a_restart_the_times_go_on() -> None:
    """They start where the memory says, not where the process did."""
    given = policy(for_minutes=10)
    first = rules.step(given, Memory(), Finding.BREACH, NOW)

    later = rules.step(given, first.memory, Finding.BREACH, NOW + 10 * MINUTE)

    assert later.memory.state == FIRING


def test_who_has_acknowledged_is_not_told_of_what_was_deferred() -> None:
    given = policy(cooldown_minutes=60)
    memory = Memory(FIRING, notified_at=NOW, told=False)

    due = rules.step(given, memory, Finding.BREACH, NOW + 60 * MINUTE, acknowledged=True)
    end = rules.step(given, due.memory, Finding.CLEAR, NOW + 61 * MINUTE, acknowledged=True)

    assert due == Step(memory)
    assert (end.ended, end.notice) == (True, None)


def test_who_has_acknowledged_is_told_of_the_end_only() -> None:
    given = policy(cooldown_minutes=1)
    memory = rules.step(given, Memory(), Finding.BREACH, NOW).memory

    again = rules.step(given, memory, Finding.BREACH, NOW + 5 * MINUTE, acknowledged=True)
    end = rules.step(given, again.memory, Finding.CLEAR, NOW + 6 * MINUTE, acknowledged=True)

    assert (again.notice, end.notice) == (None, Notice.RESOLVED)


# --- Judging a value -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("comparison", "below", "at", "above"),
    [
        (">", "c", "c", "B"),
        (">=", "c", "B", "B"),
        ("<", "B", "c", "c"),
        ("<=", "B", "B", "c"),
        ("==", "c", "B", "c"),
        ("!=", "B", "c", "B"),
    ],
)
@pytest.mark.parametrize("kind", [float, Decimal])
def test_comparisons(comparison: str, below: str, at: str, above: str, kind: type[Any]) -> None:
    given = policy(comparison)

    found = [rules.compare(given, kind(value)) for value in (99, 100, 101)]

    assert found == [LETTERS[letter] for letter in (below, at, above)]


def test_costs_are_compared_exactly_and_others_as_they_are() -> None:
    given = policy("==", "0.6")

    exact = rules.compare(given, Decimal("0.1") + Decimal("0.2") + Decimal("0.3"))
    floating = rules.compare(given, 0.1 + 0.2 + 0.3)

    assert (exact, floating) == (Finding.BREACH, Finding.CLEAR)


@pytest.mark.parametrize(("value", "near"), [(99.5, True), (100.5, True), (100.6, False)])
def test_equality_takes_a_tolerance(value: float, near: bool) -> None:
    equal = rules.compare(policy("==", tolerance=Decimal("0.5")), value)
    unequal = rules.compare(policy("!=", tolerance=Decimal("0.5")), value)

    assert (equal is Finding.BREACH, unequal is Finding.BREACH) == (near, not near)


@pytest.mark.parametrize(
    ("comparison", "recovery", "values"),
    [
        (">", "80", {101: "B", 100: "-", 81: "-", 80: "c"}),
        (">=", "80", {100: "B", 99: "-", 80: "-", 79: "c"}),
        ("<", "120", {99: "B", 100: "-", 119: "-", 120: "c"}),
        ("<=", "120", {100: "B", 101: "-", 120: "-", 121: "c"}),
    ],
)
def test_recovery_thresholds(comparison: str, recovery: str, values: dict[int, str]) -> None:
    given = policy(comparison, recovery=Decimal(recovery))

    assert {value: rules.compare(given, float(value)) for value in values} == {
        value: LETTERS[letter] for value, letter in values.items()
    }


@pytest.mark.parametrize(
    ("mode", "judged"),
    [
        (NoDataMode.NO_DATA, Judged(Finding.UNKNOWN, Health.NO_DATA, None)),
        (NoDataMode.ZERO, Judged(Finding.CLEAR, Health.OK, 0.0)),
        (NoDataMode.ALERT, Judged(Finding.BREACH, Health.NO_DATA, None)),
    ],
)
def test_an_empty_window_means_what_the_mode_says(mode: NoDataMode, judged: Judged) -> None:
    assert rules.judge(policy(no_data=mode, min_samples=5), Measured(None, 0)) == judged


@pytest.mark.parametrize(
    ("metric", "aggregation", "mode"),
    [
        ("throughput", "avg", "zero"),
        ("error_rate", "count", "zero"),
        ("cost", "sum", "zero"),
        ("latency", "p95", "no_data"),
        ("error_rate", "avg", "no_data"),
        ("latency", "max", "no_data"),
    ],
)
def test_counts_and_sums_of_nothing_are_zero(metric: str, aggregation: str, mode: str) -> None:
    assert rules.no_data_mode("", metric, aggregation) == mode
    assert rules.no_data_mode("alert", metric, aggregation) == "alert"


def test_too_few_samples_are_insufficient_unless_counts_need_none() -> None:
    few = Measured(500.0, 4)

    assert rules.judge(policy(min_samples=5), few) == (
        Finding.UNKNOWN,
        Health.INSUFFICIENT,
        500.0,
    )
    assert rules.judge(policy(min_samples=4), few).finding is Finding.BREACH
    counting = policy(min_samples=5, always_sufficient=True)
    assert rules.judge(counting, few).finding is Finding.BREACH


def test_the_beginning_is_told_with_the_minute_that_it_is_told_in() -> None:
    step = rules.step(policy(), Memory(), Finding.BREACH, NOW)

    assert step == Step(Memory(FIRING, None, NOW, told=True), began=True, notice=Notice.FIRING)
