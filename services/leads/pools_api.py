"""LeadPoolsService: lead pools, proto to use case and back."""

import grpc
from crm.leads.v1 import pools_pb2 as pb
from crm.leads.v1 import pools_pb2_grpc as pb_grpc

from services.chassis.db import Transaction
from services.chassis.grpc_server import Api, current_caller
from services.kernel.ownership import PoolScope, ReclaimRule
from services.leads.domain.pool import PoolRules, PoolTerms
from services.leads.messages import lead_message, source_message
from services.leads.store.ledger import pool_rules
from services.leads.store.pools import own_pool_id, own_pools, waiting
from services.leads.store.tables import Pool
from services.leads.usecases.pool import create_pool, end_source, move_to_pool, update_pool, update_source


class LeadPoolsApi(pb_grpc.LeadPoolsServiceServicer, Api):
    """Answers which pools there are, and changes them."""

    def ListLeadPools(
        self, request: pb.ListLeadPoolsRequest, context: grpc.ServicerContext
    ) -> pb.ListLeadPoolsResponse:
        """Return the pools that the caller may take leads of, the tenant's own first."""
        caller = current_caller()

        def work(tx: Transaction) -> pb.ListLeadPoolsResponse:
            counts = waiting(tx)
            pools = [pool_message(pool, counts.get(pool.id, 0)) for pool in own_pools(tx, caller)]
            own = own_pool_message(tx.tenant.id, pool_rules(tx), counts.get(None, 0))
            return pb.ListLeadPoolsResponse(pools=[own, *pools])

        return self.read(work)

    def CreateLeadPool(
        self, request: pb.CreateLeadPoolRequest, context: grpc.ServicerContext
    ) -> pb.CreateLeadPoolResponse:
        """Make a pool; see `create_pool` for what is refused."""
        terms = terms_of(request.pool)
        return self.write(
            request,
            pb.CreateLeadPoolResponse,
            lambda tx: pb.CreateLeadPoolResponse(pool=pool_message(create_pool(tx, terms), 0)),
        )

    def UpdateLeadPool(
        self, request: pb.UpdateLeadPoolRequest, context: grpc.ServicerContext
    ) -> pb.UpdateLeadPoolResponse:
        """Change a pool; see `update_pool` for what is refused."""
        terms = terms_of(request.pool)

        def work(tx: Transaction) -> pb.UpdateLeadPoolResponse:
            pool = update_pool(tx, request.pool_id, request.version, terms)
            return pb.UpdateLeadPoolResponse(pool=pool_message(pool, waiting(tx).get(pool.id, 0)))

        return self.write(request, pb.UpdateLeadPoolResponse, work)

    def MoveLead(self, request: pb.MoveLeadRequest, context: grpc.ServicerContext) -> pb.MoveLeadResponse:
        """Put a lead into another pool; see `move_to_pool` for what is refused."""
        caller = current_caller()

        def work(tx: Transaction) -> pb.MoveLeadResponse:
            lead = move_to_pool(tx, caller, request.lead_id, request.pool_id)
            return pb.MoveLeadResponse(lead=lead_message(tx, lead, caller))

        return self.write(request, pb.MoveLeadResponse, work)

    def UpdateCaptureSource(
        self, request: pb.UpdateCaptureSourceRequest, context: grpc.ServicerContext
    ) -> pb.UpdateCaptureSourceResponse:
        """Let a source's leads come into another pool; see `update_source` for what is refused."""
        return self.write(
            request,
            pb.UpdateCaptureSourceResponse,
            lambda tx: pb.UpdateCaptureSourceResponse(
                source=source_message(update_source(tx, request.name, request.pool_id))
            ),
        )

    def EndCaptureSource(
        self, request: pb.EndCaptureSourceRequest, context: grpc.ServicerContext
    ) -> pb.EndCaptureSourceResponse:
        """Let no lead of a source in any more."""
        return self.write(
            request,
            pb.EndCaptureSourceResponse,
            lambda tx: pb.EndCaptureSourceResponse(source=source_message(end_source(tx, request.name))),
        )


def terms_of(given: pb.LeadPool) -> PoolTerms:
    """Return what a form says of a pool, unchecked."""
    return PoolTerms(
        given.name,
        PoolScope(
            department_ids=frozenset(given.department_ids),
            person_ids=frozenset(given.person_ids),
            roles=frozenset(given.roles),
            region_ids=frozenset(given.region_department_ids),
        ),
        given.daily_claims,
        ReclaimRule(given.idle_days, given.warn_days),
    )


def pool_message(pool: Pool, count: int) -> pb.LeadPool:
    """Return a pool beside the tenant's own. count: leads that wait in it."""
    return pb.LeadPool(
        pool_id=pool.id,
        name=pool.name,
        department_ids=pool.department_ids,
        person_ids=pool.person_ids,
        daily_claims=pool.daily_claims,
        idle_days=pool.idle_days,
        warn_days=pool.warn_days,
        version=pool.version,
        waiting=count,
        roles=pool.roles,
        region_department_ids=pool.region_ids,
    )


def own_pool_message(tenant_id: str, rules: PoolRules, count: int) -> pb.LeadPool:
    """Return the tenant's own pool. count: leads that wait in it."""
    return pb.LeadPool(
        pool_id=own_pool_id(tenant_id),
        own=True,
        daily_claims=rules.daily_claims,
        idle_days=rules.reclaim.idle_days,
        warn_days=rules.reclaim.warn_days,
        waiting=count,
    )
