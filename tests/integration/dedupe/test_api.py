"""Dedupe's API over a real channel: who may call, field-level errors, masked answers."""

from collections.abc import Iterator

import pytest
from crm.dedupe.v1 import dedupe_pb2 as pb
from crm.dedupe.v1.dedupe_pb2_grpc import DedupeServiceStub

from services.chassis.clock import utc_now
from services.chassis.errors import AlreadyExists, Forbidden, InvalidInput
from services.chassis.grpc_client import Client
from services.chassis.ids import new_id
from services.chassis.settings import Settings
from services.chassis.tenancy import Tenant
from services.chassis.tokens import Caller, Signer
from services.dedupe.__main__ import SERVICE
from tests.support.served import served

DedupeClient = Client[DedupeServiceStub]


@pytest.fixture
def client(settings: Settings) -> Iterator[DedupeClient]:
    """A client in customers' name."""
    with served(SERVICE, settings, {"customers": "127.0.0.1:1"}) as address:
        client = Client(DedupeServiceStub, address, Signer("customers", settings.signing_keys["customers"]))
        yield client
        client.close()


def token(signer: Signer, tenant: Tenant, *rights: str) -> str:
    """Return a person's token."""
    caller = Caller(tenant=tenant, person_id=new_id(), name="李雷", rights=frozenset(rights))
    return signer.person_token(caller, utc_now())[0]


def reserve(client: DedupeClient, tenant: Tenant, name: str, *phones: str) -> pb.ReserveKeysRequest:
    """Reserve a customer's keys for 欧阳锋; return the request."""
    request = pb.ReserveKeysRequest(
        reservation_id=new_id(),
        subjects=[pb.Subject(kind=pb.SUBJECT_KIND_CUSTOMER, subject_id=new_id(), name=name, phones=phones)],
        holder_id=new_id(),
        holder_name="欧阳锋",
    )
    client.call(client.stub.ReserveKeys, request, tenant=tenant)
    return request


def test_a_form_is_checked_before_it_is_sent(client: DedupeClient, tenant: Tenant, signer: Signer) -> None:
    """F152."""
    person = token(signer, tenant, "customers.create")
    check = pb.CheckKeysRequest(kind=pb.SUBJECT_KIND_CUSTOMER, name="白驼山商行", phones=["138-0013-8000"])
    assert client.forward(client.stub.CheckKeys, check, person).unique
    reserve(client, tenant, "白驼山商行", "+8613800138000")
    answer = client.forward(client.stub.CheckKeys, check, person)
    assert not answer.unique
    assert [(holder.field, holder.holder_name, holder.subject_id) for holder in answer.holders] == [
        (pb.RULE_FIELD_NAME, "欧**", ""),
        (pb.RULE_FIELD_PHONE, "欧**", ""),
    ]


def test_a_held_key_is_an_error_with_the_masked_holder(client: DedupeClient, main_tenant: Tenant) -> None:
    """F170."""
    reserve(client, main_tenant, "桃花岛商行")
    with pytest.raises(AlreadyExists) as refused:
        reserve(client, main_tenant, "桃花岛 商行")
    assert refused.value.reason == "KEY_HELD"
    assert refused.value.metadata["holder"] == "欧**"


def test_a_repeated_reservation_gives_the_same_settle_time(client: DedupeClient, main_tenant: Tenant) -> None:
    request = reserve(client, main_tenant, "全真商行")
    first = client.call(client.stub.ReserveKeys, request, tenant=main_tenant)
    assert client.call(client.stub.ReserveKeys, request, tenant=main_tenant) == first


def test_holders_are_told_to_services_by_id(client: DedupeClient, main_tenant: Tenant) -> None:
    request = reserve(client, main_tenant, "丐帮商行")
    answer = client.call(
        client.stub.FindHolders, pb.FindHoldersRequest(subjects=request.subjects), tenant=main_tenant
    )
    assert [holder.subject_id for holder in answer.holders] == [request.subjects[0].subject_id]


def test_rules_are_switched_by_whoever_may(client: DedupeClient, main_tenant: Tenant, signer: Signer) -> None:
    """F147."""
    rules = client.forward(client.stub.ListRules, pb.ListRulesRequest(), token(signer, main_tenant)).rules
    assert [rule.active for rule in rules] == [True, False, False, True, True, False, True]
    request = pb.UpdateRuleRequest(request_id=new_id(), rule_id=rules[0].rule_id, active=False)
    with pytest.raises(Forbidden):
        client.forward(client.stub.UpdateRule, request, token(signer, main_tenant, "customers.create"))
    changed = client.forward(client.stub.UpdateRule, request, token(signer, main_tenant, "settings.manage"))
    assert (changed.rule.active, changed.rule.version) == (False, 2)


def test_only_writers_may_reserve(client: DedupeClient, main_tenant: Tenant, signer: Signer) -> None:
    with pytest.raises(Forbidden):
        client.forward(
            client.stub.ReserveKeys, pb.ReserveKeysRequest(), token(signer, main_tenant, "customers.create")
        )


@pytest.mark.parametrize(
    ("check", "expected"),
    [
        (pb.CheckKeysRequest(name="某某"), ("kind", "KIND_MISSING")),
        (
            pb.CheckKeysRequest(kind=pb.SUBJECT_KIND_CONTACT, phones=["13800138000", "1380013800"]),
            ("phones[1]", "PHONE_LENGTH"),
        ),
        (
            pb.CheckKeysRequest(kind=pb.SUBJECT_KIND_CONTACT, phones=["12345678901"]),
            ("phones[0]", "PHONE_PREFIX"),
        ),
    ],
)
def test_bad_input_names_its_field(
    client: DedupeClient,
    main_tenant: Tenant,
    signer: Signer,
    check: pb.CheckKeysRequest,
    expected: tuple[str, str],
) -> None:
    """F239, F240."""
    with pytest.raises(InvalidInput) as refused:
        client.forward(client.stub.CheckKeys, check, token(signer, main_tenant, "customers.create"))
    assert (refused.value.field, refused.value.reason) == expected


@pytest.mark.parametrize(
    ("request_", "field"),
    [
        (pb.ReserveKeysRequest(reservation_id="x"), "reservation_id"),
        (pb.ReserveKeysRequest(reservation_id=new_id()), "subjects"),
        (
            pb.ReserveKeysRequest(
                reservation_id=new_id(), subjects=[pb.Subject(kind=pb.SUBJECT_KIND_CUSTOMER, name="某某")]
            ),
            "subjects[0].subject_id",
        ),
    ],
)
def test_a_malformed_reservation_names_its_field(
    client: DedupeClient, main_tenant: Tenant, request_: pb.ReserveKeysRequest, field: str
) -> None:
    with pytest.raises(InvalidInput) as refused:
        client.call(client.stub.ReserveKeys, request_, tenant=main_tenant)
    assert refused.value.field == field
