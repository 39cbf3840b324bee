"""What the JSON samples of other frameworks share: an input, reference answers, an id. Pure."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from access.errors import Invalid
from batches.cases import ROLES
from batches.imports.files import Options, Spot, Spots
from batches.imports.naming import digest, literal
from batches.scoring.complaints import clipped
from batches.scoring.templates import as_text

# Few-shot examples in the chat format of the first OpenAI-compatible servers.
_EXAMPLES = {"example_user": "user", "example_assistant": "assistant"}


# What means something else than itself in a pattern. A text whose braces are quoted is no template.
_SPECIAL = re.compile(r"[\\.+*?()|\[\]{}^$]")


@dataclass(frozen=True)
class Scorer:
    """How a format compares with reference answers.

    `one` is the type of assertion for one of them. For any of several it is `several`, which takes
    a list, or a `regex` between whose `begin` and `end` the quoted texts stand: one assertion in
    each case, so that a right answer scores 1.
    """

    one: str
    several: str = "regex"
    begin: str = r"\A(?:"
    end: str = ")"


@dataclass
class Sample:
    """A case on its way from another format; `names` are its fields' names over there."""

    names: Mapping[str, str]
    raw: dict[str, object] = field(default_factory=dict)
    variables: dict[str, object] = field(default_factory=dict)

    def ask(self, given: object) -> None:
        """Take the input: a text, or a list of messages.

        Raises:
            Invalid: it is neither.
        """
        if isinstance(given, str):
            self.raw["prompt"] = literal(given, "input", self.variables)
        elif isinstance(given, list):
            name = self.names["messages"]
            self.raw["messages"] = [
                _message(item, f"{name}[{index}]", index + 1, self.variables)
                for index, item in enumerate(given)
            ]
        else:
            raise Invalid.field(self.names["prompt"], "An input is a text or a list of messages.")

    def expect(self, given: object, scorer: Scorer) -> None:
        """Take the reference answers: a text, a number, or a list of these, any of which is right.

        Raises:
            Invalid: they are something else.
        """
        answers = given if isinstance(given, list) else [given]
        texts = [as_text(answer) for answer in answers if isinstance(answer, str | int | float)]
        if len(texts) < len(answers):
            raise Invalid.field(
                self.names["assertions"], "This must be a text, or a list of texts."
            )
        self._any_of(list(dict.fromkeys(texts)), scorer)

    def _any_of(self, texts: Sequence[str], scorer: Scorer) -> None:
        if not all(texts):
            raise Invalid.field(self.names["assertions"], "This must not be empty.")
        value: object
        if len(texts) > 1 and scorer.several == "regex":
            value = scorer.begin + "|".join(map(_quoted, texts)) + scorer.end
        else:
            values = [
                literal(text, f"answer_{number}", self.variables)
                for number, text in enumerate(texts, start=1)
            ]
            value = values if len(values) > 1 else values[0]
        type_ = scorer.several if len(texts) > 1 else scorer.one
        self.raw["assertions"] = [{"type": type_, "value": value}]

    def case(self) -> dict[str, object]:
        return self.raw | ({"variables": self.variables} if self.variables else {})

    def key(self) -> str:
        """Return a key that stays when the reference answers are corrected."""
        asked = self.raw.get("messages") or self.raw.get("prompt")
        return f"sample-{digest([asked, self.variables.get('input')])[:12]}"

    def spots(self, source: Spots) -> Spots:
        """Return how the fields of the case are found where `source` finds those of the sample."""

        def found(paths: Iterable[str]) -> dict[str, Spot]:
            there = {path: _path_there(path, self.names) for path in paths}
            spots = source(list(there.values()))
            return {path: spots[theirs] for path, theirs in there.items()}

        return found


def scorer_of(options: Options, scorers: Mapping[str, Scorer], usual: str) -> Scorer:
    """Return the scorer that was asked for.

    Raises:
        Invalid: the format does not have it.
    """
    found = scorers.get(options.scorer or usual)
    if found is None:
        raise Invalid.field(
            "scorer", f"This format has the scorers {', '.join(scorers)}; the usual is {usual}."
        )
    return found


def _quoted(text: str) -> str:
    return _SPECIAL.sub(r"\\\g<0>", text)


def _message(
    given: object, where: str, number: int, variables: dict[str, object]
) -> dict[str, object]:
    if not isinstance(given, dict) or not isinstance(given.get("role"), str):
        raise Invalid.field(where, "A message is an object with role and content.")
    role = _EXAMPLES.get(str(given.get("name")), given["role"])
    if role not in ROLES:
        raise Invalid.field(
            f"{where}.role", f"{clipped(role)} is no role here: {', '.join(ROLES)} are."
        )
    if given.get("tool_calls"):
        raise Invalid.field(f"{where}.tool_calls", "Tool calls are not supported.")
    text = _content(given.get("content"), f"{where}.content")
    return {"role": role, "content": literal(text, f"message_{number}", variables)}


def _content(given: object, where: str) -> str:
    if isinstance(given, str):
        return given
    parts = given if isinstance(given, list) else [given]
    texts = [part.get("text") for part in parts if isinstance(part, dict)]
    if len(texts) == len(parts) and all(isinstance(text, str) for text in texts):
        return "\n".join(map(str, texts))
    raise Invalid.field(where, "Content is a text, or a list of parts that have a text.")


def _path_there(path: str, names: Mapping[str, str]) -> str:
    """Return the path over there: `ideal` for `assertions[0].value`, `input[1]` for messages."""
    for ours, theirs in names.items():
        if path == ours or path.startswith((f"{ours}.", f"{ours}[")):
            return theirs + path.removeprefix(ours) if ours == "messages" else theirs
    return path
