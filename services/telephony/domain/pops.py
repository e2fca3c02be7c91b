"""Say what agents should see of a call: one card for each extension that rings for it.

A card follows the legs of its extension, which may be several devices. When somebody answers, the cards of
all who rang until then are withdrawn; who rings later, after a transfer, gets a card again. Only calls from
outside pop.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from services.telephony.pbx.callgraph import Call, Direction, Leg, LegState


class PopState(StrEnum):
    """Name where a card stands."""

    RINGING = "ringing"
    TALKING = "talking"
    # Somebody else answered, or the caller gave up.
    WITHDRAWN = "withdrawn"
    # Hung up; it stays for notes.
    WRAP_UP = "wrap_up"
    # Closed by the agent.
    CLOSED = "closed"


# States in which a card is on the screen.
OPEN_STATES = frozenset({PopState.RINGING, PopState.TALKING, PopState.WRAP_UP})


class PopMoment(StrEnum):
    """Name when a card pops."""

    RINGING = "ringing"
    ANSWERED = "answered"


@dataclass(frozen=True)
class PopRules:
    """Say when a card pops, and for whom none does: a number that nobody, one or several have."""

    moment: PopMoment = PopMoment.RINGING
    hide_unknown: bool = False
    hide_one: bool = False
    hide_several: bool = False

    @property
    def choosy(self) -> bool:
        """Tell whether it matters who calls."""
        return self.hide_unknown or self.hide_one or self.hide_several

    def pops(self, state: PopState, holders: int | None) -> bool:
        """Tell whether a card comes up; holders: how many have the number, None while nobody could say."""
        if self.moment is PopMoment.ANSWERED and state is PopState.RINGING:
            return False
        if holders is None:
            return not self.choosy
        return not (self.hide_unknown, self.hide_one, self.hide_several)[min(holders, 2)]


@dataclass(frozen=True)
class PopSettings:
    """Hold a tenant's rules by the way a call came."""

    direct: PopRules = field(default_factory=PopRules)
    queue: PopRules = field(default_factory=PopRules)

    def of(self, queue: str) -> PopRules:
        """Return the rules of a call from that queue, "" for a direct one."""
        return self.queue if queue else self.direct


@dataclass(frozen=True)
class Card:
    """Hold what one extension's screen should show; times are those of its last leg."""

    extension: str
    state: PopState
    ring_time: datetime
    answer_time: datetime | None
    end_time: datetime | None


def cards(call: Call) -> list[Card]:
    """Return the cards that a call calls for, in the order in which the extensions were dialled."""
    if call.direction is not Direction.INBOUND:
        return []
    extensions = dict.fromkeys(leg.extension for leg in call.legs if leg.extension)
    found = (_card(call, name, [leg for leg in call.legs if leg.extension == name]) for name in extensions)
    return [card for card in found if card is not None]


def _card(call: Call, extension: str, legs: Sequence[Leg]) -> Card | None:
    rang = [leg for leg in legs if leg.ring_time or leg.answer_time]
    if not rang:
        return None
    answered = [leg for leg in rang if leg.answer_time]
    ringing = [leg for leg in rang if _rings(call, leg)]
    last = (answered or rang)[-1]
    if any(leg.state is LegState.ANSWERED for leg in rang):
        state = PopState.TALKING
    elif ringing:
        # Of several devices the first one began.
        state, last = PopState.RINGING, ringing[0]
    else:
        state = PopState.WRAP_UP if answered else PopState.WITHDRAWN
    over = state in (PopState.WRAP_UP, PopState.WITHDRAWN)
    return Card(
        extension=extension,
        state=state,
        ring_time=last.ring_time or last.dial_time,
        answer_time=last.answer_time,
        end_time=(last.end_time or call.answer_time) if over else None,
    )


def _rings(call: Call, leg: Leg) -> bool:
    if leg.state is not LegState.RINGING or leg.ring_time is None:
        return False
    return call.answer_time is None or leg.ring_time > call.answer_time
