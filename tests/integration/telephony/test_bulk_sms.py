"""One text to many customers: each number once, no one who opted out, held and ended by people, whatever dies."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import grpc
import pytest
from crm.customers.v1 import customers_pb2, customers_pb2_grpc, numbers_pb2, numbers_pb2_grpc
from crm.telephony.v1 import bulk_pb2 as pb
from crm.telephony.v1 import bulk_pb2_grpc
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from services.chassis.clock import utc_now
from services.chassis.declarations import note_scope_asked
from services.chassis.errors import InvalidInput, NotFound, RuleViolation
from services.chassis.grpc_server import Api, Server
from services.chassis.ids import new_id
from services.chassis.service import Runtime
from services.chassis.settings import Settings
from services.chassis.tokens import Caller, Signer, Verifier
from services.telephony.__main__ import SERVICE
from services.telephony.domain.bulk import AHEAD, BulkKind, Wording
from services.telephony.modem.port import Failure
from services.telephony.store import tables
from services.telephony.usecases import bulk, upkeep
from services.telephony.usecases.bulk import Mobile, Portion
from tests.integration.telephony.conftest import Shop
from tests.integration.telephony.test_sms import Clock, clock, desk, queue_of, submit, told
from tests.integration.telephony.test_sms_care import everyone, incoming
from tests.support.callers import Caller as Client

# Fixtures, named so that ruff does not take them for unused imports.
__all__ = ["clock", "desk"]

WORDING = Wording("国庆通知", BulkKind.NOTICE, "示例公司", "{name}您好，国庆期间照常发货", "")
PROMOTION = Wording("促销", BulkKind.PROMOTION, "示例公司", "{name}您好，空调八折", "")


def mobile(number: int, name: str = "张三", customer_id: str = "") -> Mobile:
    return Mobile(customer_id or new_id(), "上海云海", name, f"+86138{number:08}")


def portion(mobiles: Sequence[Mobile], next_page_token: str = "", without: int = 0) -> Portion:
    """Return a page of a list: the customers of these mobiles, and some without any."""
    ids = list(dict.fromkeys(each.customer_id for each in mobiles))
    return Portion([*ids, *(new_id() for _ in range(without))], mobiles, next_page_token)


def staged(
    shop: Shop, mobiles: Sequence[Mobile], wording: Wording = WORDING, *, every_mobile: bool = True
) -> str:
    """Write a bulk SMS to these and return its id."""
    bulk_id = new_id()
    with shop.store.transaction(shop.tenant) as tx:
        bulk.create_bulk(tx, new_id(), bulk_id, wording, {}, every_mobile=every_mobile)
        bulk.stage(tx, everyone(shop), bulk_id, "", portion(mobiles))
    return bulk_id


def step(shop: Shop, bulk_id: str, verb: str, start_time: datetime | None = None) -> None:
    with shop.store.transaction(shop.tenant) as tx:
        bulk.take_step(tx, everyone(shop), bulk_id, verb, start_time)


def feed(shop: Shop) -> None:
    """Let the keeper do a round."""
    with shop.store.transaction(shop.tenant) as tx:
        upkeep.keep_up(tx)


def counts(shop: Shop, bulk_id: str) -> Mapping[str, int]:
    with shop.store.transaction(shop.tenant) as tx:
        return dict(bulk.progress(tx, [bulk_id]).get(bulk_id, {}))


def send_all(shop: Shop) -> list[str]:
    """Let a modem send whatever waits, and return the numbers."""
    queue, numbers = queue_of(shop), list[str]()
    while True:
        feed(shop)
        segment = queue.next_segment()
        if segment is None:
            return numbers
        queue.before_send(segment)
        queue.sent(segment, len(numbers) % 256)
        numbers.append(segment.number)


def test_everybody_gets_it_once_with_the_own_name_and_the_writer_hears_of_the_end(desk: Shop) -> None:
    """F199, F200, F212: staged, deduplicated by number, per-message status, a report at the end."""
    shared = mobile(1, "张三")
    bulk_id = staged(desk, [shared, mobile(2, ""), Mobile(new_id(), "别家", "李四", shared.number)])
    feed(desk)
    assert desk.rows("sms") == []
    row = desk.row("sms_bulk")
    assert (row["state"], row["customer_count"], row["duplicate_count"]) == ("staged", 3, 1)
    step(desk, bulk_id, "start")
    assert sorted(send_all(desk)) == ["+8613800000001", "+8613800000002"]
    assert sorted(row["text"] for row in desk.rows("sms")) == [
        "【示例公司】上海云海您好，国庆期间照常发货",
        "【示例公司】张三您好，国庆期间照常发货",
    ]
    assert counts(desk, bulk_id) == {"sent": 2}
    assert desk.row("sms_bulk")["state"] == "done"
    (done,) = desk.events("sms_bulk_done")
    assert (done.data["sent"], done.data["failed"], done.data["name"]) == (2, 0, "国庆通知")
    assert {row["lane"] for row in desk.rows("sms")} == {"bulk"}


def test_a_page_that_is_staged_twice_counts_once(desk: Shop) -> None:
    """The answer was lost, or two windows press on: the page begins where the list no longer stands."""
    bulk_id = new_id()
    with desk.store.transaction(desk.tenant) as tx:
        bulk.create_bulk(tx, new_id(), bulk_id, WORDING, {}, every_mobile=False)
    customer_id = new_id()
    first = portion(
        [mobile(1, customer_id=customer_id), mobile(2, customer_id=customer_id)], "next", without=1
    )
    for page_token, page in (("", first), ("", first), ("next", portion([mobile(3)]))):
        with desk.store.transaction(desk.tenant) as tx:
            bulk.stage(tx, everyone(desk), bulk_id, page_token, page)
    row = desk.row("sms_bulk")
    assert (row["state"], row["customer_count"], row["without_mobile_count"]) == ("staged", 3, 1)
    # The first mobile of each customer only.
    assert [each["number"][-1] for each in desk.rows("sms_recipient")] == ["1", "3"]
    with pytest.raises(RuleViolation, match="BULK_SMS_STATE"), desk.store.transaction(desk.tenant) as tx:
        bulk.stage(tx, everyone(desk), bulk_id, "", portion([mobile(4)]))


def test_a_promotion_reaches_only_who_agreed_and_nobody_who_opted_out(desk: Shop) -> None:
    """Consent and opt-out are honoured when it is sent, not only when it is written."""
    bulk_id = staged(desk, [mobile(1), mobile(2), mobile(3)], PROMOTION)
    with desk.store.transaction(desk.tenant) as tx:
        bulk.set_consent(tx, new_id(), "+8613800000001", agreed=True)
        bulk.set_consent(tx, new_id(), "+8613800000002", agreed=True)
    queue_of(desk).received(incoming("+8613800000002", "退订"))
    step(desk, bulk_id, "start")
    assert send_all(desk) == ["+8613800000001"]
    assert desk.row("sms")["text"] == "【示例公司】张三您好，空调八折，拒收请回复T"
    reasons = {row["number"][-1]: row["reason"] for row in desk.rows("sms_recipient")}
    assert reasons == {"1": "", "2": "OPTED_OUT", "3": "NO_CONSENT"}
    assert desk.events("sms_bulk_done")[0].data["skipped"] == 2


def test_a_ground_of_consent_counts_for_those_of_whom_nothing_is_noted(desk: Shop) -> None:
    """It is stored with the bulk SMS and accounted for; who refused stays out all the same."""
    words = Wording("促销", BulkKind.PROMOTION, "示例公司", "空调八折", "合同第8条同意接收")
    bulk_id = staged(desk, [mobile(1), mobile(2)], words)
    with desk.store.transaction(desk.tenant) as tx:
        bulk.set_consent(tx, new_id(), "+8613800000002", agreed=False)
    step(desk, bulk_id, "start")
    assert send_all(desk) == ["+8613800000001"]
    assert "合同第8条同意接收" in str(desk.events("audited")[0].data)


def test_it_waits_for_its_time_and_for_the_hours_for_bulk(desk: Shop, clock: Clock) -> None:
    """Schedule; 9:00-20:00 China time."""
    bulk_id = staged(desk, [mobile(1)])
    step(desk, bulk_id, "start", clock.now + timedelta(hours=2))
    assert send_all(desk) == []
    assert desk.tenant not in upkeep.tenants_at_work(desk.store, "main")
    clock.pass_(hours=11)
    # 20:00 there.
    assert send_all(desk) == []
    clock.pass_(hours=14)
    assert desk.tenant in upkeep.tenants_at_work(desk.store, "main")
    assert send_all(desk) == ["+8613800000001"]


def test_a_pause_takes_back_what_no_modem_has_begun_and_resuming_sends_nobody_two(desk: Shop) -> None:
    """Paused means now, not after everything that was handed over."""
    bulk_id = staged(desk, [mobile(number) for number in range(AHEAD + 50)])
    step(desk, bulk_id, "start")
    feed(desk)
    # Not all at once: what waits for a modem can be taken back.
    assert len(desk.rows("sms")) == AHEAD
    first = submit(queue_of(desk))
    step(desk, bulk_id, "pause")
    assert [row["number"] for row in desk.rows("sms")] == [first.number]
    feed(desk)
    assert queue_of(desk).next_segment() is None
    assert counts(desk, bulk_id) == {"sent": 1, "waiting": AHEAD + 49}
    step(desk, bulk_id, "resume")
    feed(desk)
    later = [submit(queue_of(desk)).number for _ in range(3)]
    assert len({first.number, *later}) == 4
    assert sum(counts(desk, bulk_id).values()) == AHEAD + 50


def test_cancelled_it_ends_for_good(desk: Shop) -> None:
    bulk_id = staged(desk, [mobile(1), mobile(2)])
    step(desk, bulk_id, "start")
    feed(desk)
    submit(queue_of(desk))
    step(desk, bulk_id, "cancel")
    assert counts(desk, bulk_id) == {"sent": 1, "skipped": 1}
    for verb in ("start", "pause", "resume", "cancel"):
        with pytest.raises(RuleViolation, match="BULK_SMS_STATE"):
            step(desk, bulk_id, verb)


def test_nothing_starts_without_anybody_in_it(desk: Shop) -> None:
    with pytest.raises(RuleViolation, match="BULK_SMS_EMPTY"):
        step(desk, staged(desk, []), "start")


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(st.data())
def test_in_any_story_nobody_gets_it_twice(desk: Shop, clock: Clock, data: st.DataObject) -> None:
    """Pauses, crashes of a modem's process, refusals and opt-outs in any order: one number, one SMS at most."""
    count = data.draw(st.integers(1, 4))
    bulk_id = staged(desk, [mobile(number, name="") for number in range(count)])
    step(desk, bulk_id, "start")
    queue = queue_of(desk)
    sent: list[str] = []
    acts = st.sampled_from(["send", "send", "crash before", "crash after", "refuse", "pause", "stop", "wait"])
    for act in data.draw(st.lists(acts, max_size=14)):
        feed(desk)
        if act == "pause":
            with desk.store.transaction(desk.tenant) as tx:
                state = bulk.find_bulk(tx, everyone(desk), bulk_id)["state"]
            if state in ("running", "paused"):
                step(desk, bulk_id, "pause" if state == "running" else "resume")
        elif act == "stop":
            queue.received(incoming(f"+86138{data.draw(st.integers(0, count - 1)):08}", "T"))
        elif act == "wait":
            clock.pass_(minutes=31)
        elif (segment := queue.next_segment()) is not None:
            if act == "crash before":
                queue.recover()
                continue
            queue.before_send(segment)
            if act == "refuse":
                queue.failed(segment, Failure.RETRY, "+CMS ERROR: 42")
                continue
            sent.append(segment.id)
            if act == "send":
                queue.sent(segment, 1)
            else:
                queue.recover()
    assert len(sent) == len(set(sent))
    with desk.store.across("main") as session:
        rows = session.execute(
            tables.sms.select().where(tables.sms.c.bulk_id == bulk_id).with_only_columns(tables.sms.c.number)
        ).all()
    assert len(rows) == len(set(rows)) <= count
    # For the next story.
    with desk.store.transaction(desk.tenant) as tx:
        for table in (tables.sms, tables.sms_bulk, tables.sms_opt_out):
            tx.session.execute(table.delete().where(table.c.tenant_id == desk.tenant.id))


@pytest.mark.parametrize(
    ("change", "field", "reason"),
    [
        ({"name": " "}, "name", "NAME_LENGTH"),
        ({"signature": ""}, "signature", "SIGNATURE_INVALID"),
        ({"signature": "【示例】"}, "signature", "SIGNATURE_INVALID"),
        ({"text": ""}, "text", "TEXT_LENGTH"),
        ({"text": "字" * 401}, "text", "TEXT_LENGTH"),
        ({"text": "\ud800"}, "text", "TEXT_INVALID"),
        ({"consent_basis": "据" * 201}, "consent_basis", "BASIS_LENGTH"),
    ],
)
def test_words_that_cannot_be_sent_are_refused_by_field(
    desk: Shop, change: dict[str, str], field: str, reason: str
) -> None:
    wording = Wording(**{**vars(WORDING), **change})
    with pytest.raises(InvalidInput) as refused, desk.store.transaction(desk.tenant) as tx:
        bulk.create_bulk(tx, new_id(), new_id(), wording, {}, every_mobile=False)
    assert (refused.value.field, refused.value.reason) == (field, reason)


def test_a_name_of_any_length_leaves_the_text_sendable() -> None:
    """A company's registered name may be long; the text around it stays."""
    text = Wording("n", BulkKind.PROMOTION, "公司", "{name}" + "字" * 390, "").text_for("名" * 300)
    assert len(text) <= 500
    assert text.endswith("，拒收请回复T")


CUSTOMERS = [f"0a000000-0000-4000-8000-00000000000{digit}" for digit in range(5)]


class ScriptedCustomers(customers_pb2_grpc.CustomersServiceServicer, Api):
    """Five customers in pages of two, as the person of the token sees them."""

    asked: list[str]

    def ListCustomers(
        self, request: customers_pb2.ListCustomersRequest, context: grpc.ServicerContext
    ) -> customers_pb2.ListCustomersResponse:
        note_scope_asked()
        self.asked.append(request.filter)
        begin = int(request.page_token or 0)
        return customers_pb2.ListCustomersResponse(
            customers=[customers_pb2.Customer(customer_id=each) for each in CUSTOMERS[begin : begin + 2]],
            next_page_token=str(begin + 2) if begin + 2 < len(CUSTOMERS) else "",
        )

    def GetCustomer(
        self, request: customers_pb2.GetCustomerRequest, context: grpc.ServicerContext
    ) -> customers_pb2.GetCustomerResponse:
        note_scope_asked()
        return customers_pb2.GetCustomerResponse(
            customer=customers_pb2.Customer(customer_id=request.customer_id)
        )


class ScriptedNumbers(numbers_pb2_grpc.NumbersServiceServicer, Api):
    """Each customer has one mobile, but the last one."""

    def ResolveNumber(
        self, request: numbers_pb2.ResolveNumberRequest, context: grpc.ServicerContext
    ) -> numbers_pb2.ResolveNumberResponse:
        return numbers_pb2.ResolveNumberResponse()

    def ResolveMobiles(
        self, request: numbers_pb2.ResolveMobilesRequest, context: grpc.ServicerContext
    ) -> numbers_pb2.ResolveMobilesResponse:
        return numbers_pb2.ResolveMobilesResponse(
            mobiles=[
                numbers_pb2.Mobile(
                    customer_id=each,
                    customer_name="上海云海",
                    phone_id=each,
                    number=f"+861380000000{each[-1]}",
                )
                for each in request.customer_ids
                if each != CUSTOMERS[-1]
            ]
        )


@dataclass
class Office:
    """Telephony's API beside scripted customers."""

    shop: Shop
    stub: bulk_pb2_grpc.BulkSmsServiceStub
    customers: ScriptedCustomers
    signer: Signer

    def person(self, person_id: str, scope: str = "self") -> Client:
        caller = Caller(
            tenant=self.shop.tenant,
            person_id=person_id,
            name="王小明",
            rights=frozenset({"sms.bulk", "customers.view", "customers.follow"}),
            scope=scope,
        )
        return Client(lambda: self.signer.person_token(caller, utc_now())[0])


@pytest.fixture
def office(settings: Settings, main_shop: Shop, signer: Signer) -> Iterator[Office]:
    scripted = Server("scripted", Verifier(settings.trusted_keys))
    # The stubs call the unscripted methods abstract; at run time they answer UNIMPLEMENTED.
    customers = ScriptedCustomers(main_shop.store)  # type: ignore[abstract]  # the rest is never asked
    customers.asked = []
    customers_pb2_grpc.add_CustomersServiceServicer_to_server(customers, scripted.grpc)
    numbers = ScriptedNumbers(main_shop.store)  # type: ignore[abstract]  # the rest is never asked
    numbers_pb2_grpc.add_NumbersServiceServicer_to_server(numbers, scripted.grpc)
    others = f"127.0.0.1:{scripted.start('127.0.0.1', 0)}"
    addresses = dict.fromkeys(("customers", "identity", "leads", "dedupe"), others)
    given = Settings(**{**vars(settings), "addresses": addresses})
    runtime = Runtime("telephony", given, tables.metadata, {})
    server = Server("telephony", Verifier(settings.trusted_keys))
    assert SERVICE.api
    port = server.start("127.0.0.1", 0, *SERVICE.api(runtime, server.grpc))
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        yield Office(main_shop, bulk_pb2_grpc.BulkSmsServiceStub(channel), customers, signer)
    server.stop(0)
    scripted.stop(0)
    runtime.store.close()


def test_a_list_of_customers_is_staged_page_by_page_as_its_writer_sees_it(office: Office) -> None:
    """F212: to a filter's result; a wizard calls until everybody is in."""
    writer = new_id()
    ask = office.person(writer)
    request = pb.CreateBulkSmsRequest(
        request_id=new_id(),
        name="华东客户",
        kind=pb.BULK_SMS_KIND_NOTICE,
        signature="示例公司",
        text="{name}您好",
        selection=pb.CustomerSelection(view="CUSTOMER_VIEW_MINE", filter='{"field": "region"}'),
    )
    created = [ask(office.stub.CreateBulkSms, request).bulk_sms for _ in range(2)]
    assert created[0] == created[1]
    bulk_id = created[0].bulk_sms_id
    state, rounds = created[0].state, 0
    while state == pb.BULK_SMS_STATE_STAGING:
        one = pb.StageBulkSmsRequest(request_id=new_id(), bulk_sms_id=bulk_id)
        state = ask(office.stub.StageBulkSms, one).bulk_sms.state
        rounds += 1
    assert (rounds, set(office.customers.asked)) == (3, {'{"field": "region"}'})
    # Another sees other customers in the list; whoever is over the writer may still hold it.
    stranger, boss = office.person(new_id()), office.person(new_id(), "all")
    again = pb.StageBulkSmsRequest(request_id=new_id(), bulk_sms_id=bulk_id)
    assert isinstance(boss.refused(office.stub.StageBulkSms, again), NotFound)
    seen = pb.GetBulkSmsRequest(bulk_sms_id=bulk_id)
    assert isinstance(stranger.refused(office.stub.GetBulkSms, seen), NotFound)
    tomorrow = pb.StartBulkSmsRequest(request_id=new_id(), bulk_sms_id=bulk_id)
    tomorrow.start_time.FromDatetime(datetime.now(UTC) + timedelta(days=1))
    assert ask(office.stub.StartBulkSms, tomorrow).bulk_sms.state == pb.BULK_SMS_STATE_SCHEDULED
    pause = pb.PauseBulkSmsRequest(request_id=new_id(), bulk_sms_id=bulk_id)
    assert boss(office.stub.PauseBulkSms, pause).bulk_sms.state == pb.BULK_SMS_STATE_PAUSED
    found = ask(office.stub.GetBulkSms, seen).bulk_sms
    assert (found.customer_count, found.without_mobile_count) == (5, 1)
    assert [(each.state, each.count) for each in found.recipients] == [(pb.BULK_RECIPIENT_STATE_WAITING, 4)]
    assert [each.bulk_sms_id for each in boss(office.stub.ListBulkSms, pb.ListBulkSmsRequest()).bulk_sms] == [
        bulk_id
    ]
    page = pb.ListBulkSmsRecipientsRequest(bulk_sms_id=bulk_id, page_size=3)
    first = ask(office.stub.ListBulkSmsRecipients, page)
    page.page_token = first.next_page_token
    last = ask(office.stub.ListBulkSmsRecipients, page)
    assert [len(first.recipients), len(last.recipients), last.next_page_token] == [3, 1, ""]
    assert first.recipients[0].number == "+86138****0000"


def test_what_a_customer_said_of_promotions_is_noted_by_number(office: Office) -> None:
    """F199; the number itself is nobody's to see."""
    ask, customer_id = office.person(new_id()), CUSTOMERS[0]
    for consent in (pb.SMS_CONSENT_GIVEN, pb.SMS_CONSENT_REFUSED):
        note = pb.SetSmsConsentRequest(
            request_id=new_id(), customer_id=customer_id, phone_id=customer_id, consent=consent
        )
        ask(office.stub.SetSmsConsent, note)
        noted = ask(office.stub.ListSmsConsents, pb.ListSmsConsentsRequest(customer_id=customer_id)).consents
        assert [(each.phone_id, each.consent) for each in noted] == [(customer_id, consent)]
    note = pb.SetSmsConsentRequest(request_id=new_id(), customer_id=customer_id, phone_id=customer_id)
    ask(office.stub.SetSmsConsent, note)
    listed = ask(office.stub.ListSmsConsents, pb.ListSmsConsentsRequest(customer_id=customer_id))
    assert [(each.phone_id, each.consent, each.HasField("time")) for each in listed.consents] == [
        (customer_id, pb.SMS_CONSENT_UNSPECIFIED, False)
    ]
    assert told(office.shop).count("audited") == 3
