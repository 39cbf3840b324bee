"""Cron in words: the sentence that says when a plan fires."""

from collections.abc import Sequence

from cronsim import CronSim

from evalsched.cron import HOUR, MINUTE, MONTH, MONTHS, WEEKDAYS, Day, Plan

MOST_TIMES = 6  # a sentence lists so many times or dates, beyond that it describes them
A_PAIR = 2  # "Monday and Tuesday", but "Monday to Wednesday"
_ALL_DAYS = frozenset(range(1, 32))
_ALL_WEEKDAYS = frozenset(range(7))


def sentence(plan: Plan) -> str:
    """Say in English when `plan` fires, without the zone: "At 02:00 every Monday".

    Made from the values rather than the notation, so it is right whatever the notation hides.
    """
    time = _time_words(_values(plan.minutes), _values(plan.hours))
    months = _values(plan.months)
    in_months = _listing(_runs(months, MONTHS), "and") if len(months) < MONTH.size else ""
    any_day, any_weekday = plan.days >= _ALL_DAYS, plan.weekdays >= _ALL_WEEKDAYS
    if (any_day and any_weekday) or (not plan.both_days and (any_day or any_weekday)):
        always = "" if "every" in time.lower() else " every day"
        return time + always + (f" in {in_months}" if in_months else "")
    if any_weekday:
        return f"{time} on {_dates(plan.days, in_months or 'every month')}"
    only = f", only in {in_months}" if in_months else ""
    if any_day:
        return f"{time} {_weekdays(plan.weekdays, 'every ', 'on ', 'and')}{only}"
    dates = _dates(plan.days, "the month")
    if plan.both_days:
        return f"{time} on {dates} if that is {_weekdays(plan.weekdays, 'a ', '', 'or')}{only}"
    return f"{time} on {dates} or {_weekdays(plan.weekdays, 'on any ', 'on ', 'or')}{only}"


def _time_words(minutes: list[int], hours: list[int]) -> str:
    if len(minutes) * len(hours) <= MOST_TIMES:
        return "At " + _listing([_clock(h, m) for h in hours for m in minutes], "and")
    evenly = _even_step(minutes, MINUTE.size)
    every = {0: "", 1: "Every minute"}.get(evenly, f"Every {evenly} minutes")
    at = f"At minute{'s' * (len(minutes) > 1)} {_listing(_runs(minutes), 'and')}"
    if len(hours) == HOUR.size:
        return "Every hour, on the hour" if minutes == [0] else every or f"{at} of every hour"
    hourly = _even_step(hours, HOUR.size)
    if hourly and len(minutes) == 1:
        return f"Every {hourly} hours from {_clock(0, minutes[0])}"
    if hours[-1] - hours[0] == len(hours) - 1 and (every or len(minutes) == 1):
        span = f"from {_clock(hours[0], minutes[0])} to {_clock(hours[-1], minutes[-1])}"
        return f"{every or 'Every hour'} {span}"
    return f"{every or at} of the hour{'s' * (len(hours) > 1)} {_listing(_runs(hours), 'and')}"


def _dates(days: frozenset[Day], month: str) -> str:
    numbers = sorted(day for day in days if isinstance(day, int) and day > 0)
    if len(days) == 1 and numbers and month in MONTHS:
        return f"{numbers[0]} {month}"
    step = numbers[1] - numbers[0] if len(numbers) == len(days) > MOST_TIMES else 0
    if step > 1 and numbers == list(range(1, 32, step)):
        return f"every {_ordinal(step)} day from the 1st of {month}"
    words = _runs(numbers, [_ordinal(number) for number in range(32)])
    words += ["last day"] * (CronSim.LAST in days)
    words += ["last weekday (Monday to Friday)"] * (CronSim.LAST_WEEKDAY in days)
    return f"the {_listing(words, 'and')} of {month}"


def _weekdays(weekdays: frozenset[Day], before: str, before_nth: str, conjunction: str) -> str:
    # A week begins on Monday here, so that a weekend is a run of days.
    plain = sorted((day - 1) % 7 for day in weekdays if isinstance(day, int))
    nth = sorted(day for day in weekdays if isinstance(day, tuple))
    parts = []
    if plain:
        parts.append(before + _listing(_runs(plain, (*WEEKDAYS[1:], WEEKDAYS[0])), conjunction))
    if nth:
        words = [
            f"the {'last' if n == CronSim.LAST else _ordinal(n)} {WEEKDAYS[day]}" for day, n in nth
        ]
        parts.append(f"{before_nth}{_listing(words, conjunction)} of the month")
    return f" {conjunction} ".join(parts)


def _values(mask: int) -> list[int]:
    return [value for value in range(mask.bit_length()) if mask >> value & 1]


def _even_step(values: list[int], size: int) -> int:
    """Return n where `values` are every nth of the whole field, round and round; else 0."""
    step = values[1] - values[0] if len(values) > 1 else 0
    return step if step and size % step == 0 and values == list(range(0, size, step)) else 0


def _runs(values: list[int], labels: Sequence[str] = ()) -> list[str]:
    """Return the words for ascending `values`, three and more in a row as "first to last"."""
    words: list[str] = []
    while values:
        length = 1
        while length < len(values) and values[length] == values[0] + length:
            length += 1
        run = [labels[value] if labels else str(value) for value in values[:length]]
        words += [f"{run[0]} to {run[-1]}"] if length > A_PAIR else run
        values = values[length:]
    return words


def _listing(words: Sequence[str], conjunction: str) -> str:
    head = ", ".join(words[:-1])
    return f"{head} {conjunction} {words[-1]}" if head else words[-1]


def _ordinal(number: int) -> str:
    ends = {1: "st", 2: "nd", 3: "rd"}
    return f"{number}{'th' if number in {11, 12, 13} else ends.get(number % 10, 'th')}"


def _clock(hour: int, minute: int) -> str:
    return f"{hour:02d}:{minute:02d}"
