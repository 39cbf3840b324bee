"""What is run, and what came out."""

from batches.models.agents import DOCUMENT_OPEN, Agent, Document, DocumentStatus
from batches.models.batches import (
    BATCH_FINISHED,
    BATCH_OPEN,
    Batch,
    BatchStatus,
    Experiment,
    Tombstone,
)
from batches.models.endpoints import ModelEndpoint, Provider
from batches.models.jobs import JOB_OPEN, Job, JobOutcome, JobStatus
from batches.models.suites import TestCase, TestSuite

__all__ = [
    "BATCH_FINISHED",
    "BATCH_OPEN",
    "DOCUMENT_OPEN",
    "JOB_OPEN",
    "Agent",
    "Batch",
    "BatchStatus",
    "Document",
    "DocumentStatus",
    "Experiment",
    "Job",
    "JobOutcome",
    "JobStatus",
    "ModelEndpoint",
    "Provider",
    "TestCase",
    "TestSuite",
    "Tombstone",
]
