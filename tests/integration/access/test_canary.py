"""No answer, error or event that somebody receives holds a number that the person may not see (F59).

A colleague with every right but those that show numbers calls every RPC with the ids of another's records. The numbers
are canaries: they stand nowhere else. An answer or an error that shows one, in whichever form, is a leak.
"""

import json
import re
from collections.abc import Iterator, Mapping
from datetime import timedelta

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
from tests.integration.access.conftest import Rpc, System
from tests.integration.access.test_foreign_tenant import filled, ids_of, with_records
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
    """A tenant in which li owns a customer, a lead and an order, and has a mobile."""
    runtime = system.runtimes["identity"]
    company = new_company(runtime, runtime.settings.addresses["identity"], issuer_keys)
    company.add_department("金丝雀部")
    person_id = company.add("li", "sales_rep", department="金丝雀部", mobile="13800138000", extension="8101")
    with_records(system, company, person_id)
    with_more(system, company)
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
