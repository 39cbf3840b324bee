"""Assertions about how much an answer shares with reference texts: ROUGE and BLEU.

Source: promptfoo's names and thresholds; Lin 2004 for ROUGE (F1, words without regard to case);
Papineni 2002 and Post 2018 (tokenizer 13a, exponential smoothing) for BLEU.
"""

import re
from collections import Counter
from collections.abc import Callable, Sequence

from rapidfuzz.distance import LCSseq

from access.errors import Invalid
from batches.scoring import fields
from batches.scoring.assertions import Answer, Assertion, Finding, Kind
from batches.scoring.complaints import shown
from batches.scoring.patterns import storable

MAX_COMPARED_CHARACTERS = 100_000
# promptfoo's, for whoever gives no threshold.
DEFAULT_ROUGE = 0.75
DEFAULT_BLEU = 0.5
MAX_REFERENCES = 20
# A threshold of 0.6 is reached by 3 of 5, whatever the last binary digit says.
_ROUNDING = 1e-9
_WORD = re.compile(r"\w+")


def rouge_n(assertion: Assertion, answer: Answer) -> Finding:
    """Score the F1 of shared runs of `n` words, with the best of the references."""
    n = assertion.n or 1
    return _best(assertion, answer, lambda ours, theirs: _shared_runs(ours, theirs, n))


def rouge_l(assertion: Assertion, answer: Answer) -> Finding:
    """Score the F1 of the longest common subsequence of words, with the best of the references."""
    return _best(assertion, answer, _longest_common)


def bleu(assertion: Assertion, answer: Answer) -> Finding:
    """Score the sentence's BLEU against all references together, 0..1 instead of 0..100."""
    if len(answer.output) > MAX_COMPARED_CHARACTERS:
        return _too_long()
    # It brings numpy along, so only processes that need it pay for it.
    import sacrebleu

    references = [storable(text) for text in texts(assertion.value)]
    percent = float(sacrebleu.sentence_bleu(storable(answer.output), references).score)
    return graded("BLEU", percent / 100, assertion, answer, default=DEFAULT_BLEU)


def graded(
    name: str, score: float, assertion: Assertion, answer: Answer, *, default: float
) -> Finding:
    """Return the finding of a score that has to reach the threshold."""
    limit = default if assertion.threshold is None else float(assertion.threshold)
    within = min(max(score, 0.0), 1.0)
    came = f"{name} is {within:.4f}, at least {limit:g} is needed, for {shown(answer.output)}"
    return Finding(within >= limit - _ROUNDING, within, came)


def texts(value: object) -> list[str]:
    """Return the reference texts that a value names."""
    return [str(item) for item in value] if isinstance(value, list) else [str(value)]


def references(raw: object) -> object:
    """Validate the value: a text, or a list of texts of which each is a good answer."""
    if not isinstance(raw, list):
        return fields.text(raw)
    if not 0 < len(raw) <= MAX_REFERENCES:
        raise Invalid(f"A list here has 1 to {MAX_REFERENCES} texts.")
    listed: list[object] = [fields.text(item) for item in raw]
    if fields.characters(listed) > fields.MAX_VALUE_CHARACTERS:
        raise Invalid(f"This is longer than {fields.MAX_VALUE_CHARACTERS:,} characters.")
    return listed


def _best(
    assertion: Assertion,
    answer: Answer,
    measure: Callable[[Sequence[str], Sequence[str]], float],
) -> Finding:
    if len(answer.output) > MAX_COMPARED_CHARACTERS:
        return _too_long()
    ours = _words(answer.output)
    best = max(measure(ours, _words(text)) for text in texts(assertion.value))
    name = "ROUGE-L" if assertion.base == "rouge-l" else f"ROUGE-{assertion.n or 1}"
    return graded(name, best, assertion, answer, default=DEFAULT_ROUGE)


def _shared_runs(ours: Sequence[str], theirs: Sequence[str], n: int) -> float:
    mine, wanted = _runs(ours, n), _runs(theirs, n)
    return _f1((mine & wanted).total(), mine.total(), wanted.total())


def _longest_common(ours: Sequence[str], theirs: Sequence[str]) -> float:
    return _f1(LCSseq.similarity(ours, theirs), len(ours), len(theirs))


def _runs(words: Sequence[str], n: int) -> Counter[tuple[str, ...]]:
    return Counter(zip(*(words[start:] for start in range(n)), strict=False))


def _f1(shared: int, ours: int, theirs: int) -> float:
    # With nothing to share on either side there is no overlap to speak of.
    return 2 * shared / (ours + theirs) if shared else 0.0


def _words(text: str) -> list[str]:
    return _WORD.findall(text.casefold())


def _too_long() -> Finding:
    return Finding.unscored(f"the output is longer than {MAX_COMPARED_CHARACTERS:,} characters")


KINDS = {
    "rouge-n": Kind(rouge_n, references, fields.share, has_n=True, slow=True),
    "rouge-l": Kind(rouge_l, references, fields.share, slow=True),
    "bleu": Kind(bleu, references, fields.share, slow=True),
}
