"""Public pools at work: proto to use case and back."""

from collections.abc import Sequence

import grpc
from crm.customers.v1 import pools_pb2 as pb
from crm.customers.v1 import pools_pb2_grpc as pb_grpc

from services.chassis.db import Store, Transaction
from services.chassis.errors import AppError, InvalidInput
from services.chassis.grpc_server import Api, current_caller, current_tenant
from services.chassis.ids import parse_id
from services.chassis.paging import cut_page, decode_cursor, encode_cursor, page_size
from services.customers.clients import Identity
from services.customers.domain.customers import Owner
from services.customers.pool_messages import (
    allocation_draft,
    allocation_rule_message,
    cap_change_message,
    cap_draft,
    cap_message,
    capacity_message,
    explanation_message,
    hand_over_item_message,
    hand_over_message,
    ids,
    item_results,
    pool_customer_message,
    rule_draft,
    texts,
    trial_message,
)
from services.customers.usecases import allocation, caps, hand_overs, pool_moves, pool_pages, reclaim_rules
from services.customers.usecases.registrations import place_registration
from services.kernel.texts import parse_text

# People who may get a leaver's customers.
MOST_GAINERS = 50


class PoolsApi(pb_grpc.PoolsServiceServicer, Api):
    """Answers for pools: moves, caps, reclaim rules, allocation, hand-overs."""

    def __init__(self, store: Store, identity: Identity) -> None:
        super().__init__(store)
        self._identity = identity

    def ListPoolCustomers(
        self, request: pb.ListPoolCustomersRequest, context: grpc.ServicerContext
    ) -> pb.ListPoolCustomersResponse:
        """Return a page of a pool, or of its trash."""
        caller, pool_id = current_caller(), parse_id(request.pool_id, "pool_id")
        size, after = page_size(request.page_size), decode_cursor(request.page_token)
        wanted = pool_pages.PoolFilter(
            levels=texts(request.levels, "levels"),
            regions=texts(request.regions, "regions"),
            business_types=texts(request.business_types, "business_types"),
            query=parse_text(request.query, "query", 100, required=False),
            trashed=request.trashed,
        )

        def answer(tx: Transaction) -> pb.ListPoolCustomersResponse:
            found = pool_pages.list_pool_customers(tx, caller, pool_id, wanted, after=after, limit=size + 1)
            page, more = cut_page(found, size)
            last = page[-1].seen.customer if more else None
            return pb.ListPoolCustomersResponse(
                customers=[pool_customer_message(pooled, tx.now) for pooled in page],
                next_page_token=encode_cursor(last.create_time, last.customer_id) if last else "",
            )

        return self.read(answer)

    def AssignCustomers(
        self, request: pb.AssignCustomersRequest, context: grpc.ServicerContext
    ) -> pb.AssignCustomersResponse:
        """Give pool customers to a person."""
        caller, asked = current_caller(), _asked(request.customer_ids)
        to = self._gainer(request.person_id, "person_id")
        return self.write(
            request,
            pb.AssignCustomersResponse,
            lambda tx: pb.AssignCustomersResponse(
                results=item_results(asked, pool_moves.assign_customers(tx, caller, asked, to), caller.locale)
            ),
        )

    def TransferCustomers(
        self, request: pb.TransferCustomersRequest, context: grpc.ServicerContext
    ) -> pb.TransferCustomersResponse:
        """Give owned customers to another person."""
        caller, asked = current_caller(), _asked(request.customer_ids)
        reason = parse_text(request.reason, "reason", 500)
        to = self._gainer(request.person_id, "person_id")
        return self.write(
            request,
            pb.TransferCustomersResponse,
            lambda tx: pb.TransferCustomersResponse(
                results=item_results(
                    asked, pool_moves.transfer_customers(tx, caller, asked, to, reason), caller.locale
                )
            ),
        )

    def PlaceRegistration(
        self, request: pb.PlaceRegistrationRequest, context: grpc.ServicerContext
    ) -> pb.PlaceRegistrationResponse:
        """Move a customer whose registration the caller passed."""
        caller = current_caller()
        customer_id = parse_id(request.customer_id, "customer_id")
        if bool(request.person_id) == bool(request.pool_id):
            raise InvalidInput(
                "person_id",
                "PLACE_MISSING",
                "请选择新负责人或公海之一",
                "Choose either a person or a pool",
            )
        reason = parse_text(request.reason, "reason", 500, required=False)
        to = self._gainer(request.person_id, "person_id") if request.person_id else None
        pool_id = parse_id(request.pool_id, "pool_id") if request.pool_id else ""

        def work(tx: Transaction) -> pb.PlaceRegistrationResponse:
            placed = place_registration(
                tx, caller.person_id, customer_id, to=to, pool_id=pool_id, reason=reason
            )
            return pb.PlaceRegistrationResponse(owner_id=placed.owner_id or "", pool_id=placed.pool_id or "")

        return self.write(request, pb.PlaceRegistrationResponse, work)

    def TrashCustomers(
        self, request: pb.TrashCustomersRequest, context: grpc.ServicerContext
    ) -> pb.TrashCustomersResponse:
        """Throw pool customers out."""
        caller, asked = current_caller(), _asked(request.customer_ids)
        reason = parse_text(request.reason, "reason", 500)
        return self.write(
            request,
            pb.TrashCustomersResponse,
            lambda tx: pb.TrashCustomersResponse(
                results=item_results(
                    asked, pool_moves.trash_customers(tx, caller, asked, reason), caller.locale
                )
            ),
        )

    def RestoreCustomers(
        self, request: pb.RestoreCustomersRequest, context: grpc.ServicerContext
    ) -> pb.RestoreCustomersResponse:
        """Put customers back into their pool."""
        caller, asked = current_caller(), _asked(request.customer_ids)
        return self.write(
            request,
            pb.RestoreCustomersResponse,
            lambda tx: pb.RestoreCustomersResponse(
                results=item_results(asked, pool_moves.restore_customers(tx, caller, asked), caller.locale)
            ),
        )

    def StartHandOver(
        self, request: pb.StartHandOverRequest, context: grpc.ServicerContext
    ) -> pb.StartHandOverResponse:
        """Begin to hand a leaver's customers over."""
        caller, to_ids = current_caller(), ids(request.to_person_ids, "to_person_ids")
        if not 1 <= len(to_ids) <= MOST_GAINERS:
            raise InvalidInput(
                "to_person_ids",
                "GAINERS_OUT_OF_RANGE",
                "接收人应为 1 到 {most} 名",
                "Name 1 to {most} people",
                most=MOST_GAINERS,
            )
        leaver_id = parse_id(request.from_person_id, "from_person_id")
        leaver = self._identity.person(current_tenant(), leaver_id, caller.actor_id)
        draft = hand_overs.HandOverDraft(
            from_person=Owner(leaver_id, leaver.department_path),
            to=tuple(self._gainer(value, f"to_person_ids[{index}]") for index, value in enumerate(to_ids)),
            pool_id=parse_id(request.pool_id, "pool_id") if request.pool_id else "",
            reason=parse_text(request.reason, "reason", 500),
        )
        return self.write(
            request,
            pb.StartHandOverResponse,
            lambda tx: pb.StartHandOverResponse(
                hand_over=hand_over_message(hand_overs.start_hand_over(tx, caller, draft))
            ),
        )

    def GetHandOver(
        self, request: pb.GetHandOverRequest, context: grpc.ServicerContext
    ) -> pb.GetHandOverResponse:
        """Return how far a hand-over is."""
        caller, hand_over_id = current_caller(), parse_id(request.hand_over_id, "hand_over_id")
        return self.read(
            lambda tx: pb.GetHandOverResponse(
                hand_over=hand_over_message(hand_overs.get_hand_over(tx, caller, hand_over_id))
            )
        )

    def ListHandOvers(
        self, request: pb.ListHandOversRequest, context: grpc.ServicerContext
    ) -> pb.ListHandOversResponse:
        """Return a page of hand-overs."""
        caller = current_caller()
        size, after = page_size(request.page_size), decode_cursor(request.page_token)

        def answer(tx: Transaction) -> pb.ListHandOversResponse:
            page, more = cut_page(hand_overs.list_hand_overs(tx, caller, after, size + 1), size)
            last = page[-1].row if more else None
            return pb.ListHandOversResponse(
                hand_overs=map(hand_over_message, page),
                next_page_token=encode_cursor(last.create_time, last.hand_over_id) if last else "",
            )

        return self.read(answer)

    def ListHandOverItems(
        self, request: pb.ListHandOverItemsRequest, context: grpc.ServicerContext
    ) -> pb.ListHandOverItemsResponse:
        """Return a page of what a hand-over did."""
        caller, hand_over_id = current_caller(), parse_id(request.hand_over_id, "hand_over_id")
        size, after = page_size(request.page_size), decode_cursor(request.page_token)

        def answer(tx: Transaction) -> pb.ListHandOverItemsResponse:
            found = hand_overs.list_items(
                tx, caller, hand_over_id, refused=request.refused, after=after, limit=size + 1
            )
            page, more = cut_page(found, size)
            last = page[-1].item if more else None
            return pb.ListHandOverItemsResponse(
                items=map(hand_over_item_message, page),
                next_page_token=encode_cursor(last.create_time, last.customer_id) if last else "",
            )

        return self.read(answer)

    def ExplainReclaim(
        self, request: pb.ExplainReclaimRequest, context: grpc.ServicerContext
    ) -> pb.ExplainReclaimResponse:
        """Return when and why a customer falls back."""
        caller, customer_id = current_caller(), parse_id(request.customer_id, "customer_id")
        return self.read(
            lambda tx: explanation_message(reclaim_rules.explain(tx, caller, customer_id), tx.now)
        )

    def TryReclaimRule(
        self, request: pb.TryReclaimRuleRequest, context: grpc.ServicerContext
    ) -> pb.TryReclaimRuleResponse:
        """Return what a rule would do, without saving it."""
        pool_id = parse_id(request.pool_id, "pool_id") if request.pool_id else ""
        rule = rule_draft(request.rule, "rule")
        return self.read(lambda tx: trial_message(reclaim_rules.try_rule(tx, pool_id, rule)))

    def ListCaps(self, request: pb.ListCapsRequest, context: grpc.ServicerContext) -> pb.ListCapsResponse:
        """Return the caps."""
        return self.read(lambda tx: pb.ListCapsResponse(caps=map(cap_message, caps.list_caps(tx))))

    def SaveCap(self, request: pb.SaveCapRequest, context: grpc.ServicerContext) -> pb.SaveCapResponse:
        """Make or change a cap."""
        cap_id = parse_id(request.cap.cap_id, "cap.cap_id") if request.cap.cap_id else ""
        draft = cap_draft(request.cap)
        return self.write(
            request,
            pb.SaveCapResponse,
            lambda tx: pb.SaveCapResponse(
                cap=cap_message(caps.save_cap(tx, cap_id, request.cap.version, draft))
            ),
        )

    def DeleteCap(self, request: pb.DeleteCapRequest, context: grpc.ServicerContext) -> pb.DeleteCapResponse:
        """Remove a cap."""
        cap_id = parse_id(request.cap_id, "cap_id")

        def answer(tx: Transaction) -> pb.DeleteCapResponse:
            caps.delete_cap(tx, cap_id)
            return pb.DeleteCapResponse()

        return self.write(request, pb.DeleteCapResponse, answer)

    def GetCapacity(
        self, request: pb.GetCapacityRequest, context: grpc.ServicerContext
    ) -> pb.GetCapacityResponse:
        """Return the caller's caps and what is used of them."""
        caller = current_caller()
        return self.read(lambda tx: capacity_message(caps.capacity(tx, caller)))

    def ListCapChanges(
        self, request: pb.ListCapChangesRequest, context: grpc.ServicerContext
    ) -> pb.ListCapChangesResponse:
        """Return automatic changes of caps."""
        cap_id = parse_id(request.cap_id, "cap_id") if request.cap_id else ""
        return self.read(
            lambda tx: pb.ListCapChangesResponse(
                changes=map(cap_change_message, caps.list_cap_changes(tx, cap_id))
            )
        )

    def ListAllocationRules(
        self, request: pb.ListAllocationRulesRequest, context: grpc.ServicerContext
    ) -> pb.ListAllocationRulesResponse:
        """Return the allocation rules."""
        return self.read(
            lambda tx: pb.ListAllocationRulesResponse(
                rules=map(allocation_rule_message, allocation.allocation_rules(tx))
            )
        )

    def SaveAllocationRule(
        self, request: pb.SaveAllocationRuleRequest, context: grpc.ServicerContext
    ) -> pb.SaveAllocationRuleResponse:
        """Make or change an allocation rule."""
        rule_id = parse_id(request.rule.rule_id, "rule.rule_id") if request.rule.rule_id else ""
        draft = allocation_draft(request.rule)
        return self.write(
            request,
            pb.SaveAllocationRuleResponse,
            lambda tx: pb.SaveAllocationRuleResponse(
                rule=allocation_rule_message(
                    allocation.save_allocation_rule(tx, rule_id, request.rule.version, draft)
                )
            ),
        )

    def DeleteAllocationRule(
        self, request: pb.DeleteAllocationRuleRequest, context: grpc.ServicerContext
    ) -> pb.DeleteAllocationRuleResponse:
        """Remove an allocation rule."""
        rule_id = parse_id(request.rule_id, "rule_id")

        def answer(tx: Transaction) -> pb.DeleteAllocationRuleResponse:
            allocation.delete_allocation_rule(tx, rule_id)
            return pb.DeleteAllocationRuleResponse()

        return self.write(request, pb.DeleteAllocationRuleResponse, answer)

    def _gainer(self, person_id: str, field: str) -> Owner:
        """Return somebody who is to get customers; raises InvalidInput GAINER_UNSUITABLE naming the field."""
        parsed = parse_id(person_id, field)
        try:
            person = self._identity.person(current_tenant(), parsed, current_caller().actor_id)
        except AppError as error:
            if error.code != "NOT_FOUND":
                raise
            pool_moves.check_gainer(active=False, rights=frozenset(), field=field)
            raise
        pool_moves.check_gainer(active=person.active, rights=person.rights, field=field)
        return Owner(parsed, person.department_path)


def _asked(customer_ids: Sequence[str]) -> list[str]:
    return [parse_id(value, f"customer_ids[{index}]") for index, value in enumerate(customer_ids)]
