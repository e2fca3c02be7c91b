"""Who owns what, pools and settings: proto to use case and back."""

import grpc
from crm.customers.v1 import customers_pb2 as pb

from services.chassis.db import Transaction
from services.chassis.grpc_server import Api, current_caller
from services.chassis.ids import parse_id
from services.customers.messages import customer_message
from services.customers.pool_messages import (
    item_results,
    ownership_change_message,
    pool_draft,
    pool_message,
    settings_draft,
    settings_message,
)
from services.customers.store.rules import tenant_settings
from services.customers.usecases import care, pool_moves, settings, views
from services.kernel.texts import parse_text


class OwnershipApi(Api):
    """Answers for claims, returns, locks, pools and settings."""

    def ClaimCustomers(
        self, request: pb.ClaimCustomersRequest, context: grpc.ServicerContext
    ) -> pb.ClaimCustomersResponse:
        """Claim customers, each with its own result."""
        caller = current_caller()
        ids = [parse_id(value, f"customer_ids[{index}]") for index, value in enumerate(request.customer_ids)]

        def answer(tx: Transaction) -> pb.ClaimCustomersResponse:
            results = pool_moves.claim_customers(tx, caller, ids)
            return pb.ClaimCustomersResponse(results=item_results(ids, results, caller.locale))

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
