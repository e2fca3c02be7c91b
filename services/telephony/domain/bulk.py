"""One text to many customers: what it says to each, who gets it, and which steps it can take."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from services.chassis.errors import InvalidInput
from services.telephony.domain.sms import LONGEST_TEXT

LONGEST_NAME: Final = 50
LONGEST_SIGNATURE: Final = 20
# Leaves room for signature, names and how to opt out.
LONGEST_BODY: Final = 400
LONGEST_BASIS: Final = 200
# More recipients at once are a mistake, or a job for an operator's gateway: one SIM sends a thousand a day.
MOST_RECIPIENTS: Final = 50_000

# Customers that one step of staging takes in: a page of their list.
STAGED_AT_ONCE: Final = 200
# SMS of one bulk that wait for a modem at a time: enough for every modem, few enough to be taken back at a pause.
AHEAD: Final = 100

NAME: Final = "{name}"
# Behind every promotion, as the operators ask for it.
HOW_TO_STOP: Final = "，拒收请回复T"


class BulkState(StrEnum):
    """Name where a bulk SMS stands."""

    # Its customers are being taken in.
    STAGING = "staging"
    # Everybody is in it; a person looks at the numbers and starts it.
    STAGED = "staged"
    # Goes out, from its start time on.
    RUNNING = "running"
    PAUSED = "paused"
    # Everybody has it, or never will.
    DONE = "done"
    CANCELLED = "cancelled"


class BulkKind(StrEnum):
    """Say what a bulk SMS is, by law."""

    # About business with the receiver: to all but those who opted out.
    NOTICE = "notice"
    # Advertising: only to who agreed (通信短信息服务管理规定 18: silence is refusal), and says how to opt out.
    PROMOTION = "promotion"


class RecipientState(StrEnum):
    """Name where a recipient stands."""

    WAITING = "waiting"
    # Has an SMS, which says what became of it.
    QUEUED = "queued"
    SKIPPED = "skipped"


class SkipReason(StrEnum):
    """Say why somebody gets none."""

    OPTED_OUT = "OPTED_OUT"
    NO_CONSENT = "NO_CONSENT"
    CANCELLED = "CANCELLED"


# From which states a verb leads where, and how it is told of.
STEPS: Final = {
    "start": ({BulkState.STAGED}, BulkState.RUNNING, "started"),
    "pause": ({BulkState.RUNNING}, BulkState.PAUSED, "paused"),
    "resume": ({BulkState.PAUSED}, BulkState.RUNNING, "resumed"),
    "cancel": (
        {BulkState.STAGING, BulkState.STAGED, BulkState.RUNNING, BulkState.PAUSED},
        BulkState.CANCELLED,
        "cancelled",
    ),
}


@dataclass(frozen=True)
class Wording:
    """What a bulk SMS says: a signature, a text with {name} in it, and, of a promotion, the ground of consent.

    consent_basis: why those may be taken to agree of whom nothing is noted; empty: they are left out.
    """

    name: str
    kind: BulkKind
    signature: str
    text: str
    consent_basis: str

    def check(self) -> None:
        """Raise InvalidInput NAME_LENGTH, SIGNATURE_INVALID, TEXT_LENGTH or BASIS_LENGTH naming the field."""
        _check_length("name", "NAME_LENGTH", self.name, 1, LONGEST_NAME)
        _check_length("signature", "SIGNATURE_INVALID", self.signature, 1, LONGEST_SIGNATURE)
        if any(char in "【】\n" for char in self.signature):
            raise InvalidInput(
                "signature",
                "SIGNATURE_INVALID",
                "签名不要带【】",
                "The brackets are put around it by themselves",
            )
        _check_length("text", "TEXT_LENGTH", self.text, 1, LONGEST_BODY)
        _check_length("consent_basis", "BASIS_LENGTH", self.consent_basis, 0, LONGEST_BASIS)

    def text_for(self, name: str) -> str:
        """Return the SMS to somebody of this name; a name that would make it too long is cut."""
        around = f"【{self.signature}】{self.text}" + (HOW_TO_STOP if self.kind is BulkKind.PROMOTION else "")
        times = around.count(NAME)
        if times == 0:
            return around
        room = (LONGEST_TEXT - len(around)) // times + len(NAME)
        return around.replace(NAME, name[: max(room, 0)])

    def skipped(self, *, opted_out: bool, agreed: bool) -> SkipReason | None:
        """Return why somebody gets none, or None; opted out counts before everything else."""
        if opted_out:
            return SkipReason.OPTED_OUT
        if self.kind is BulkKind.PROMOTION and not agreed and not self.consent_basis:
            return SkipReason.NO_CONSENT
        return None


def _check_length(field: str, reason: str, value: str, least: int, most: int) -> None:
    if not least <= len(value.strip()) or len(value) > most:
        raise InvalidInput(
            field,
            reason,
            "应为{least}到{most}字",
            "This has {least} to {most} characters",
            least=least,
            most=most,
        )
