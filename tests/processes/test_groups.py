"""Tests with real processes go one after the other, or they take each other's time."""

import os

import pytest

pytestmark = [pytest.mark.processes, pytest.mark.xdist_group("processes")]


@pytest.mark.skipif("PYTEST_XDIST_WORKER" not in os.environ, reason="all go one after the other")
def test_they_are_one_group(request: pytest.FixtureRequest) -> None:
    assert request.node.nodeid.endswith("@processes")
