"""What makes an answer right: assertions, validated when saved and scored when answered. Pure."""

from batches.scoring.assertions import Answer, Assertion, AssertionScore, CaseScore
from batches.scoring.parsing import parse
from batches.scoring.scores import effective, score

__all__ = ["Answer", "Assertion", "AssertionScore", "CaseScore", "effective", "parse", "score"]
