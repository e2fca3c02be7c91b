"""Orders served over a real channel, and its handlers as the events process runs them."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import grpc
import pytest
from crm.orders.v1 import orders_pb2 as pb
from crm.orders.v1.orders_pb2_grpc import OrdersServiceStub
from sqlalchemy import delete

from services.chassis.clock import utc_now
from services.chassis.db import Event, Store
from services.chassis.ids import new_id
from services.chassis.settings import Settings
from services.chassis.tenancy import Tenant
from services.chassis.tokens import Caller as Claims
from services.chassis.tokens import Signer
from services.orders.__main__ import SERVICE
from services.orders.domain.settings import DEFAULT_HANDLE_WITHIN
from services.orders.events import handlers
from services.orders.store.queries import set_settings
from services.orders.store.tables import Base
from services.orders.store.tables import Settings as SettingsRow
from tests.support.callers import Caller
from tests.support.running import event_of, take
from tests.support.served import served


@dataclass
class Clock:
    """A clock that a test may set; it runs on its own until then."""

    set_to: datetime | None = None

    def __call__(self) -> datetime:
        return self.set_to or utc_now()


@pytest.fixture
def clock() -> Clock:
    """The clock of what handles events."""
    return Clock()


@pytest.fixture
def store(settings: Settings, clock: Clock) -> Iterator[Store]:
    """Orders' store."""
    store = Store(settings.database_urls, Base.metadata, clock, pool_size=20)
    yield store
    store.close()


@pytest.fixture(scope="module")
def stub(settings: Settings) -> Iterator[OrdersServiceStub]:
    """Orders, served."""
    with served(SERVICE, settings) as address, grpc.insecure_channel(address) as channel:
        yield OrdersServiceStub(channel)


@dataclass(frozen=True)
class Owner:
    """Somebody with orders. call: with an owner's rights over the own ones."""

    person_id: str
    call: Caller


@dataclass
class Shop:
    """A tenant with orders."""

    tenant: Tenant
    store: Store
    stub: OrdersServiceStub
    signer: Signer

    def person(
        self, *rights: str, scope: str = "self", department_path: str = "1/", person_id: str = ""
    ) -> Owner:
        """Return somebody; without rights: who may see and handle orders."""
        claims = Claims(
            tenant=self.tenant,
            person_id=person_id or new_id(),
            name="李雷",
            rights=frozenset(rights or ("orders.view", "orders.handle")),
            scope=scope,
            department_path=department_path,
        )
        return Owner(claims.person_id, Caller(lambda: self.signer.person_token(claims, utc_now())[0]))

    def opportunity_won(self, owner: Owner, amount: str = "12000.00", **data: str) -> Event:
        """Return the event of a won opportunity."""
        return event_of(
            self.tenant,
            "leads",
            "opportunity_won",
            {
                "opportunityId": new_id(),
                "name": "年度采购",
                "customerId": new_id(),
                "customerName": "云海科技",
                "ownerId": owner.person_id,
                "ownerDepartmentPath": "1/2/",
                "amount": amount,
                **data,
            },
        )

    def decided(self, event_type: str, order: pb.Order, **data: str) -> Event:
        """Return what approvals decided about an order."""
        return event_of(
            self.tenant,
            "approvals",
            event_type,
            {
                "approvalId": new_id(),
                "subjectType": "order",
                "subjectId": order.order_id,
                "deciderId": new_id(),
                "comment": "同意" if event_type == "approval_passed" else "价格太低",
                **data,
            },
        )

    def deliver(self, event: Event) -> None:
        """Handle an event."""
        take(self.store, handlers, event)

    def generate(self, owner: Owner, amount: str = "12000.00") -> pb.Order:
        """Return the order of a newly won opportunity."""
        event = self.opportunity_won(owner, amount)
        self.deliver(event)
        listed = owner.call(self.stub.ListOrders, pb.ListOrdersRequest()).orders
        order: pb.Order
        (order,) = (item for item in listed if item.opportunity_id == event.data["opportunityId"])
        return order

    def get(self, owner: Owner, order: pb.Order) -> pb.GetOrderResponse:
        """Return an order with its log."""
        answer: pb.GetOrderResponse = owner.call(
            self.stub.GetOrder, pb.GetOrderRequest(order_id=order.order_id)
        )
        return answer

    def accept(self, owner: Owner, order: pb.Order) -> pb.Order:
        """Accept an order."""
        request = pb.AcceptOrderRequest(request_id=new_id(), order_id=order.order_id)
        answer: pb.AcceptOrderResponse = owner.call(self.stub.AcceptOrder, request)
        return answer.order

    def submit(self, owner: Owner, order: pb.Order) -> pb.Order:
        """Submit an order."""
        request = pb.SubmitOrderRequest(request_id=new_id(), order_id=order.order_id)
        answer: pb.SubmitOrderResponse = owner.call(self.stub.SubmitOrder, request)
        return answer.order

    def close(self, owner: Owner, order: pb.Order, reason: str = "客户取消") -> pb.Order:
        """Close an order."""
        request = pb.CloseOrderRequest(request_id=new_id(), order_id=order.order_id, reason=reason)
        answer: pb.CloseOrderResponse = owner.call(self.stub.CloseOrder, request)
        return answer.order

    def require_papers(self, required: bool = True) -> None:
        """Set whether an order needs lines, contract and payment proof, as it does unless a tenant says otherwise."""
        with self.store.transaction(self.tenant) as tx:
            tx.session.execute(delete(SettingsRow).where(SettingsRow.tenant_id == self.tenant.id))
            if not required:
                set_settings(tx, DEFAULT_HANDLE_WITHIN, without_papers=True)

    def told(self, *, moves: bool = False) -> list[Mapping[str, Any]]:
        """Return what orders told others about this tenant, in order; no relay empties the outbox here.

        moves: the word of each move, order_changed, instead of what is said besides.
        """
        outbox = self.store.tables["outbox"]
        with self.store.across(self.tenant.database) as session:
            rows = session.execute(
                outbox.select()
                .where(outbox.c.tenant_id == self.tenant.id, outbox.c.kind == "event")
                .order_by(outbox.c.id)
            )
            return [row.body for row in rows if (row.body["type"] == "order_changed") == moves]


@pytest.fixture
def shop(tenant: Tenant, store: Store, stub: OrdersServiceStub, signer: Signer) -> Shop:
    """A tenant nobody used before, in each of the databases in turn, that wants no papers for its orders."""
    shop = Shop(tenant, store, stub, signer)
    shop.require_papers(False)
    return shop
