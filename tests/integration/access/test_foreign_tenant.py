"""A stranger with every right calls every RPC with the ids of another tenant's records, learns and changes nothing."""

from collections import defaultdict
from collections.abc import Iterator, Mapping

import pytest
from crm.customers.v1 import customers_pb2
from crm.leads.v1 import leads_pb2
from crm.options.v1 import options_pb2
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass
from sqlalchemy import text

from services.chassis.clock import utc_now
from services.chassis.ids import new_id
from services.chassis.tenancy import Tenant
from services.chassis.tokens import Caller, Signer
from services.identity.domain.rights import ALL_RIGHTS
from services.orders.events import handlers as orders_handlers
from tests.integration.access.conftest import System
from tests.support.running import event_of, take
from tests.support.staff import Company, new_company

# Stands in every name of the other tenant's records.
CANARY = "金丝雀"


@pytest.fixture
def company(system: System, issuer_keys: Mapping[str, tuple[str, str]]) -> Company:
    """A tenant with somebody in it, a customer, a lead and an order, each with the canary in its name."""
    runtime = system.runtimes["identity"]
    company = new_company(runtime, runtime.settings.addresses["identity"], issuer_keys)
    company.add_department(f"{CANARY}部")
    person_id = company.add(
        "li", "sales_rep", department=f"{CANARY}部", mobile="13800138000", extension="8101"
    )
    return with_records(system, company, person_id)


def with_records(system: System, company: Company, person_id: str) -> Company:
    """Add records through the doors that people and events take."""
    li = company.caller("li")

    def ask(path: str, request: Message) -> Message:
        (rpc,) = (rpc for rpc in system.rpcs if rpc.path.endswith(path))
        error, answers = rpc.call(li._token(), request)
        assert error is None, error
        return answers[0]

    ask(
        "/CreateCustomer",
        customers_pb2.CreateCustomerRequest(
            request_id=new_id(),
            name=f"{CANARY}公司",
            phones=[customers_pb2.PhoneInput(number="13900139000")],
            contacts=[customers_pb2.ContactInput(name=f"{CANARY}先生")],
        ),
    )
    ask(
        "/CreateLead",
        leads_pb2.CreateLeadRequest(request_id=new_id(), name=f"{CANARY}女士", phone="13700137000"),
    )
    runtime = system.runtimes["orders"]
    won = {
        "opportunityId": new_id(),
        "name": f"{CANARY}商机",
        "customerId": new_id(),
        "ownerId": person_id,
        "ownerDepartmentPath": "1/",
        "amount": "100.00",
    }
    event = event_of(company.tenant, "leads", "opportunity_won", won, aggregate=won["opportunityId"])
    take(runtime.store, orders_handlers, event)
    return company


def tables(system: System) -> Iterator[tuple[str, str, str]]:
    """Give (service, table, column) of every column of every table that has a tenant."""
    for name, runtime in system.runtimes.items():
        for table in runtime.metadata.sorted_tables:
            if "tenant_id" in table.columns:
                yield from ((name, table.name, column.name) for column in table.columns)


def digests(system: System, tenant: Tenant) -> dict[str, str]:
    """Return a digest of each table's rows of a tenant."""
    found = {}
    for name, table in {(name, table) for name, table, _ in tables(system)}:
        with system.runtimes[name].store.across(tenant.database) as session:
            query = text(
                f"SELECT coalesce(md5(string_agg(t::text, '' ORDER BY t::text)), '') FROM {name}.{table} t"  # noqa: S608  # names from the catalogue
                " WHERE tenant_id = :tenant"
            )
            found[f"{name}.{table}"] = str(session.scalar(query, {"tenant": tenant.id}))
    return found


def ids_of(system: System, tenant: Tenant) -> dict[str, list[str]]:
    """Return the ids in a tenant's rows, by column's name; a table's own `id` also as `<table>_id`."""
    found: defaultdict[str, list[str]] = defaultdict(list)
    for name, table, column in tables(system):
        if table in ("outbox", "request") or not (column == "id" or column.endswith("_id")):
            continue
        with system.runtimes[name].store.across(tenant.database) as session:
            query = text(
                f"SELECT DISTINCT {column}::text FROM {name}.{table}"  # noqa: S608  # names from the catalogue
                f" WHERE tenant_id = :tenant AND {column} IS NOT NULL LIMIT 5"
            )
            values = [row[0] for row in session.execute(query, {"tenant": tenant.id}) if len(row[0]) == 36]
        found[f"{table}_id" if column == "id" else column] += values
    found.pop("tenant_id")
    return dict(found)


def filled(descriptor: Descriptor, ids: Mapping[str, list[str]], depth: int = 0) -> Message:
    """Return a request with an id of the other tenant wherever it takes one."""
    message = GetMessageClass(descriptor)()
    for item in descriptor.fields:
        if item.name == "request_id":
            setattr(message, item.name, new_id())
        elif item.type == FieldDescriptor.TYPE_STRING and item.name.removesuffix("s").endswith("_id"):
            values = ids.get(item.name.removesuffix("s")) or ids["customer_id"]
            if item.is_repeated:
                getattr(message, item.name).extend(values[:2])
            else:
                setattr(message, item.name, values[0])
        elif item.message_type and item.message_type.full_name.startswith("crm.") and depth < 3:
            inner = filled(item.message_type, ids, depth + 1)
            if item.is_repeated:
                getattr(message, item.name).append(inner)
            else:
                getattr(message, item.name).CopyFrom(inner)
    return message


def test_a_foreign_tenant_learns_and_changes_nothing(
    system: System, company: Company, signer: Signer, issuer_keys: Mapping[str, tuple[str, str]]
) -> None:
    """F243, and decision 8: a tenant's records are nobody else's, whatever ids and rights somebody has."""
    stranger_tenant = Tenant(new_id(), company.tenant.database)
    ids = ids_of(system, company.tenant)
    assert {"customer_id", "lead_id", "order_id", "person_id", "department_id"} <= ids.keys()

    def caller(tenant: Tenant) -> str:
        someone = Caller(tenant=tenant, person_id=new_id(), name="生人", rights=ALL_RIGHTS, scope="all")
        return signer.person_token(someone, utc_now())[0]

    # First the same questions by somebody who may know: else the test would prove nothing.
    shown = set()
    for rpc in system.rpcs:
        if rpc.method.name.startswith(("Get", "List")):
            _, answers = rpc.call(caller(company.tenant), filled(rpc.method.input_type, ids))
            if any(CANARY.encode() in answer.SerializeToString() for answer in answers):
                shown.add(rpc.method.name)
    assert {"GetCustomer", "GetLead", "GetOrder", "ListDepartments"} <= shown

    before = digests(system, company.tenant)
    leaked = []
    for rpc in system.rpcs:
        access = rpc.method.GetOptions().Extensions[options_pb2.access]
        tokens = [caller(stranger_tenant)]
        tokens += [
            Signer(name, issuer_keys[name][0]).service_token(stranger_tenant, new_id())
            for name in list(access.services)[:1]
        ]
        for token in tokens:
            error, answers = rpc.call(token, filled(rpc.method.input_type, ids))
            # Nor does a question about nothing of one's own end in a fault of ours.
            assert error is None or error.code != "INTERNAL", rpc.path
            told = b"".join(answer.SerializeToString() for answer in answers)
            if CANARY.encode() in told or CANARY in str(error):
                leaked.append(rpc.path)
    assert leaked == []
    changed = digests(system, company.tenant)
    assert {name for name in before if before[name] != changed[name]} == set()
