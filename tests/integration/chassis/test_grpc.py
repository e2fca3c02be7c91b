"""A gRPC server of the chassis: deny first, errors that say what and where, one answer for each request."""

import importlib
import pkgutil
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import crm
import grpc
import pytest
from crm.customers.v1 import exports_pb2
from crm.customers.v1.exports_pb2_grpc import (
    ExportsServiceServicer,
    ExportsServiceStub,
    add_ExportsServiceServicer_to_server,
)
from crm.dedupe.v1 import dedupe_pb2, dedupe_pb2_grpc
from crm.options.v1 import options_pb2
from google.api import annotations_pb2
from google.protobuf.descriptor import MethodDescriptor
from grpc_health.v1 import health_pb2, health_pb2_grpc
from sqlalchemy import text

from deploy.local.stores import PrivateStores
from services.chassis import places
from services.chassis.clock import utc_now
from services.chassis.db import Store, service_metadata
from services.chassis.declarations import access_of, note_scope_asked
from services.chassis.errors import AlreadyExists, AppError, InvalidInput, Quota, Unavailable
from services.chassis.grpc_client import CHANNEL_OPTIONS, Client
from services.chassis.grpc_errors import from_rpc_error
from services.chassis.grpc_server import Api, Server, current_caller
from services.chassis.ids import new_id
from services.chassis.tenancy import Tenant
from services.chassis.tokens import Caller, Signer, Verifier, generate_key
from tests.support.until import until


class ScriptedDedupe(dedupe_pb2_grpc.DedupeServiceServicer, Api):
    """A servicer whose answers and faults the test knows."""

    calls = 0

    def UpdateRule(
        self, request: dedupe_pb2.UpdateRuleRequest, context: grpc.ServicerContext
    ) -> dedupe_pb2.UpdateRuleResponse:
        def work(_tx: object) -> dedupe_pb2.UpdateRuleResponse:
            self.calls += 1
            return dedupe_pb2.UpdateRuleResponse(rule=dedupe_pb2.Rule(version=self.calls))

        return self.write(request, dedupe_pb2.UpdateRuleResponse, work)

    def ListRules(
        self, request: dedupe_pb2.ListRulesRequest, context: grpc.ServicerContext
    ) -> dedupe_pb2.ListRulesResponse:
        return dedupe_pb2.ListRulesResponse(rules=[dedupe_pb2.Rule(rule_id=current_caller().actor_id)])

    def CheckKeys(
        self, request: dedupe_pb2.CheckKeysRequest, context: grpc.ServicerContext
    ) -> dedupe_pb2.CheckKeysResponse:
        match request.name:
            case "held":
                raise AlreadyExists("KEY_HELD", "已被{holder}占用", "Held by {holder}", holder="王*")
            case "quota":
                raise Quota("TOO_MANY", "太多", "Too many", retry_after_s=7)
            case "braces":
                raise InvalidInput("name", "ODD_NAME", "名称{name}", "Name {name}", name="{0}")
            case "long":
                key = "长" * 100_000
                raise InvalidInput(f"fields.{key}", "NO_FIELD", "没有{key}", "No {key}", key=key, other=key)
        raise ZeroDivisionError("a secret detail")

    def ReserveKeys(
        self, request: dedupe_pb2.ReserveKeysRequest, context: grpc.ServicerContext
    ) -> dedupe_pb2.ReserveKeysResponse:
        return dedupe_pb2.ReserveKeysResponse()

    def ReleaseReservation(
        self, request: dedupe_pb2.ReleaseReservationRequest, context: grpc.ServicerContext
    ) -> dedupe_pb2.ReleaseReservationResponse:
        return dedupe_pb2.ReleaseReservationResponse()

    def FindHolders(
        self, request: dedupe_pb2.FindHoldersRequest, context: grpc.ServicerContext
    ) -> dedupe_pb2.FindHoldersResponse:
        return dedupe_pb2.FindHoldersResponse()


@pytest.fixture
def address(stores: PrivateStores, issuer_keys: dict[str, tuple[str, str]]) -> Iterator[str]:
    """A scripted server's address."""
    metadata = service_metadata("grpctest")
    store = Store(stores.database_urls, metadata, utc_now)
    with store.engine("main").begin() as connection:
        connection.execute(text("CREATE SCHEMA IF NOT EXISTS grpctest"))
        places.build(connection)
        metadata.create_all(connection)
    server = Server("dedupe", Verifier({issuer: public for issuer, (_, public) in issuer_keys.items()}))
    # The stubs call the unscripted methods abstract.
    scripted = ScriptedDedupe(store)  # type: ignore[abstract]  # the rest is never asked
    dedupe_pb2_grpc.add_DedupeServiceServicer_to_server(scripted, server.grpc)
    port = server.start("127.0.0.1", 0, "crm.dedupe.v1.DedupeService")
    yield f"127.0.0.1:{port}"
    server.stop(0)
    store.close()


@pytest.fixture
def stub(address: str) -> Iterator[dedupe_pb2_grpc.DedupeServiceStub]:
    """A client without any token of its own."""
    with grpc.insecure_channel(address, options=CHANNEL_OPTIONS) as channel:
        yield dedupe_pb2_grpc.DedupeServiceStub(channel)


def person(tenant: Tenant, *rights: str) -> Caller:
    """Return a person of a tenant."""
    return Caller(tenant=tenant, person_id=new_id(), name="李雷", rights=frozenset(rights))


def bearer(signer: Signer, caller: Caller, now: datetime | None = None) -> tuple[tuple[str, str], ...]:
    """Return metadata with a person's token."""
    return (("authorization", f"Bearer {signer.person_token(caller, now or utc_now())[0]}"),)


def refusal(call: object, *arguments: object, **options: object) -> AppError:
    """Return the error of a call that must fail."""
    with pytest.raises(grpc.RpcError) as failed:
        call(*arguments, **options)  # type: ignore[operator]  # a stub's method
    return from_rpc_error(failed.value)


def test_health_is_the_only_thing_that_needs_no_token(
    address: str, stub: dedupe_pb2_grpc.DedupeServiceStub
) -> None:
    """F243."""
    with grpc.insecure_channel(address) as channel:
        answer = health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest())
    assert answer.status == health_pb2.HealthCheckResponse.SERVING
    error = refusal(stub.ListRules, dedupe_pb2.ListRulesRequest())
    assert (error.code, error.reason) == ("UNAUTHENTICATED", "TOKEN_INVALID")


def test_health_says_when_the_database_is_away(issuer_keys: dict[str, tuple[str, str]]) -> None:
    server = Server("dedupe", Verifier({}))
    port = server.start("127.0.0.1", 0, "crm.dedupe.v1.DedupeService")
    answers = [False]
    server.watch(lambda: answers[0])
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        stub = health_pb2_grpc.HealthStub(channel)

        def status() -> int:
            request = health_pb2.HealthCheckRequest(service="crm.dedupe.v1.DedupeService")
            return int(stub.Check(request).status)

        until(lambda: status() == health_pb2.HealthCheckResponse.NOT_SERVING)
        answers[0] = True
        until(lambda: status() == health_pb2.HealthCheckResponse.SERVING)
    server.stop(0)


def test_a_forged_expired_or_foreign_token_gets_nothing(
    stub: dedupe_pb2_grpc.DedupeServiceStub,
    signer: Signer,
    issuer_keys: dict[str, tuple[str, str]],
    main_tenant: Tenant,
) -> None:
    """F243: expired; signed by somebody else; a service's key that claims to be a person."""
    caller = person(main_tenant)
    forger = Signer("identity", generate_key()[0])
    service_as_person = Signer("notify", issuer_keys["notify"][0])
    for metadata in (
        bearer(signer, caller, utc_now() - timedelta(minutes=5)),
        bearer(forger, caller),
        bearer(service_as_person, caller),
        (("authorization", "Bearer nonsense"),),
    ):
        error = refusal(stub.ListRules, dedupe_pb2.ListRulesRequest(), metadata=metadata)
        assert error.code in ("UNAUTHENTICATED", "PERMISSION_DENIED")


def test_a_right_is_needed_where_the_contract_says_so(
    stub: dedupe_pb2_grpc.DedupeServiceStub, signer: Signer, main_tenant: Tenant
) -> None:
    """F235."""
    request = dedupe_pb2.UpdateRuleRequest(request_id=new_id(), rule_id=new_id())
    error = refusal(stub.UpdateRule, request, metadata=bearer(signer, person(main_tenant, "customers.view")))
    assert (error.code, error.metadata["right"]) == ("PERMISSION_DENIED", "settings.manage")
    allowed = bearer(signer, person(main_tenant, "settings.manage"))
    assert stub.UpdateRule(request, metadata=allowed).rule.version == 1


def test_a_repeated_request_has_one_effect_and_the_same_answer(
    stub: dedupe_pb2_grpc.DedupeServiceStub, signer: Signer, main_tenant: Tenant
) -> None:
    request = dedupe_pb2.UpdateRuleRequest(request_id=new_id(), rule_id=new_id())
    metadata = bearer(signer, person(main_tenant, "settings.manage"))
    answers = {stub.UpdateRule(request, metadata=metadata).rule.version for _ in range(3)}
    assert len(answers) == 1


def test_a_service_may_call_what_the_contract_opens_to_it_and_nothing_else(
    address: str, issuer_keys: dict[str, tuple[str, str]], main_tenant: Tenant
) -> None:
    customers = Client(
        dedupe_pb2_grpc.DedupeServiceStub, address, Signer("customers", issuer_keys["customers"][0])
    )
    customers.call(customers.stub.ReserveKeys, dedupe_pb2.ReserveKeysRequest(), tenant=main_tenant)
    leads = Client(dedupe_pb2_grpc.DedupeServiceStub, address, Signer("leads", issuer_keys["leads"][0]))
    actor = new_id()
    answer = leads.call(
        leads.stub.ListRules, dedupe_pb2.ListRulesRequest(), tenant=main_tenant, actor_id=actor
    )
    assert answer.rules[0].rule_id == actor
    notify = Client(dedupe_pb2_grpc.DedupeServiceStub, address, Signer("notify", issuer_keys["notify"][0]))
    with pytest.raises(AppError) as refused:
        notify.call(notify.stub.ReserveKeys, dedupe_pb2.ReserveKeysRequest(), tenant=main_tenant)
    assert refused.value.code == "PERMISSION_DENIED"
    for client in (customers, leads, notify):
        client.close()


def test_an_error_carries_reason_values_and_both_languages(
    stub: dedupe_pb2_grpc.DedupeServiceStub, signer: Signer, main_tenant: Tenant
) -> None:
    metadata = bearer(signer, person(main_tenant, "customers.create"))
    held = refusal(stub.CheckKeys, dedupe_pb2.CheckKeysRequest(name="held"), metadata=metadata)
    assert (held.code, held.reason, held.metadata) == ("ALREADY_EXISTS", "KEY_HELD", {"holder": "王*"})
    assert (held.zh, held.en) == ("已被王*占用", "Held by 王*")
    odd = refusal(stub.CheckKeys, dedupe_pb2.CheckKeysRequest(name="braces"), metadata=metadata)
    assert isinstance(odd, InvalidInput)
    assert (odd.field, odd.zh) == ("name", "名称{0}")
    long = refusal(stub.CheckKeys, dedupe_pb2.CheckKeysRequest(name="long"), metadata=metadata)
    assert isinstance(long, InvalidInput)
    assert (long.reason, long.field[:10]) == ("NO_FIELD", "fields.长长长")
    quota = refusal(stub.CheckKeys, dedupe_pb2.CheckKeysRequest(name="quota"), metadata=metadata)
    assert quota.code == "RESOURCE_EXHAUSTED"


def test_a_fault_of_ours_tells_nothing_of_itself(
    stub: dedupe_pb2_grpc.DedupeServiceStub, signer: Signer, main_tenant: Tenant
) -> None:
    metadata = bearer(signer, person(main_tenant, "customers.create"))
    error = refusal(stub.CheckKeys, dedupe_pb2.CheckKeysRequest(name="other"), metadata=metadata)
    assert error.code == "INTERNAL"
    assert "secret" not in error.zh + error.en


def test_the_message_is_in_the_readers_language(
    stub: dedupe_pb2_grpc.DedupeServiceStub, signer: Signer, main_tenant: Tenant
) -> None:
    caller = person(main_tenant, "customers.create")
    for locale, text_ in (("zh-CN", "已被王*占用"), ("en-GB", "Held by 王*")):
        with pytest.raises(grpc.RpcError) as failed:
            stub.CheckKeys(
                dedupe_pb2.CheckKeysRequest(name="held"),
                metadata=(*bearer(signer, caller), ("accept-language", locale)),
            )
        assert failed.value.details() == text_


def test_a_service_that_is_down_is_unavailable_and_nothing_else(
    issuer_keys: dict[str, tuple[str, str]], main_tenant: Tenant
) -> None:
    client = Client(
        dedupe_pb2_grpc.DedupeServiceStub, "127.0.0.1:1", Signer("customers", issuer_keys["customers"][0])
    )
    with pytest.raises(Unavailable):
        client.call(client.stub.ReserveKeys, dedupe_pb2.ReserveKeysRequest(), tenant=main_tenant)
    client.close()


def cancelled(_request: bytes, context: grpc.ServicerContext) -> bytes:
    """Do what a server does to calls that reach it while it stops."""
    context.cancel()  # type: ignore[no-untyped-call]  # grpc's own
    return b""


def answered(_request: bytes, _context: grpc.ServicerContext) -> bytes:
    """Answer with an empty message."""
    return b""


def test_a_call_that_a_leaving_server_cancels_goes_to_another_and_is_unavailable_where_none_is(
    issuer_keys: dict[str, tuple[str, str]], main_tenant: Tenant
) -> None:
    """Issue 9: a roll-out fails nobody's request; it was an error of ours (INTERNAL) once."""
    signer = Signer("customers", issuer_keys["customers"][0])
    servers = [grpc.server(ThreadPoolExecutor(2)) for _ in range(2)]
    for server, behaviour in zip(servers, (cancelled, answered), strict=True):
        methods = {"CheckKeys": grpc.unary_unary_rpc_method_handler(behaviour)}
        handler = grpc.method_handlers_generic_handler("crm.dedupe.v1.DedupeService", methods)
        server.add_generic_rpc_handlers((handler,))
    ports = [server.add_insecure_port("127.0.0.1:0") for server in servers]
    for server in servers:
        server.start()
    alone = Client(dedupe_pb2_grpc.DedupeServiceStub, f"127.0.0.1:{ports[0]}", signer)
    both = Client(
        dedupe_pb2_grpc.DedupeServiceStub, f"ipv4:{','.join(f'127.0.0.1:{port}' for port in ports)}", signer
    )
    try:
        with pytest.raises(Unavailable):
            alone.call(alone.stub.CheckKeys, dedupe_pb2.CheckKeysRequest(), tenant=main_tenant)
        # In turn, so every other one meets the one that leaves first.
        for _ in range(6):
            both.call(both.stub.CheckKeys, dedupe_pb2.CheckKeysRequest(), tenant=main_tenant)
    finally:
        alone.close()
        both.close()
        for server in servers:
            server.stop(0)


class EndlessExports(ExportsServiceServicer):
    """A file without an end, whose maker notes at its end whether the server had stopped before."""

    def __init__(self) -> None:
        self.stopped = threading.Event()
        self.noted = list[bool]()

    def ExportCustomers(
        self, _request: exports_pb2.ExportCustomersRequest, _context: grpc.ServicerContext
    ) -> Iterator[exports_pb2.ExportCustomersResponse]:
        """Answer until broken off."""
        note_scope_asked()
        try:
            while True:
                yield exports_pb2.ExportCustomersResponse(chunk=b"0" * 1024)
        finally:
            # A server that does not wait for us says so at once.
            self.noted.append(self.stopped.wait(1))


def test_a_server_stops_behind_what_a_stream_that_it_breaks_off_does_at_its_end(
    issuer_keys: dict[str, tuple[str, str]], signer: Signer, main_tenant: Tenant
) -> None:
    """An export notes how it ended in a store that is still there; it went on while the process ended once."""
    server = Server("customers", Verifier({"identity": issuer_keys["identity"][1]}))
    scripted = EndlessExports()
    add_ExportsServiceServicer_to_server(scripted, server.grpc)
    port = server.start("127.0.0.1", 0, "crm.customers.v1.ExportsService")
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        stream = ExportsServiceStub(channel).ExportCustomers(
            exports_pb2.ExportCustomersRequest(),
            metadata=bearer(signer, person(main_tenant, "customers.export")),
        )
        assert next(iter(stream)).chunk
        server.stop(0)
        scripted.stopped.set()
        assert scripted.noted == [False]
        with pytest.raises(grpc.RpcError) as broken_off:
            list(stream)
        assert broken_off.value.code() in {grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED}


def test_a_service_token_is_renewed_before_it_ends(issuer_keys: dict[str, tuple[str, str]]) -> None:
    private, public = issuer_keys["leads"]
    caller = Verifier({"leads": public}).verify(Signer("leads", private).service_token(None))
    assert replace(caller, locale="") == Caller(tenant=None, service="leads", locale="")


def test_a_person_token_holds_for_a_minute(signer: Signer, main_tenant: Tenant) -> None:
    now = datetime(2026, 1, 1, tzinfo=UTC)
    _, expire = signer.person_token(person(main_tenant), now)
    assert expire - now == timedelta(minutes=1)


def methods() -> Iterator[MethodDescriptor]:
    """Return every RPC of every contract."""
    for found in pkgutil.walk_packages(crm.__path__, "crm."):
        if found.name.endswith("_pb2"):
            for service in importlib.import_module(found.name).DESCRIPTOR.services_by_name.values():
                yield from service.methods


@pytest.mark.parametrize("method", list(methods()), ids=lambda method: method.full_name)
def test_every_rpc_declares_who_may_call_it(method: MethodDescriptor) -> None:
    """F235: deny first; a method open to everybody does not exist."""
    access = access_of(f"/{method.containing_service.full_name}/{method.name}")
    assert access is not None
    assert access.any_person or access.right or access.services
    assert isinstance(access, options_pb2.Access)


@pytest.mark.parametrize("method", list(methods()), ids=lambda method: method.full_name)
def test_every_mutation_carries_a_request_id(method: MethodDescriptor) -> None:
    read = (
        "Get",
        "List",
        "Check",
        "Find",
        "Match",
        "Resolve",
        "Export",
        "Download",
        "Preview",
        "Try",
        "Measure",
    )
    # These are safe to repeat by their own keys.
    keyed = (
        *("SignIn", "SignOut", "ExchangeSession"),
        *(
            "ReserveKeys",
            "ReserveKeysBatch",
            "ConfirmReservations",
            "ReleaseReservation",
            "SettleReservation",
        ),
        # A part of a file names the place where it goes.
        "AppendImportFile",
    )
    asks = method.name.startswith(read) or method.GetOptions().Extensions[annotations_pb2.http].get
    if not asks and method.name not in keyed:
        assert "request_id" in method.input_type.fields_by_name
