"""Work on a customer: what counts as evidence, and how long a lock holds."""

from datetime import datetime, timedelta

import pytest
from crm.customers.v1 import customers_pb2 as pb
from google.protobuf.timestamp_pb2 import Timestamp

from services.chassis.errors import NotFound
from services.chassis.ids import new_id
from tests.integration.customers.office import EAST, HEAD, MANAGER, REP, WEST, Office, Person


def note(customer_id: str, text: str = "电话沟通，约下周拜访") -> pb.AddFollowUpRequest:
    """Return a follow-up."""
    return pb.AddFollowUpRequest(request_id=new_id(), customer_id=customer_id, text=text)


def lock(person: Person, customer_id: str, days: int = 0) -> pb.Customer:
    """Lock a customer."""
    request = pb.LockCustomerRequest(request_id=new_id(), customer_id=customer_id, days=days)
    customer: pb.Customer = person(request).customer
    return customer


def days_between(earlier: Timestamp, later: Timestamp) -> float:
    """Return the days from one time to another."""
    return (later.ToDatetime() - earlier.ToDatetime()) / timedelta(days=1)


def call_data(
    customer_id: str, talk_s: float, end_time: datetime, *, answered: bool = True
) -> dict[str, object]:
    """Return what telephony tells of a call that is over."""
    return {
        "callId": new_id(),
        "customerId": customer_id,
        "direction": "inbound",
        "state": "ended" if answered else "missed",
        "personId": new_id(),
        "startTime": (end_time - timedelta(minutes=2)).isoformat(),
        "endTime": end_time.isoformat(),
        "answered": answered,
        "talkSeconds": talk_s,
    }


def test_a_follow_up_counts_at_once(office: Office) -> None:
    """F52."""
    rep = office.hire()
    customer_id = rep.create().customer_id
    added = rep(note(customer_id)).follow_up
    assert (added.author_id, added.text) == (rep.id, "电话沟通，约下周拜访")
    found = rep.get(customer_id)
    assert found.last_evidence_time == added.create_time
    assert days_between(found.last_evidence_time, found.reclaim_due_time) == 90
    assert list(rep(pb.ListFollowUpsRequest(customer_id=customer_id)).follow_ups) == [added]


def test_a_copied_note_is_kept_but_is_no_evidence(office: Office) -> None:
    """O10."""
    rep = office.hire()
    customer_id = rep.create().customer_id
    rep(note(customer_id))
    before = rep.get(customer_id).last_evidence_time
    rep(note(customer_id, " 电话沟通，约下周拜访\n"))
    assert rep.get(customer_id).last_evidence_time == before
    rep(note(customer_id, "已拜访"))
    assert rep.get(customer_id).last_evidence_time != before
    texts = [item.text for item in rep(pb.ListFollowUpsRequest(customer_id=customer_id)).follow_ups]
    assert texts == ["已拜访", "电话沟通，约下周拜访", "电话沟通，约下周拜访"]


def test_only_the_owner_and_superiors_record_a_follow_up(office: Office) -> None:
    """F71."""
    customer_id = office.hire(path=EAST).create().customer_id
    office.hire(REP, HEAD, "department")(note(customer_id, "经理点评"))
    agent = office.hire(frozenset({"customers.view", "customers.follow"}), WEST, "all")
    agent(note(customer_id, "客户来电"))
    for outsider in (office.hire(path=EAST), office.hire(REP, WEST, "department")):
        assert outsider.refused(note(customer_id)).reason == "CUSTOMER_NOT_FOUND"


def test_a_blank_or_endless_note_is_refused(office: Office) -> None:
    rep = office.hire()
    customer_id = rep.create().customer_id
    assert rep.refused(note(customer_id, " \n ")).field == "text"
    assert rep.refused(note(customer_id, "长" * 4001)).field == "text"


def test_follow_ups_are_read_page_by_page(office: Office) -> None:
    rep = office.hire()
    customer_id = rep.create().customer_id
    for number in range(5):
        rep(note(customer_id, f"第{number}次"))
    texts, token = [], ""
    for _ in range(3):
        page = rep(pb.ListFollowUpsRequest(customer_id=customer_id, page_size=2, page_token=token))
        texts += [item.text for item in page.follow_ups]
        token = page.next_page_token
    assert (texts, token) == ([f"第{number}次" for number in (4, 3, 2, 1, 0)], "")


@pytest.mark.parametrize("told_by", ["call_ended", "call_linked"])
def test_a_connected_call_is_evidence_of_when_it_ended_and_never_moves_it_back(
    office: Office, told_by: str
) -> None:
    """O10: events may come late, and in any order; a call linked after its end counts like any other."""
    rep = office.hire()
    customer_id = rep.create().customer_id

    def evidence_after(talk_s: float, time: datetime, *, answered: bool = True) -> datetime | None:
        office.tell(told_by, call_data(customer_id, talk_s, time, answered=answered), source="telephony")
        found = rep.get(customer_id)
        return (
            found.last_evidence_time.ToDatetime(time.tzinfo) if found.HasField("last_evidence_time") else None
        )

    now = office.store.clock().replace(microsecond=0)
    assert evidence_after(14.999, now) is None
    assert evidence_after(60, now, answered=False) is None
    assert evidence_after(15, now - timedelta(hours=1)) == now - timedelta(hours=1)
    assert evidence_after(15, now - timedelta(hours=2)) == now - timedelta(hours=1)
    assert evidence_after(15, now - timedelta(minutes=1)) == now - timedelta(minutes=1)
    # The clock of another machine may be ahead; evidence is not.
    ahead = evidence_after(15, now + timedelta(hours=5))
    assert ahead
    assert ahead <= office.store.clock()
    office.tell(told_by, call_data("", 60, now), source="telephony")


def test_a_call_that_was_anothers_is_evidence_there_and_no_more_here(office: Office) -> None:
    """A late re-link moves the log and the evidence; the news of both come by two queues, in any order."""
    rep = office.hire()
    here, there = rep.create().customer_id, rep.create().customer_id
    now = office.store.clock().replace(microsecond=0)
    early = call_data(here, 60, now - timedelta(hours=2)) | {"callId": new_id(), "direction": "inbound"}
    late = call_data(here, 60, now - timedelta(hours=1)) | {"callId": new_id(), "direction": "inbound"}
    moved = late | {"customerId": there, "fromCustomerId": here}
    office.tell("call_ended", early, source="telephony")
    with pytest.raises(NotFound):
        office.tell("call_linked", moved, source="telephony")
    office.tell("call_ended", late, source="telephony")
    office.tell("call_linked", moved, source="telephony")

    def evidence(customer_id: str) -> datetime:
        return rep.get(customer_id).last_evidence_time.ToDatetime(now.tzinfo)

    assert (evidence(here), evidence(there)) == (now - timedelta(hours=2), now - timedelta(hours=1))
    office.tell("call_linked", early | {"customerId": "", "fromCustomerId": here}, source="telephony")
    assert not rep.get(here).HasField("last_evidence_time")


def test_a_lock_has_an_end_and_can_be_ended(office: Office) -> None:
    """F14, O12."""
    rep = office.hire()
    customer_id = rep.create().customer_id
    locked = lock(rep, customer_id)
    assert round(days_between(locked.own_time, locked.lock_expire_time)) == 30
    assert locked.allowed_actions == ["return", "unlock", "follow"]
    assert round(days_between(locked.own_time, lock(rep, customer_id, 90).lock_expire_time)) == 90
    unlock = pb.UnlockCustomerRequest(request_id=new_id(), customer_id=customer_id)
    assert not rep(unlock).customer.HasField("lock_expire_time")
    unlock.request_id = new_id()
    assert rep.refused(unlock).reason == "CUSTOMER_NOT_LOCKED"
    days = pb.LockCustomerRequest(request_id=new_id(), customer_id=customer_id, days=91)
    assert rep.refused(days).field == "days"
    days.days = 1
    manager = office.hire(MANAGER, scope="all")
    assert manager.refused(days).reason == "NOT_OWNER"


def test_a_rep_keeps_at_most_twenty_locked(office: Office) -> None:
    """O12."""
    rep = office.hire()
    ids = [rep.create().customer_id for _ in range(21)]
    for customer_id in ids[:20]:
        lock(rep, customer_id)
    refused = rep.refused(pb.LockCustomerRequest(request_id=new_id(), customer_id=ids[20]))
    assert (refused.reason, refused.metadata["limit"]) == ("LOCK_CAP_REACHED", "20")
    # Anew for one of them is no further one.
    lock(rep, ids[0], 60)
    rep(pb.UnlockCustomerRequest(request_id=new_id(), customer_id=ids[0]))
    lock(rep, ids[20])
