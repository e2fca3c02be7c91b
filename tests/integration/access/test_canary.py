"""No answer, error or event that somebody receives holds a number that the person may not see (F59).

A colleague with every right but those that show numbers calls every RPC with the ids of another's records. The numbers
are canaries: they stand nowhere else. An answer or an error that shows one, in whichever form, is a leak.
"""

import json
import re
from collections.abc import Iterator, Mapping
from datetime import timedelta
from typing import Any

import pytest
from crm.customers.v1 import customers_pb2, records_pb2
from crm.identity.v1 import identity_pb2
from crm.leads.v1 import leads_pb2
from crm.options.v1 import options_pb2
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass
from sqlalchemy import text

from services.chassis.clock import utc_now
from services.chassis.ids import new_id
from services.chassis.timestamps import timestamp
from services.chassis.tokens import Caller, Signer
from services.identity.domain.rights import ALL_RIGHTS
from services.notify.events import handlers as notify_handlers
from tests.integration.access.conftest import Rpc, System
from tests.integration.access.test_foreign_tenant import filled, ids_of, with_records
from tests.support.running import event_of, take
from tests.support.staff import Company, new_company

# Rights to see numbers, or to be shown them one by one; with those there would be no canary.
SHOWING = {"numbers.view_all", "numbers.reveal", "people.manage"}
# As `with_records` and the company below have them: of a customer, a lead, a member of staff.
CANARIES = ("13900139000", "13700137000", "13800138000")
# Methods that change nothing.
READS = ("Get", "List", "Search", "Find", "Explain", "Count", "Report", "Summarize")
# However somebody writes it: bare, with 86, in groups.
FORMS = re.compile("|".join(r"[\s-]?".join(number.lstrip("0")) for number in CANARIES))


@pytest.fixture(scope="module")
def company(system: System, issuer_keys: Mapping[str, tuple[str, str]]) -> Company:
    """A tenant in which li owns a customer, a lead and an order, and has a mobile; numbers stand in all their texts."""
    runtime = system.runtimes["identity"]
    company = new_company(runtime, runtime.settings.addresses["identity"], issuer_keys)
    company.add_department("金丝雀部")
    person_id = company.add("li", "sales_rep", department="金丝雀部", mobile="13800138000", extension="8101")
    with_records(system, company, person_id)
    with_more(system, company)
    with_typed(system, company, Signer("identity", issuer_keys["identity"][0]), person_id)
    with_calls(system, company, person_id)
    return company


def with_more(system: System, company: Company) -> None:
    """Add a contact with a number, and work on the records, so that logs and timelines have something to tell."""
    li = company.caller("li")

    def ask(path: str, request: Message) -> Message:
        (rpc,) = (rpc for rpc in system.rpcs if rpc.path.endswith(path))
        error, answers = rpc.call(li._token(), request)
        assert error is None, error
        return answers[0]

    listed = ask("/ListCustomers", customers_pb2.ListCustomersRequest(view=customers_pb2.CUSTOMER_VIEW_MINE))
    assert isinstance(listed, customers_pb2.ListCustomersResponse)
    customer_id = listed.customers[0].customer_id
    seen = ask("/GetCustomer", customers_pb2.GetCustomerRequest(customer_id=customer_id))
    assert isinstance(seen, customers_pb2.GetCustomerResponse)
    ask(
        "/UpdateContact",
        records_pb2.UpdateContactRequest(
            request_id=new_id(),
            contact_id=seen.customer.contacts[0].contact_id,
            address="上海路1号，电话 139-0013-9000",
            account="13900139000",
        ),
    )
    ask(
        "/AddFollowUp",
        customers_pb2.AddFollowUpRequest(
            request_id=new_id(), customer_id=customer_id, text="已打 139 0013 9000"
        ),
    )
    due = timestamp(utc_now() + timedelta(days=1))
    ask(
        "/CreatePlan",
        records_pb2.CreatePlanRequest(
            request_id=new_id(), customer_id=customer_id, text="再打13900139000", due_time=due
        ),
    )
    ask(
        "/UpdateCustomer",
        records_pb2.UpdateCustomerRequest(
            request_id=new_id(),
            customer_id=customer_id,
            address="上海路1号，电话 139-0013-9000",
            addresses=records_pb2.Addresses(
                values=[
                    records_pb2.Address(kind="ship", detail="仓库 13900139000", recipient="王13900139000")
                ]
            ),
        ),
    )
    leads = ask("/ListLeads", leads_pb2.ListLeadsRequest())
    assert isinstance(leads, leads_pb2.ListLeadsResponse)
    ask(
        "/AddLeadFollowUp",
        leads_pb2.AddLeadFollowUpRequest(
            request_id=new_id(), lead_id=leads.leads[0].lead_id, text="已打137 0013 7000"
        ),
    )


def with_typed(system: System, company: Company, signer: Signer, person_id: str) -> None:
    """Have li, with every right but over the own records only, type numbers wherever a form takes a text."""
    li = Caller(
        tenant=company.tenant, person_id=person_id, name="li", rights=ALL_RIGHTS, scope="self", paths=("1/",)
    )
    token, typed = signer.person_token(li, utc_now())[0], f"王 {CANARIES[0]}"

    def ask(service: str, method: str, **fields: Any) -> Any:
        (rpc,) = (
            rpc
            for rpc in system.rpcs
            if (rpc.service, rpc.method.name) == (service, method)
            and (
                method != "CreateField"
                or rpc.method.containing_service.full_name.startswith(f"crm.{service}.")
            )
        )
        message = GetMessageClass(rpc.method.input_type)
        named = {"request_id": new_id()} if "request_id" in message.DESCRIPTOR.fields_by_name else {}
        error, answers = rpc.call(token, message(**named, **fields))
        assert error is None, f"{rpc.path}: {error}"
        return answers[0]

    for service, kind in (
        ("customers", "customer"),
        ("leads", "lead"),
        ("orders", "contract"),
    ):
        for key in ("text", "long_text", "link", "email", "phone"):
            ask(service, "CreateField", field={"object": kind, "key": key, "name": key, "type": key})
    own = {
        "text": typed,
        "long_text": f"见\n{CANARIES[0]}",
        "link": f"https://im.example/{CANARIES[0]}",
        "email": f"{CANARIES[0]}@mail.example",
        "phone": CANARIES[0],
    }
    fields = [{"key": key, "value": value} for key, value in own.items()]
    view = customers_pb2.CUSTOMER_VIEW_MINE
    customer_id = ask("customers", "ListCustomers", view=view).customers[0].customer_id
    ask(
        "customers",
        "UpdateCustomer",
        customer_id=customer_id,
        name=f"金丝雀公司 {CANARIES[0]}",
        region=typed,
        business_type=typed,
        level=typed,
        tags={"values": [f"微信{CANARIES[0]}"]},
        values=fields,
    )
    ask("customers", "CreateContact", customer_id=customer_id, contact={"name": typed, "title": typed})
    shared = {
        "name": typed,
        "view": view,
        "shared": True,
        "filter": json.dumps({"field": "name", "op": "contains", "value": CANARIES[0]}),
    }
    ask("customers", "SaveView", view=shared)
    lead = ask(
        "leads", "CreateLead", name=typed, company=typed, phone=CANARIES[1], note=typed, fields=fields
    ).lead
    ask("leads", "AddLeadFollowUp", lead_id=lead.lead_id, text=typed)
    ask("leads", "MarkLeadInvalid", lead_id=lead.lead_id, reason=typed)
    product = {"code": "P1", "name": "法兰", "unit": "件", "price": "1.00", "active": True}
    product_id = ask("orders", "CreateProduct", product=product).product.product_id
    order_id = ask("orders", "ListOrders").orders[0].order_id
    order = ask("orders", "AcceptOrder", order_id=order_id).order
    lines = [{"product_id": product_id, "quantity": "1", "unit_price": "1.00"}]
    ask("orders", "UpdateOrder", order_id=order_id, version=order.version, ship_to=typed, lines=lines)
    days = {"start_date": "2026-01-01", "end_date": "2026-12-31"}
    ask("orders", "CreateContract", title=typed, order_id=order_id, amount="1.00", fields=fields, **days)
    quote = {
        "title": typed,
        "customer_name": typed,
        "mode": "QUOTE_MODE_FOB",
        "currency": "USD",
        "port_of_loading": typed,
        "terms": typed,
        "valid_until": "2027-01-01",
        "lines": lines,
    }
    ask("orders", "CreateQuote", quote=quote)
    ask("orders", "CloseOrder", order_id=order_id, reason=typed)
    ask(
        "approvals",
        "SubmitRequest",
        subject_type="SUBJECT_TYPE_SUPPORT",
        title=typed,
        details=typed,
        about=typed,
    )
    ask(
        "notify",
        "SetFollowUpReminder",
        title=typed,
        subject_type="customer",
        subject_id=customer_id,
        subject_name=typed,
        first_time=timestamp(utc_now() + timedelta(days=1)),
    )
    assigned = {"leadId": lead.lead_id, "ownerId": person_id, "name": typed}
    take(
        system.runtimes["notify"].store,
        notify_handlers,
        event_of(company.tenant, "leads", "lead_assigned", assigned),
    )
    ask(
        "dedupe",
        "RecordInquiry",
        inquirer_name=typed,
        company_name=typed,
        site_address=typed,
        scheme=typed,
        items=[{"product": typed, "quantity": "1", "specification": typed}],
    )
    ask("dedupe", "RegisterProject", name=typed, site_address=typed, scheme=typed)


def with_calls(system: System, company: Company, person_id: str) -> None:
    """Add a call, an SMS that was received and one that was sent, as the edges would, about li's customer."""
    runtime, typed, now = system.runtimes["telephony"], f"回电 {CANARIES[0]}", utc_now()
    customer_id = ids_of(system, company.tenant)["customer_id"][0]
    about = {
        "id": new_id(),
        "tenant_id": company.tenant.id,
        "number": f"+86{CANARIES[0]}",
        "customer_id": customer_id,
    }
    rows = {
        "call": {
            **about,
            "pbx": "main",
            "linked_id": new_id(),
            "direction": "inbound",
            "version": 1,
            "state": "ended",
            "customer_name": typed,
            "customer_owner_id": person_id,
            "answered_by_id": person_id,
            "start_time": now,
            "end_time": now,
            "note": typed,
            "disposition": typed,
            "callers": [
                {
                    "customerId": customer_id,
                    "customerName": typed,
                    "contactId": "",
                    "contactName": typed,
                    "ownerId": person_id,
                    "reasons": [],
                }
            ],
        },
        "sms": {
            **about,
            "person_id": person_id,
            "text": typed,
            "encoding": "ucs2",
            "state": "failed",
            "segment_count": 1,
            "concat_reference": 1,
            "detail": typed,
            "create_time": now,
            "expire_time": now,
            "version": 1,
        },
        "sms_received": {
            **about,
            "modem": "a",
            "text": typed,
            "parts": 1,
            "missing_parts": 0,
            "opt_out": False,
            "receive_time": now,
            "match_time": now,
            "customer_name": typed,
            "contact_name": typed,
            "owner_id": person_id,
        },
    }
    with runtime.store.transaction(company.tenant) as tx:
        for name, row in rows.items():
            (table,) = (table for table in runtime.metadata.sorted_tables if table.name == name)
            tx.session.execute(table.insert().values(row))


def told(messages: list[Message]) -> str:
    """Return what messages say as text, bytes as what they hold of it."""
    return " ".join(
        f"{message}{message.SerializeToString().decode('utf-8', 'ignore')}" for message in messages
    )


def questions(rpc: Rpc, ids: Mapping[str, list[str]]) -> Iterator[Message]:
    """Give requests that name the other's records; a list is asked for as a whole too."""
    yield filled(rpc.method.input_type, ids)
    if rpc.method.name.startswith(READS):
        whole = GetMessageClass(rpc.method.input_type)()
        if isinstance(whole, customers_pb2.ListCustomersRequest):
            whole.view = customers_pb2.CUSTOMER_VIEW_ALL
        yield whole


def reads_first(system: System) -> list[Rpc]:
    """Return every RPC, those first that change nothing."""
    return sorted(system.rpcs, key=lambda rpc: not rpc.method.name.startswith(READS))


def test_nobody_learns_a_number_that_the_person_may_not_see(
    system: System, company: Company, signer: Signer
) -> None:
    """F59: with every right but those that show numbers, over every RPC, in answers and in refusals."""
    ids = ids_of(system, company.tenant)
    # Whoever may see them does, by the same questions: else the test would prove nothing.
    owner = company.caller("li")._token()
    shown = {
        rpc.method.name
        for rpc in reads_first(system)
        if rpc.method.name.startswith(READS)
        for asked in questions(rpc, ids)
        if FORMS.search(told(rpc.call(owner, asked)[1]))
    }
    assert {"GetCustomer", "ListCustomers", "GetCustomerPage", "GetLead", "ListLeads", "GetMe"} <= shown
    leaks = []
    for scope in ("self", "all"):
        someone = Caller(
            tenant=company.tenant, person_id=new_id(), name="同事", rights=ALL_RIGHTS - SHOWING, scope=scope
        )
        token = signer.person_token(someone, utc_now())[0]
        for rpc in reads_first(system):
            for asked in questions(rpc, ids):
                error, answers = rpc.call(token, asked)
                if FORMS.search(told(answers)) or (error and FORMS.search(f"{error} {error.metadata}")):
                    leaks.append(f"{rpc.path} within {scope}")
    assert leaks == []


def test_no_event_holds_a_number_in_the_clear(system: System, company: Company, signer: Signer) -> None:
    """F59: events travel to live pages, logs and other services; whoever needs a number asks for it by its id."""
    found: dict[str, set[str]] = {}
    for name, runtime in system.runtimes.items():
        with runtime.store.across(company.tenant.database) as session:
            rows = session.execute(
                text(f"SELECT kind, body FROM {name}.outbox WHERE tenant_id = :tenant"),  # noqa: S608  # names from the catalogue
                {"tenant": company.tenant.id},
            ).all()
        for kind, body in rows:
            if FORMS.search(json.dumps(body, ensure_ascii=False)):
                found.setdefault(name, set()).add(f"{kind} {body.get('type') or body.get('workflow')}")
    assert found == {}


def test_every_clear_answer_is_for_a_service_or_accounted_for(system: System) -> None:
    """F59: a person is answered in the clear by the reveal with its budget and audit, and about the own account."""
    clear = {
        rpc.method.name
        for rpc in system.rpcs
        if (access := rpc.method.GetOptions().Extensions[options_pb2.access]).masking
        == options_pb2.MASKING_CLEAR
        and (access.right or access.any_person)
    }
    assert clear == {"RevealNumber"}
    assert (
        identity_pb2.Person.DESCRIPTOR.fields_by_name["mobile"]
        .GetOptions()
        .Extensions[options_pb2.telephone_number]
    )
