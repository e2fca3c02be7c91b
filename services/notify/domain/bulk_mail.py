"""One mail to many customers: what it says to each, and where it and each of its recipients stand."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from services.chassis.errors import InvalidInput

LONGEST_SUBJECT: Final = 100
LONGEST_BODY: Final = 5000
# More recipients at once are a job for a mailing service.
MOST_RECIPIENTS: Final = 20_000
# Customers that one step of staging takes in: a page of their list.
STAGED_AT_ONCE: Final = 200

NAME: Final = "{name}"
# Below every bulk mail: how a receiver gets no more of them.
HOW_TO_STOP: Final = "\n\n--\n如不希望再收到此类邮件，请直接回复告知。"


class BulkMailState(StrEnum):
    """Name where a bulk mail stands."""

    # Its customers are being taken in.
    STAGING = "staging"
    # Everybody is in it; a person looks at the numbers and starts it.
    STAGED = "staged"
    # Goes out, from its start time on.
    RUNNING = "running"
    DONE = "done"
    CANCELLED = "cancelled"


class RecipientState(StrEnum):
    """Name where a recipient stands."""

    WAITING = "waiting"
    # The intent is written: from here on only an outcome moves it.
    SENDING = "sending"
    SENT = "sent"
    FAILED = "failed"
    # Nobody knows; never sent again by itself.
    UNCERTAIN = "uncertain"
    SKIPPED = "skipped"


@dataclass(frozen=True)
class Wording:
    """What a bulk mail says; {name} stands for the customer's name."""

    subject: str
    text: str

    def check(self) -> None:
        """Raise InvalidInput SUBJECT_LENGTH or TEXT_LENGTH naming the field."""
        for field, value, most in (
            ("subject", self.subject, LONGEST_SUBJECT),
            ("text", self.text, LONGEST_BODY),
        ):
            if not value.strip() or len(value) > most:
                raise InvalidInput(
                    field,
                    f"{field.upper()}_LENGTH",
                    "应为1到{most}字",
                    "This has 1 to {most} characters",
                    most=most,
                )

    def to(self, name: str) -> tuple[str, str]:
        """Return subject and text of the mail to a customer of this name."""
        return self.subject.replace(NAME, name), self.text.replace(NAME, name) + HOW_TO_STOP
