"""What scoring speaks of: an assertion, an answer, and what came of comparing them."""

from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal
from typing import Protocol

NEGATION = "not-"


@dataclass(frozen=True)
class Assertion:
    """One claim about an answer, as it was validated when it was saved.

    `type` may begin with `not-`. `value` is any JSON value that the type takes, None where it takes
    none. `threshold` is a distance for levenshtein, milliseconds for latency, a Decimal of USD for
    cost, and 0..1 elsewhere. `tolerance` is absolute and only numeric's; `n` is how many words
    rouge-n counts together. `provider` names the model endpoint that similar and llm-rubric ask:
    its id, its name or its model. An assertion of weight 0 is shown and decides nothing. `trimmed`
    compares without white space around the texts; it is set for a case's `expected` only and
    cannot be asked for.
    """

    type: str
    value: object = None
    threshold: float | Decimal | None = None
    weight: float = 1
    metric: str | None = None
    tolerance: float | None = None
    n: int | None = None
    provider: str | None = None
    trimmed: bool = False

    @property
    def negated(self) -> bool:
        return self.type.startswith(NEGATION)

    @property
    def base(self) -> str:
        """The type without `not-`."""
        return self.type.removeprefix(NEGATION)

    def as_json(self) -> dict[str, object]:
        """Return what `parse` reads back as this assertion, without the defaults."""
        fields: dict[str, object] = {"type": self.type}
        if self.value is not None:
            fields["value"] = self.value
        if self.threshold is not None:
            # Money is a decimal string everywhere.
            money = isinstance(self.threshold, Decimal)
            fields["threshold"] = f"{self.threshold:f}" if money else self.threshold
        if self.tolerance is not None:
            fields["tolerance"] = self.tolerance
        if self.n is not None:
            fields["n"] = self.n
        if self.provider is not None:
            fields["provider"] = self.provider
        if self.weight != 1:
            fields["weight"] = self.weight
        if self.metric is not None:
            fields["metric"] = self.metric
        return fields


@dataclass(frozen=True)
class Answer:
    """What a model gave: its text, the time it took, and the price in USD; None is unknown."""

    output: str
    latency_ms: float | None
    cost: Decimal | None


@dataclass(frozen=True)
class Finding:
    """What one scorer found, before `not-`. `score` None: it could not be scored.

    `came` continues the sentence "Expected ...;" and is stored, so it quotes only clipped text.
    """

    passed: bool | None
    score: float | None
    came: str

    @classmethod
    def of(cls, passed: bool, came: str) -> "Finding":
        """Return the finding of a claim that holds or not, with nothing in between."""
        return cls(passed, float(passed), came)

    @classmethod
    def unscored(cls, why: str) -> "Finding":
        return cls(None, None, why)


@dataclass(frozen=True)
class AssertionScore:
    """How one assertion went. `passed` and `score` (0..1) are None where it could not be scored."""

    type: str
    metric: str | None
    passed: bool | None
    score: float | None
    weight: float
    reason: str


@dataclass(frozen=True)
class CaseScore:
    """How a case went. `score` (0..1) and `passed` are None where it is unscored."""

    score: float | None
    passed: bool | None
    assertions: tuple[AssertionScore, ...]


class Scorer(Protocol):
    """Compares an answer with an assertion whose value is filled. Raises for no answer at all."""

    def __call__(self, assertion: Assertion, answer: Answer, /) -> Finding: ...


@dataclass(frozen=True)
class Kind:
    """One type of assertion: how it scores, and how its value and threshold are validated.

    `value` and `threshold` take what the input gives (None where it gives nothing), return what is
    kept and raise Invalid. A `slow` one may take a second for a long answer or a nasty value, so
    it is scored beside the loop that calls are made from. One that `asks` another model is found
    out by whoever may call out, and comes to the scoring with its finding.
    """

    scorer: Scorer
    value: Callable[[object], object]
    threshold: Callable[[object], float | Decimal | None]
    has_tolerance: bool = False
    has_n: bool = False
    slow: bool = False
    asks: bool = False
