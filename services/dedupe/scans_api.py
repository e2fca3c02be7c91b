"""Scans for duplicates and their review: proto to use case and back."""

import grpc
from crm.dedupe.v1 import dedupe_pb2 as pb

from services.chassis.db import Transaction
from services.chassis.grpc_server import Api, current_caller
from services.chassis.ids import parse_id
from services.chassis.paging import cut_page, page_size
from services.chassis.timestamps import timestamp
from services.dedupe.domain.pairs import PairState
from services.dedupe.matching.weights import Verdict
from services.dedupe.store.tables import DuplicatePair, MatchRecord, Scan
from services.dedupe.usecases import scans
from services.dedupe.usecases.sight import Sight, sight_of

STATES = {
    pb.DUPLICATE_STATE_UNSPECIFIED: PairState.OPEN,
    pb.DUPLICATE_STATE_OPEN: PairState.OPEN,
    pb.DUPLICATE_STATE_CONFIRMED: PairState.CONFIRMED,
    pb.DUPLICATE_STATE_DISMISSED: PairState.DISMISSED,
    pb.DUPLICATE_STATE_MERGED: PairState.MERGED,
}
STATE_NUMBERS = {state: number for number, state in STATES.items()}
VERDICT_NUMBERS = {Verdict.SAME: pb.MATCH_VERDICT_SAME, Verdict.NEAR: pb.MATCH_VERDICT_NEAR}


class ScansApi(Api):
    """Answers who cleans the base."""

    def StartScan(self, request: pb.StartScanRequest, context: grpc.ServicerContext) -> pb.StartScanResponse:
        """Begin a scan."""
        return self.write(
            request, pb.StartScanResponse, lambda tx: pb.StartScanResponse(scan=_scan(scans.start_scan(tx)))
        )

    def GetScan(self, request: pb.GetScanRequest, context: grpc.ServicerContext) -> pb.GetScanResponse:
        """Return the newest scan."""

        def answer(tx: Transaction) -> pb.GetScanResponse:
            found = scans.last_scan(tx)
            return pb.GetScanResponse(scan=_scan(found) if found else None)

        return self.read(answer)

    def ListDuplicates(
        self, request: pb.ListDuplicatesRequest, context: grpc.ServicerContext
    ) -> pb.ListDuplicatesResponse:
        """Return a page of groups."""
        size = page_size(request.page_size)
        after = parse_id(request.page_token, "page_token") if request.page_token else ""

        def answer(tx: Transaction) -> pb.ListDuplicatesResponse:
            page, more = cut_page(scans.list_groups(tx, STATES[request.state], after, size + 1), size)
            sight = sight_of(tx, current_caller(), (row for group in page for row in group.customers))
            return pb.ListDuplicatesResponse(
                groups=[
                    pb.DuplicateGroup(
                        group_id=group.group_id,
                        customers=[_customer(row, sight) for row in group.customers],
                        pairs=map(_pair, group.pairs),
                    )
                    for group in page
                ],
                next_page_token=page[-1].group_id if more else "",
            )

        return self.read(answer)

    def DecideDuplicate(
        self, request: pb.DecideDuplicateRequest, context: grpc.ServicerContext
    ) -> pb.DecideDuplicateResponse:
        """Confirm or dismiss a pair."""
        one = parse_id(request.customer_id, "customer_id")
        other = parse_id(request.other_customer_id, "other_customer_id")
        return self.write(
            request,
            pb.DecideDuplicateResponse,
            lambda tx: pb.DecideDuplicateResponse(
                pair=_pair(scans.decide_pair(tx, one, other, same=request.same))
            ),
        )


def _scan(scan: Scan) -> pb.Scan:
    return pb.Scan(
        scan_id=scan.scan_id,
        scanned=scan.scanned,
        found=scan.found,
        create_time=timestamp(scan.create_time),
        finish_time=timestamp(scan.finish_time) if scan.finish_time else None,
    )


def _customer(row: MatchRecord, sight: Sight) -> pb.Similar:
    return pb.Similar(
        customer_id=row.subject_id,
        name=sight.name(row),
        holder_name=row.holder_name,
        create_time=timestamp(row.create_time),
    )


def _pair(pair: DuplicatePair) -> pb.DuplicatePair:
    english = current_caller().locale.lower().startswith("en")
    return pb.DuplicatePair(
        customer_id=pair.low,
        other_customer_id=pair.high,
        state=STATE_NUMBERS[PairState(pair.state)],
        verdict=VERDICT_NUMBERS[Verdict(pair.verdict)],
        score=pair.score,
        reasons=[
            pb.Reason(
                field=reason["field"],
                weight=reason["weight"],
                text=reason["en"] if english else reason["zh"],
            )
            for reason in pair.reasons
        ],
    )
