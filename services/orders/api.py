"""Orders over gRPC: requests to use cases and back."""

from datetime import datetime, timedelta

import grpc
from crm.orders.v1 import orders_pb2, orders_pb2_grpc
from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp

from services.chassis.db import Transaction
from services.chassis.grpc_server import Api, current_caller
from services.chassis.paging import cut_page, decode_cursor, encode_cursor, page_size
from services.chassis.tokens import Caller
from services.kernel.money import format_amount
from services.orders.domain.states import OrderState, owner_actions
from services.orders.store.queries import find_order, handle_within, list_orders, order_changes
from services.orders.store.tables import Order, OrderChange
from services.orders.usecases.orders import accept_order, close_order, submit_order, update_settings

RIGHT = "orders.handle"

STATES = {
    OrderState.GENERATED: orders_pb2.ORDER_STATE_GENERATED,
    OrderState.ACCEPTED: orders_pb2.ORDER_STATE_ACCEPTED,
    OrderState.SUBMITTED: orders_pb2.ORDER_STATE_SUBMITTED,
    OrderState.APPROVED: orders_pb2.ORDER_STATE_APPROVED,
    OrderState.REJECTED: orders_pb2.ORDER_STATE_REJECTED,
    OrderState.CLOSED: orders_pb2.ORDER_STATE_CLOSED,
}
STATE_FILTERS = {message: state for state, message in STATES.items()}


class OrdersApi(orders_pb2_grpc.OrdersServiceServicer, Api):
    """The servicer."""

    def GetOrder(
        self, request: orders_pb2.GetOrderRequest, context: grpc.ServicerContext
    ) -> orders_pb2.GetOrderResponse:
        caller = current_caller()

        def work(tx: Transaction) -> orders_pb2.GetOrderResponse:
            order = find_order(tx, None if caller.service else caller, request.order_id)
            return orders_pb2.GetOrderResponse(
                order=order_message(order, caller), changes=map(change_message, order_changes(tx, order.id))
            )

        return self.read(work)

    def ListOrders(
        self, request: orders_pb2.ListOrdersRequest, context: grpc.ServicerContext
    ) -> orders_pb2.ListOrdersResponse:
        caller = current_caller()
        size, after = page_size(request.page_size), decode_cursor(request.page_token)
        state = STATE_FILTERS.get(request.state)

        def work(tx: Transaction) -> orders_pb2.ListOrdersResponse:
            page, more = cut_page(list_orders(tx, caller, state, after, size + 1), size)
            return orders_pb2.ListOrdersResponse(
                orders=[order_message(order, caller) for order in page],
                next_page_token=encode_cursor(page[-1].create_time, page[-1].id) if more else "",
            )

        return self.read(work)

    def AcceptOrder(
        self, request: orders_pb2.AcceptOrderRequest, context: grpc.ServicerContext
    ) -> orders_pb2.AcceptOrderResponse:
        caller = current_caller()
        return self.write(
            request,
            orders_pb2.AcceptOrderResponse,
            lambda tx: orders_pb2.AcceptOrderResponse(
                order=order_message(accept_order(tx, caller, request.order_id), caller)
            ),
        )

    def SubmitOrder(
        self, request: orders_pb2.SubmitOrderRequest, context: grpc.ServicerContext
    ) -> orders_pb2.SubmitOrderResponse:
        caller = current_caller()
        return self.write(
            request,
            orders_pb2.SubmitOrderResponse,
            lambda tx: orders_pb2.SubmitOrderResponse(
                order=order_message(submit_order(tx, caller, request.order_id), caller)
            ),
        )

    def CloseOrder(
        self, request: orders_pb2.CloseOrderRequest, context: grpc.ServicerContext
    ) -> orders_pb2.CloseOrderResponse:
        caller = current_caller()
        return self.write(
            request,
            orders_pb2.CloseOrderResponse,
            lambda tx: orders_pb2.CloseOrderResponse(
                order=order_message(close_order(tx, caller, request.order_id, request.reason), caller)
            ),
        )

    def GetSettings(
        self, request: orders_pb2.GetSettingsRequest, context: grpc.ServicerContext
    ) -> orders_pb2.GetSettingsResponse:
        def work(tx: Transaction) -> orders_pb2.GetSettingsResponse:
            duration = Duration()
            duration.FromTimedelta(handle_within(tx))
            return orders_pb2.GetSettingsResponse(settings=orders_pb2.Settings(handle_within=duration))

        return self.read(work)

    def UpdateSettings(
        self, request: orders_pb2.UpdateSettingsRequest, context: grpc.ServicerContext
    ) -> orders_pb2.UpdateSettingsResponse:
        value = timespan(request.settings.handle_within)

        def work(tx: Transaction) -> orders_pb2.UpdateSettingsResponse:
            update_settings(tx, value)
            return orders_pb2.UpdateSettingsResponse(settings=request.settings)

        return self.write(request, orders_pb2.UpdateSettingsResponse, work)


def order_message(order: Order, caller: Caller) -> orders_pb2.Order:
    """Return an order as this caller may see it."""
    owned = order.owner_id == caller.person_id and RIGHT in caller.rights
    state = OrderState(order.state)
    return orders_pb2.Order(
        order_id=order.id,
        number=order.number,
        opportunity_id=order.opportunity_id,
        customer_id=order.customer_id,
        owner_id=order.owner_id,
        title=order.title,
        amount=format_amount(order.amount),
        state=STATES[state],
        remind_time=timestamp(order.remind_time),
        create_time=timestamp(order.create_time),
        version=order.version,
        allowed_actions=owner_actions(state) if owned else [],
    )


def change_message(change: OrderChange) -> orders_pb2.OrderChange:
    """Return a row of an order's log."""
    return orders_pb2.OrderChange(
        from_state=STATES[OrderState(change.from_state)]
        if change.from_state
        else orders_pb2.ORDER_STATE_UNSPECIFIED,
        to_state=STATES[OrderState(change.to_state)],
        actor_id=change.actor_id or "",
        comment=change.comment,
        create_time=timestamp(change.create_time),
    )


def timespan(duration: Duration) -> timedelta:
    """Return a duration of the contract; 0 for one that is missing or malformed."""
    try:
        return duration.ToTimedelta()
    except (ValueError, OverflowError):
        return timedelta()


def timestamp(time: datetime) -> Timestamp:
    """Return a time as the contract has it."""
    message = Timestamp()
    message.FromDatetime(time)
    return message
