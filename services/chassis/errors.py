"""Errors that domain code raises and only the edges translate.

A reason is part of the API and never renamed. The texts are Chinese and English templates over `metadata`, so
that every value in a message can be read by a program too. Unknown exceptions never leave a process: the edge
answers INTERNAL with a fixed text and logs the cause. (AIP-193)
"""

from collections.abc import Mapping

Metadata = Mapping[str, str | int]
# What somebody typed stands in a refusal five times, which travels in a header of bounded size: the rest is cut off.
LONGEST_VALUE = 1000


class AppError(Exception):
    """An error with a stable reason.

    code: name of the gRPC status code. retryable: whether a queue or a workflow may try again by itself.
    """

    code = "INTERNAL"
    retryable = False

    def __init__(self, reason: str, zh: str, en: str, **metadata: str | int) -> None:
        self.reason = reason
        self.metadata: dict[str, str] = {name: _cut(str(value)) for name, value in metadata.items()}
        self.zh = zh.format(**self.metadata)
        self.en = en.format(**self.metadata)
        super().__init__(f"{reason}: {self.en}")

    def message(self, locale: str) -> str:
        """Return the text in the reader's language: English for `en...`, else Chinese."""
        return self.en if locale.lower().startswith("en") else self.zh


class InvalidInput(AppError):
    """A field of the request cannot be accepted; `field` is its path in the request."""

    code = "INVALID_ARGUMENT"

    def __init__(self, field: str, reason: str, zh: str, en: str, **metadata: str | int) -> None:
        super().__init__(reason, zh, en, field=field, **metadata)
        self.field = self.metadata["field"]


class Unauthenticated(AppError):
    """No token, or one that is forged, expired or revoked."""

    code = "UNAUTHENTICATED"


class Forbidden(AppError):
    """The caller may not do this. Checked before existence, so that it tells nothing."""

    code = "PERMISSION_DENIED"


class NotFound(AppError):
    """No such record for this caller."""

    code = "NOT_FOUND"


class AlreadyExists(AppError):
    """A unique thing is there already."""

    code = "ALREADY_EXISTS"


class RuleViolation(AppError):
    """The record's state or a rule of the business refuses it."""

    code = "FAILED_PRECONDITION"


class Conflict(AppError):
    """Somebody else changed the record meanwhile."""

    code = "ABORTED"
    retryable = True


class Quota(AppError):
    """A limit for a period is used up; `retry_after_s` says when to come back."""

    code = "RESOURCE_EXHAUSTED"
    retryable = True

    def __init__(
        self, reason: str, zh: str, en: str, *, retry_after_s: int = 60, **metadata: str | int
    ) -> None:
        super().__init__(reason, zh, en, **metadata)
        self.retry_after_s = retry_after_s


class Unavailable(AppError):
    """A part is down; the only error that callers retry by themselves."""

    code = "UNAVAILABLE"
    retryable = True


class OutcomeUnknown(AppError):
    """It was sent and the answer was lost: never repeated by itself."""

    code = "UNKNOWN"


# Fixed text of a fault of ours.
INTERNAL_ZH = "系统内部错误，请稍后重试"
INTERNAL_EN = "Internal error; try again later"


class Internal(AppError):
    """A fault of ours, seen from a caller in another process."""

    code = "INTERNAL"
    retryable = True


BY_CODE: dict[str, type[AppError]] = {
    kind.code: kind
    for kind in (
        Unauthenticated,
        Forbidden,
        NotFound,
        AlreadyExists,
        RuleViolation,
        Conflict,
        Quota,
        Unavailable,
        OutcomeUnknown,
        Internal,
    )
}


def _cut(value: str) -> str:
    return value if len(value) <= LONGEST_VALUE else f"{value[:LONGEST_VALUE]}…"


def invalid_uuid(field: str) -> InvalidInput:
    """Return the error for a field that should hold a UUID."""
    return InvalidInput(field, "NOT_A_UUID", "{field} 不是有效的标识", "{field} is not a UUID")


def not_found(kind: str, kind_zh: str, record_id: str) -> NotFound:
    """Return the error for a record that is not there, or not for this caller."""
    return NotFound(
        f"{kind.upper()}_NOT_FOUND", f"找不到该{kind_zh}", f"No such {kind.replace('_', ' ')}", id=record_id
    )
