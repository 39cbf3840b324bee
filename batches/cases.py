"""A test case as it is written: validated, filled in, and identified by its content. Pure."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import TypedDict, TypeVar

from access.errors import Invalid
from access.strict_json import UNSTORABLE, flaw, unstorable
from batches import scoring
from batches.scoring import fields, templates
from batches.scoring.complaints import Complaints, clipped, each, indexed, joined
from batches.scoring.templates import Scalar

# About 100,000 tokens: the longest document that models read in one go.
MAX_TEXT_CHARACTERS = 400_000
# A conversation, not a log; its texts share the limit above.
MAX_MESSAGES = 200
# A row of a wide table.
MAX_VARIABLES = 200
# A reference answer may be as long as models write, which is less than what they read.
MAX_EXPECTED_CHARACTERS = 100_000
MAX_TAGS = 50
MAX_TAG_CHARACTERS = 64
# Notes about a case are a page; data belongs into variables.
MAX_METADATA_CHARACTERS = 20_000
MAX_METADATA_DEPTH = 8
MAX_CLUSTER_CHARACTERS = 128
MAX_WEIGHT = 1000

ROLES = ("system", "user", "assistant")
FIELDS = (
    "key",
    "prompt",
    "messages",
    "variables",
    "expected",
    "assertions",
    "tags",
    "weight",
    "threshold",
    "metadata",
)
_KEY = re.compile(r"[A-Za-z0-9._:-]{1,128}")

T = TypeVar("T")


class Message(TypedDict):
    """One turn of a conversation. `role` is one of ROLES."""

    role: str
    content: str


@dataclass(frozen=True)
class CaseDraft:
    """A valid case that is not stored yet. Exactly one of `prompt` and `messages` is None.

    `threshold` (0..1) is the score from which the case passes, None where every assertion must.
    `weight` is more than 0 and counts against the other cases of the suite.
    """

    key: str
    prompt: str | None
    messages: list[Message] | None
    variables: dict[str, Scalar]
    expected: str | None
    assertions: tuple[scoring.Assertion, ...]
    tags: tuple[str, ...]
    weight: float
    threshold: float | None
    metadata: dict[str, object]

    @property
    def cluster(self) -> str | None:
        """The group of related cases that this one belongs to, for the statistics."""
        cluster = self.metadata.get("cluster")
        return cluster if isinstance(cluster, str) else None

    def as_json(self) -> dict[str, object]:
        """Return the case with all of FIELDS, as rows keep it and as `draft` reads it back."""
        return {
            "key": self.key,
            "prompt": self.prompt,
            "messages": self.messages,
            "variables": self.variables,
            "expected": self.expected,
            "assertions": [assertion.as_json() for assertion in self.assertions],
            "tags": list(self.tags),
            "weight": self.weight,
            "threshold": self.threshold,
            "metadata": self.metadata,
        }


def draft(raw: Mapping[str, object], *, path: str = "") -> CaseDraft:
    """Return the case that `raw` spells, as the API or an import gives it.

    A field that is null counts as left out. Without a `key` the case is called after its content,
    `case-` and 12 hexadecimal digits: the same case gets the same key in every import. `path` is
    put before the names of fields in complaints.

    Raises:
        Invalid: its details name every bad field, such as `assertions[1].type`, with a sentence.
    """
    complaints = Complaints()
    for name in raw:
        if name not in FIELDS:
            complaints.add(joined(path, clipped(name)), f"A case has no field {clipped(name)}.")

    def read(name: str, reader: Callable[[object], T], default: T) -> T:
        value = raw.get(name)
        if value is None:
            return default
        with complaints.about(joined(path, name)):
            return reader(value)
        return default

    if (raw.get("prompt") is None) == (raw.get("messages") is None):
        sentence = "A case has either a prompt or messages, and not both."
        complaints.add(joined(path, "prompt"), sentence)
    case = CaseDraft(
        key=read("key", _key, ""),
        prompt=read("prompt", _text, None),
        messages=read("messages", _messages, None),
        variables=read("variables", _variables, {}),
        expected=read("expected", _expected, None),
        assertions=read("assertions", lambda value: scoring.parse(value, path=""), ()),
        tags=read("tags", _tags, ()),
        weight=read("weight", _weight, 1.0),
        threshold=read("threshold", lambda value: fields.number(value, least=0, most=1), None),
        metadata=read("metadata", _metadata, {}),
    )
    # A bad variable would only be complained about twice.
    if not complaints:
        with complaints.about(path):
            _check_names(case)
    complaints.refuse_any()
    return case if case.key else replace(case, key=f"case-{content_hash(case)[:12]}")


def turns(prompt: object, messages: object) -> list[Message]:
    """Return the conversation that a prompt or messages spell, whichever is not None; no templates.

    Raises:
        Invalid: it is neither a text nor a list of messages, or too long.
    """
    if messages is not None:
        return _messages(messages)
    return [Message(role="user", content=_text(prompt))]


def rendered(case: CaseDraft) -> list[Message]:
    """Return the conversation to send, with the variables filled in.

    `{{ name }}` is the whole language: no filters or statements, one pass, and what a variable
    holds is not looked at again. A prompt is one message of the user.
    """
    turns = case.messages or [Message(role="user", content=case.prompt or "")]
    return [
        Message(role=turn["role"], content=templates.fill(turn["content"], case.variables))
        for turn in turns
    ]


def content_hash(case: CaseDraft) -> str:
    """Return the SHA-256 (hexadecimal) of everything that changes what the case means.

    That is prompt, messages, variables, expected, assertions, threshold, weight and the cluster.
    The key, tags and other metadata may change without making results incomparable.
    """
    meaning = case.as_json()
    for name in ("key", "tags", "metadata"):
        del meaning[name]
    meaning["cluster"] = case.cluster
    return fields.content_hash(meaning)


def _check_names(case: CaseDraft) -> None:
    """Refuse templates that name a variable which the case does not give."""
    templated: list[tuple[str, object]] = [("prompt", case.prompt)]
    for index, turn in enumerate(case.messages or ()):
        templated.append((f"messages[{index}].content", turn["content"]))
    for index, assertion in enumerate(case.assertions):
        templated.append((f"assertions[{index}].value", assertion.value))
    # Only where it is scored by; beside assertions `expected` is a note and may hold anything.
    if not case.assertions:
        templated.append(("expected", case.expected))
    each(templated, lambda value: templates.fill_all(value, case.variables))


def _key(raw: object) -> str:
    if not isinstance(raw, str) or not _KEY.fullmatch(raw):
        raise Invalid("A key is 1 to 128 letters, digits and . _ : - without blanks.")
    return raw


def _text(raw: object, most: int = MAX_TEXT_CHARACTERS) -> str:
    if not isinstance(raw, str):
        raise Invalid("This must be a text.")
    if not raw.strip():
        raise Invalid("This must not be empty.")
    if len(raw) > most:
        raise Invalid(f"This is longer than {most:,} characters.")
    if unstorable(raw):
        raise Invalid(UNSTORABLE)
    return raw


def _messages(raw: object) -> list[Message]:
    if not isinstance(raw, list) or not 0 < len(raw) <= MAX_MESSAGES:
        raise Invalid(f"Messages are a list of 1 to {MAX_MESSAGES} objects.")
    messages = each(indexed(raw), _message)
    if sum(len(message["content"]) for message in messages) > MAX_TEXT_CHARACTERS:
        raise Invalid(f"The messages are longer than {MAX_TEXT_CHARACTERS:,} characters together.")
    return messages


def _message(raw: object) -> Message:
    if not isinstance(raw, dict) or raw.keys() != {"role", "content"}:
        raise Invalid("A message is an object with role and content, and nothing else.")
    complaints = Complaints()
    content = ""
    with complaints.about("content"):
        content = _text(raw["content"])
    if raw["role"] not in ROLES:
        complaints.add("role", f"A role is one of {', '.join(ROLES)}.")
    complaints.refuse_any()
    return Message(role=raw["role"], content=content)


def _variables(raw: object) -> dict[str, Scalar]:
    if not isinstance(raw, dict) or len(raw) > MAX_VARIABLES:
        raise Invalid(f"Variables are an object of at most {MAX_VARIABLES} names with values.")
    each(((clipped(name), name) for name in raw), _name)
    values = each(raw.items(), _scalar)
    variables = dict(zip(raw, values, strict=True))
    if fields.characters(variables) > MAX_TEXT_CHARACTERS:
        raise Invalid(f"The variables are longer than {MAX_TEXT_CHARACTERS:,} characters together.")
    return variables


def _name(raw: object) -> str:
    if not isinstance(raw, str) or not templates.is_name(raw):
        raise Invalid(
            "A variable's name is a letter or _ with letters, digits, blanks, . _ - after it, "
            f"at most {templates.MAX_NAME_CHARACTERS} characters."
        )
    return raw


def _scalar(raw: object) -> Scalar:
    if isinstance(raw, bool):
        return raw
    if isinstance(raw, str):
        # An empty text is a value: a form that was left blank.
        return _text(raw) if raw.strip() else _blank(raw)
    if isinstance(raw, int | float):
        return fields.number(raw)
    raise Invalid("A variable is a text, a number, true or false.")


def _blank(raw: str) -> str:
    if len(raw) > MAX_TEXT_CHARACTERS:
        raise Invalid(f"This is longer than {MAX_TEXT_CHARACTERS:,} characters.")
    return raw


def _expected(raw: object) -> str:
    if isinstance(raw, bool | int | float):
        return templates.as_text(_scalar(raw))
    if not isinstance(raw, str):
        raise Invalid("This must be a text; an equals assertion compares objects and lists.")
    return _text(raw, MAX_EXPECTED_CHARACTERS) if raw.strip() else ""


def _tags(raw: object) -> tuple[str, ...]:
    if not isinstance(raw, list) or len(raw) > MAX_TAGS:
        raise Invalid(f"Tags are a list of at most {MAX_TAGS} short texts.")
    tags = each(indexed(raw), lambda item: _text(item, MAX_TAG_CHARACTERS).strip())
    # Said twice is said once; the order is the author's.
    return tuple(dict.fromkeys(tags))


def _weight(raw: object) -> float:
    weight = fields.number(raw, least=0, most=MAX_WEIGHT)
    if not weight:
        raise Invalid("A weight is more than 0: to leave a case out, remove it.")
    return weight


def _metadata(raw: object) -> dict[str, object]:
    if not isinstance(raw, dict):
        raise Invalid("Metadata is an object.")
    complaint = flaw(raw, max_depth=MAX_METADATA_DEPTH)
    if complaint:
        raise Invalid(complaint)
    if fields.characters(raw) > MAX_METADATA_CHARACTERS:
        raise Invalid(f"Metadata is longer than {MAX_METADATA_CHARACTERS:,} characters.")
    metadata = {key: fields.settled(value) for key, value in raw.items()}
    if metadata.get("cluster") is not None:
        (metadata["cluster"],) = each([("cluster", metadata["cluster"])], _cluster)
    return metadata


def _cluster(raw: object) -> str:
    # Clusters are often numbered; they are names nevertheless.
    numbered = isinstance(raw, int) and not isinstance(raw, bool)
    return _text(str(raw) if numbered else raw, MAX_CLUSTER_CHARACTERS)
