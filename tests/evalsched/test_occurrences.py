"""From a timing to instants: the documented examples, people's words, and the edges."""

from contextlib import suppress
from datetime import UTC, datetime, timedelta, timezone
from functools import partial
from itertools import pairwise
from zoneinfo import available_timezones

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from access.errors import Invalid
from evalsched.occurrences import (
    Timing,
    between,
    count,
    describe,
    latest,
    newest,
    next_after,
    preview,
    tzdata_version,
    validate,
    warnings,
    zone,
)

NOW = datetime(2025, 1, 15, 10, tzinfo=UTC)  # a Wednesday
NEW_YORK = "America/New_York"
LORD_HOWE = "Australia/Lord_Howe"

custom = partial(Timing, "custom")


def utc(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


@pytest.mark.parametrize(
    ("schedule_type", "expected", "sentence"),
    [
        ("hourly", "2025-01-15T11:00", "Every hour, on the hour (UTC)"),
        ("daily", "2025-01-16T02:00", "At 02:00 every day (UTC)"),
        ("weekly", "2025-01-20T02:00", "At 02:00 every Monday (UTC)"),
    ],
)
def test_the_ready_made_types(schedule_type: str, expected: str, sentence: str) -> None:
    timing = Timing(schedule_type, "", "UTC")

    assert next_after(timing, NOW) == utc(expected)
    assert describe(timing) == sentence


@pytest.mark.parametrize(
    ("expression", "timezone", "after", "until", "expected"),
    [
        ("30 2 * * *", NEW_YORK, "2026-03-08", "2026-03-09", ["2026-03-08T07:00"]),
        ("30 1 * * *", NEW_YORK, "2026-11-01", "2026-11-02", ["2026-11-01T05:30"]),
        ("15 2 * * *", LORD_HOWE, "2026-10-03", "2026-10-04", ["2026-10-03T15:30"]),
        (
            "0 * * * *",
            NEW_YORK,
            "2026-11-01T03:00",
            "2026-11-01T08:00",
            [f"2026-11-01T0{hour}:00" for hour in (4, 5, 6, 7, 8)],
        ),
        ("0 2,3 * * *", NEW_YORK, "2026-03-08", "2026-03-09", ["2026-03-08T07:00"]),
        ("*/30 2 * * *", NEW_YORK, "2026-03-08", "2026-03-09", []),
        ("0 0 29 2 *", "UTC", "2026-01-01", "2030-01-01", ["2028-02-29"]),
    ],
)
def test_documented_examples(
    expression: str, timezone: str, after: str, until: str, expected: list[str]
) -> None:
    found = between(custom(expression, timezone), utc(after), utc(until), limit=100)

    assert found == [utc(instant) for instant in expected]


def test_half_an_hour_of_lord_howe_is_not_lost() -> None:
    found = between(
        custom("* 2 * * *", LORD_HOWE), utc("2026-04-04T12:00"), utc("2026-04-05T12:00"), limit=1000
    )

    # 02:00 at +11 goes back to 01:30 at +10:30, so 02:00 to 02:59 comes once, from 15:30Z.
    assert found == [utc("2026-04-04T15:30") + timedelta(minutes=n) for n in range(60)]


def test_latest_returns_where_going_backwards_never_did() -> None:
    timing = custom("30 */2 * * *", "Pacific/Chatham")
    after, until = utc("2026-04-01T00:00"), utc("2026-04-08T00:00")

    everything = between(timing, after, until, limit=1000)

    assert latest(timing, after, until) == everything[-1]


def test_an_occurrence_is_later_than_after_and_not_later_than_until() -> None:
    timing = Timing("hourly", "", "UTC")
    hour = timedelta(hours=1)

    assert next_after(timing, NOW) == NOW + hour
    assert next_after(timing, NOW - timedelta(microseconds=1)) == NOW
    assert between(timing, NOW, NOW + hour, limit=9) == [NOW + hour]
    assert between(timing, NOW, NOW, limit=9) == []
    assert between(timing, NOW, NOW - hour, limit=9) == []
    assert latest(timing, NOW, NOW + hour) == NOW + hour
    assert latest(timing, NOW, NOW + hour - timedelta(microseconds=1)) is None
    assert latest(timing, NOW, NOW - hour) is None


def test_between_stops_at_the_limit_with_the_oldest() -> None:
    timing = Timing("hourly", "", "UTC")

    found = between(timing, NOW, NOW + timedelta(days=9), limit=3)

    assert found == [NOW + timedelta(hours=n) for n in (1, 2, 3)]


def test_any_zone_may_ask_and_utc_answers() -> None:
    elsewhere = NOW.astimezone(timezone(timedelta(hours=5, minutes=30)))

    found = next_after(Timing("hourly", "", "UTC"), elsewhere)

    assert found == NOW + timedelta(hours=1)
    assert found.tzinfo is UTC


def test_before_1973_and_after_2199_nothing_fires() -> None:
    timing = custom("*/5 * * * *", "Pacific/Auckland")
    dawn, dusk = datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC)

    first = next_after(timing, dawn)
    last = latest(timing, dawn, dusk)

    assert first is not None
    assert first.year == 1973
    assert last is not None
    assert last.year == 2199
    assert next_after(timing, last) is None
    assert latest(timing, dawn, first - timedelta(minutes=1)) is None
    assert between(timing, last, dusk, limit=9) == []
    assert preview(timing, last, None, 9) == []
    assert len(warnings(Timing("daily", "", NEW_YORK), dawn)) == 2
    assert warnings(timing, dusk) == ["This schedule has no occurrence before the year 2200."]


def test_the_preview_tells_what_the_night_of_spring_does() -> None:
    found = preview(custom("30 2 * * *", NEW_YORK), utc("2026-03-07T00:00"), None, 3)

    assert [occurrence.local for occurrence in found] == [
        "2026-03-07T02:30:00-05:00",
        "2026-03-08T03:00:00-04:00",
        "2026-03-09T02:30:00-04:00",
    ]
    assert [occurrence.note for occurrence in found] == [
        None,
        "moved to the end of the clock change: 02:30 does not exist on this day",
        None,
    ]
    assert [occurrence.scheduled_for for occurrence in found] == [
        utc("2026-03-07T07:30"),
        utc("2026-03-08T07:00"),
        utc("2026-03-09T06:30"),
    ]


def test_the_preview_tells_the_two_passes_of_autumn_apart() -> None:
    timing = custom("30 * * * *", NEW_YORK)

    found = preview(timing, utc("2026-11-01T04:00"), utc("2026-11-01T08:00"), 10)

    assert [(occurrence.local[11:16], occurrence.note) for occurrence in found] == [
        ("00:30", None),
        ("01:30", "this local time comes twice: this is the first"),
        ("01:30", "this local time comes twice: this is the second"),
        ("02:30", None),
    ]


@pytest.mark.parametrize(
    ("gap", "overlap", "expected"),
    [
        (None, None, ["2026-03-08T07:00", "2026-11-01T05:30"]),
        ("shift", "first", ["2026-03-08T07:00", "2026-11-01T05:30"]),
        ("skip", "second", ["2026-11-01T06:30"]),
        ("skip", "both", ["2026-11-01T05:30", "2026-11-01T06:30"]),
        ("", "", ["2026-03-08T07:00", "2026-11-01T05:30"]),
    ],
)
def test_overrides(gap: str | None, overlap: str | None, expected: list[str]) -> None:
    found: list[datetime] = []
    for expression, day in (("30 2 * * *", "2026-03-08"), ("30 1 * * *", "2026-11-01")):
        timing = custom(expression, NEW_YORK, gap, overlap)
        found += between(timing, utc(day), utc(day) + timedelta(hours=20), limit=9)

    assert found == [utc(instant) for instant in expected]


@pytest.mark.parametrize(
    ("timing", "now", "expected"),
    [
        (Timing("daily", "", "UTC"), "2026-01-01", []),
        (
            custom("0 0 29 2 *", "UTC"),
            "2026-01-01",
            ["The next occurrence is 2028-02-29 at 00:00, over a year away."],
        ),
        (custom("0 0 29 2 *", "UTC"), "2027-12-01", []),
        (
            Timing("daily", "", NEW_YORK),
            "2026-01-01",
            [
                "On 2026-03-08 the clock in America/New_York goes from 02:00 to 03:00: "
                "02:00 does not exist and runs at 03:00."
            ],
        ),
        (
            custom("0,30 1 * * *", NEW_YORK),
            "2026-06-01",
            [
                "On 2026-11-01 the clock in America/New_York goes from 02:00 to 01:00: "
                "01:00 and 01:30 come twice and run the first time only."
            ],
        ),
        (
            custom("30 1 * * *", NEW_YORK, None, "both"),
            "2026-06-01",
            [
                "On 2026-11-01 the clock in America/New_York goes from 02:00 to 01:00: "
                "01:30 comes twice and runs both times."
            ],
        ),
        (
            custom("*/10 2 * * *", NEW_YORK),
            "2026-01-01",
            [
                "On 2026-03-08 the clock in America/New_York goes from 02:00 to 03:00: "
                "02:00, 02:10, 02:20 and 3 more do not exist and are left out."
            ],
        ),
        (Timing("hourly", "", NEW_YORK), "2026-01-01", []),
        (custom("30 12 * * *", NEW_YORK), "2026-01-01", []),
    ],
)
def test_warnings(timing: Timing, now: str, expected: list[str]) -> None:
    assert warnings(timing, utc(now)) == expected


def test_every_complaint_comes_at_once_under_its_field() -> None:
    with pytest.raises(Invalid) as caught:
        validate(Timing("monthly", "", "Mars/Olympus", "jump", "third"))

    assert set(caught.value.details) == {"schedule_type", "timezone", "dst_gap", "dst_overlap"}
    assert all(caught.value.details.values())


def test_an_expression_counts_only_for_custom() -> None:
    timing = Timing("daily", "0 5 * * *", "UTC")

    with pytest.raises(Invalid) as refusal:
        validate(timing)

    assert list(refusal.value.details) == ["cron_expression"]


@pytest.mark.parametrize("function", [describe, partial(next_after, after=NOW)])
def test_a_row_written_past_validation_is_refused_not_guessed(function: object) -> None:
    assert callable(function)
    with pytest.raises(Invalid):
        function(custom("61 * * * *", "UTC"))


@pytest.mark.parametrize(
    "name",
    [
        "",
        " ",
        "/etc/localtime",
        "/usr/share/zoneinfo/UTC",
        "localtime",
        "posixrules",
        "../x",
        "../../etc/passwd",
        "Europe/../UTC",
        "Europe",
        "Europe/",
        "zones",
        "tzdata.zi",
        "europe/berlin",
        "UTC\n",
        "UTC\x00",
        "\ud800",
        "UTC+2",
        "x" * 10_000,
        "Europe/Berlin" * 1_000,
    ],
)
def test_names_that_are_no_zone_are_refused(name: str) -> None:
    with pytest.raises(Invalid) as caught:
        zone(name)

    assert list(caught.value.details) == ["timezone"]
    assert len(caught.value.message) < 300
    caught.value.message.encode()


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("europe/berlin", "Europe/Berlin"),
        ("Europe/Belrin", "Europe/Berlin"),
        ("Berlin", "Europe/Berlin"),
        ("America/New York", "America/New_York"),
        ("new york", "America/New_York"),
        ("utc", "UTC"),
    ],
)
def test_close_names_are_offered(name: str, meant: str) -> None:
    with pytest.raises(Invalid, match=rf"did you mean {meant}\b"):
        zone(name)


def test_every_zone_of_the_package_is_known_and_no_other() -> None:
    for name in available_timezones() - {"localtime"}:
        assert zone(name).key == name
        validate(Timing("daily", "", name))


def test_the_version_of_the_zone_data_is_iana_s() -> None:
    version = tzdata_version()

    assert version[:4].isdigit()
    assert version[4:].isalpha()


minute_fields = st.sampled_from(["*", "0", "30", "*/7", "5,59", "10-20", "0,15,30,45", "*/2,1"])
hour_fields = st.sampled_from(["*", "2", "0-4", "*/2", "1,3,23", "*/3", "0"])
day_fields = st.sampled_from(["*", "1", "13", "*/2", "L", "LW", "28-31", "1-7"])
month_fields = st.sampled_from(["*", "*", "3,10", "2", "*/4"])
weekday_fields = st.sampled_from(["*", "0", "MON-FRI", "SUN#1", "7L", "*/2"])
expressions = st.tuples(minute_fields, hour_fields, day_fields, month_fields, weekday_fields)
timings = st.builds(
    Timing,
    st.just("custom"),
    expressions.map(" ".join),
    st.sampled_from(
        ["UTC", NEW_YORK, LORD_HOWE, "Pacific/Chatham", "Antarctica/Troll", "Africa/Casablanca"]
    ),
    st.sampled_from([None, "shift", "skip"]),
    st.sampled_from([None, "first", "second", "both"]),
)
instants = st.datetimes(datetime(2026, 1, 1), datetime(2028, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001
spans = st.timedeltas(timedelta(0), timedelta(days=2))


@settings(max_examples=150)
@given(timings, instants, spans, spans)
def test_windows_join_without_gap_or_overlap(
    timing: Timing, start: datetime, first: timedelta, second: timedelta
) -> None:
    middle, end = start + first, start + first + second

    whole = between(timing, start, end, limit=10_000)
    left = between(timing, start, middle, limit=10_000)
    right = between(timing, middle, end, limit=10_000)

    assert left + right == whole
    assert all(a < b for a, b in pairwise(whole))
    assert latest(timing, start, end) == (whole[-1] if whole else None)
    assert newest(timing, start, end, limit=7) == whole[-7:]
    following = next_after(timing, start)
    assert following is not None
    assert whole[:1] == ([following] if following <= end else [])
    assert all(instant.second == instant.microsecond == 0 for instant in whole)
    assert [occurrence.scheduled_for for occurrence in preview(timing, start, end, 5)] == whole[:5]


@settings(max_examples=100)
@given(timings, instants, st.timedeltas(timedelta(0), timedelta(days=15)))
def test_counting_is_going_through_them(timing: Timing, instant: datetime, span: timedelta) -> None:
    with suppress(Invalid):
        found = between(timing, instant, instant + span, limit=1_000_000)
        assert count(timing, instant, instant + span) == len(found)


@pytest.mark.parametrize(
    ("timing", "after", "until", "expected"),
    [
        (custom("* * * * *", "UTC"), "2023-01-01", "2024-12-31T23:59", 1_052_639),
        (custom("* * * * *", NEW_YORK), "2026-01-01", "2027-01-01", 525_600),
        (custom("30 2 * * *", NEW_YORK), "2026-03-01", "2026-04-01", 31),
        (custom("30 1 * * *", NEW_YORK, None, "both"), "2026-11-01", "2026-11-02", 2),
        (custom("0 0 29 2 *", "UTC"), "2000-01-01", "2101-01-01", 25),
        (Timing("hourly", "", "UTC"), "2026-01-01", "2026-01-01", 0),
        (Timing("hourly", "", "UTC"), "2026-01-02", "2026-01-01", 0),
        (Timing("hourly", "", "UTC"), "1900-01-01", "1901-01-01", 0),
    ],
)
def test_counts(timing: Timing, after: str, until: str, expected: int) -> None:
    assert count(timing, utc(after), utc(until)) == expected


@settings(max_examples=150)
@given(timings, instants)
def test_latest_and_next_are_each_other_s_inverse(timing: Timing, instant: datetime) -> None:
    following = next_after(timing, instant)
    assert following is not None

    assert latest(timing, instant - timedelta(days=40 * 365), following) == following
    before = latest(timing, instant - timedelta(days=40 * 365), instant)
    assert before is not None
    assert before <= instant
    assert next_after(timing, before) == following


@settings(max_examples=200)
@given(st.text(max_size=40), st.text(max_size=40))
def test_no_text_raises_anything_but_invalid(expression: str, name: str) -> None:
    with suppress(Invalid):
        validate(custom(expression, name))


@settings(max_examples=300)
@given(st.text(alphabet="0123456789*,-/#LWMONHR? ", max_size=30))
def test_no_near_expression_raises_anything_but_invalid(expression: str) -> None:
    timing = custom(expression, "UTC")
    try:
        validate(timing)
    except Invalid:
        return
    assert next_after(timing, NOW) is not None
    assert describe(timing)
