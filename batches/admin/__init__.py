"""The admin pages about endpoints, suites, agents, documents, batches and experiments."""

from batches.admin import (
    agents,
    batches,
    cases,
    documents,
    endpoints,
    experiments,
    jobs,
    suites,
    tombstones,
)

__all__ = [
    "agents",
    "batches",
    "cases",
    "documents",
    "endpoints",
    "experiments",
    "jobs",
    "suites",
    "tombstones",
]
