"""Messages from events to the API, in both databases."""

from collections.abc import Iterator, Mapping
from concurrent import futures
from dataclasses import dataclass, field, replace
from typing import Any

import grpc
import pytest
from crm.notify.v1 import notify_pb2 as pb
from crm.notify.v1.notify_pb2_grpc import NotifyServiceStub
from crm.orders.v1 import orders_pb2, orders_pb2_grpc

from services.chassis.clock import utc_now
from services.chassis.db import Store
from services.chassis.declarations import note_scope_asked
from services.chassis.errors import Forbidden, InvalidInput, NotFound, not_found
from services.chassis.grpc_server import Server, current_caller
from services.chassis.ids import new_id
from services.chassis.settings import Settings
from services.chassis.tenancy import Tenant
from services.chassis.tokens import Caller as Claims
from services.chassis.tokens import Signer, Verifier
from services.notify.__main__ import SERVICE, handlers
from tests.support.callers import Caller
from tests.support.running import emitted, event_of, take
from tests.support.served import served


@dataclass
class ScriptedOrders(orders_pb2_grpc.OrdersServiceServicer):
    """Orders that know who may see which order."""

    visible_to: dict[str, str] = field(default_factory=dict)

    def GetOrder(
        self, request: orders_pb2.GetOrderRequest, context: grpc.ServicerContext
    ) -> orders_pb2.GetOrderResponse:
        if self.visible_to.get(request.order_id) != current_caller().person_id:
            raise not_found("order", "订单", request.order_id)
        note_scope_asked()
        return orders_pb2.GetOrderResponse(order=orders_pb2.Order(order_id=request.order_id))


@pytest.fixture(scope="module")
def orders() -> ScriptedOrders:
    """What orders know."""
    return ScriptedOrders()  # type: ignore[abstract]  # nothing else is asked of it


@pytest.fixture(scope="module")
def stub(settings: Settings, orders: ScriptedOrders) -> Iterator[NotifyServiceStub]:
    """Notify, served, with scripted orders beside it."""
    server = Server("orders", Verifier(settings.trusted_keys))
    orders_pb2_grpc.add_OrdersServiceServicer_to_server(orders, server.grpc)
    port = server.start("127.0.0.1", 0, "crm.orders.v1.OrdersService")
    around = replace(
        settings,
        addresses={
            **settings.addresses,
            "orders": f"127.0.0.1:{port}",
            "telephony": f"127.0.0.1:{port}",
            "customers": f"127.0.0.1:{port}",
        },
    )
    with served(SERVICE, around) as address, grpc.insecure_channel(address) as channel:
        yield NotifyServiceStub(channel)
    server.stop(0)


@dataclass
class Reader:
    """Somebody who reads messages."""

    tenant: Tenant
    store: Store
    stub: NotifyServiceStub
    signer: Signer
    person_id: str = field(default_factory=new_id)

    def caller(self, locale: str = "zh-CN", *rights: str) -> Caller:
        """Return the reader as a caller."""
        claims = Claims(tenant=self.tenant, person_id=self.person_id, name="李雷", rights=frozenset(rights))
        return Caller(lambda: self.signer.person_token(claims, utc_now())[0], locale)

    def take(self, source: str, event_type: str, data: Mapping[str, Any], times: int = 1) -> None:
        """Let notify take an event."""
        event = event_of(self.tenant, source, event_type, data)
        for _ in range(times):
            take(self.store, handlers(), event)

    def messages(self, locale: str = "zh-CN", **request: Any) -> pb.ListMessagesResponse:
        """Return the reader's messages."""
        answer: pb.ListMessagesResponse = self.caller(locale)(
            self.stub.ListMessages, pb.ListMessagesRequest(**request)
        )
        return answer


@pytest.fixture
def reader(store: Store, stub: NotifyServiceStub, signer: Signer, tenant: Tenant) -> Reader:
    """Somebody in a tenant of each database in turn."""
    return Reader(tenant, store, stub, signer)


def approval(approver_id: str, submitter_id: str = "") -> dict[str, Any]:
    return {
        "approvalId": new_id(),
        "subjectType": "registration",
        "subjectId": new_id(),
        "title": "客户报备：上海某某",
        "stepName": "报备审核人",
        "approverIds": [approver_id],
        "submitterId": submitter_id or new_id(),
        "deciderId": approver_id,
        "comment": "资料齐全",
    }


def test_an_approver_gets_one_message_for_a_waiting_approval(reader: Reader) -> None:
    """F186: however often the event is delivered; told to open pages as the contract has it."""
    data = approval(reader.person_id)
    reader.take("approvals", "approval_step_opened", data, times=2)
    answer = reader.messages()
    (message,) = answer.messages
    assert (message.kind, message.subject_type, message.subject_id) == (
        "approval_waiting",
        "approval",
        data["approvalId"],
    )
    assert "上海某某" in message.text
    assert (answer.unread_count, message.read) == (1, False)
    (told,) = emitted(reader.store, reader.tenant, "message_created")
    assert told["personId"] == reader.person_id
    assert told["message"]["messageId"] == message.message_id
    assert told["message"]["createTime"].endswith("Z")
    reader.take("approvals", "approval_step_overdue", data)
    assert [item.kind for item in reader.messages().messages] == ["approval_waiting"] * 2


def test_messages_are_in_the_readers_language(reader: Reader) -> None:
    reader.take("approvals", "approval_rejected", approval(new_id(), reader.person_id))
    (chinese,) = reader.messages().messages
    (english,) = reader.messages("en").messages
    assert (chinese.title, english.title) == ("您的客户报备已驳回", "Your customer registration was rejected")
    assert "资料齐全" in chinese.text
    assert "资料齐全" in english.text


def test_each_fact_reaches_the_one_it_concerns(reader: Reader) -> None:
    """F187, F188, F194, F195, F199."""
    person = reader.person_id
    customer = {"customerId": new_id(), "name": "上海某某"}
    reader.take(
        "customers",
        "reclaim_warned",
        {**customer, "ownerId": person, "reclaimDueTime": "2026-03-02T00:00:00+00:00"},
    )
    reader.take(
        "customers", "customer_reclaimed", {**customer, "fromOwnerId": person, "toOwnerId": "", "poolId": ""}
    )
    reader.take("leads", "lead_assigned", {"leadId": new_id(), "ownerId": person, "name": "张三"})
    lead = {"leadId": new_id(), "name": "张三"}
    reader.take(
        "leads",
        "lead_reclaim_warned",
        {**lead, "ownerId": person, "reclaimDueTime": "2026-03-02T00:00:00+00:00"},
    )
    reader.take("leads", "lead_reclaimed", {**lead, "fromOwnerId": person})
    reader.take("approvals", "approval_passed", approval(new_id(), person))
    order = {"orderId": new_id(), "number": "SO-1", "title": "空调", "ownerId": person, "amount": "1.00"}
    reader.take("orders", "order_generated", {**order, "remindTime": "2099-01-01T00:00:00+00:00"})
    sale = {"opportunityId": new_id(), "name": "空调采购", "customerName": "上海某某", "ownerId": person}
    reader.take("leads", "opportunity_transferred", {**sale, "fromPersonId": new_id(), "fromName": "李雷"})
    reader.take("leads", "opportunity_lost", {**sale, "reason": "价格"})
    bulk = {"bulkId": new_id(), "personId": person, "name": "国庆通知"}
    reader.take("telephony", "sms_bulk_done", {**bulk, "sent": 8, "failed": 1, "uncertain": 0, "skipped": 2})
    export = {"exportId": new_id(), "personId": person, "rows": 2000}
    reader.take("customers", "export_broken", {**export, "startTime": "2026-03-02T01:30:00+00:00"})
    assert reader.messages().messages[0].text.startswith("2026年03月02日 09:30 开始的导出")
    kinds = [item.kind for item in reader.messages().messages]
    assert kinds == [
        "export_broken",
        "bulk_sms_done",
        "opportunity_lost",
        "opportunity_transferred",
        "order_generated",
        "approval_done",
        "lead_reclaimed",
        "lead_reclaim_warned",
        "lead_assigned",
        "customer_reclaimed",
        "reclaim_warned",
    ]


def test_messages_are_paged_and_marked_as_read(reader: Reader) -> None:
    """F208: only the own ones, and the pages learn the new count."""
    for _ in range(3):
        reader.take("leads", "lead_assigned", {"leadId": new_id(), "ownerId": reader.person_id, "name": "张"})
    first = reader.messages(page_size=2)
    second = reader.messages(page_size=2, page_token=first.next_page_token)
    ids = [item.message_id for item in [*first.messages, *second.messages]]
    assert len(set(ids)) == 3
    assert second.next_page_token == ""

    stranger = Reader(reader.tenant, reader.store, reader.stub, reader.signer)
    stranger.caller()(
        reader.stub.MarkMessagesRead, pb.MarkMessagesReadRequest(request_id=new_id(), message_ids=ids)
    )
    assert reader.messages().unread_count == 3

    one = pb.MarkMessagesReadRequest(request_id=new_id(), message_ids=ids[:1])
    reader.caller()(reader.stub.MarkMessagesRead, one)
    assert {item.message_id for item in reader.messages(unread_only=True).messages} == set(ids[1:])
    reader.caller()(reader.stub.MarkMessagesRead, pb.MarkMessagesReadRequest(request_id=new_id()))
    assert reader.messages().unread_count == 0
    assert all(item.read for item in reader.messages().messages)
    counts = [data["unreadCount"] for data in emitted(reader.store, reader.tenant, "messages_read")]
    assert counts == [2, 0]

    many = pb.MarkMessagesReadRequest(request_id=new_id(), message_ids=[new_id() for _ in range(201)])
    refused = reader.caller().refused(reader.stub.MarkMessagesRead, many)
    assert isinstance(refused, InvalidInput)
    assert refused.reason == "TOO_MANY_MESSAGES"


def test_reminders_are_shown_to_whom_orders_shows_the_order(reader: Reader, orders: ScriptedOrders) -> None:
    order = {"orderId": new_id(), "number": "SO-1", "title": "空调", "ownerId": new_id(), "amount": "1.00"}
    reader.take("orders", "order_generated", {**order, "remindTime": "2099-01-01T00:00:00+00:00"})
    request = pb.ListRemindersRequest(subject_id=order["orderId"])
    caller = reader.caller("zh-CN", "orders.view")
    assert isinstance(caller.refused(reader.stub.ListReminders, request), NotFound)
    assert isinstance(reader.caller().refused(reader.stub.ListReminders, request), Forbidden)
    orders.visible_to[order["orderId"]] = reader.person_id
    (reminder,) = caller(reader.stub.ListReminders, request).reminders
    assert (reminder.state, reminder.sms_id) == (pb.REMINDER_STATE_PENDING, "")
    reader.take("orders", "order_handled", {"orderId": order["orderId"]})
    (reminder,) = caller(reader.stub.ListReminders, request).reminders
    assert reminder.state == pb.REMINDER_STATE_CANCELLED


def test_an_order_handled_before_its_birth_was_heard_of_is_tried_again(reader: Reader) -> None:
    """Two queues, no order between them: NotFound makes the host try later."""
    with pytest.raises(NotFound, match="REMINDER_NOT_FOUND"):
        reader.take("orders", "order_handled", {"orderId": new_id()})


def test_simultaneous_deliveries_write_one_message(reader: Reader) -> None:
    event = event_of(
        reader.tenant,
        "leads",
        "lead_assigned",
        {"leadId": new_id(), "ownerId": reader.person_id, "name": "张"},
    )
    with futures.ThreadPoolExecutor(4) as threads:
        list(threads.map(lambda _: take(reader.store, handlers(), event), range(4)))
    assert len(reader.messages().messages) == 1
