"""Telephony over gRPC: agents at their extensions, pops and calls by who may see them, recordings, SMS."""

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, timedelta
from pathlib import Path
from typing import Any

import grpc
import pytest
from crm.customers.v1 import customers_pb2, customers_pb2_grpc, numbers_pb2, numbers_pb2_grpc
from crm.dedupe.v1 import dedupe_pb2, dedupe_pb2_grpc
from crm.identity.v1 import identity_pb2, identity_pb2_grpc
from crm.leads.v1 import leads_pb2, leads_pb2_grpc
from crm.telephony.v1 import desk_pb2, desk_pb2_grpc, telephony_pb2_grpc
from crm.telephony.v1 import telephony_pb2 as pb
from google.protobuf import json_format
from google.protobuf.timestamp_pb2 import Timestamp
from sqlalchemy import update

from services.chassis.clock import utc_now
from services.chassis.db import Event, Store
from services.chassis.declarations import note_scope_asked
from services.chassis.errors import AppError, Conflict, Forbidden, NotFound, RuleViolation, not_found
from services.chassis.grpc_server import Api, Server
from services.chassis.ids import derive_id, new_id
from services.chassis.service import Runtime
from services.chassis.settings import Settings
from services.chassis.tokens import Caller as TokenCaller
from services.chassis.tokens import Signer, Verifier
from services.telephony.__main__ import SERVICE
from services.telephony.domain.pops import PopMoment, PopRules, PopSettings
from services.telephony.edges.lines import Lines
from services.telephony.events import handlers
from services.telephony.pbx.callgraph import Event as PbxEvent
from services.telephony.pbx.recordings import Recording
from services.telephony.store import tables
from services.telephony.usecases import recordings
from services.telephony.usecases.calls import Caller
from tests.integration.telephony.conftest import Shop
from tests.integration.telephony.test_calls import Line, until_event
from tests.support.callers import Caller as Client
from tests.support.callers import service_caller
from tests.unit.telephony.pbx.transcripts import events

CUSTOMER_ID = "0a000000-0000-4000-8000-000000000001"
HANDLERS = frozenset({"calls.handle", "calls.view", "numbers.view_all"})
AGENT_RIGHTS = frozenset({"calls.agent", "calls.view", "customers.view", "recordings.play"})


class ScriptedCustomers(customers_pb2_grpc.CustomersServiceServicer, Api):
    """A customers service that knows one customer, and refuses another."""

    owner_id = ""
    locked = False

    def GetCustomer(
        self, request: customers_pb2.GetCustomerRequest, context: grpc.ServicerContext
    ) -> customers_pb2.GetCustomerResponse:
        if request.customer_id != CUSTOMER_ID:
            raise not_found("customer", "客户", request.customer_id)
        note_scope_asked()
        customer = customers_pb2.Customer(customer_id=CUSTOMER_ID, name="上海云海", owner_id=self.owner_id)
        if self.locked:
            customer.lock_expire_time.FromDatetime(utc_now() + timedelta(days=1))
        return customers_pb2.GetCustomerResponse(customer=customer)


LEAD_ID = "0a000000-0000-4000-8000-00000000000f"


class ScriptedLeads(leads_pb2_grpc.LeadsServiceServicer, Api):
    """A leads service that knows one lead."""

    def GetLead(
        self, request: leads_pb2.GetLeadRequest, context: grpc.ServicerContext
    ) -> leads_pb2.GetLeadResponse:
        note_scope_asked()
        if request.lead_id != LEAD_ID:
            raise not_found("lead", "线索", request.lead_id)
        return leads_pb2.GetLeadResponse(
            lead=leads_pb2.Lead(lead_id=LEAD_ID, name="赵六", company="星辰电子")
        )


class ScriptedDedupe(dedupe_pb2_grpc.DedupeServiceServicer, Api):
    """A dedupe service that keeps each inquiry once, by its request."""

    def __init__(self, store: Store) -> None:
        super().__init__(store)
        self.asked: dict[str, dedupe_pb2.RecordInquiryRequest] = {}

    def RecordInquiry(
        self, request: dedupe_pb2.RecordInquiryRequest, context: grpc.ServicerContext
    ) -> dedupe_pb2.RecordInquiryResponse:
        self.asked[request.request_id] = request
        inquiry = dedupe_pb2.Inquiry(inquiry_id=derive_id("inquiry", request.request_id))
        return dedupe_pb2.RecordInquiryResponse(inquiry=inquiry, suspect_ids=[CUSTOMER_ID])


class ScriptedNumbers(numbers_pb2_grpc.NumbersServiceServicer, Api):
    """A customers service that knows one number."""

    def ResolveNumber(
        self, request: numbers_pb2.ResolveNumberRequest, context: grpc.ServicerContext
    ) -> numbers_pb2.ResolveNumberResponse:
        return numbers_pb2.ResolveNumberResponse(number="+8613900139000")

    def ResolveMobiles(
        self, request: numbers_pb2.ResolveMobilesRequest, context: grpc.ServicerContext
    ) -> numbers_pb2.ResolveMobilesResponse:
        return numbers_pb2.ResolveMobilesResponse()


class ScriptedIdentity(identity_pb2_grpc.IdentityServiceServicer, Api):
    """An identity service that knows everybody's mobile but one person's."""

    without_mobile = ""

    def ResolveMobile(
        self, request: identity_pb2.ResolveMobileRequest, context: grpc.ServicerContext
    ) -> identity_pb2.ResolveMobileResponse:
        mobile = "" if request.person_id == self.without_mobile else "+8613900001111"
        return identity_pb2.ResolveMobileResponse(mobile=mobile)


@dataclass
class Office:
    """A served telephony API and the people who call it."""

    shop: Shop
    stub: telephony_pb2_grpc.TelephonyServiceStub
    desk: desk_pb2_grpc.AgentDeskServiceStub
    identity: ScriptedIdentity
    customers: ScriptedCustomers
    dedupe: ScriptedDedupe
    signer: Signer
    keys: Mapping[str, tuple[str, str]]
    kept: Path
    people: dict[str, str] = field(default_factory=dict)

    def person(
        self,
        name: str,
        rights: frozenset[str] = AGENT_RIGHTS,
        scope: str = "self",
        department: str = "1/2/",
    ) -> Client:
        """Return a signed-in person; the same name is the same person."""
        person_id = self.people.setdefault(name, new_id())
        caller = TokenCaller(
            tenant=self.shop.tenant,
            person_id=person_id,
            name=name,
            rights=rights,
            scope=scope,
            department_path=department,
        )
        return Client(lambda: self.signer.person_token(caller, utc_now())[0])

    def hire(
        self, name: str, extension: str, department: str = "1/2/", version: int = 1, **data: Any
    ) -> None:
        """Let identity tell of a person."""
        person_id = self.people.setdefault(name, new_id())
        saved = {
            "personId": person_id,
            "name": name,
            "extension": extension,
            "active": True,
            "departmentPath": department,
        }
        event = Event(
            id=new_id(),
            type="person_saved",
            source="identity",
            tenant=self.shop.tenant,
            actor_id="",
            aggregate=person_id,
            version=version,
            time=utc_now(),
            data={**saved, **data},
        )
        with self.shop.store.transaction(self.shop.tenant) as tx:
            handlers.all[0].function(tx, event)

    def told(self, source: str, event_type: str, aggregate: str, version: int = 1, **data: Any) -> None:
        """Let a service tell something."""
        event = Event(
            id=new_id(),
            type=event_type,
            source=source,
            tenant=self.shop.tenant,
            actor_id="",
            aggregate=aggregate,
            version=version,
            time=utc_now(),
            data=data,
        )
        (handler,) = [each for each in handlers.all if (each.source, each.event_type) == (source, event_type)]
        with self.shop.store.transaction(self.shop.tenant) as tx:
            handler.function(tx, event)

    def ends(self) -> None:
        """Let telephony hear of the ends of its own calls, the last one first."""
        for event in reversed(self.shop.events("call_ended")):
            self.told("telephony", "call_ended", event.aggregate, event.version, **event.data)

    def missed(self, name: str = "主管", **person: Any) -> list[desk_pb2.MissedCaller]:
        """Return who is to be called back, as a person sees it."""
        client = self.person(name, **{"rights": HANDLERS, "scope": "all", **person})
        return list(client(self.desk.ListMissedCallers, desk_pb2.ListMissedCallersRequest()).missed_callers)

    def sign_on(self, name: str, extension: str = "") -> str:
        """Sign a person on and return the extension."""
        request = pb.SignOnRequest(request_id=new_id(), extension=extension)
        answer: pb.SignOnResponse = self.person(name)(self.stub.SignOn, request)
        return answer.extension

    def agents_told(self) -> list[str]:
        """Return the names of those whose pages were told that where they stand changed, in order."""
        names = {person_id: name for name, person_id in self.people.items()}
        return [names[event.data["personId"]] for event in self.shop.events("agent_changed")]

    def pops(self, name: str) -> list[pb.Pop]:
        """Return a person's snapshot."""
        return list(self.person(name)(self.stub.ListPops, pb.ListPopsRequest()).pops)


@pytest.fixture
def office(
    settings: Settings,
    main_shop: Shop,
    signer: Signer,
    issuer_keys: Mapping[str, tuple[str, str]],
    tmp_path: Path,
) -> Iterator[Office]:
    """Telephony's API between a scripted customers and a scripted identity."""
    scripted = Server("scripted", Verifier(settings.trusted_keys))
    # The stubs call the unscripted methods abstract; at run time they answer UNIMPLEMENTED.
    identity = ScriptedIdentity(main_shop.store)  # type: ignore[abstract]  # the rest is never asked
    customers = ScriptedCustomers(main_shop.store)  # type: ignore[abstract]  # the rest is never asked
    identity_pb2_grpc.add_IdentityServiceServicer_to_server(identity, scripted.grpc)
    customers_pb2_grpc.add_CustomersServiceServicer_to_server(customers, scripted.grpc)
    numbers = ScriptedNumbers(main_shop.store)  # type: ignore[abstract]  # the rest is never asked
    numbers_pb2_grpc.add_NumbersServiceServicer_to_server(numbers, scripted.grpc)
    dedupe = ScriptedDedupe(main_shop.store)  # type: ignore[abstract]  # the rest is never asked
    leads = ScriptedLeads(main_shop.store)  # type: ignore[abstract]  # the rest is never asked
    dedupe_pb2_grpc.add_DedupeServiceServicer_to_server(dedupe, scripted.grpc)
    leads_pb2_grpc.add_LeadsServiceServicer_to_server(leads, scripted.grpc)
    others = f"127.0.0.1:{scripted.start('127.0.0.1', 0)}"
    addresses = dict.fromkeys(("customers", "identity", "leads", "dedupe"), others)
    given = Settings(**{**vars(settings), "addresses": addresses})
    runtime = Runtime("telephony", given, tables.metadata, {"RECORDINGS_URL": tmp_path.as_uri()})
    server = Server("telephony", Verifier(settings.trusted_keys))
    assert SERVICE.api
    port = server.start("127.0.0.1", 0, *SERVICE.api(runtime, server.grpc))
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        stub = telephony_pb2_grpc.TelephonyServiceStub(channel)
        desk = desk_pb2_grpc.AgentDeskServiceStub(channel)
        yield Office(main_shop, stub, desk, identity, customers, dedupe, signer, issuer_keys, tmp_path)
    server.stop(0)
    scripted.stop(0)
    runtime.store.close()


def test_a_person_signs_on_at_the_own_extension(office: Office) -> None:
    office.hire("王小明", "1001")
    assert office.sign_on("王小明") == "1001"
    agent = office.person("王小明")(office.stub.GetAgent, pb.GetAgentRequest())
    assert (agent.extension, agent.own_extension) == ("1001", "1001")
    for _ in range(2):
        office.person("王小明")(office.stub.SignOff, pb.SignOffRequest(request_id=new_id()))
    agent = office.person("王小明")(office.stub.GetAgent, pb.GetAgentRequest())
    assert (agent.extension, agent.own_extension) == ("", "1001")
    # To leave no seat is no news.
    assert office.agents_told() == ["王小明", "王小明"]


def test_at_a_shared_desk_the_last_one_to_sign_on_sits(office: Office) -> None:
    """Hot-desking: one agent at a time; a forgotten sign-on blocks no desk."""
    office.hire("王小明", "1001")
    office.hire("李雷", "1003")
    office.sign_on("王小明")
    assert office.sign_on("李雷", "1001") == "1001"
    assert office.person("王小明")(office.stub.GetAgent, pb.GetAgentRequest()).extension == ""
    # Who was unseated is told of it as well.
    assert sorted(office.agents_told()[1:]) == sorted(["王小明", "李雷"])
    assert office.sign_on("李雷", "1003") == "1003"
    assert len([row for row in office.shop.rows("agent_session") if row["sign_off_time"] is None]) == 1


def test_nobody_is_unseated_while_talking(office: Office) -> None:
    office.hire("王小明", "1001")
    office.sign_on("王小明")
    Line(office.shop).feed(until_event("queue-call", "DialEnd"))
    error = office.person("李雷").refused(
        office.stub.SignOn, pb.SignOnRequest(request_id=new_id(), extension="1001")
    )
    assert (type(error), error.reason) == (RuleViolation, "EXTENSION_BUSY")


@pytest.mark.parametrize(
    ("extension", "reason"), [("", "EXTENSION_MISSING"), ("9999", "EXTENSION_NOT_FOUND")]
)
def test_a_seat_that_is_none_is_refused(office: Office, extension: str, reason: str) -> None:
    error = office.person("王小明").refused(
        office.stub.SignOn, pb.SignOnRequest(request_id=new_id(), extension=extension)
    )
    assert error.reason == reason


def test_a_moved_or_dismissed_person_leaves_the_extension(office: Office) -> None:
    """The person's extension is a line of the tenant, as identity said last; older news is ignored."""
    office.hire("王小明", "1001", version=3)
    office.hire("王小明", "1009", version=2)
    assert [row["number"] for row in office.shop.rows("line")] == ["1001"]
    office.hire("王小明", "1002", version=4)
    assert [row["number"] for row in office.shop.rows("line")] == ["1002"]
    office.sign_on("王小明")
    office.hire("王小明", "1002", version=5, active=False)
    assert office.shop.rows("line") == []
    assert office.shop.row("agent_session")["sign_off_time"] is not None


def test_an_extension_of_another_tenant_is_refused(office: Office) -> None:
    """An extension belongs to one tenant: the event is tried again until it is free."""
    office.hire("王小明", "1001")
    other = Office(
        Shop(office.shop.store, type(office.shop.tenant)(new_id(), "main"), ""),
        office.stub,
        office.desk,
        office.identity,
        office.customers,
        office.dedupe,
        office.signer,
        office.keys,
        office.kept,
    )
    with pytest.raises(Conflict):
        other.hire("贾某", "1001")
    assert other.shop.rows("line") == []


def test_the_snapshot_is_what_the_stream_said_last(office: Office) -> None:
    """A page takes a snapshot, then the stream: both tell the same pop."""
    office.hire("王小明", "1001")
    office.sign_on("王小明")
    line = Line(office.shop, [Caller(CUSTOMER_ID, "上海云海", "", "张三", "", ("exact_number",))])
    line.feed(until_event("queue-call", "Newstate", ChannelStateDesc="Ringing"))
    for state in (pb.POP_STATE_RINGING, pb.POP_STATE_TALKING, pb.POP_STATE_WRAP_UP):
        (pop,) = office.pops("王小明")
        assert pop.state == state
        told = json_format.ParseDict(dict(office.shop.events("pop_changed")[-1].data), pb.Pop())
        assert told == pop
        if state == pb.POP_STATE_RINGING:
            line.feed(until_event("queue-call", "DialEnd"))
        elif state == pb.POP_STATE_TALKING:
            line.feed(events("queue-call"))


def test_a_pop_is_closed_by_its_agent_after_the_call(office: Office) -> None:
    office.hire("王小明", "1001")
    office.sign_on("王小明")
    line = Line(office.shop)
    line.feed(until_event("queue-call", "DialEnd"))
    (pop,) = office.pops("王小明")
    request = pb.ClosePopRequest(request_id=new_id(), pop_id=pop.pop_id)
    error = office.person("王小明").refused(office.stub.ClosePop, request)
    assert error.reason == "POP_CALL_LIVE"
    line.feed(events("queue-call"))
    other = pb.ClosePopRequest(request_id=new_id(), pop_id=pop.pop_id)
    assert isinstance(office.person("李雷").refused(office.stub.ClosePop, other), NotFound)
    for _ in range(2):
        closed = office.person("王小明")(office.stub.ClosePop, request).pop
        assert closed.state == pb.POP_STATE_CLOSED
    assert office.pops("王小明") == []
    assert office.shop.events("pop_changed")[-1].data["state"] == "POP_STATE_CLOSED"


def test_calls_are_seen_by_who_took_part_and_by_who_is_over_them(office: Office) -> None:
    """F221, F238: self, department, all; a call that nobody took is for who sees all."""
    office.hire("王小明", "1001", "1/2/")
    office.hire("李雷", "1003", "1/3/")
    office.sign_on("王小明")
    line = Line(office.shop)
    line.feed(events("queue-call"))
    office.person("王小明")(office.stub.SignOff, pb.SignOffRequest(request_id=new_id()))
    line.feed(events("abandoned"))

    def seen(name: str, scope: str, department: str) -> int:
        client = office.person(name, scope=scope, department=department)
        return len(client(office.stub.ListCalls, pb.ListCallsRequest()).calls)

    assert seen("王小明", "self", "1/2/") == 1
    assert seen("李雷", "self", "1/3/") == 0
    assert seen("李雷", "department", "1/3/") == 0
    assert seen("韩梅梅", "department", "1/2/") == 1
    assert seen("韩梅梅", "department", "1/") == 1
    assert seen("韩梅梅", "all", "9/") == 2
    call_id = next(row["id"] for row in office.shop.rows("call") if row["state"] == "ended")
    error = office.person("李雷").refused(office.stub.GetCall, pb.GetCallRequest(call_id=call_id))
    assert error.reason == "CALL_NOT_FOUND"
    whole = office.person("王小明")(office.stub.GetCall, pb.GetCallRequest(call_id=call_id)).call
    assert [(leg.extension, leg.result) for leg in whole.legs] == [("1001", "ANSWER")]


def test_calls_are_listed_page_by_page_and_by_state(office: Office) -> None:
    line = Line(office.shop)
    for name in ("queue-call", "abandoned", "busy"):
        line.feed(events(name))
    boss = office.person("总监", scope="all")
    first = boss(office.stub.ListCalls, pb.ListCallsRequest(page_size=2))
    second = boss(office.stub.ListCalls, pb.ListCallsRequest(page_size=2, page_token=first.next_page_token))
    assert [len(first.calls), len(second.calls), second.next_page_token] == [2, 1, ""]
    missed = boss(office.stub.ListCalls, pb.ListCallsRequest(state=pb.CALL_STATE_MISSED)).calls
    assert len(missed) == 2


def test_a_number_of_anothers_customer_is_masked(office: Office) -> None:
    office.hire("王小明", "1001")
    office.sign_on("王小明")
    Line(office.shop, [Caller(CUSTOMER_ID, "上海云海", owner_id=new_id())]).feed(events("queue-call"))
    call = office.person("王小明")(office.stub.ListCalls, pb.ListCallsRequest()).calls[0]
    assert call.number == "+86138****8000"
    entitled = office.person("主管", AGENT_RIGHTS | {"numbers.view_all"}, "all")
    assert entitled(office.stub.ListCalls, pb.ListCallsRequest()).calls[0].number == "+8613800138000"


def test_a_number_is_masked_until_it_is_known_whose_it_is(office: Office) -> None:
    """Nobody could say yet: it may be anybody's customer. An unknown caller's number is needed."""
    office.hire("王小明", "1001")
    office.sign_on("王小明")
    line = Line(office.shop, None)
    line.feed(until_event("queue-call", "DialEnd"))
    agent = office.person("王小明")
    (pop,) = office.pops("王小明")
    assert (pop.looked_up, pop.number) == (False, "+86138****8000")
    assert agent(office.stub.ListCalls, pb.ListCallsRequest()).calls[0].number == "+86138****8000"
    line.callers = ()
    line.feed(events("queue-call"))
    (pop,) = office.pops("王小明")
    assert (pop.looked_up, pop.number) == (True, "+8613800138000")
    assert agent(office.stub.ListCalls, pb.ListCallsRequest()).calls[0].number == "+8613800138000"


def test_a_note_and_a_link_stay_with_the_call(office: Office) -> None:
    office.hire("王小明", "1001")
    office.sign_on("王小明")
    Line(office.shop).feed(events("queue-call"))
    call_id = office.shop.row("call")["id"]
    agent = office.person("王小明")
    noted = agent(
        office.stub.SaveCallNote, pb.SaveCallNoteRequest(request_id=new_id(), call_id=call_id, note="询价")
    ).call
    assert noted.note == "询价"
    linked = agent(
        office.stub.LinkCall,
        pb.LinkCallRequest(request_id=new_id(), call_id=call_id, customer_id=CUSTOMER_ID),
    ).call
    assert (linked.customer_id, linked.customer_name, linked.note) == (CUSTOMER_ID, "上海云海", "询价")
    assert office.shop.events("call_linked")[0].data["customerId"] == CUSTOMER_ID
    listed = agent(office.stub.ListCalls, pb.ListCallsRequest(customer_id=CUSTOMER_ID)).calls
    assert [call.call_id for call in listed] == [call_id]
    unknown = pb.LinkCallRequest(request_id=new_id(), call_id=call_id, customer_id=new_id())
    assert agent.refused(office.stub.LinkCall, unknown).reason == "CUSTOMER_NOT_FOUND"
    long = pb.SaveCallNoteRequest(request_id=new_id(), call_id=call_id, note="长" * 4001)
    assert agent.refused(office.stub.SaveCallNote, long).reason == "NOTE_TOO_LONG"


def test_of_two_who_write_a_note_neither_loses_it(office: Office) -> None:
    """A transferred call has several agents and one note."""
    office.hire("王小明", "1001")
    office.hire("李雷", "1003")
    office.sign_on("王小明")
    office.sign_on("李雷")
    Line(office.shop, [Caller(CUSTOMER_ID, "上海云海", owner_id=office.people["王小明"])]).feed(
        events("ring-all")
    )
    call_id = office.shop.row("call")["id"]

    def note(text: str, known: str | None) -> pb.SaveCallNoteRequest:
        return pb.SaveCallNoteRequest(request_id=new_id(), call_id=call_id, note=text, known_note=known)

    owner, colleague = office.person("王小明"), office.person("李雷")
    owner(office.stub.SaveCallNote, note("另一个号码 13900139001", ""))
    assert colleague.refused(office.stub.SaveCallNote, note("要样品", "")).reason == "NOTE_CHANGED"
    shown = colleague(office.stub.GetCall, pb.GetCallRequest(call_id=call_id)).call.note
    assert "13900139001" not in shown
    # What was hidden from the one who goes on writing stays as well.
    colleague(office.stub.SaveCallNote, note(f"{shown}\n要样品", shown))
    assert office.shop.row("call")["note"] == "另一个号码 13900139001\n要样品"
    # A page of before the upgrade says nothing of what it knew.
    owner(office.stub.SaveCallNote, note("完", None))
    assert office.shop.row("call")["note"] == "完"


def test_the_owner_of_a_customer_linked_by_hand_sees_the_number(office: Office) -> None:
    """An unknown number that became a customer's: nobody among the callers owns it."""
    office.hire("王小明", "1001")
    office.hire("李雷", "1003")
    office.sign_on("王小明")
    Line(office.shop).feed(events("queue-call"))
    office.customers.owner_id = office.people["李雷"]
    call_id = office.shop.row("call")["id"]
    request = pb.LinkCallRequest(request_id=new_id(), call_id=call_id, customer_id=CUSTOMER_ID)
    assert office.person("王小明")(office.stub.LinkCall, request).call.number == "+86138****8000"
    owner = office.person("李雷", scope="all")
    assert owner(office.stub.ListCalls, pb.ListCallsRequest()).calls[0].number == "+8613800138000"
    assert len(office.shop.events("call_linked")) == 1


def kept(office: Office, content: bytes) -> str:
    """Keep a recording of the shop's only call and return the call's id."""
    row = office.shop.row("recording")
    (office.kept / "a.wav").write_bytes(content)
    found = Recording(2.5, len(content), hashlib.sha256(content).hexdigest(), 9000)
    with office.shop.store.transaction(office.shop.tenant) as tx:
        recordings.write_recordings(tx, [recordings.kept(row, "a.wav", found)])
    call_id: str = row["call_id"]
    return call_id


def stream(
    office: Office, client: Client, call_id: str, offset: int = 0, length: int = 0
) -> tuple[int, bytes]:
    request = pb.GetRecordingRequest(call_id=call_id, offset_bytes=offset, length_bytes=length)
    parts = list(client(lambda *args, **more: list(office.stub.GetRecording(*args, **more)), request))
    return parts[0].total_bytes, b"".join(part.chunk for part in parts)


def test_a_recording_is_played_in_pieces_and_the_play_is_noted(office: Office) -> None:
    """F222: streamed by range, audited."""
    office.hire("王小明", "1001")
    office.sign_on("王小明")
    Line(office.shop).feed(events("queue-call"))
    content = bytes(range(256)) * 700
    call_id = kept(office, content)
    agent = office.person("王小明")
    assert stream(office, agent, call_id) == (len(content), content)
    assert stream(office, agent, call_id, 100_000, 50) == (len(content), content[100_000:100_050])
    assert stream(office, agent, call_id, len(content) - 1, 999) == (len(content), content[-1:])
    call = agent(office.stub.GetCall, pb.GetCallRequest(call_id=call_id)).call
    assert (call.recording.size_bytes, call.recording.duration.ToMilliseconds()) == (len(content), 2500)
    assert office.shop.row("recording_play")["person_id"] == office.people["王小明"]
    with office.shop.store.transaction(office.shop.tenant) as tx:
        tx.session.execute(
            update(tables.recording_play)
            .where(tables.recording_play.c.tenant_id == office.shop.tenant.id)
            .values(time=utc_now() - timedelta(minutes=11))
        )
    stream(office, agent, call_id)
    assert len(office.shop.rows("recording_play")) == 2


@pytest.mark.parametrize(("offset", "length"), [(-1, 0), (10, 0), (0, -1)])
def test_a_range_outside_the_recording_is_refused(office: Office, offset: int, length: int) -> None:
    Line(office.shop).feed(events("queue-call"))
    call_id = kept(office, b"0123456789")
    with pytest.raises(AppError) as refused:
        stream(office, office.person("总监", scope="all"), call_id, offset, length)
    assert refused.value.reason == "OFFSET_OUT_OF_RANGE"


def test_a_recording_is_for_who_may_play_it_and_sees_the_call(office: Office) -> None:
    Line(office.shop).feed(events("queue-call"))
    call_id = kept(office, b"0123456789")
    with pytest.raises(Forbidden):
        stream(office, office.person("总监", frozenset({"calls.view"}), "all"), call_id)
    with pytest.raises(NotFound):
        stream(office, office.person("王小明"), call_id)
    (office.kept / "a.wav").unlink()
    with pytest.raises(NotFound):
        stream(office, office.person("总监", scope="all"), call_id)


def test_an_sms_is_queued_once_for_a_request(office: Office) -> None:
    """F188: the same request id never makes a second one."""
    notify = service_caller("notify", office.keys, office.shop.tenant)
    request = pb.SendSmsRequest(request_id=new_id(), person_id=new_id(), text="订单即将超时")
    for _ in range(2):
        sent = notify(office.stub.SendSms, request).sms
        office.identity.without_mobile = request.person_id
    assert (sent.sms_id, sent.state, sent.number) == (
        request.request_id,
        pb.SMS_STATE_QUEUED,
        "+86139****1111",
    )
    boss = office.person("主管", frozenset({"sms.view"}), "all")
    assert [row.sms_id for row in boss(office.stub.ListSms, pb.ListSmsRequest()).sms] == [request.request_id]


def test_sms_are_seen_by_whom_they_are_to_and_by_who_is_over_them(office: Office) -> None:
    office.hire("王小明", "1001", "1/2/")
    office.hire("李雷", "1003", "1/3/")
    notify = service_caller("notify", office.keys, office.shop.tenant)
    for name in ("王小明", "李雷"):
        notify(
            office.stub.SendSms,
            pb.SendSmsRequest(request_id=new_id(), person_id=office.people[name], text=name),
        )

    def seen(name: str, scope: str, department: str) -> list[str]:
        client = office.person(name, frozenset({"sms.view"}), scope, department)
        return [row.text for row in client(office.stub.ListSms, pb.ListSmsRequest()).sms]

    assert seen("王小明", "self", "1/2/") == ["王小明"]
    assert seen("韩梅梅", "self", "1/2/") == []
    assert seen("韩梅梅", "department", "1/3/") == ["李雷"]
    assert seen("韩梅梅", "department", "1/") == ["李雷", "王小明"]
    assert seen("韩梅梅", "all", "9/") == ["李雷", "王小明"]


def test_an_sms_to_somebody_without_a_mobile_is_refused(office: Office) -> None:
    """O16: the reminder goes another way, and must learn that."""
    office.identity.without_mobile = new_id()
    notify = service_caller("notify", office.keys, office.shop.tenant)
    request = pb.SendSmsRequest(request_id=new_id(), person_id=office.identity.without_mobile, text="x")
    error = notify.refused(office.stub.SendSms, request)
    assert (type(error), error.reason) == (RuleViolation, "NO_MOBILE")
    assert office.shop.rows("sms") == []


def test_an_sms_is_sent_by_notify_only(office: Office) -> None:
    request = pb.SendSmsRequest(request_id=new_id(), person_id=new_id(), text="x")
    assert isinstance(office.person("王小明").refused(office.stub.SendSms, request), Forbidden)
    orders = service_caller("orders", office.keys, office.shop.tenant)
    assert isinstance(orders.refused(office.stub.SendSms, request), Forbidden)


def called(number: int, name: str) -> list[PbxEvent]:
    """Return a transcript as another call: its ids are those of the number, and it is as much later."""
    first = next(event["Uniqueid"] for event in events(name) if event["Event"] == "Newchannel")
    assert isinstance(first, str)
    prefix, _, _ = first.rpartition(".")

    def moved(value: Any) -> Any:
        return value.replace(prefix, f"call-{number}") if isinstance(value, str) else value

    return [{key: moved(value) for key, value in event.items()} for event in events(name)]


def test_a_caller_who_was_not_answered_is_one_item_until_somebody_reaches_him(office: Office) -> None:
    """F220: one item for each caller with count, first and last time; it closes by itself, whoever reaches him."""
    line = Line(office.shop)
    line.feed(called(1, "abandoned"))
    line.feed(called(2, "abandoned"))
    office.ends()
    office.ends()
    (item,) = office.missed()
    calls = sorted(office.shop.rows("call"), key=lambda row: row["start_time"])
    assert (item.number, item.call_count, item.queue) == ("+8613800138000", 2, "sales")
    assert item.call_id == calls[1]["id"]
    assert item.first_time.ToDatetime(UTC) == calls[0]["start_time"]
    assert item.last_time.ToDatetime(UTC) == calls[1]["start_time"]
    line.feed(called(3, "queue-call"))
    office.ends()
    assert office.missed() == []
    line.feed(called(4, "abandoned"))
    office.ends()
    assert [again.call_count for again in office.missed()] == [1]


def test_callers_who_hide_their_numbers_are_not_taken_for_one(office: Office) -> None:
    """Nobody can tell whether two are the same: that one is reached says nothing of the other."""
    office.hire("主管", "1001")
    office.sign_on("主管")
    line = Line(office.shop)
    for number, name in ((1, "abandoned"), (2, "abandoned"), (3, "queue-call")):
        line.feed(
            [
                {**event, "CallerIDNum": "anonymous"} if event.get("CallerIDNum") == "13800138000" else event
                for event in called(number, name)
            ]
        )
    office.ends()
    assert [(item.call_count, item.number) for item in office.missed()] == [(1, "")] * 2


def test_a_missed_caller_is_laid_aside_by_who_may(office: Office) -> None:
    """F220: visible only with a permission; handling removes the entry."""
    line = Line(office.shop)
    line.feed(called(1, "abandoned"))
    office.ends()
    (item,) = office.missed()
    request = desk_pb2.HandleMissedCallerRequest(request_id=new_id(), missed_caller_id=item.missed_caller_id)
    error = office.person("王小明").refused(office.desk.HandleMissedCaller, request)
    assert type(error) is Forbidden
    error = office.person("王小明").refused(
        office.desk.ListMissedCallers, desk_pb2.ListMissedCallersRequest()
    )
    assert type(error) is Forbidden
    office.person("主管", rights=HANDLERS, scope="all")(office.desk.HandleMissedCaller, request)
    assert office.missed() == []
    # The end of the same call, told again, opens nothing.
    office.ends()
    assert office.missed() == []


def test_a_missed_caller_is_called_back_without_the_number_being_shown(office: Office) -> None:
    """F220, F226: the own phone rings first; a repeat of the request dials once, also when the item is closed."""
    office.hire("主管", "1001")
    office.sign_on("主管")
    Line(office.shop).feed(called(1, "abandoned"))
    office.ends()
    (item,) = office.missed()
    client = office.person("主管", HANDLERS | {"calls.agent"}, "all")
    request = desk_pb2.CallBackMissedCallerRequest(
        request_id=new_id(), missed_caller_id=item.missed_caller_id
    )
    order = client(office.desk.CallBackMissedCaller, request).order
    Line(office.shop).feed(called(2, "queue-call"))
    office.ends()
    assert office.missed() == []
    assert client(office.desk.CallBackMissedCaller, request).order == order
    row = office.shop.row("pbx_order")
    assert (row["kind"], row["number"], row["extension"]) == ("dial", "+8613800138000", "1001")
    again = desk_pb2.CallBackMissedCallerRequest(request_id=new_id(), missed_caller_id=item.missed_caller_id)
    assert client.refused(office.desk.CallBackMissedCaller, again).reason == "MISSED_CALLER_NOT_FOUND"
    nobody = office.person("王小明")
    assert type(nobody.refused(office.desk.CallBackMissedCaller, again)) is Forbidden


def test_missed_callers_whose_customer_another_owns_are_for_who_sees_it(office: Office) -> None:
    office.hire("王小明", "1001", "1/2/")
    office.hire("李雷", "1003", "1/3/")
    customer = Caller(CUSTOMER_ID, "上海云海", owner_id=office.people["李雷"])
    Line(office.shop, [customer]).feed(called(1, "abandoned"))
    office.told(
        "customers", "customer_created", CUSTOMER_ID, customerId=CUSTOMER_ID, ownerId=office.people["李雷"]
    )
    office.ends()
    assert len(office.missed("李雷", scope="self", department="1/3/")) == 1
    assert office.missed("王小明", scope="self", rights=HANDLERS) == []
    assert len(office.missed("韩梅梅", scope="department", department="1/3/")) == 1


def test_the_owner_of_a_customer_sees_its_calls_though_another_took_them(office: Office) -> None:
    """F229: 关联来电, by who owns the customer now."""
    office.hire("王小明", "1001", "1/2/")
    office.hire("李雷", "1003", "1/3/")
    office.hire("韩梅梅", "1004", "1/4/")
    office.sign_on("王小明")
    customer = Caller(CUSTOMER_ID, "上海云海", owner_id=office.people["李雷"])
    Line(office.shop, [customer]).feed(events("queue-call"))

    def seen(name: str) -> list[str]:
        answer = office.person(name)(office.stub.ListCalls, pb.ListCallsRequest(customer_id=CUSTOMER_ID))
        return [call.number for call in answer.calls]

    def owned(by: str, version: int) -> None:
        owner_id = office.people[by] if by else ""
        office.told(
            "customers", "customer_claimed", CUSTOMER_ID, version, customerId=CUSTOMER_ID, toOwnerId=owner_id
        )

    assert seen("李雷") == []
    owned("李雷", 5)
    assert seen("李雷") == ["+8613800138000"]
    owned("韩梅梅", 6)
    # Told late, and older.
    owned("李雷", 5)
    assert (seen("李雷"), seen("韩梅梅")) == ([], ["+8613800138000"])
    assert seen("王小明") == ["+86138****8000"]


def test_an_agent_hands_a_call_over_to_who_can_help(office: Office) -> None:
    office.hire("王小明", "1001", "1/2/")
    office.hire("李雷", "1003", "1/3/")
    office.sign_on("王小明")
    Line(office.shop).feed(events("queue-call"))
    call_id = office.shop.row("call")["id"]
    request = desk_pb2.HandOverCallRequest(
        request_id=new_id(), call_id=call_id, person_id=office.people["李雷"]
    )
    assert office.person("李雷").refused(office.desk.HandOverCall, request).reason == "CALL_NOT_FOUND"
    unknown = desk_pb2.HandOverCallRequest(request_id=new_id(), call_id=call_id, person_id=new_id())
    assert office.person("王小明").refused(office.desk.HandOverCall, unknown).reason == "PERSON_NOT_FOUND"
    office.person("王小明")(office.desk.HandOverCall, request)
    office.person("王小明")(office.desk.HandOverCall, request)
    assert (
        office.person("李雷")(office.stub.GetCall, pb.GetCallRequest(call_id=call_id)).call.call_id == call_id
    )
    (told,) = office.shop.events("call_handed_over")
    assert (told.data["fromName"], told.data["toPersonId"]) == ("王小明", office.people["李雷"])


def test_a_disposition_closes_the_card_and_ends_the_wrap_up(office: Office) -> None:
    """A disposition is asked before idle."""
    office.hire("王小明", "1001")
    agent = office.person("王小明")

    def state() -> desk_pb2.Agent:
        found: desk_pb2.Agent = agent(office.desk.GetAgentState, desk_pb2.GetAgentStateRequest()).agent
        return found

    assert state().state == desk_pb2.AGENT_STATE_OFFLINE
    office.sign_on("王小明")
    assert state().state == desk_pb2.AGENT_STATE_IDLE
    line = Line(office.shop)
    line.now = utc_now() - timedelta(seconds=len(events("queue-call")) + 2)
    line.feed(until_event("queue-call", "DialEnd"))
    assert state().state == desk_pb2.AGENT_STATE_TALKING
    line.feed(events("queue-call")[len(until_event("queue-call", "DialEnd")) :])
    wrap_up = state()
    call_id = office.shop.row("call")["id"]
    assert (wrap_up.state, wrap_up.call_id) == (desk_pb2.AGENT_STATE_WRAP_UP, call_id)
    assert wrap_up.wrap_up_end_time.ToDatetime(UTC) - wrap_up.since_time.ToDatetime(UTC) == timedelta(
        seconds=30
    )
    request = desk_pb2.DisposeCallRequest(request_id=new_id(), call_id=call_id, disposition="没有这个")
    assert agent.refused(office.desk.DisposeCall, request).reason == "DISPOSITION_UNKNOWN"
    assert office.agents_told() == ["王小明"]
    request = desk_pb2.DisposeCallRequest(request_id=new_id(), call_id=call_id, disposition="有意向")
    assert agent(office.desk.DisposeCall, request).agent.state == desk_pb2.AGENT_STATE_IDLE
    assert office.agents_told() == ["王小明"] * 2
    assert office.pops("王小明") == []
    call = agent(office.stub.GetCall, pb.GetCallRequest(call_id=call_id)).call
    assert call.disposition == "有意向"
    rest = desk_pb2.SetAgentStateRequest(request_id=new_id(), state=desk_pb2.AGENT_STATE_BREAK, reason="用餐")
    assert agent(office.desk.SetAgentState, rest).agent.reason == "用餐"
    assert office.agents_told() == ["王小明"] * 3


def test_how_desks_work_is_changed_by_one_at_a_time(office: Office) -> None:
    admin = office.person("管理员", rights=frozenset({"settings.manage"}), scope="all")
    settings = admin(office.desk.GetDeskSettings, desk_pb2.GetDeskSettingsRequest()).settings
    assert (settings.wrap_up_seconds, settings.version) == (30, 0)
    settings.wrap_up_seconds = 90
    request = desk_pb2.UpdateDeskSettingsRequest(request_id=new_id(), settings=settings)
    assert admin(office.desk.UpdateDeskSettings, request).settings.version == 1
    late = desk_pb2.UpdateDeskSettingsRequest(request_id=new_id(), settings=settings)
    assert admin.refused(office.desk.UpdateDeskSettings, late).reason == "VERSION_CHANGED"
    late.settings.version = 2**63 - 1
    assert admin.refused(office.desk.UpdateDeskSettings, late).reason == "VERSION_CHANGED"
    request = desk_pb2.UpdateDeskSettingsRequest(request_id=new_id(), settings=settings)
    assert type(office.person("王小明").refused(office.desk.UpdateDeskSettings, request)) is Forbidden


def dial_request() -> desk_pb2.DialRequest:
    return desk_pb2.DialRequest(request_id=new_id(), customer_id=CUSTOMER_ID, phone_id=new_id())


def test_a_customer_is_dialled_by_record_once_for_a_request(office: Office) -> None:
    """F226: the number stays hidden."""
    office.hire("王小明", "1001")
    agent, request = office.person("王小明"), dial_request()
    assert agent.refused(office.desk.Dial, request).reason == "EXTENSION_MISSING"
    office.sign_on("王小明")
    order = agent(office.desk.Dial, request).order
    assert (order.pbx_order_id, order.state) == (request.request_id, desk_pb2.PBX_ORDER_STATE_QUEUED)
    assert agent(office.desk.Dial, request).order == order
    row = office.shop.row("pbx_order")
    assert (row["extension"], row["number"], row["state"]) == ("1001", "+8613900139000", "queued")
    asked = desk_pb2.GetPbxOrderRequest(pbx_order_id=order.pbx_order_id)
    assert agent(office.desk.GetPbxOrder, asked).order == order
    assert office.person("李雷").refused(office.desk.GetPbxOrder, asked).reason == "PBX_ORDER_NOT_FOUND"


def test_who_is_not_to_be_called_is_not_dialled(office: Office) -> None:
    office.hire("王小明", "1001")
    office.sign_on("王小明")
    agent = office.person("王小明")

    def wanted(do_not_call: bool) -> desk_pb2.SetDoNotCallRequest:
        return desk_pb2.SetDoNotCallRequest(
            request_id=new_id(), customer_id=CUSTOMER_ID, phone_id=new_id(), do_not_call=do_not_call
        )

    agent(office.desk.SetDoNotCall, wanted(True))
    assert agent.refused(office.desk.Dial, dial_request()).reason == "DO_NOT_CALL"
    agent(office.desk.SetDoNotCall, wanted(False))
    agent(office.desk.Dial, dial_request())


def test_a_customer_that_another_locked_is_not_dialled(office: Office) -> None:
    office.hire("王小明", "1001")
    office.sign_on("王小明")
    office.customers.locked, office.customers.owner_id = True, new_id()
    agent = office.person("王小明")
    assert agent.refused(office.desk.Dial, dial_request()).reason == "CUSTOMER_LOCKED"
    office.customers.owner_id = office.people["王小明"]
    agent(office.desk.Dial, dial_request())
    unseen = desk_pb2.DialRequest(request_id=new_id(), customer_id=new_id(), phone_id=new_id())
    assert type(agent.refused(office.desk.Dial, unseen)) is NotFound


def test_a_recording_is_paused_by_who_is_in_the_call(office: Office) -> None:
    """Card numbers are not recorded."""
    office.hire("王小明", "1001")
    office.sign_on("王小明")
    line = Line(office.shop)
    line.feed(until_event("queue-call", "DialEnd"))
    call_id = office.shop.row("call")["id"]
    request = desk_pb2.PauseRecordingRequest(request_id=new_id(), call_id=call_id, paused=True)
    boss = office.person("主管", scope="all")
    assert boss.refused(office.desk.PauseRecording, request).reason == "NOT_IN_CALL"
    agent = office.person("王小明")
    assert agent(office.desk.PauseRecording, request).order.call_id == call_id
    assert office.shop.row("pbx_order")["kind"] == "pause"
    line.feed(events("queue-call"))
    late = desk_pb2.PauseRecordingRequest(request_id=new_id(), call_id=call_id)
    assert agent.refused(office.desk.PauseRecording, late).reason == "CALL_OVER"


def test_calls_are_found_by_customer_agent_time_direction_and_result(office: Office) -> None:
    """F221: each filter alone, and all together."""
    office.hire("王小明", "1001")
    office.hire("李雷", "1003")
    office.sign_on("王小明")
    office.sign_on("李雷")
    line = Line(office.shop, [Caller(CUSTOMER_ID, "上海云海")])
    for name in ("queue-call", "originate", "abandoned", "ring-all"):
        line.feed(events(name))
    boss = office.person("总监", scope="all")
    rows = sorted(office.shop.rows("call"), key=lambda row: row["start_time"])
    names = {row["id"]: name for row, name in zip(rows, "abcd", strict=True)}

    def found(**wanted: Any) -> str:
        calls = boss(office.stub.ListCalls, pb.ListCallsRequest(**wanted)).calls
        return "".join(sorted(names[call.call_id] for call in calls))

    assert found() == found(customer_id=CUSTOMER_ID) == "abcd"
    assert found(direction=pb.CALL_DIRECTION_OUTBOUND) == "b"
    assert found(state=pb.CALL_STATE_MISSED) == "c"
    # Who began it, who answered, and whose phone only rang.
    assert found(person_id=office.people["王小明"]) == "abcd"
    assert found(person_id=office.people["李雷"]) == "d"
    assert found(person_id=office.people["总监"]) == ""
    third = Timestamp()
    third.FromDatetime(rows[2]["start_time"])
    assert (found(from_time=third), found(until_time=third)) == ("cd", "ab")
    assert found(number="139 0013 9000") == "b"
    dispose = desk_pb2.DisposeCallRequest(request_id=new_id(), call_id=rows[0]["id"], disposition="有意向")
    office.person("王小明")(office.desk.DisposeCall, dispose)
    assert found(disposition="有意向") == "a"
    assert found(disposition="有意向", until_time=third, direction=pb.CALL_DIRECTION_INBOUND) == "a"


def test_a_call_is_a_leads_until_it_is_found_to_be_a_customers(office: Office) -> None:
    """A pick and a late re-link move the log and the evidence."""
    office.hire("王小明", "1001")
    office.sign_on("王小明")
    lead = Caller("", "星辰电子", contact_name="赵六", reasons=("exact_number", "lead"), lead_id=LEAD_ID)
    Line(office.shop, [lead]).feed(events("queue-call"))
    agent = office.person("王小明", AGENT_RIGHTS | {"leads.view"})
    call_id = office.shop.row("call")["id"]
    call = agent(office.stub.GetCall, pb.GetCallRequest(call_id=call_id)).call
    assert (call.lead_id, call.lead_name, call.customer_id) == (LEAD_ID, "星辰电子", "")
    (caller,) = call.callers
    # A lead of nobody's: who it is, the lead's own page tells those who may see it.
    assert (caller.lead_id, caller.customer_name, caller.contact_name) == (LEAD_ID, "星辰电子", "")

    def link(**to: str) -> pb.Call:
        request = pb.LinkCallRequest(request_id=new_id(), call_id=call_id, **to)
        answer: pb.LinkCallResponse = agent(office.stub.LinkCall, request)
        return answer.call

    assert link(customer_id=CUSTOMER_ID).lead_id == ""
    assert link(lead_id=LEAD_ID).customer_name == ""
    moves = [
        (event.data["fromCustomerId"], event.data["customerId"], event.data["leadId"])
        for event in office.shop.events("call_linked")
    ]
    assert moves == [("", CUSTOMER_ID, ""), (CUSTOMER_ID, "", LEAD_ID)]
    unknown = pb.LinkCallRequest(request_id=new_id(), call_id=call_id, lead_id=new_id())
    assert agent.refused(office.stub.LinkCall, unknown).reason == "LEAD_NOT_FOUND"


def test_an_agent_who_sees_no_leads_picks_the_one_that_the_card_names(office: Office) -> None:
    """Of two leads with one number; a lead that no card of this call names stays out of reach."""
    office.hire("王小明", "1001")
    office.sign_on("王小明")
    first, second = (
        Caller("", name, owner_id=new_id(), lead_id=new_id()) for name in ("星辰电子", "星海电子")
    )
    Line(office.shop, [first, second]).feed(events("queue-call"))
    agent, call_id = office.person("王小明"), office.shop.row("call")["id"]

    def wanted(lead_id: str) -> pb.LinkCallRequest:
        return pb.LinkCallRequest(request_id=new_id(), call_id=call_id, lead_id=lead_id)

    call = agent(office.stub.LinkCall, wanted(second.lead_id)).call
    assert (call.lead_id, call.lead_name) == (second.lead_id, "星海电子")
    assert type(agent.refused(office.stub.LinkCall, wanted(LEAD_ID))) is Forbidden


def test_an_agent_without_rights_sees_company_and_owner_and_hands_the_call_over(office: Office) -> None:
    """Neither number nor contact of another's customer; the owner has the call from then on."""
    office.hire("王小明", "1001")
    office.hire("李雷", "1003")
    office.sign_on("王小明")
    owner = office.people["李雷"]
    theirs = Caller(CUSTOMER_ID, "上海云海", new_id(), "张三", owner, ("exact_number", "recent"))
    Line(office.shop, [theirs]).feed(events("queue-call"))
    (pop,) = office.pops("王小明")
    (caller,) = pop.callers
    assert (caller.customer_name, caller.owner_id, caller.contact_name) == ("上海云海", owner, "")
    assert pop.number == "+86138****8000"
    told = office.shop.events("pop_changed")[-1].data["callers"][0]
    assert told["contactName"] == ""
    request = desk_pb2.HandOverCallRequest(request_id=new_id(), call_id=pop.call_id, person_id=owner)
    office.person("王小明")(office.desk.HandOverCall, request)
    call = office.person("李雷")(office.stub.GetCall, pb.GetCallRequest(call_id=pop.call_id)).call
    assert (call.handed_to_id, call.callers[0].contact_name) == (owner, "张三")


def inquire(call_id: str, **more: Any) -> desk_pb2.RecordCallInquiryRequest:
    items = [desk_pb2.CallInquiryItem(product="非标法兰", quantity="20", specification="DN150")]
    return desk_pb2.RecordCallInquiryRequest(request_id=new_id(), call_id=call_id, items=items, **more)


def test_what_a_caller_asks_a_price_for_goes_to_dedupe_under_the_calls_number(office: Office) -> None:
    """F225; that dedupe answered and we died is mended by the same request again."""
    office.hire("王小明", "1001")
    office.sign_on("王小明")
    mine = Caller(CUSTOMER_ID, "上海云海", new_id(), "张三", office.people["王小明"])
    Line(office.shop, [mine]).feed(events("queue-call"))
    inquirers = AGENT_RIGHTS | {"customers.create"}
    agent, call_id = office.person("王小明", inquirers), office.shop.row("call")["id"]
    request = inquire(call_id, site_address="松江区新浜镇")
    # As if the first answer never came back.
    answers = [agent(office.desk.RecordCallInquiry, request) for _ in range(2)]
    assert answers[0] == answers[1]
    (asked,) = office.dedupe.asked.values()
    assert (asked.inquirer_name, asked.company_name, asked.phone, asked.site_address) == (
        "张三",
        "上海云海",
        "+8613800138000",
        "松江区新浜镇",
    )
    assert [(item.product, item.quantity, item.specification) for item in asked.items] == [
        ("非标法兰", "20", "DN150")
    ]
    (kept,) = agent(office.stub.GetCall, pb.GetCallRequest(call_id=call_id)).call.inquiries
    assert (kept.inquiry_id, list(kept.products)) == (answers[0].inquiry_id, ["非标法兰"])
    stranger = office.person("李雷", inquirers)
    assert stranger.refused(office.desk.RecordCallInquiry, inquire(call_id)).reason == "CALL_NOT_FOUND"
    assert len(office.dedupe.asked) == 1


def test_when_cards_pop_is_a_setting_that_the_edge_learns(office: Office) -> None:
    """Conventions 1: the moment and the cases, for each way a call came."""
    boss = office.person("管理员", AGENT_RIGHTS | {"settings.manage"})
    settings = boss(office.desk.GetDeskSettings, desk_pb2.GetDeskSettingsRequest()).settings
    assert settings.queue_pops == desk_pb2.PopRules(moment=desk_pb2.POP_MOMENT_RINGING)
    settings.queue_pops.moment = desk_pb2.POP_MOMENT_ANSWERED
    settings.direct_pops.hide_unknown = True
    change = desk_pb2.UpdateDeskSettingsRequest(request_id=new_id(), settings=settings)
    stored = boss(office.desk.UpdateDeskSettings, change).settings
    assert (stored.queue_pops, stored.direct_pops) == (settings.queue_pops, settings.direct_pops)
    lines = Lines(office.shop.store, office.shop.pbx)
    lines.refresh()
    pops = lines.pops(office.shop.tenant)
    assert pops == PopSettings(PopRules(hide_unknown=True), PopRules(PopMoment.ANSWERED))
