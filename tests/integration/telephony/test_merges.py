"""What gets its customer at the moment of a merge follows it, and its undo: calls, SMS out and in (F36)."""

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import pytest
from sqlalchemy import insert

from services.chassis.db import Transaction
from services.chassis.ids import new_id
from services.chassis.tokens import Caller as Viewer
from services.telephony.domain.sms import Lane
from services.telephony.store import tables
from services.telephony.usecases.calls import attach_callers
from services.telephony.usecases.desk import Link, link_call
from services.telephony.usecases.merges import follow_merge
from services.telephony.usecases.replies import note_sender
from services.telephony.usecases.sms import queue_sms
from tests.integration.telephony.conftest import Shop
from tests.integration.telephony.test_calls import RIVERA, Line
from tests.unit.telephony.pbx.transcripts import events

LINKED_ID = "pbx1-1795291960.3"


def link_by_hand(shop: Shop, tx: Transaction, customer_id: str) -> None:
    """Somebody says whose call it was."""
    viewer = Viewer(tenant=shop.tenant, person_id=new_id(), scope="all")
    link_call(tx, viewer, shop.row("call")["id"], Link("上海云海", "", customer_id=customer_id))


def link_late(shop: Shop, tx: Transaction, customer_id: str) -> None:
    """The directory answers when the call is over."""
    attach_callers(tx, shop.pbx, LINKED_ID, [replace(RIVERA, customer_id=customer_id)])


def send(shop: Shop, tx: Transaction, customer_id: str) -> None:
    """A message to the customer is queued."""
    queue_sms(tx, new_id(), None, "+8613800138000", "您好", lane=Lane.REMINDER, customer_id=customer_id)


def receive(shop: Shop, tx: Transaction, customer_id: str) -> None:
    """A received message turns out to be the customer's."""
    note_sender(tx, shop.row("sms_received")["id"], [replace(RIVERA, customer_id=customer_id)])


def record(shop: Shop, _: Transaction, customer_id: str) -> None:
    """A call is written by who was looked up for it before."""
    Line(shop, [replace(RIVERA, customer_id=customer_id)]).feed(events("queue-call"))


def prepare(shop: Shop, table: str) -> None:
    """Leave a row without a customer where there has to be one."""
    if table == "call":
        Line(shop, None).feed(events("queue-call"))
    elif table == "sms_received":
        row: dict[str, Any] = {
            "id": new_id(),
            "tenant_id": shop.tenant.id,
            "modem": "m1",
            "number": "+8613800138000",
            "text": "好的",
            "parts": 1,
            "missing_parts": 0,
            "opt_out": False,
        }
        with shop.store.transaction(shop.tenant) as tx:
            tx.session.execute(insert(tables.sms_received).values(**row, receive_time=tx.now))


Write = Callable[[Shop, Transaction, str], None]
WAYS: list[tuple[str, str, Write]] = [
    ("call", "call", link_by_hand),
    ("call", "call", link_late),
    ("", "call", record),
    ("", "sms", send),
    ("sms_received", "sms_received", receive),
]


@pytest.mark.parametrize(("before", "table", "write"), WAYS)
def test_what_is_written_for_a_customer_after_its_merge_is_the_survivors(
    main_shop: Shop, before: str, table: str, write: Write
) -> None:
    """F36: who it was had been looked up before; the undo gives it back with the rest."""
    shop, (survivor, merged, merge) = main_shop, (new_id(), new_id(), new_id())
    prepare(shop, before)
    with shop.store.transaction(shop.tenant) as tx:
        follow_merge(tx, merge, survivor, merged, undo=False)
    with shop.store.transaction(shop.tenant) as tx:
        write(shop, tx, merged)
    assert shop.row(table)["customer_id"] == survivor
    for event_type in ("call_ended", "call_linked", "sms_received"):
        assert {event.data["customerId"] for event in shop.events(event_type)} <= {survivor, ""}
    with shop.store.transaction(shop.tenant) as tx:
        follow_merge(tx, merge, survivor, merged, undo=True)
    assert shop.row(table)["customer_id"] == merged


def test_a_call_that_is_linked_while_the_mover_is_at_work_goes_along(main_shop: Shop) -> None:
    """F36: the mover has passed and has not committed; the link waits for it."""
    shop, (survivor, merged) = main_shop, (new_id(), new_id())
    prepare(shop, "call")
    begun = threading.Event()

    def link() -> None:
        with shop.store.transaction(shop.tenant) as tx:
            begun.set()
            link_by_hand(shop, tx, merged)

    with ThreadPoolExecutor(1) as threads:
        with shop.store.transaction(shop.tenant) as tx:
            follow_merge(tx, new_id(), survivor, merged, undo=False)
            linking = threads.submit(link)
            begun.wait()
        linking.result()
    assert shop.row("call")["customer_id"] == survivor


def test_a_merge_waits_for_a_link_that_is_under_way(main_shop: Shop) -> None:
    """F36: the other way round, the mover finds the linked row."""
    shop, (survivor, merged) = main_shop, (new_id(), new_id())
    prepare(shop, "call")

    def merge() -> None:
        with shop.store.transaction(shop.tenant) as tx:
            follow_merge(tx, new_id(), survivor, merged, undo=False)

    with ThreadPoolExecutor(1) as threads:
        with shop.store.transaction(shop.tenant) as tx:
            link_by_hand(shop, tx, merged)
            merging = threads.submit(merge)
        merging.result()
    assert shop.row("call")["customer_id"] == survivor
