"""Asking judges and embedding models about an answer: the part of scoring that calls out.

Their failures are theirs: the assertion is unscored with the reason, the job is no error, and
their time is not the model's.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal

from access.egress import Session
from alerts import prices
from batches import budgets, calls, scoring
from batches.allowances import Allowance
from batches.assignments import Assignment, Grader
from batches.cases import CaseDraft, rendered
from batches.providers.base import Answer, Call, ErrorClass
from batches.scoring import overlaps, rubrics, similarity
from batches.scoring.assertions import Assertion, Finding

# A server that cannot do structured output says so with one of these.
_NOT_UNDERSTOOD = frozenset({400, 422})
_CHARACTERS_PER_TOKEN = 4


@dataclass
class Graded:
    """What others found, by the place of the assertion, and what that cost in USD.

    `cost` is None where nobody was asked; `unpriced` says that a part of it is unknown. `failure`
    is the sentence of one who did not answer, "" where all did, None where nobody was asked.
    """

    found: dict[int, Finding] = field(default_factory=dict)
    cost: Decimal | None = None
    unpriced: bool = False
    failure: str | None = None

    def answered(self) -> None:
        self.failure = self.failure or ""

    def unanswered(self, error_class: ErrorClass | None, why: str) -> Finding:
        """Note that one of them did not answer; one who declines is there all the same."""
        self.failure = self.failure or ("" if error_class is ErrorClass.REFUSED else why)
        return Finding.unscored(why)

    def pay(self, amount: Decimal | None) -> None:
        if amount is None:
            self.unpriced = True
        else:
            self.cost = (self.cost or Decimal(0)) + amount


class Grading:
    """Whom the assertions of one batch ask, and how often they may be."""

    def __init__(self, session: Session, assignment: Assignment, allowance: Allowance) -> None:
        self._session = session
        self._assignment = assignment
        self._allowance = allowance
        # Judges that refused a schema: they are asked for JSON in words.
        self._wordy: set[str] = set()

    async def grade(self, case: CaseDraft, answer: Answer | None) -> Graded:
        """Ask about everything that scoring cannot find out by itself, one after the other.

        Raises nothing but cancellation.
        """
        graded = Graded()
        if answer is None:
            return graded
        assertions = scoring.effective(case.assertions, case.expected)
        for place, assertion in scoring.questions(assertions, case.variables):
            graded.found[place] = await self._finding(assertion, case, answer.output, graded)
        return graded

    async def _finding(
        self, assertion: Assertion, case: CaseDraft, output: str, graded: Graded
    ) -> Finding:
        grader = self._assignment.graders.get((assertion.base, assertion.provider or ""))
        if grader is None:
            return Finding.unscored(f"the batch has no endpoint for {assertion.base}")
        finding = rubrics.too_long(output)
        if finding is not None:
            return finding
        if assertion.base == "similar":
            return await self._similar(assertion, output, grader, graded)
        return await self._judged(assertion, case, output, grader, graded)

    async def _judged(
        self,
        assertion: Assertion,
        case: CaseDraft,
        output: str,
        grader: Grader,
        graded: Graded,
    ) -> Finding:
        messages = rubrics.messages(str(assertion.value), rendered(case), output)
        schema = None if grader.key in self._wordy else rubrics.SCHEMA
        outcome = await self._asked(grader, messages, schema)
        if schema is not None and outcome.status in _NOT_UNDERSTOOD:
            self._wordy.add(grader.key)
            outcome = await self._asked(grader, messages, None)
        said = outcome.answer
        if said is None:
            why = f"{grader.name} gave no verdict: {outcome.error}"
            return graded.unanswered(outcome.error_class, why)
        graded.answered()
        graded.pay(
            prices.cost(
                grader.prices,
                input_tokens=said.input_tokens,
                output_tokens=said.output_tokens,
                cached_tokens=said.cached_tokens or 0,
                written_tokens=said.written_tokens or 0,
            )
        )
        return rubrics.verdict(said.output, assertion, grader.name)

    async def _asked(
        self,
        grader: Grader,
        messages: Sequence[Mapping[str, str]],
        schema: Mapping[str, object] | None,
    ) -> calls.Outcome:
        question = Call(messages, timeout_s=self._assignment.timeout_s, schema=schema)
        guess = budgets.expected_tokens(messages, grader.endpoint.parameters)
        outcome = await calls.call(
            self._session,
            grader.endpoint,
            question,
            deadline=self._assignment.deadline,
            before=lambda: self._allowed(grader, guess),
        )
        used = None
        if outcome.answer is not None and outcome.answer.input_tokens is not None:
            used = outcome.answer.input_tokens + (outcome.answer.output_tokens or 0)
        await self._settle(grader, used, guess, outcome.attempts)
        return outcome

    async def _similar(
        self, assertion: Assertion, output: str, grader: Grader, graded: Graded
    ) -> Finding:
        if not output.strip():
            # Embeddings of nothing are refused; and nothing is like no text.
            return Finding.of(False, "the output is empty")
        texts = [output, *overlaps.texts(assertion.value)]
        guess = sum(map(len, texts)) / _CHARACTERS_PER_TOKEN
        outcome = await calls.embed(
            self._session,
            grader.endpoint,
            texts,
            timeout_s=self._assignment.timeout_s,
            deadline=self._assignment.deadline,
            before=lambda: self._allowed(grader, guess),
        )
        embedded = outcome.answer
        used = None if embedded is None else embedded.input_tokens
        await self._settle(grader, used, guess, outcome.attempts)
        if embedded is None:
            why = f"{grader.name} gave no embeddings: {outcome.error}"
            return graded.unanswered(outcome.error_class, why)
        graded.answered()
        # Embeddings have no output to pay for.
        graded.pay(
            prices.cost(grader.prices_of_input, input_tokens=embedded.input_tokens, output_tokens=0)
        )
        mine, *wanted = embedded.vectors
        answer = scoring.Answer(output, None, None)
        return similarity.similar(assertion, answer, mine, wanted)

    async def _allowed(self, grader: Grader, tokens: float) -> None:
        """Wait until the grader's own limits, over all workers, let one more call start."""
        if grader.tokens:
            await self._allowance.take(grader.tokens, tokens)
        for rate in grader.rates:
            await self._allowance.take(rate)

    async def _settle(self, grader: Grader, used: int | None, guess: float, attempts: int) -> None:
        """Book what the call really used beyond the guesses, one an attempt, or give it back."""
        if grader.tokens:
            spent = guess if used is None else used
            await self._allowance.book(grader.tokens, spent - guess * attempts)
