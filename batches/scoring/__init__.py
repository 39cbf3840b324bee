"""What makes an answer right: assertions, validated when saved and scored when answered. Pure.

Where an assertion needs another model, whoever may call out asks the `questions`, and hands what
was found to `score`.
"""

from batches.scoring.assertions import Answer, Assertion, AssertionScore, CaseScore, Finding
from batches.scoring.parsing import parse
from batches.scoring.scores import effective, is_slow, questions, score

__all__ = [
    "Answer",
    "Assertion",
    "AssertionScore",
    "CaseScore",
    "Finding",
    "effective",
    "is_slow",
    "parse",
    "questions",
    "score",
]
