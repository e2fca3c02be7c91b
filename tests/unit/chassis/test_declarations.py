"""Each RPC declares right, reach and masking in its contract, and the answer is held to it."""

import importlib
import pkgutil
import re
from collections.abc import Iterator

import crm
import pytest
from crm.customers.v1 import customers_pb2
from crm.options.v1 import options_pb2 as pb
from google.protobuf.descriptor import Descriptor, FieldDescriptor, MethodDescriptor

from services.chassis import declarations
from services.chassis.errors import Internal
from services.chassis.tenancy import Tenant
from services.chassis.tokens import Caller
from services.kernel.phones import number_for, texts_for
from services.kernel.visibility import covers

# What a field that holds a telephone number is called; the numbers of papers are none.
NUMBERS = re.compile(r"(?:phone|mobile|e164|(?:^|_)number)$")
PAPERS = re.compile(r"crm\.orders\.v1\.\w+\.number|crm\.customers\.v1\.Finance\.tax_number")
# What a text is called that nobody types freely: ids, days, amounts, states and other words and figures of the product.
MADE = re.compile(
    r"(?:^|_)(?:id|ids|token|secret|receipt|hash|digest|sha256|extension|day|date|month|until|times|amount|price|balance"
    r"|freight|insurance|weighted|quantity|unit|currency|state|status|kind|kinds|type|action|actions|rights?|roles?|reasons?"
    r"|relation|resets|exemption|evidence|refusal|locale|key|keys|field|fields|columns|mapping|variables|object|view|order_by"
    r"|followed|taken|format|encoding|service|module|code|path|source|mode|result|did|queue|modem|scope)$"
)
# What the tenant settles and names for everybody to read: departments and colleagues, settings, the catalogue, papers'
# numbers; what goes out to many; and public records.
FOR_EVERYBODY = re.compile(
    r"crm\.(?:"
    r"approvals\.v1\.(?:Flow\w+\.\w+|Shown(?:Field|Change)\.name|Step\.name)"
    r"|customers\.v1\.(?:AllocationRule|Cap|CapUse|Category|Company|Field|ImportField|Pool|Reclaim(?:Clause|Rule))\.\w+"
    r"|customers\.v1\.(?:Contact\.birthday|GetCustomerPageResponse\.category_names|OwnershipChange\.InputsEntry\.value)"
    r"|identity\.v1\.(?:ApiKey|AuditDetail|CalendarDay|Department|Right|RightModule|Role|Shift)\.\w+"
    r"|identity\.v1\.(?:Colleague\.\w+|GetMeResponse\.tenant_name|Person\.(?:name|post))"
    r"|leads\.v1\.(?:CaptureSource|Field|LeadPool|OpportunityStage)\.\w+"
    r"|notify\.v1\.(?:Announcement|BulkMail|MessageTemplate|PreviewTemplateResponse|Preferences|Robot)\.\w+"
    r"|orders\.v1\.(?:Account|Field|GetSampleTemplateResponse|PrintField|PrintTemplate|Product|ProductField)\.\w+"
    r"|orders\.v1\.(?:\w+\.number|(?:Order|Quote)Line\.\w+|GetContractResponse\.(?:received|paid))"
    r"|telephony\.v1\.(?:BulkSms|DeskSettings|Modem)\.\w+|telephony\.v1\.Pop\.answered_by_name"
    r")"
)
NUMBER = "+8613800138000"
MASKED = "+86138****8000"
PERSON = Caller(Tenant("t", "main"), person_id="p", scope="all", paths=("1/",))


def methods() -> Iterator[MethodDescriptor]:
    """Give every method of every contract."""
    for found in pkgutil.walk_packages(crm.__path__, "crm."):
        if found.name.endswith("_pb2"):
            module = importlib.import_module(found.name)
            for service in module.DESCRIPTOR.services_by_name.values():
                yield from service.methods


def texts(descriptor: Descriptor, above: frozenset[str] = frozenset()) -> Iterator[FieldDescriptor]:
    """Give every text field that a message leads to."""
    for item in descriptor.fields:
        if item.type == FieldDescriptor.TYPE_STRING:
            yield item
        elif item.message_type and item.message_type.full_name not in above:
            yield from texts(item.message_type, above | {item.message_type.full_name})


def test_every_rpc_declares_right_reach_and_masking() -> None:
    """F235, F238, F59: one declaration, which the interceptor reads; see proto/crm/options/v1/options.proto."""
    silent = []
    for method in methods():
        access = method.GetOptions().Extensions[pb.access]
        if not ((access.right or access.any_person or access.services) and access.reach and access.masking):
            silent.append(method.full_name)
        # Between services there is no person whose scope would count; where there is one, it does.
        if (access.reach == pb.REACH_NONE) == bool(access.right or access.any_person):
            silent.append(f"{method.full_name} declares a reach that its callers do not have")
    assert silent == []


def test_no_answer_has_a_number_that_its_method_does_not_declare() -> None:
    """F59: what holds a number says so, and a method whose answer leads to one declares what becomes of it."""
    unmarked, undeclared = set(), []
    for method in methods():
        marked = False
        for item in texts(method.output_type):
            number = item.GetOptions().Extensions[pb.telephone_number]
            marked = marked or number
            if NUMBERS.search(item.name) and not number and not PAPERS.fullmatch(item.full_name):
                unmarked.add(item.full_name)
        masking = method.GetOptions().Extensions[pb.access].masking
        if marked == (masking == pb.MASKING_NO_NUMBERS):
            undeclared.append(method.full_name)
    assert (unmarked, undeclared) == (set(), [])


def test_every_text_is_typed_or_known_to_hold_no_number() -> None:
    """F59: a new text of an answer says that people type it, or is of those in which nobody does."""
    unknown = set()
    for method in methods():
        access = method.GetOptions().Extensions[pb.access]
        for item in texts(method.output_type) if access.right or access.any_person else ():
            options = item.GetOptions().Extensions
            declared = options[pb.telephone_number] or options[pb.typed_text]
            if not (declared or MADE.search(item.name) or FOR_EVERYBODY.fullmatch(item.full_name)):
                unknown.add(item.full_name)
            # The interceptor walks messages, and looks at no keys and values.
            assert not (declared and item.full_name.endswith("Entry.value")), item.full_name
    assert unknown == set()


def answered(reach: "pb.Reach.ValueType", masking: "pb.Masking.ValueType", caller: Caller = PERSON) -> Caller:
    """Begin a call with this declaration and return the caller as the handler knows it."""
    return declarations.begin("/test", pb.Access(right="x.view", reach=reach, masking=masking), caller)


def page(*numbers: str) -> customers_pb2.ListCustomersResponse:
    """Return an answer with these numbers two messages deep."""
    phones = [customers_pb2.Phone(number=number) for number in numbers]
    return customers_pb2.ListCustomersResponse(customers=[customers_pb2.Customer(phones=phones)])


def shown(answer: customers_pb2.ListCustomersResponse) -> list[str]:
    """Return the numbers of an answer as they leave."""
    declarations.mask(answer)
    return [phone.number for phone in answer.customers[0].phones]


def test_a_number_that_no_rule_showed_leaves_masked() -> None:
    """F59: a handler that forgets the mask shows too little, not too much."""
    answered(pb.REACH_TENANT, pb.MASKING_BY_RULE)
    own = number_for(NUMBER, may_see=True)
    others = number_for("+8613900139000", may_see=False)
    assert shown(page(own, others, "+8613700137000")) == [NUMBER, "+86139****9000", "+861****00"]
    # What one call may see, the next may not.
    answered(pb.REACH_TENANT, pb.MASKING_BY_RULE)
    assert shown(page(NUMBER)) == ["+861****00"]
    number_for(NUMBER, may_see=True)
    answered(pb.REACH_TENANT, pb.MASKING_ALWAYS)
    number_for(NUMBER, may_see=True)
    assert shown(page(NUMBER, MASKED)) == ["+861****00", MASKED]
    answered(pb.REACH_TENANT, pb.MASKING_CLEAR)
    assert shown(page(NUMBER)) == [NUMBER]


def test_a_number_that_somebody_typed_leaves_hidden_unless_a_rule_showed_it() -> None:
    """F59: in texts and lists of them, however deep; services act for the system."""
    text, hidden = "微信 13800138000", "微信 138****00"

    def customers(*names: str) -> customers_pb2.ListCustomersResponse:
        made = [customers_pb2.Customer(name=name, tags=["x", name]) for name in names]
        return customers_pb2.ListCustomersResponse(customers=made)

    def names(answer: customers_pb2.ListCustomersResponse) -> list[str]:
        declarations.mask(answer)
        return [text for customer in answer.customers for text in (customer.name, *customer.tags)]

    for masking in (pb.MASKING_NO_NUMBERS, pb.MASKING_BY_RULE, pb.MASKING_ALWAYS):
        answered(pb.REACH_TENANT, masking)
        assert names(customers(text, "无号")) == [hidden, "x", hidden, "无号", "x", "无号"]
        own = texts_for(customers(text).customers[0], may_see=True)
        texts_for(customers("13900139000").customers[0], may_see=False)
        assert names(customers(own.name, "13900139000")) == [text, "x", text, "139****00", "x", "139****00"]
    answered(pb.REACH_TENANT, pb.MASKING_BY_RULE, Caller(PERSON.tenant, service="leads"))
    assert names(customers(text)) == [text, "x", text]


def test_an_answer_is_withheld_unless_somebody_asked_whose_records_these_are() -> None:
    """F238: a handler that forgets the scope gives no answer."""
    answered(pb.REACH_SCOPE, pb.MASKING_BY_RULE)
    with pytest.raises(Internal):
        declarations.check_reach(page())
    # An answer that tells nothing may go: there was nothing to ask about.
    declarations.check_reach(customers_pb2.ListCustomersResponse())
    covers(PERSON, "p", "1/")
    declarations.check_reach(page())
    answered(pb.REACH_SCOPE, pb.MASKING_BY_RULE)
    with pytest.raises(Internal):
        declarations.check_reach(page())
    # A service acts for the system, and a repeat is the answer that the caller had.
    answered(pb.REACH_SCOPE, pb.MASKING_BY_RULE, Caller(PERSON.tenant, service="leads"))
    declarations.check_reach(page())
    answered(pb.REACH_SCOPE, pb.MASKING_BY_RULE)
    declarations.note_held()
    declarations.check_reach(page())


def test_a_method_for_ones_own_knows_a_caller_without_further_scope() -> None:
    """F238."""
    assert not covers(answered(pb.REACH_OWN, pb.MASKING_NO_NUMBERS), "somebody", "1/2/")
    assert covers(answered(pb.REACH_SCOPE, pb.MASKING_NO_NUMBERS), "somebody", "1/2/")
