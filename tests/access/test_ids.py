"""Identifiers by RFC 9562: version 7, its variant, ordered by time."""

import time
import uuid

import pytest

from access.ids import uuid7


def test_it_is_a_uuid_of_version_7() -> None:
    identifier = uuid7()

    assert identifier.version == 7
    assert identifier.variant == uuid.RFC_4122


def test_it_begins_with_the_time_in_milliseconds() -> None:
    before = time.time_ns() // 1_000_000
    milliseconds = uuid7().int >> 80
    after = time.time_ns() // 1_000_000

    assert before <= milliseconds <= after


def test_the_example_of_the_standard(monkeypatch: pytest.MonkeyPatch) -> None:
    """Source: RFC 9562, appendix A.6: 2022-02-22 19:22:22 UTC, with the random bits given there."""
    rand_a, rand_b = 0xCC3, 0x18C4DC0C0C07398F
    bits = rand_a << 68 | rand_b
    monkeypatch.setattr(time, "time_ns", lambda: 0x017F22E279B0 * 1_000_000)
    monkeypatch.setattr("os.urandom", lambda size: bits.to_bytes(size, "big"))

    assert uuid7() == uuid.UUID("017F22E2-79B0-7CC3-98C4-DC0C0C07398F")


def test_later_ones_sort_behind_earlier_ones() -> None:
    first = uuid7()
    time.sleep(0.002)

    assert first < uuid7()


def test_no_two_are_alike() -> None:
    assert len({uuid7() for _ in range(10_000)}) == 10_000
