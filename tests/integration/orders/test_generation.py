"""A won opportunity makes one order, however often and by however many it is delivered."""

import subprocess
import sys
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from crm.orders.v1 import orders_pb2 as pb
from crm.orders.v1.orders_pb2_grpc import OrdersServiceStub
from google.protobuf.duration_pb2 import Duration
from kombu import Connection, Exchange
from sqlalchemy import text

from services.chassis.db import Store
from services.chassis.errors import InvalidInput
from services.chassis.ids import new_id
from services.chassis.settings import Settings
from services.chassis.tenancy import Tenant
from services.chassis.tokens import Signer
from services.orders.__main__ import SERVICE
from tests.integration.orders.conftest import Clock, Shop
from tests.support.running import relaying
from tests.support.until import until

ROOT = Path(__file__).resolve().parents[3]


def test_an_order_is_generated_with_its_number_and_its_time_limit(shop: Shop, clock: Clock) -> None:
    """F188: the limit is 24 hours where the tenant set none."""
    clock.set_to = datetime(2026, 11, 22, 16, 30, tzinfo=UTC)
    owner = shop.person()
    order = shop.generate(owner)
    assert (order.number, order.title, order.amount) == ("SO20261123-0001", "年度采购", "12000.00")
    assert (order.state, order.owner_id, order.version) == (
        pb.ORDER_STATE_GENERATED,
        owner.person_id,
        1,
    )
    assert order.remind_time.ToDatetime(UTC) == clock.set_to + timedelta(hours=24)
    assert list(order.allowed_actions) == ["accept", "submit", "close"]
    (told,) = shop.told()
    assert told["type"] == "order_generated"
    assert (told["aggregate"], told["version"]) == (order.order_id, 1)
    assert told["data"] == {
        "orderId": order.order_id,
        "number": order.number,
        "title": "年度采购",
        "customerId": order.customer_id,
        "ownerId": owner.person_id,
        "amount": "12000.00",
        "remindTime": "2026-11-23T16:30:00+00:00",
    }
    (change,) = shop.get(owner, order).changes
    assert (change.from_state, change.to_state) == (pb.ORDER_STATE_UNSPECIFIED, pb.ORDER_STATE_GENERATED)


def test_the_same_event_delivered_in_eight_threads_makes_one_order(shop: Shop) -> None:
    owner = shop.person()
    event = shop.opportunity_won(owner)
    with ThreadPoolExecutor(8) as threads:
        list(threads.map(shop.deliver, [event] * 8))
    (order,) = owner.call(shop.stub.ListOrders, pb.ListOrdersRequest()).orders
    assert [told["aggregate"] for told in shop.told()] == [order.order_id]


def test_an_opportunity_told_of_by_eight_events_at_once_makes_one_order_and_takes_one_number(
    shop: Shop,
) -> None:
    owner = shop.person()
    opportunity_id = new_id()
    events = [shop.opportunity_won(owner, opportunityId=opportunity_id) for _ in range(8)]
    with ThreadPoolExecutor(8) as threads:
        list(threads.map(shop.deliver, events))
    (order,) = owner.call(shop.stub.ListOrders, pb.ListOrdersRequest()).orders
    assert order.number.endswith("-0001")
    assert shop.generate(owner).number.endswith("-0002")


def test_numbers_are_unique_and_without_gaps_under_concurrency(shop: Shop, clock: Clock) -> None:
    clock.set_to = datetime(2026, 11, 22, 4, tzinfo=UTC)
    owner = shop.person()
    with ThreadPoolExecutor(8) as threads:
        list(threads.map(shop.deliver, [shop.opportunity_won(owner) for _ in range(40)]))
    listed = owner.call(shop.stub.ListOrders, pb.ListOrdersRequest(page_size=200)).orders
    assert sorted(order.number for order in listed) == [f"SO20261122-{n:04}" for n in range(1, 41)]


def test_tenants_and_days_count_for_themselves(shop: Shop, clock: Clock) -> None:
    owner = shop.person()
    numbers = []
    for day in (22, 23):
        clock.set_to = datetime(2026, 11, day, 4, tzinfo=UTC)
        numbers.append(shop.generate(owner).number)
    assert numbers == ["SO20261122-0001", "SO20261123-0001"]


@pytest.mark.parametrize("amount", ["0.00", "0.01", "9999.99", "10000.00", "999999999999.99"])
def test_amounts_are_kept_to_the_cent(shop: Shop, amount: str) -> None:
    owner = shop.person()
    order = shop.generate(owner, amount)
    assert order.amount == amount
    shop.submit(owner, order)
    submitted = next(told for told in shop.told() if told["type"] == "order_submitted")
    assert submitted["data"]["amount"] == amount


@pytest.mark.parametrize("amount", ["1000000000000.00", "-1", "1e3", "NaN", "0.001", ""])
def test_an_amount_that_is_none_makes_no_order_and_takes_no_number(shop: Shop, amount: str) -> None:
    owner = shop.person()
    with pytest.raises(InvalidInput, match="AMOUNT_INVALID"):
        shop.deliver(shop.opportunity_won(owner, amount))
    assert shop.generate(owner).number.endswith("-0001")


def test_a_changed_limit_holds_from_the_next_order_on(shop: Shop, clock: Clock) -> None:
    clock.set_to = datetime(2026, 11, 22, 4, tzinfo=UTC)
    owner, admin = shop.person(), shop.person("settings.manage")
    before = shop.generate(owner)
    request = pb.UpdateSettingsRequest(
        request_id=new_id(), settings=pb.Settings(handle_within=Duration(seconds=90, nanos=500_000_000))
    )
    assert admin.call(shop.stub.UpdateSettings, request).settings == request.settings
    assert owner.call(shop.stub.GetSettings, pb.GetSettingsRequest()).settings == request.settings
    after = shop.generate(owner)
    assert after.remind_time.ToDatetime(UTC) - clock.set_to == timedelta(seconds=90.5)
    assert shop.get(owner, before).order.remind_time == before.remind_time


@pytest.mark.parametrize(
    "refused_settings",
    [
        pb.Settings(),
        pb.Settings(handle_within=Duration()),
        pb.Settings(handle_within=Duration(seconds=-5)),
        pb.Settings(handle_within=Duration(seconds=30 * 86400, nanos=1000)),
        pb.Settings(handle_within=Duration(seconds=2**62)),
    ],
)
def test_a_limit_out_of_range_is_refused_with_the_field(shop: Shop, refused_settings: pb.Settings) -> None:
    request = pb.UpdateSettingsRequest(request_id=new_id(), settings=refused_settings)
    refused = shop.person("settings.manage").call.refused(shop.stub.UpdateSettings, request)
    assert isinstance(refused, InvalidInput)
    assert (refused.field, refused.reason) == ("settings.handle_within", "HANDLE_WITHIN_OUT_OF_RANGE")
    assert shop.person().call.refused(shop.stub.UpdateSettings, request).reason == "RIGHT_MISSING"


# Two processes start in it, on a machine that may be busy.
@pytest.mark.timeout(300)
def test_killed_in_the_middle_of_generating_the_restarted_process_makes_the_one_order(
    main_tenant: Tenant,
    store: Store,
    stub: OrdersServiceStub,
    signer: Signer,
    environment: Mapping[str, str],
    settings: Settings,
) -> None:
    """kill -9 while the transaction waits before its commit; the broker gives the event again."""
    shop = Shop(main_tenant, store, stub, signer)
    owner = shop.person()
    event = shop.opportunity_won(owner)
    # Whoever inserts this order waits here, with its number taken.
    blocker = shop.store.engine(shop.tenant.database).connect()
    blocker.execute(text('LOCK TABLE orders."order_change" IN ACCESS EXCLUSIVE MODE'))
    command = [sys.executable, "-m", "services.orders", "events"]

    def waiting() -> bool:
        with shop.store.across("main") as session:
            return bool(
                session.scalar(
                    text(
                        "SELECT count(*) FROM pg_stat_activity WHERE datname = :name AND wait_event_type = 'Lock'"
                        " AND query ILIKE '%order_change%' AND application_name = 'orders'"
                    ),
                    {"name": shop.tenant.database},
                )
            )

    first = subprocess.Popen(command, env={**environment, "PATH": "/usr/bin:/bin"}, cwd=ROOT)
    try:
        with Connection(settings.amqp_url) as connection:
            connection.Producer().publish(
                event.to_json(),
                exchange=Exchange("leads.events", type="topic"),
                routing_key="opportunity_won",
                serializer="json",
                delivery_mode=2,
            )
        until(waiting, timeout_s=120)
    finally:
        first.kill()
        first.wait()
    blocker.rollback()
    blocker.close()
    assert owner.call(shop.stub.ListOrders, pb.ListOrdersRequest()).orders == []
    second = subprocess.Popen(command, env={**environment, "PATH": "/usr/bin:/bin"}, cwd=ROOT)
    try:
        listed = until(lambda: owner.call(shop.stub.ListOrders, pb.ListOrdersRequest()).orders, timeout_s=120)
    finally:
        second.terminate()
        second.wait(20)
    (order,) = listed
    assert order.number.endswith("-0001")
    assert [told["type"] for told in shop.told()] == ["order_generated"]


def test_what_is_told_reaches_the_broker(
    shop: Shop, settings: Settings, environment: Mapping[str, str]
) -> None:
    owner = shop.person()
    with Connection(settings.amqp_url) as connection:
        queue = Exchange("orders.events", type="topic", durable=True)
        listening = connection.SimpleQueue(
            f"test-{new_id()}", queue_opts={"exclusive": True, "auto_delete": True, "durable": False}
        )
        listening.queue.bind_to(queue, "order_generated")
        order = shop.generate(owner)
        runtime = SERVICE.runtime(settings, environment)
        with relaying(runtime):
            # Other tests' events may come first.
            until(lambda: listening.get(timeout=10).payload["aggregate"] == order.order_id, timeout_s=30)
        listening.close()
        runtime.store.close()
    assert shop.told() == []
