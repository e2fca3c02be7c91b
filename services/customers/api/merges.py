"""Merges: proto to use case and back."""

from datetime import datetime
from typing import Any

import grpc
from crm.customers.v1 import merges_pb2 as pb
from crm.customers.v1 import merges_pb2_grpc as pb_grpc

from services.chassis.db import Transaction
from services.chassis.errors import InvalidInput
from services.chassis.grpc_server import Api, current_caller
from services.chassis.ids import parse_id
from services.chassis.paging import cut_page, decode_cursor, encode_cursor, page_size
from services.chassis.timestamps import timestamp
from services.customers.domain.merges import MergeState
from services.customers.store.merge_tables import Merge
from services.customers.usecases import merges
from services.customers.usecases.views import numbers_shown
from services.kernel.phones import texts_for

STATE_NUMBERS = {
    MergeState.RUNNING: pb.MERGE_STATE_RUNNING,
    MergeState.MERGED: pb.MERGE_STATE_MERGED,
    MergeState.UNDOING: pb.MERGE_STATE_UNDOING,
    MergeState.UNDONE: pb.MERGE_STATE_UNDONE,
}
# Fields that a request may name.
MOST_TAKEN = 200


class MergesApi(pb_grpc.MergesServiceServicer, Api):
    """Answers who cleans the base."""

    def CompareCustomers(
        self, request: pb.CompareCustomersRequest, context: grpc.ServicerContext
    ) -> pb.CompareCustomersResponse:
        """Return in what two customers differ."""
        survivor_id, merged_id = _pair(request)

        def answer(tx: Transaction) -> pb.CompareCustomersResponse:
            caller = current_caller()
            one, other, names = merges.compare_customers(tx, caller, survivor_id, merged_id)
            message = pb.CompareCustomersResponse(
                differences=[
                    pb.Difference(
                        field=name,
                        survivor_value=_text(merges.value_of(one, name)),
                        merged_value=_text(merges.value_of(other, name)),
                    )
                    for name in names
                ],
                survivor_name=one.name,
                merged_name=other.name,
            )
            return texts_for(message, may_see=numbers_shown(caller, one) and numbers_shown(caller, other))

        return self.read(answer)

    def MergeCustomers(
        self, request: pb.MergeCustomersRequest, context: grpc.ServicerContext
    ) -> pb.MergeCustomersResponse:
        """Merge two customers."""
        survivor_id, merged_id = _pair(request)
        if len(request.take) > MOST_TAKEN:
            raise InvalidInput("take", "TOO_MANY", "最多{most}项", "At most {most}", most=MOST_TAKEN)
        return self.write(
            request,
            pb.MergeCustomersResponse,
            lambda tx: pb.MergeCustomersResponse(
                merge=_merge(
                    merges.merge_customers(tx, current_caller(), survivor_id, merged_id, request.take)
                )
            ),
        )

    def UndoMerge(self, request: pb.UndoMergeRequest, context: grpc.ServicerContext) -> pb.UndoMergeResponse:
        """Take a merge back."""
        merge_id = parse_id(request.merge_id, "merge_id")
        return self.write(
            request,
            pb.UndoMergeResponse,
            lambda tx: pb.UndoMergeResponse(merge=_merge(merges.undo_merge(tx, current_caller(), merge_id))),
        )

    def GetMerge(self, request: pb.GetMergeRequest, context: grpc.ServicerContext) -> pb.GetMergeResponse:
        """Return a merge."""
        merge_id = parse_id(request.merge_id, "merge_id")
        return self.read(lambda tx: pb.GetMergeResponse(merge=_merge(merges.get_merge(tx, merge_id))))

    def ListMerges(
        self, request: pb.ListMergesRequest, context: grpc.ServicerContext
    ) -> pb.ListMergesResponse:
        """Return a page of merges."""
        size, after = page_size(request.page_size), decode_cursor(request.page_token)

        def answer(tx: Transaction) -> pb.ListMergesResponse:
            page, more = cut_page(merges.list_merges(tx, after, size + 1), size)
            last = page[-1] if more else None
            return pb.ListMergesResponse(
                merges=map(_merge, page),
                next_page_token=encode_cursor(last.create_time, last.merge_id) if last else "",
            )

        return self.read(answer)


def _pair(request: pb.CompareCustomersRequest | pb.MergeCustomersRequest) -> tuple[str, str]:
    return parse_id(request.survivor_id, "survivor_id"), parse_id(request.merged_id, "merged_id")


def _merge(row: Merge) -> pb.Merge:
    return pb.Merge(
        merge_id=row.merge_id,
        survivor_id=row.survivor_id,
        merged_id=row.merged_id,
        survivor_name=row.survivor_name,
        merged_name=row.merged_name,
        state=STATE_NUMBERS[MergeState(row.state)],
        taken=row.taken,
        actor_id=row.actor_id,
        followed=row.followed,
        create_time=timestamp(row.create_time),
        undo_time=timestamp(row.undo_time),
    )


def _text(value: Any) -> str:
    """Return a field's value as a form shows it."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "是" if value else "否"
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, dict):
        return "；".join(str(item) for item in value.values() if item)
    return "、".join(map(str, value)) if isinstance(value, list) else str(value)
