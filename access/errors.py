"""What may be refused, in words a person can act on. The API's error shape is made from these."""

from collections.abc import Mapping, Sequence


class Refusal(Exception):
    """A request that cannot be carried out, with a sentence that says what to do.

    `details` maps a field of the input to its complaints; it is empty where no field is to blame.
    """

    status_code = 400
    type = "invalid"

    def __init__(self, message: str, details: Mapping[str, Sequence[str]] | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.details = {field: list(complaints) for field, complaints in (details or {}).items()}


class Invalid(Refusal):
    """The input breaks a rule. Correct the named fields and send it again."""

    @classmethod
    def field(cls, name: str, complaint: str) -> "Invalid":
        return cls(complaint, {name: [complaint]})


class Unauthenticated(Refusal):
    """No credentials, or none that are known here. Send an API key or log in."""

    status_code = 401
    type = "not_authenticated"


class Forbidden(Refusal):
    """The credentials are known but may not do this: a scope or a role is too small."""

    status_code = 403
    type = "permission_denied"


class NotFound(Refusal):
    """There is no such object in this project. Somebody else's object looks just the same."""

    status_code = 404
    type = "not_found"


class Conflict(Refusal):
    """The object's state, or another object that uses it, does not allow this now."""

    status_code = 409
    type = "conflict"


class TooLarge(Refusal):
    """The request holds more than is taken at a time. Send it in parts."""

    status_code = 413
    type = "payload_too_large"


class RateLimited(Refusal):
    """Too many requests. Wait `retry_after` seconds."""

    status_code = 429
    type = "rate_limited"

    def __init__(self, message: str, *, retry_after: int) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class Unavailable(Refusal):
    """The database or the broker is away. Nothing was changed; wait `retry_after` seconds."""

    status_code = 503
    type = "unavailable"

    def __init__(self, message: str, *, retry_after: int = 5) -> None:
        super().__init__(message)
        self.retry_after = retry_after
