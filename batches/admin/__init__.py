"""The admin pages about endpoints, suites and their cases, batches and their jobs."""

from batches.admin import batches, cases, endpoints, jobs, suites

__all__ = ["batches", "cases", "endpoints", "jobs", "suites"]
