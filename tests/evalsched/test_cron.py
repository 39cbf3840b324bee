"""The dialect: what an expression means on the calendar, what is refused, and its sentence."""

from datetime import UTC, date, datetime, timedelta

import pytest

from access.errors import Invalid
from evalsched import cron
from evalsched.occurrences import Timing, between, describe, validate
from tests.evalsched.cron_simulation import Job

NOON_DATES = [
    "0 12 * * *",
    "0 12 13 * 5",
    "0 12 13 * FRI",
    "0 12 */2 * MON",
    "0 12 1-7 * */2",
    "0 12 1,15,31 * *",
    "0 12 5/10 * *",
    "0 12 10-30/5 * *",
    "0 12 L * *",
    "0 12 LW * *",
    "0 12 1,L JAN-MAR,DEC *",
    "0 12 LW 2 *",
    "0 12 L * FRI",
    "0 12 * * 5L",
    "0 12 * * 7L",
    "0 12 * * 0L,MON#1",
    "0 12 * * MON#1",
    "0 12 * * SUN#5",
    "0 12 * */3 7#2",
    "0 12 * * 5-7",
    "0 12 * * MON-FRI",
    "0 12 * * */3",
    "0 12 29 2 *",
    "0 12 31 2 MON",
    "0 12 * FEB THU#5",
    "0 12 30,31 2,4 *",
]


@pytest.mark.parametrize("expression", NOON_DATES)
def test_dates_are_those_of_cron(expression: str) -> None:
    first, last = datetime(2023, 12, 31, 12, tzinfo=UTC), datetime(2028, 3, 31, 12, tzinfo=UTC)
    job = Job(expression)
    days = [date(2024, 1, 1) + timedelta(days=n) for n in range((last - first).days)]

    found = between(Timing("custom", expression, "UTC"), first, last, limit=10_000)

    assert [instant.date() for instant in found] == [day for day in days if job.on(day)]
    assert found
    assert {(instant.hour, instant.minute) for instant in found} == {(12, 0)}


@pytest.mark.parametrize("expression", ["0 12 29 2 */7", "0 12 * 2 TUE#5", "0 12 L 2 *"])
def test_rare_dates_are_found_across_the_year_2100(expression: str) -> None:
    plan, job = cron.parse(expression), Job(expression)
    days = [date(2060, 1, 1) + timedelta(days=n) for n in range(80 * 365)]
    expected = [day for day in days if job.on(day)]

    epoch, noon = date(1970, 1, 1), 12 * 60
    forward: list[date] = []
    minute = (days[0] - epoch).days * 1440
    while (found := plan.first_from(minute)) is not None and len(forward) < len(expected):
        forward.append(epoch + timedelta(days=found // 1440))
        assert found % 1440 == noon
        assert plan.last_until(found) == found
        minute = found + 1

    assert forward == expected


@pytest.mark.parametrize(
    ("name", "expression"),
    [
        ("@hourly", "0 * * * *"),
        ("@daily", "0 0 * * *"),
        ("@midnight", "0 0 * * *"),
        ("@weekly", "0 0 * * 0"),
        ("@monthly", "0 0 1 * *"),
        ("@yearly", "0 0 1 1 *"),
        ("@annually", "0 0 1 1 *"),
        ("@Daily", "0 0 * * *"),
    ],
)
def test_names_mean_their_expression(name: str, expression: str) -> None:
    assert cron.parse(name) == cron.parse(expression)


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("0 0 * * 0", "0 0 * * 7"),
        ("0 0 * * sun", "0 0 * * SUN"),
        ("  5   4\t* * *  ", "5 4 * * *"),
        ("00 02 * * *", "0 2 * * *"),
        ("0 0 * * 7L", "0 0 * * 0L"),
        ("0 0 1 jan,Dec *", "0 0 1 1,12 *"),
    ],
)
def test_spellings_that_mean_the_same(first: str, second: str) -> None:
    assert cron.parse(first) == cron.parse(second)


@pytest.mark.parametrize(
    ("expression", "reason"),
    [
        ("@reboot", "@reboot"),
        ("@every 5m", "step"),
        ("@fortnightly", "names are @hourly"),
        ("@daily extra", "names are @hourly"),
        ("", "needs a cron expression"),
        ("   ", "needs a cron expression"),
        ("0 2 * *", "there are 4"),
        ("0 0 2 * * *", "not 6"),
        ("0 0 2 * * * 2026", "not 7"),
        ("H * * * *", "Jenkins"),
        ("H/15 * * * *", "Jenkins"),
        ("H(0-29) * * * *", "Jenkins"),
        ("R * * * *", "random"),
        ("0~30 * * * *", "random"),
        ("0 0 ? * MON", "another dialect"),
        ("0 0 15W * *", "LW"),
        ("0 22-2 * * *", "backwards"),
        ("0 0 * * FRI-SUN", "backwards"),
        ("0 0 * NOV-FEB *", "backwards"),
        ("0 0 31 2 *", "never"),
        ("0 0 30,31 FEB *", "never"),
        ("0 0 31 4,6,9,11 *", "never"),
        ("0 0 */30 * MON#2", "never"),
        ("*/70 * * * *", "larger"),
        ("*/61 * * * *", "larger"),
        ("0 */25 * * *", "larger"),
        ("0 0 1-31/100 * *", "larger"),
        ("0 0 * */13 *", "larger"),
        ("0 0 * * */8", "larger"),
        ("*/0 * * * *", "step"),
        ("*/-1 * * * *", "step"),
        ("1-5/ * * * *", "step"),
        ("*/2/3 * * * *", "step"),
        ("60 * * * *", "out of range"),
        ("0 24 * * *", "out of range"),
        ("0 0 0 * *", "out of range"),
        ("0 0 32 * *", "out of range"),
        ("0 0 * 13 *", "out of range"),
        ("0 0 * * 8", "out of range"),
        ("0 0 * * MON#6", "1st to a 5th"),
        ("0 0 * * MON#", "1st to a 5th"),
        ("0 0 * * 8#1", "out of range"),
        ("0 0 * * 9L", "out of range"),
        ("0 0 * * L", "not a value"),
        ("0 0 L/2 * *", "no step"),
        ("0 0 * * MON#1/2", "no step"),
        ("0 0 L-3 * *", "not a value"),
        ("0 0 * MONDAY *", "not a value"),
        ("MON * * * *", "not a value"),
        (", * * * *", "not a value"),
        ("1,,2 * * * *", "not a value"),
        ("-5 * * * *", "not a value"),
        ("1-2-3 * * * *", "not a value"),
        ("*5 * * * *", "not a value"),
        ("1.5 * * * *", "not a value"),
        ("٣ * * * *", "one line"),
        ("0 0 * * *\n0 1 * * *", "one line"),
        ("0 0 * * \x00", "one line"),
        ("0 0 * * \u017fun", "one line"),
        ("0,0 " * 100, "255"),
        ("9" * 250 + " * * * *", "255"),
        ("9" * 240 + " * * * *", "out of range"),
    ],
)
def test_refusals_name_the_field_and_the_reason(expression: str, reason: str) -> None:
    with pytest.raises(Invalid) as caught:
        validate(Timing("custom", expression, "UTC"))

    assert list(caught.value.details) == ["cron_expression"]
    assert reason in caught.value.details["cron_expression"][0]
    assert len(caught.value.message) < 500


@pytest.mark.parametrize(
    ("expression", "sentence"),
    [
        ("0 2 * * MON", "At 02:00 every Monday"),
        ("0 2 * * *", "At 02:00 every day"),
        ("0 * * * *", "Every hour, on the hour"),
        ("* * * * *", "Every minute"),
        ("*/15 * * * *", "Every 15 minutes"),
        ("5 * * * *", "At minute 5 of every hour"),
        ("5,35 * * * *", "At minutes 5 and 35 of every hour"),
        ("*/25 * * * *", "At minutes 0, 25 and 50 of every hour"),
        ("30 */3 * * *", "Every 3 hours from 00:30"),
        ("0 */5 * * *", "At 00:00, 05:00, 10:00, 15:00 and 20:00 every day"),
        ("* 2 * * *", "Every minute from 02:00 to 02:59"),
        ("*/15 9-17 * * MON-FRI", "Every 15 minutes from 09:00 to 17:45 every Monday to Friday"),
        ("0 9-17 * * 1-5", "Every hour from 09:00 to 17:00 every Monday to Friday"),
        ("* 1,3 * * *", "Every minute of the hours 1 and 3"),
        ("10-20 5 * * *", "At minutes 10 to 20 of the hour 5 every day"),
        ("30 8,20 * * 6,7", "At 08:30 and 20:30 every Saturday and Sunday"),
        ("0 12 13 * 5", "At 12:00 on the 13th of the month or on any Friday"),
        ("0 12 13 2 5", "At 12:00 on the 13th of the month or on any Friday, only in February"),
        ("0 0 1-31 * MON", "At 00:00 every day"),
        (
            "0 0 */2 * MON",
            "At 00:00 on every 2nd day from the 1st of the month if that is a Monday",
        ),
        (
            "0 0 1-7 * */2",
            "At 00:00 on the 1st to 7th of the month if that is a Tuesday, Thursday, Saturday or "
            "Sunday",
        ),
        ("0 0 * * */2", "At 00:00 every Tuesday, Thursday, Saturday and Sunday"),
        ("0 0 29 2 *", "At 00:00 on 29 February"),
        ("0 0 1,21-23 3,4 *", "At 00:00 on the 1st and 21st to 23rd of March and April"),
        ("0 0 11,12 * *", "At 00:00 on the 11th and 12th of every month"),
        ("0 0 L * *", "At 00:00 on the last day of every month"),
        (
            "0 0 15,LW * *",
            "At 00:00 on the 15th and last weekday (Monday to Friday) of every month",
        ),
        ("0 0 * * 5L", "At 00:00 on the last Friday of the month"),
        ("0 0 * * MON#1,WED#3", "At 00:00 on the 1st Monday and the 3rd Wednesday of the month"),
        ("0 0 1 * 5L", "At 00:00 on the 1st of the month or on the last Friday of the month"),
        ("0 0 * 1-3 *", "At 00:00 every day in January to March"),
        ("0 0 * * 1,5L", "At 00:00 every Monday and on the last Friday of the month"),
    ],
)
def test_the_sentence_says_what_happens(expression: str, sentence: str) -> None:
    assert describe(Timing("custom", expression, "Europe/Berlin")) == f"{sentence} (Europe/Berlin)"
