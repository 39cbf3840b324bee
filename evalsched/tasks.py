"""Celery's edge: beat's entries."""

from celery import shared_task

from access import clock
from alerts import evaluations
from evalsched import ticks
from evalsched.runs import TICK


@shared_task(name=TICK)
def tick() -> None:
    ticks.tick(clock.database_now())


@shared_task(name="evalsched.evaluate")
def evaluate() -> None:
    """The tick does it as well; this entry comes each second, so that it is done in time."""
    evaluations.evaluate(clock.database_now())


@shared_task(name="evalsched.sweep")
def sweep() -> None:
    ticks.sweep(clock.database_now())
