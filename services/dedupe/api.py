"""Dedupe's gRPC API: proto to use case and back."""

from collections.abc import Iterable
from dataclasses import replace

import grpc
from crm.dedupe.v1 import dedupe_pb2 as pb
from crm.dedupe.v1 import dedupe_pb2_grpc as pb_grpc

from services.chassis.db import Store, Transaction
from services.chassis.errors import AlreadyExists, AppError, InvalidInput
from services.chassis.grpc_server import current_caller, current_tenant
from services.chassis.ids import parse_id
from services.chassis.timestamps import timestamp
from services.chassis.tokens import Signer
from services.chassis.turns import Turns
from services.dedupe.domain.keys import RuleField, Subject, SubjectKind
from services.dedupe.domain.rules import Entrance, Verdict
from services.dedupe.matching import weights
from services.dedupe.projects_api import ProjectsApi
from services.dedupe.scans_api import ScansApi
from services.dedupe.store.index import Compared, Found, look_up
from services.dedupe.store.queries import Held
from services.dedupe.store.tables import MatchRecord, Rule
from services.dedupe.suspects_api import SuspectsApi
from services.dedupe.usecases.batches import Wanted, check_batch, confirm_batch, reserve_batch
from services.dedupe.usecases.lookups import find_holders, find_namesakes
from services.dedupe.usecases.matching import SHOWN, check_duplicates
from services.dedupe.usecases.receipts import receipt_of
from services.dedupe.usecases.refusals import report_refusal
from services.dedupe.usecases.reservations import reserve_keys
from services.dedupe.usecases.rules import list_clashes, list_rules, update_rule
from services.dedupe.usecases.settling import Writer, settle
from services.dedupe.usecases.sight import Sight, sight_of
from services.dedupe.usecases.trials import try_rule
from services.kernel.credit_codes import parse_credit_code
from services.kernel.phones import parse_phone, texts_for
from services.kernel.texts import parse_text

KINDS = {
    pb.SUBJECT_KIND_CUSTOMER: SubjectKind.CUSTOMER,
    pb.SUBJECT_KIND_CONTACT: SubjectKind.CONTACT,
}
KIND_NUMBERS = {kind: number for number, kind in KINDS.items()}
FIELD_NUMBERS = {
    RuleField.NAME: pb.RULE_FIELD_NAME,
    RuleField.PHONE: pb.RULE_FIELD_PHONE,
    RuleField.CREDIT_CODE: pb.RULE_FIELD_CREDIT_CODE,
    RuleField.PHONE_AND_NAME: pb.RULE_FIELD_PHONE_AND_NAME,
    RuleField.SIMILAR: pb.RULE_FIELD_SIMILAR,
}
VERDICTS = {
    pb.RULE_VERDICT_BLOCK: Verdict.BLOCK,
    pb.RULE_VERDICT_LIST: Verdict.LIST,
    pb.RULE_VERDICT_REVIEW: Verdict.REVIEW,
}
VERDICT_NUMBERS = {verdict: number for number, verdict in VERDICTS.items()}
ENTRANCES = {
    pb.ENTRANCE_UNSPECIFIED: Entrance.FORM,
    pb.ENTRANCE_FORM: Entrance.FORM,
    pb.ENTRANCE_IMPORT: Entrance.IMPORT,
    pb.ENTRANCE_API: Entrance.API,
    pb.ENTRANCE_CALL_POP: Entrance.CALL_POP,
}
ENTRANCE_NUMBERS = {entrance: number for number, entrance in ENTRANCES.items()}
MATCH_NUMBERS = {
    weights.Verdict.SAME: pb.MATCH_VERDICT_SAME,
    weights.Verdict.NEAR: pb.MATCH_VERDICT_NEAR,
    weights.Verdict.DIFFERENT: pb.MATCH_VERDICT_DIFFERENT,
}
# Checks that are under way at once: while the database works on one, Python does on the other.
CHECKS_AT_ONCE = 2
# Longest name that a check looks at, and most phones or contacts.
LONGEST_NAME, MOST_VALUES = 200, 100
# Subjects of one reservation: a customer and its contacts.
MOST_SUBJECTS = 100
# Reservations of one batch.
MOST_RESERVATIONS = 1000


class DedupeApi(SuspectsApi, ProjectsApi, ScansApi, pb_grpc.DedupeServiceServicer):
    """Answers for who holds which key."""

    def __init__(self, store: Store, writer: Writer, signer: Signer) -> None:
        super().__init__(store)
        self._writer = writer
        self._turns = Turns(CHECKS_AT_ONCE)
        self._signer = signer

    def ReserveKeys(
        self, request: pb.ReserveKeysRequest, context: grpc.ServicerContext
    ) -> pb.ReserveKeysResponse:
        """Take every key of the subjects or none."""
        reservation_id = parse_id(request.reservation_id, "reservation_id")
        holder_id = parse_id(request.holder_id, "holder_id") if request.holder_id else ""
        subjects = _subjects(request.subjects)
        for place, subject in enumerate(request.subjects):
            parse_id(subject.subject_id, f"subjects[{place}].subject_id")
        entrance = _entrance(request.entrance)
        # The reservation id is the request id: a use case of its own answers a repeat.
        tenant, actor_id = current_tenant(), current_caller().actor_id
        try:
            with self.store.transaction(tenant, actor_id) as tx:
                reserved = reserve_keys(
                    tx, reservation_id, subjects, holder_id, request.holder_name, entrance
                )
        except AlreadyExists:
            # In a transaction of its own: the refused one took everything back.
            with self.store.transaction(tenant, actor_id) as tx:
                held = find_holders(tx, subjects)
                report_refusal(tx, reservation_id, subjects[0].name, held, holder_id, request.holder_name)
            raise
        # Shown as the person may see them for whom the keys are taken.
        asker = replace(current_caller(), person_id=holder_id, service="")
        return pb.ReserveKeysResponse(
            settle_time=timestamp(reserved.settle_time),
            similar=[_similar(found, Sight(asker, {})) for found in reserved.similar],
        )

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
        """Return who holds the keys of these subjects, and further customers of their names."""
        subjects = _subjects(request.subjects)

        def answer(tx: Transaction) -> pb.FindHoldersResponse:
            held = find_holders(tx, subjects)
            namesakes = find_namesakes(tx, subjects, held)
            return pb.FindHoldersResponse(holders=map(_holder, [*held, *namesakes]))

        return self.read(answer)

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

    def CheckDuplicates(
        self, request: pb.CheckDuplicatesRequest, context: grpc.ServicerContext
    ) -> pb.CheckDuplicatesResponse:
        """Return what creating a customer would come to, and whom it is like."""
        caller = current_caller()
        _check_count(len(request.phones), "phones")
        _check_count(len(request.contact_names), "contact_names")
        subject = Subject(
            SubjectKind.CUSTOMER,
            "",
            parse_text(request.name, "name", LONGEST_NAME, required=False),
            tuple(parse_phone(phone, f"phones[{index}]").key for index, phone in enumerate(request.phones)),
            parse_credit_code(request.credit_code, "credit_code") if request.credit_code else "",
            parse_text(request.address, "address", LONGEST_NAME, required=False),
        )
        contacts = [
            parse_text(name, f"contact_names[{index}]", LONGEST_NAME, required=False)
            for index, name in enumerate(request.contact_names)
        ]
        entrance = _entrance(request.entrance)

        def answer(tx: Transaction) -> pb.CheckDuplicatesResponse:
            check = check_duplicates(tx, subject, contacts, entrance)
            sight = sight_of(tx, caller, (found.row for found in check.similar))
            holders = [_holder(item) for item in check.held]
            for holder in holders:
                holder.ClearField("subject_id")
            return pb.CheckDuplicatesResponse(
                verdict=VERDICT_NUMBERS[check.verdict] if check.verdict else pb.RULE_VERDICT_UNSPECIFIED,
                holders=holders,
                similar=[_similar(found, sight) for found in check.similar],
            )

        with self._turns.turn():
            return self.read(answer)

    def LookUpNames(
        self, request: pb.LookUpNamesRequest, context: grpc.ServicerContext
    ) -> pb.LookUpNamesResponse:
        """Return customers with a keyword in their names, masked."""
        caller, query = current_caller(), parse_text(request.query, "query", LONGEST_NAME)
        if len(query) < 2:
            raise InvalidInput("query", "QUERY_TOO_SHORT", "请至少输入两个字", "Type two characters at least")

        def answer(tx: Transaction) -> pb.LookUpNamesResponse:
            rows = look_up(tx, query, SHOWN)
            sight = sight_of(tx, caller, rows)
            return pb.LookUpNamesResponse(similar=[_shown(row, sight) for row in rows])

        return self.read(answer)

    def GetReceipt(
        self, request: pb.GetReceiptRequest, context: grpc.ServicerContext
    ) -> pb.GetReceiptResponse:
        """Return a reservation as a signed document."""
        caller, reservation_id = current_caller(), parse_id(request.reservation_id, "reservation_id")
        return self.read(
            lambda tx: pb.GetReceiptResponse(
                receipt=self._signer.document("key-receipt", receipt_of(tx, caller, reservation_id))
            )
        )

    def ListClashes(
        self, request: pb.ListClashesRequest, context: grpc.ServicerContext
    ) -> pb.ListClashesResponse:
        """Return what broke a rule when it came on."""
        rule_id = parse_id(request.rule_id, "rule_id")

        def answer(tx: Transaction) -> pb.ListClashesResponse:
            clashes, finished = list_clashes(tx, rule_id)
            return pb.ListClashesResponse(
                clashes=[
                    pb.Clash(
                        subject_id=clash.subject_id,
                        holder_subject_id=clash.holder_subject_id,
                        name=name,
                        holder_subject_name=holder_name,
                    )
                    for clash, name, holder_name in clashes
                ],
                finished=finished,
            )

        return self.read(answer)

    def ListRules(self, request: pb.ListRulesRequest, context: grpc.ServicerContext) -> pb.ListRulesResponse:
        """Return the tenant's rules."""
        return self.read(lambda tx: pb.ListRulesResponse(rules=map(_rule, list_rules(tx))))

    def UpdateRule(
        self, request: pb.UpdateRuleRequest, context: grpc.ServicerContext
    ) -> pb.UpdateRuleResponse:
        """Change a rule."""
        rule_id = parse_id(request.rule_id, "rule_id")
        verdict = _verdict(request.verdict) if request.HasField("verdict") else None
        threshold = request.threshold if request.HasField("threshold") else None
        entrances = (
            [_entrance(item) for item in request.entrances.entrances]
            if request.HasField("entrances")
            else None
        )
        return self.write(
            request,
            pb.UpdateRuleResponse,
            lambda tx: pb.UpdateRuleResponse(
                rule=_rule(update_rule(tx, rule_id, request.active, verdict, threshold, entrances))
            ),
        )

    def TryRule(self, request: pb.TryRuleRequest, context: grpc.ServicerContext) -> pb.TryRuleResponse:
        """Return what a rule would have caught in the last month."""
        rule_id = parse_id(request.rule_id, "rule_id")
        threshold = request.threshold if request.HasField("threshold") else None

        def answer(tx: Transaction) -> pb.TryRuleResponse:
            trial = try_rule(tx, rule_id, threshold)
            return pb.TryRuleResponse(caught=trial.caught, tried=trial.tried, examples=trial.examples)

        return self.read(answer)


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
            subject.credit_code,
            subject.address,
            subject.customer_id,
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
        create_time=timestamp(held.since),
    )


def _rule(rule: Rule) -> pb.Rule:
    return pb.Rule(
        rule_id=rule.rule_id,
        kind=KIND_NUMBERS[SubjectKind(rule.kind)],
        field=FIELD_NUMBERS[RuleField(rule.field)],
        active=rule.active,
        version=rule.version,
        verdict=VERDICT_NUMBERS[Verdict(rule.verdict)],
        threshold=rule.threshold or 0.0,
        entrances=[ENTRANCE_NUMBERS[Entrance(entrance)] for entrance in rule.entrances],
    )


def _verdict(number: pb.RuleVerdict.ValueType) -> Verdict:
    if number not in VERDICTS:
        raise InvalidInput(
            "verdict", "VERDICT_MISSING", "请指明命中后如何处理", "Say what follows from a hit"
        )
    return VERDICTS[number]


def _entrance(number: pb.Entrance.ValueType) -> Entrance:
    if number not in ENTRANCES:
        raise InvalidInput("entrance", "ENTRANCE_UNKNOWN", "没有这样的入口", "There is no such entrance")
    return ENTRANCES[number]


def _check_count(count: int, field: str) -> None:
    if count > MOST_VALUES:
        raise InvalidInput(
            field, "VALUES_OUT_OF_RANGE", "最多 {most} 项", "There are at most {most}", most=MOST_VALUES
        )


def _similar(found: Found, sight: Sight) -> pb.Similar:
    english = sight.caller.locale.lower().startswith("en")
    shown = _shown(found.row, sight)
    shown.verdict = MATCH_NUMBERS[found.match.verdict]
    shown.score = found.match.score
    shown.reasons.extend(
        pb.Reason(field=reason.field, weight=reason.weight, text=reason.en if english else reason.zh)
        for reason in found.match.reasons
    )
    return shown


def _shown(row: Compared | MatchRecord, sight: Sight) -> pb.Similar:
    message = pb.Similar(
        customer_id=row.customer_id if sight.covers(row) else "",
        name=sight.name(row),
        holder_name=row.holder_name,
        create_time=timestamp(row.create_time),
    )
    return texts_for(message, may_see=row.owner_id == sight.caller.person_id)
