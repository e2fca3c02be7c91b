"""The gRPC API of customers: proto to use case and back."""

from collections.abc import Iterator
from contextlib import contextmanager

import grpc
from crm.customers.v1 import customers_pb2 as pb
from crm.customers.v1 import customers_pb2_grpc as pb_grpc

from services.chassis.db import Store, Transaction
from services.chassis.errors import AppError, InvalidInput
from services.chassis.grpc_server import Api, current_caller, current_tenant, require_right
from services.chassis.ids import derive_id, parse_id
from services.chassis.logging import get_logger
from services.chassis.paging import cut_page, decode_cursor, encode_cursor, page_size
from services.customers.clients import Dedupe, Identity
from services.customers.domain.customers import ContactDraft, CustomerDraft, Owner
from services.customers.messages import (
    customer_message,
    draft_of,
    follow_up_message,
    ownership_change_message,
    pool_draft,
    pool_message,
    settings_draft,
    settings_message,
)
from services.customers.store.rules import tenant_settings
from services.customers.usecases import care, matching, pool_moves, reservations, settings, views
from services.customers.usecases.conversion import create_for_conversion
from services.customers.usecases.create import check_create, create_customer
from services.kernel.phones import mask_number, match_number, parse_phone
from services.kernel.texts import parse_text

log = get_logger(__name__)

VIEWS = {
    pb.CUSTOMER_VIEW_UNSPECIFIED: views.View.MINE,
    pb.CUSTOMER_VIEW_MINE: views.View.MINE,
    pb.CUSTOMER_VIEW_POOL: views.View.POOL,
    pb.CUSTOMER_VIEW_ALL: views.View.ALL,
    pb.CUSTOMER_VIEW_REGISTRATIONS: views.View.REGISTRATIONS,
}


class CustomersApi(pb_grpc.CustomersServiceServicer, Api):
    """Answers for customers, pools and who owns what."""

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
                self._release(reservation_id)
            raise

    def _release(self, reservation_id: str) -> None:
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
        caller, size, after = (
            current_caller(),
            page_size(request.page_size),
            decode_cursor(request.page_token),
        )
        view = VIEWS.get(request.view)
        if view is None:
            raise InvalidInput("view", "VIEW_UNKNOWN", "没有这样的视图", "There is no such view")
        pool_id = parse_id(request.pool_id, "pool_id") if request.pool_id else ""
        query = parse_text(request.query, "query", 100, required=False)

        def answer(tx: Transaction) -> pb.ListCustomersResponse:
            found = views.list_customers(
                tx, caller, view, pool_id=pool_id, query=query, after=after, limit=size + 1
            )
            page, more = cut_page(found, size)
            last = page[-1].customer if more else None
            return pb.ListCustomersResponse(
                customers=[customer_message(seen, tx.now) for seen in page],
                next_page_token=encode_cursor(last.create_time, last.customer_id) if last else "",
            )

        return self.read(answer)

    def ClaimCustomers(
        self, request: pb.ClaimCustomersRequest, context: grpc.ServicerContext
    ) -> pb.ClaimCustomersResponse:
        """Claim customers, each with its own result."""
        caller = current_caller()
        ids = [parse_id(value, f"customer_ids[{index}]") for index, value in enumerate(request.customer_ids)]

        def answer(tx: Transaction) -> pb.ClaimCustomersResponse:
            results = pool_moves.claim_customers(tx, caller, ids)
            return pb.ClaimCustomersResponse(
                results=[
                    pb.ItemResult(
                        customer_id=customer_id, reason=result.reason, message=result.message(caller.locale)
                    )
                    if isinstance(result, AppError)
                    else pb.ItemResult(customer_id=customer_id, done=True)
                    for customer_id, result in ((item, results[item]) for item in ids)
                ]
            )

        return self.write(request, pb.ClaimCustomersResponse, answer)

    def ReturnCustomer(
        self, request: pb.ReturnCustomerRequest, context: grpc.ServicerContext
    ) -> pb.ReturnCustomerResponse:
        """Give an own customer back."""
        caller, customer_id = current_caller(), parse_id(request.customer_id, "customer_id")
        reason = parse_text(request.reason, "reason", 500)
        pool_id = parse_id(request.pool_id, "pool_id") if request.pool_id else ""

        def answer(tx: Transaction) -> pb.ReturnCustomerResponse:
            returned = pool_moves.return_customer(tx, caller, customer_id, reason=reason, pool_id=pool_id)
            return pb.ReturnCustomerResponse(
                customer=customer_message(views.show(tx, caller, returned), tx.now)
            )

        return self.write(request, pb.ReturnCustomerResponse, answer)

    def LockCustomer(
        self, request: pb.LockCustomerRequest, context: grpc.ServicerContext
    ) -> pb.LockCustomerResponse:
        """Keep an own customer from being reclaimed."""
        caller, customer_id = current_caller(), parse_id(request.customer_id, "customer_id")
        return self.write(
            request,
            pb.LockCustomerResponse,
            lambda tx: pb.LockCustomerResponse(
                customer=customer_message(
                    views.show(tx, caller, care.lock_customer(tx, caller, customer_id, request.days)), tx.now
                )
            ),
        )

    def UnlockCustomer(
        self, request: pb.UnlockCustomerRequest, context: grpc.ServicerContext
    ) -> pb.UnlockCustomerResponse:
        """End a lock."""
        caller, customer_id = current_caller(), parse_id(request.customer_id, "customer_id")
        return self.write(
            request,
            pb.UnlockCustomerResponse,
            lambda tx: pb.UnlockCustomerResponse(
                customer=customer_message(
                    views.show(tx, caller, care.unlock_customer(tx, caller, customer_id)), tx.now
                )
            ),
        )

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
                follow_up=follow_up_message(care.add_follow_up(tx, caller, customer_id, text))
            ),
        )

    def ListFollowUps(
        self, request: pb.ListFollowUpsRequest, context: grpc.ServicerContext
    ) -> pb.ListFollowUpsResponse:
        """Return a page of a customer's follow-ups."""
        caller, customer_id = current_caller(), parse_id(request.customer_id, "customer_id")
        size, after = page_size(request.page_size), decode_cursor(request.page_token)

        def answer(tx: Transaction) -> pb.ListFollowUpsResponse:
            found = views.list_follow_ups(tx, caller, customer_id, after=after, limit=size + 1)
            page, more = cut_page(found, size)
            last = page[-1] if more else None
            return pb.ListFollowUpsResponse(
                follow_ups=map(follow_up_message, page),
                next_page_token=encode_cursor(last.create_time, last.follow_up_id) if last else "",
            )

        return self.read(answer)

    def ListOwnershipChanges(
        self, request: pb.ListOwnershipChangesRequest, context: grpc.ServicerContext
    ) -> pb.ListOwnershipChangesResponse:
        """Return a customer's ledger."""
        caller, customer_id = current_caller(), parse_id(request.customer_id, "customer_id")
        return self.read(
            lambda tx: pb.ListOwnershipChangesResponse(
                changes=map(ownership_change_message, views.list_ownership_changes(tx, caller, customer_id))
            )
        )

    def ListPools(self, request: pb.ListPoolsRequest, context: grpc.ServicerContext) -> pb.ListPoolsResponse:
        """Return the caller's pools."""
        caller = current_caller()
        return self.read(
            lambda tx: pb.ListPoolsResponse(pools=map(pool_message, views.seen_pools(tx, caller)))
        )

    def CreatePool(
        self, request: pb.CreatePoolRequest, context: grpc.ServicerContext
    ) -> pb.CreatePoolResponse:
        """Make a pool."""
        draft = pool_draft(request.pool)
        return self.write(
            request,
            pb.CreatePoolResponse,
            lambda tx: pb.CreatePoolResponse(pool=pool_message(settings.create_pool(tx, draft))),
        )

    def UpdatePool(
        self, request: pb.UpdatePoolRequest, context: grpc.ServicerContext
    ) -> pb.UpdatePoolResponse:
        """Change a pool."""
        pool_id, draft = parse_id(request.pool.pool_id, "pool.pool_id"), pool_draft(request.pool)
        return self.write(
            request,
            pb.UpdatePoolResponse,
            lambda tx: pb.UpdatePoolResponse(
                pool=pool_message(settings.update_pool(tx, pool_id, request.pool.version, draft))
            ),
        )

    def GetSettings(
        self, request: pb.GetSettingsRequest, context: grpc.ServicerContext
    ) -> pb.GetSettingsResponse:
        """Return the tenant's settings."""
        return self.read(lambda tx: pb.GetSettingsResponse(settings=settings_message(tenant_settings(tx))))

    def UpdateSettings(
        self, request: pb.UpdateSettingsRequest, context: grpc.ServicerContext
    ) -> pb.UpdateSettingsResponse:
        """Change the tenant's settings."""
        draft = settings_draft(request.settings)
        return self.write(
            request,
            pb.UpdateSettingsResponse,
            lambda tx: pb.UpdateSettingsResponse(
                settings=settings_message(settings.update_settings(tx, draft))
            ),
        )

    def MatchPhone(
        self, request: pb.MatchPhoneRequest, context: grpc.ServicerContext
    ) -> pb.MatchPhoneResponse:
        """Return who may be calling."""
        e164 = match_number(request.number)
        person_id = parse_id(request.person_id, "person_id") if request.person_id else ""
        if not e164:
            return pb.MatchPhoneResponse(masked_number=mask_number(request.number))
        with self.store.transaction(current_tenant()) as tx:
            found = matching.match_phone(tx, e164, person_id)
        return pb.MatchPhoneResponse(
            candidates=[
                pb.Candidate(
                    customer_id=candidate.customer_id,
                    customer_name=candidate.customer_name,
                    contact_id=candidate.contact_id,
                    contact_name=candidate.contact_name,
                    owner_id=candidate.owner_id,
                    reasons=candidate.reasons,
                )
                for candidate in found
            ],
            e164=e164,
            masked_number=mask_number(e164),
        )

    def CreateForConversion(
        self, request: pb.CreateForConversionRequest, context: grpc.ServicerContext
    ) -> pb.CreateForConversionResponse:
        """Write a conversion's rows."""
        actor_id = parse_id(request.actor_id, "actor_id")
        phones = (parse_phone(request.contact_phone, "contact_phone"),) if request.contact_phone else ()
        contacts = (
            (
                ContactDraft(
                    parse_id(request.contact_id, "contact_id"),
                    parse_text(request.contact_name, "contact_name", 100),
                    phones=phones,
                ),
            )
            if request.contact_id
            else ()
        )
        draft = CustomerDraft(
            id=parse_id(request.customer_id, "customer_id"),
            name=parse_text(request.name, "name", 200, required=request.create_customer),
            contacts=contacts,
        )
        reservation_id = parse_id(request.reservation_id, "reservation_id") if request.reservation_id else ""
        person = self._identity.person(current_tenant(), actor_id, actor_id)
        owner = Owner(actor_id, person.department_path)

        def answer(tx: Transaction) -> pb.CreateForConversionResponse:
            create_for_conversion(tx, owner, draft, reservation_id, create_customer=request.create_customer)
            return pb.CreateForConversionResponse()

        return self.write(request, pb.CreateForConversionResponse, answer)

    def SettleReservation(
        self, request: pb.SettleReservationRequest, context: grpc.ServicerContext
    ) -> pb.SettleReservationResponse:
        """Tell what became of a reservation; one that was not written is cancelled for good by the question."""
        reservation_id = parse_id(request.reservation_id, "reservation_id")
        with self.store.transaction(current_tenant(), current_caller().actor_id) as tx:
            written = reservations.settle(tx, reservation_id)
        return pb.SettleReservationResponse(
            result=pb.SETTLE_RESULT_WRITTEN if written else pb.SETTLE_RESULT_CANCELLED
        )
