"""An experiment of two batches with results, and a member who looks at it."""

from dataclasses import dataclass
from typing import Any

import pytest
from django.test import Client
from django.urls import reverse

from access.actors import Actor
from batches import experiments
from batches.batches import Config
from batches.experiments import Plan
from batches.models import Batch, Job, TestSuite
from tests.evalsched.compared_runs import bring_results
from tests.factories import NOW, make_actor, make_endpoint, make_suite

TRIAL = "shorter-prompt"


def make_trial(
    actor: Actor, suite: TestSuite, *, wrong: Any = (), name: str = "", tracking_id: str = TRIAL
) -> Batch:
    """Make a batch of the experiment that answers every case, those in `wrong` wrongly."""
    batch = experiments.create(
        actor,
        Plan(tracking_id=tracking_id, description="Does a shorter prompt do?"),
        endpoint=make_endpoint(actor),
        config=Config(name=name),
        suite=suite,
        now=NOW,
    )
    bring_results(batch.pk, NOW, wrong=wrong)
    for job in Job.objects.filter(batch=batch):
        output = f"The answer is {job.ordinal + 1}"
        job.output = output + (", or not." if job.ordinal + 1 in wrong else ".")
        job.save(update_fields=["output"])
    batch.refresh_from_db()
    return batch


@dataclass
class Trial:
    actor: Actor
    before: Batch
    after: Batch

    def page(self, client: Client, query: str = "", *, page: str = "experiment") -> str:
        url = reverse(page, args=[TRIAL])
        return client.get(f"{url}?project={self.actor.project.pk}&{query}").content.decode()


@pytest.fixture
def trial(db: None) -> Trial:
    """Twelve cases; the second batch gets two of them wrong."""
    actor = make_actor()
    suite = make_suite(actor, cases=12)
    return Trial(
        actor,
        make_trial(actor, suite, name="Long prompt"),
        make_trial(actor, suite, name="Short prompt", wrong={3, 7}),
    )


@pytest.fixture
def member(trial: Trial) -> Client:
    """A browser in which the maker of the experiment, who is no operator, has logged in."""
    client = Client()
    client.force_login(trial.actor.user)
    return client
