"""Somebody decides in somebody else's place for a time: what waits already, and what comes."""

from datetime import datetime, timedelta

from services.approvals.store import queries
from services.approvals.store.tables import Deputy
from services.approvals.usecases.approvals import check_may_decide, tell_deputy
from services.chassis.db import Transaction
from services.chassis.errors import Forbidden, InvalidInput, not_found
from services.chassis.ids import new_id
from services.kernel.texts import parse_text

LONGEST_COMMENT = 500
# Farthest end of a deputy's time.
LONGEST_TIME = timedelta(days=366)


def create_deputy(
    tx: Transaction,
    actor_id: str,
    *,
    person_id: str,
    to_id: str,
    begin_time: datetime | None,
    end_time: datetime,
    comment: str,
    administrates: bool,
    may: bool,
) -> Deputy:
    """Let somebody decide in a person's place from begin_time, None for now, until end_time.

    administrates: whether the actor may do so for others. may: whether the deputy is active and may decide. Raises
    Forbidden DEPUTY_NOT_OWN, InvalidInput DEPUTY_INVALID, DEPUTY_TIME_INVALID, TEXT_* naming comment, RuleViolation
    DELEGATE_CANNOT_DECIDE.
    """
    _check_own(person_id, actor_id, administrates=administrates)
    if to_id == person_id:
        raise InvalidInput("to_person_id", "DEPUTY_INVALID", "不能委托给本人", "Nobody is the own deputy")
    begin = max(begin_time or tx.now, tx.now)
    if not begin < end_time <= tx.now + LONGEST_TIME:
        raise InvalidInput(
            "end_time",
            "DEPUTY_TIME_INVALID",
            "委托结束时间应晚于开始时间，且在一年以内",
            "The end is after the beginning, and within a year",
        )
    check_may_decide(may)
    row = Deputy(
        id=new_id(),
        tenant_id=tx.tenant.id,
        person_id=person_id,
        deputy_id=to_id,
        begin_time=begin,
        end_time=end_time,
        comment=parse_text(comment, "comment", LONGEST_COMMENT, required=False),
        actor_id=actor_id,
        create_time=tx.now,
    )
    tx.session.add(row)
    tx.session.flush()
    tx.audit("approval_deputy_created", person_id, {"deputyId": to_id, "endTime": end_time.isoformat()})
    if begin <= tx.now:
        tell_deputy(tx, person_id, to_id)
    return row


def end_deputy(tx: Transaction, actor_id: str, deputy_id: str, *, administrates: bool) -> Deputy:
    """End a deputy's time now; one that is over stays. Raises NotFound, Forbidden DEPUTY_NOT_OWN."""
    row = queries.deputy(tx, deputy_id)
    if actor_id not in (row.person_id, row.deputy_id) and not administrates:
        raise not_found("deputy", "委托", deputy_id)
    if row.end_time > tx.now:
        row.end_time = tx.now
        tx.audit("approval_deputy_ended", row.person_id, {"deputyId": row.deputy_id})
    return row


def _check_own(person_id: str, actor_id: str, *, administrates: bool) -> None:
    if person_id != actor_id and not administrates:
        raise Forbidden(
            "DEPUTY_NOT_OWN",
            "只有管理员可以替他人设置委托",
            "Only administrators name a deputy for somebody else",
        )
