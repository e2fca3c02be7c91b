"""Dedupe's gRPC API: proto to use case and back."""

from collections.abc import Iterable
from datetime import datetime

import grpc
from crm.dedupe.v1 import dedupe_pb2 as pb
from crm.dedupe.v1 import dedupe_pb2_grpc as pb_grpc
from google.protobuf.timestamp_pb2 import Timestamp

from services.chassis.db import Store
from services.chassis.errors import AppError, InvalidInput
from services.chassis.grpc_server import Api, current_caller, current_tenant
from services.chassis.ids import parse_id
from services.dedupe.domain.keys import RuleField, Subject, SubjectKind
from services.dedupe.store.queries import Held
from services.dedupe.store.tables import Rule
from services.dedupe.usecases.batches import Wanted, check_batch, confirm_batch, reserve_batch
from services.dedupe.usecases.lookups import find_holders
from services.dedupe.usecases.reservations import reserve_keys
from services.dedupe.usecases.rules import list_rules, update_rule
from services.dedupe.usecases.settling import Writer, settle
from services.kernel.phones import parse_phone

KINDS = {
    pb.SUBJECT_KIND_CUSTOMER: SubjectKind.CUSTOMER,
    pb.SUBJECT_KIND_CONTACT: SubjectKind.CONTACT,
}
KIND_NUMBERS = {kind: number for number, kind in KINDS.items()}
FIELD_NUMBERS = {RuleField.NAME: pb.RULE_FIELD_NAME, RuleField.PHONE: pb.RULE_FIELD_PHONE}
# Subjects of one reservation: a customer and its contacts.
MOST_SUBJECTS = 100
# Reservations of one batch.
MOST_RESERVATIONS = 1000


class DedupeApi(pb_grpc.DedupeServiceServicer, Api):
    """Answers for who holds which key."""

    def __init__(self, store: Store, writer: Writer) -> None:
        super().__init__(store)
        self._writer = writer

    def ReserveKeys(
        self, request: pb.ReserveKeysRequest, context: grpc.ServicerContext
    ) -> pb.ReserveKeysResponse:
        """Take every key of the subjects or none."""
        reservation_id = parse_id(request.reservation_id, "reservation_id")
        holder_id = parse_id(request.holder_id, "holder_id") if request.holder_id else ""
        subjects = _subjects(request.subjects)
        for index, subject in enumerate(request.subjects):
            parse_id(subject.subject_id, f"subjects[{index}].subject_id")
        # The reservation id is the request id: a use case of its own answers a repeat.
        with self.store.transaction(current_tenant(), current_caller().actor_id) as tx:
            settle_time = reserve_keys(tx, reservation_id, subjects, holder_id, request.holder_name)
        return pb.ReserveKeysResponse(settle_time=_timestamp(settle_time))

    def ReserveKeysBatch(
        self, request: pb.ReserveKeysBatchRequest, context: grpc.ServicerContext
    ) -> pb.ReserveKeysBatchResponse:
        """Take the keys of many reservations, each whole or not at all."""
        _check_batch(len(request.reservations), "reservations")
        holder_id = parse_id(request.holder_id, "holder_id") if request.holder_id else ""
        wanted = [
            Wanted(
                parse_id(item.reservation_id, f"reservations[{index}].reservation_id"),
                tuple(_subjects(item.subjects)),
            )
            for index, item in enumerate(request.reservations)
        ]
        with self.store.transaction(current_tenant(), current_caller().actor_id) as tx:
            if request.validate_only:
                results = check_batch(tx, wanted, request.holder_name)
            else:
                results = reserve_batch(tx, wanted, holder_id, request.holder_name)
        return pb.ReserveKeysBatchResponse(results=[_result(results[item.reservation_id]) for item in wanted])

    def ConfirmReservations(
        self, request: pb.ConfirmReservationsRequest, context: grpc.ServicerContext
    ) -> pb.ConfirmReservationsResponse:
        """Note what was written."""
        _check_batch(len(request.reservation_ids), "reservation_ids")
        ids = [
            parse_id(value, f"reservation_ids[{index}]")
            for index, value in enumerate(request.reservation_ids)
        ]
        with self.store.transaction(current_tenant(), current_caller().actor_id) as tx:
            confirm_batch(tx, ids)
        return pb.ConfirmReservationsResponse()

    def ReleaseReservation(
        self, request: pb.ReleaseReservationRequest, context: grpc.ServicerContext
    ) -> pb.ReleaseReservationResponse:
        """Give back the keys, once customers says that it did not write and never will."""
        settle(self.store, self._writer, current_tenant(), parse_id(request.reservation_id, "reservation_id"))
        return pb.ReleaseReservationResponse()

    def FindHolders(
        self, request: pb.FindHoldersRequest, context: grpc.ServicerContext
    ) -> pb.FindHoldersResponse:
        """Return who holds the keys of these subjects."""
        subjects = _subjects(request.subjects)
        return self.read(lambda tx: pb.FindHoldersResponse(holders=map(_holder, find_holders(tx, subjects))))

    def CheckKeys(self, request: pb.CheckKeysRequest, context: grpc.ServicerContext) -> pb.CheckKeysResponse:
        """Tell whether a form's keys are free."""
        phones = [parse_phone(phone, f"phones[{index}]").key for index, phone in enumerate(request.phones)]
        subject = Subject(_kind(request.kind, "kind"), "", request.name, tuple(phones))

        def answer(held: list[Held]) -> pb.CheckKeysResponse:
            holders = [_holder(item) for item in held]
            for holder in holders:
                holder.ClearField("subject_id")
            return pb.CheckKeysResponse(unique=not held, holders=holders)

        return self.read(lambda tx: answer(find_holders(tx, [subject])))

    def ListRules(self, request: pb.ListRulesRequest, context: grpc.ServicerContext) -> pb.ListRulesResponse:
        """Return the tenant's rules."""
        return self.read(lambda tx: pb.ListRulesResponse(rules=map(_rule, list_rules(tx))))

    def UpdateRule(
        self, request: pb.UpdateRuleRequest, context: grpc.ServicerContext
    ) -> pb.UpdateRuleResponse:
        """Switch a rule on or off."""
        rule_id = parse_id(request.rule_id, "rule_id")
        return self.write(
            request,
            pb.UpdateRuleResponse,
            lambda tx: pb.UpdateRuleResponse(rule=_rule(update_rule(tx, rule_id, request.active))),
        )


def _kind(number: pb.SubjectKind.ValueType, field: str) -> SubjectKind:
    if number not in KINDS:
        raise InvalidInput(field, "KIND_MISSING", "请指明记录类型", "Say what kind of record it is")
    return KINDS[number]


def _subjects(subjects: Iterable[pb.Subject]) -> list[Subject]:
    parsed = [
        Subject(
            _kind(subject.kind, f"subjects[{index}].kind"),
            subject.subject_id,
            subject.name,
            tuple(subject.phones),
        )
        for index, subject in enumerate(subjects)
    ]
    if not 1 <= len(parsed) <= MOST_SUBJECTS:
        raise InvalidInput(
            "subjects",
            "SUBJECTS_OUT_OF_RANGE",
            "记录数须在 1 到 {most} 之间",
            "There are 1 to {most} subjects",
            most=MOST_SUBJECTS,
        )
    return parsed


def _check_batch(count: int, field: str) -> None:
    if not 1 <= count <= MOST_RESERVATIONS:
        raise InvalidInput(
            field,
            "BATCH_OUT_OF_RANGE",
            "每批须为 1 到 {most} 项",
            "A batch has 1 to {most} items",
            most=MOST_RESERVATIONS,
        )


def _result(refusal: AppError | None) -> pb.ReserveKeysResult:
    if refusal is None:
        return pb.ReserveKeysResult(reserved=True)
    return pb.ReserveKeysResult(reason=refusal.reason, message_zh=refusal.zh, message_en=refusal.en)


def _holder(held: Held) -> pb.Holder:
    return pb.Holder(
        kind=KIND_NUMBERS[held.key.kind],
        subject_id=held.subject_id,
        field=FIELD_NUMBERS[held.key.field],
        holder_name=held.holder_name,
        create_time=_timestamp(held.since),
    )


def _rule(rule: Rule) -> pb.Rule:
    return pb.Rule(
        rule_id=rule.rule_id,
        kind=KIND_NUMBERS[SubjectKind(rule.kind)],
        field=FIELD_NUMBERS[RuleField(rule.field)],
        active=rule.active,
        version=rule.version,
    )


def _timestamp(time: datetime) -> Timestamp:
    result = Timestamp()
    result.FromDatetime(time)
    return result
