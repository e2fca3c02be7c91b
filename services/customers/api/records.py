"""Customers and the work on them: proto to use case and back."""

from collections.abc import Iterator
from contextlib import contextmanager

import grpc
from crm.customers.v1 import customers_pb2 as pb

from services.chassis.db import Store, Transaction
from services.chassis.errors import AppError, InvalidInput
from services.chassis.grpc_server import Api, current_caller, current_tenant, require_right
from services.chassis.ids import derive_id, parse_id
from services.chassis.logging import get_logger
from services.chassis.paging import cut_page, decode_cursor, encode_cursor, page_size
from services.customers.clients import Dedupe, Identity
from services.customers.domain.customers import CustomerDraft
from services.customers.messages import (
    customer_message,
    draft_of,
    follow_up_message,
)
from services.customers.usecases import care, reservations, views
from services.customers.usecases.create import check_create, create_customer
from services.kernel.texts import parse_text

log = get_logger(__name__)

VIEWS = {
    pb.CUSTOMER_VIEW_UNSPECIFIED: views.View.MINE,
    pb.CUSTOMER_VIEW_MINE: views.View.MINE,
    pb.CUSTOMER_VIEW_POOL: views.View.POOL,
    pb.CUSTOMER_VIEW_ALL: views.View.ALL,
    pb.CUSTOMER_VIEW_REGISTRATIONS: views.View.REGISTRATIONS,
}


class RecordsApi(Api):
    """Answers for customers and follow-ups."""

    def __init__(self, store: Store, dedupe: Dedupe, identity: Identity) -> None:
        super().__init__(store)
        self._dedupe = dedupe
        self._identity = identity

    def CreateCustomer(
        self, request: pb.CreateCustomerRequest, context: grpc.ServicerContext
    ) -> pb.CreateCustomerResponse:
        """Reserve the keys, then store the customer with the reservation's id."""
        caller = current_caller()
        # A repeat derives the same ids, and so meets its own reservation and rows.
        seed = derive_id(current_tenant().id, caller.person_id, parse_id(request.request_id, "request_id"))
        draft = draft_of(request, seed)
        if draft.pool_id:
            require_right("pools.manage")
        if draft.approver_id:
            self._check_approver(draft.approver_id)
        reservation_id = derive_id(seed, "reservation")
        with self._reserved(reservation_id, draft):
            return self.write(
                request,
                pb.CreateCustomerResponse,
                lambda tx: pb.CreateCustomerResponse(
                    customer=customer_message(
                        views.show(tx, caller, create_customer(tx, caller, draft, reservation_id)), tx.now
                    )
                ),
            )

    def _check_approver(self, approver_id: str) -> None:
        try:
            person = self._identity.person(current_tenant(), approver_id, current_caller().actor_id)
            suitable = person.active and "approvals.decide" in person.rights
        except AppError as error:
            if error.code != "NOT_FOUND":
                raise
            suitable = False
        if not suitable:
            raise InvalidInput(
                "approver_id",
                "APPROVER_UNSUITABLE",
                "所选审核人不能审批报备",
                "The chosen person cannot approve registrations",
            )

    @contextmanager
    def _reserved(self, reservation_id: str, draft: CustomerDraft) -> Iterator[None]:
        """Hold the keys of a draft while its rows are written.

        A crash or a lost connection in here leaves a reservation that dedupe settles by asking us.
        """
        caller, tenant = current_caller(), current_tenant()

        def check(tx: Transaction) -> bool:
            if reservations.is_settled(tx, reservation_id):
                return False
            check_create(tx, caller, draft)
            return True

        with self.store.transaction(tenant, caller.actor_id) as tx:
            needed = check(tx)
        if needed:
            self._dedupe.reserve(tenant, caller, reservation_id, draft)
        try:
            yield
        except AppError as error:
            if not error.retryable:
                self.release(reservation_id)
            raise

    def release(self, reservation_id: str) -> None:
        """Give a reservation's keys back; where dedupe cannot be asked, settling does it."""
        try:
            self._dedupe.release(current_tenant(), reservation_id)
        except AppError as error:
            log.warning("keys are given back by settling", reservation_id=reservation_id, error=str(error))

    def GetCustomer(
        self, request: pb.GetCustomerRequest, context: grpc.ServicerContext
    ) -> pb.GetCustomerResponse:
        """Return one customer with contacts."""
        caller, customer_id = current_caller(), parse_id(request.customer_id, "customer_id")
        return self.read(
            lambda tx: pb.GetCustomerResponse(
                customer=customer_message(views.get_customer(tx, caller, customer_id), tx.now)
            )
        )

    def ListCustomers(
        self, request: pb.ListCustomersRequest, context: grpc.ServicerContext
    ) -> pb.ListCustomersResponse:
        """Return a page of a view."""
        caller, size = current_caller(), page_size(request.page_size)
        view = VIEWS.get(request.view)
        if view is None:
            raise InvalidInput("view", "VIEW_UNKNOWN", "没有这样的视图", "There is no such view")
        pool_id = parse_id(request.pool_id, "pool_id") if request.pool_id else ""
        query = parse_text(request.query, "query", 100, required=False)

        def answer(tx: Transaction) -> pb.ListCustomersResponse:
            page, next_token = views.list_customers(
                tx,
                caller,
                view,
                pool_id=pool_id,
                query=query,
                filter_text=request.filter,
                order_by=request.order_by,
                token=request.page_token,
                size=size,
            )
            return pb.ListCustomersResponse(
                customers=[customer_message(seen, tx.now) for seen in page], next_page_token=next_token
            )

        return self.read(answer)

    def AddFollowUp(
        self, request: pb.AddFollowUpRequest, context: grpc.ServicerContext
    ) -> pb.AddFollowUpResponse:
        """Record a follow-up."""
        caller, customer_id = current_caller(), parse_id(request.customer_id, "customer_id")
        text = parse_text(request.text, "text", 4000)
        return self.write(
            request,
            pb.AddFollowUpResponse,
            lambda tx: pb.AddFollowUpResponse(
                # The own words.
                follow_up=follow_up_message(
                    care.add_follow_up(tx, caller, customer_id, text), numbers_shown=True
                )
            ),
        )

    def ListFollowUps(
        self, request: pb.ListFollowUpsRequest, context: grpc.ServicerContext
    ) -> pb.ListFollowUpsResponse:
        """Return a page of a customer's follow-ups."""
        caller, customer_id = current_caller(), parse_id(request.customer_id, "customer_id")
        size, after = page_size(request.page_size), decode_cursor(request.page_token)

        def answer(tx: Transaction) -> pb.ListFollowUpsResponse:
            customer = views.seen_customer(tx, caller, customer_id)
            found = views.follow_ups_of(tx, customer.customer_id, after=after, limit=size + 1)
            page, more = cut_page(found, size)
            shown = views.numbers_shown(caller, customer)
            last = page[-1] if more else None
            return pb.ListFollowUpsResponse(
                follow_ups=[follow_up_message(row, shown) for row in page],
                next_page_token=encode_cursor(last.create_time, last.follow_up_id) if last else "",
            )

        return self.read(answer)
