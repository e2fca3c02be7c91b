"""Leads, conversions and opportunities against a model: any sequence of verbs, faults and repeats (Hypothesis).

The served API, the worker on a real Temporal and scripted services around it; after each step what a director sees, and
what the other services hold, is what the model says.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import pytest
from crm.leads.v1 import leads_pb2 as pb
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

from services.chassis.errors import AppError, RuleViolation, Unavailable
from services.chassis.ids import new_id
from services.chassis.service import Runtime
from services.chassis.settings import Settings
from services.leads.__main__ import worker as bundle
from services.leads.domain.states import LEAD_TRANSITIONS, LeadAction, LeadState
from services.leads.store.tables import Base
from tests.integration.leads.conftest import RIGHTS, Team
from tests.integration.leads.scripted import CONTACT_PHONE, CUSTOMER_NAME
from tests.integration.leads.test_conversion import request_for
from tests.integration.leads.test_leads import assign, capture_request
from tests.integration.leads.test_pool import STATES, act
from tests.support.running import working

FEW = settings(
    max_examples=5,
    stateful_step_count=14,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
NAMES = ("ada", "bob", "boss")
MANAGER = ("leads.view", "leads.assign", "leads.follow", "leads.restore")
# What an owner does; the rest is done by whoever has the right.
OWNERS = ("return", "follow", "mark_invalid", "resume")
VERBS = ("assign", "claim", "void", "restore", *OWNERS)
FAULTS = ("none", "refused", "away", "answer lost")


@dataclass
class Known:
    """A lead as it should be. owner: name of the person, "" for nobody."""

    company: str
    phone: str
    state: LeadState
    owner: str


@dataclass
class Sale:
    """An opportunity as it should be."""

    customer_id: str
    name: str
    owner: str
    state: str = "OPEN"


def reason_of(call: Callable[[], object]) -> str:
    """Call; return why it was refused, "" when it was not."""
    try:
        call()
    except AppError as refused:
        return refused.reason
    return ""


class Machine(RuleBasedStateMachine):
    """The model beside the system."""

    leads: Bundle[str] = Bundle("leads")
    requests: Bundle[tuple[str, pb.ConvertLeadRequest, str]] = Bundle("requests")
    sales: Bundle[str] = Bundle("sales")

    def __init__(self, team: Team) -> None:
        super().__init__()
        self.team = team
        self.world = team.world
        self.people = {name: team.person(name=name) for name in NAMES[:2]}
        self.people["boss"] = team.person(*MANAGER, scope="all")
        self.site = team.person("leads.capture")
        self.known: dict[str, Known] = {}
        self.known_sales: dict[str, Sale] = {}
        # Names differ from those of the runs before: the tenant is the same.
        self.mark = new_id()[:8]
        self.names: dict[str, str] = {}
        self.phones: set[str] = set()
        self.made = (len(self.world.customers), len(self.world.contacts))
        self.customers = self.contacts = 0
        self.world.rules |= {CUSTOMER_NAME, CONTACT_PHONE}

    @rule(target=leads, who=st.sampled_from(NAMES[:2]), number=st.integers(0, 1), phone=st.integers(0, 2))
    def create(self, who: str, number: int, phone: int) -> str:
        """F117: a rep's own find is the rep's."""
        company, number_text = f"云海{number} {self.mark}", self._phone(phone)
        lead = self.people[who].lead(company=company, phone=number_text)
        self.known[lead.lead_id] = Known(company, number_text, LeadState.ASSIGNED, who)
        return lead.lead_id

    @rule(target=leads)
    def capture(self) -> str:
        """F114: what comes from outside is in the pool."""
        request = capture_request(new_id())
        request.company, request.phone = f"官网 {self.mark}", ""
        lead = self.site.call(self.team.stub.CaptureLead, request).lead
        self.known[lead.lead_id] = Known(request.company, "", LeadState.UNASSIGNED, "")
        return str(lead.lead_id)

    @rule(lead_id=leads, who=st.sampled_from(NAMES), verb=st.sampled_from(VERBS))
    def move(self, lead_id: str, who: str, verb: str) -> None:
        """F113: only the table's ways, and only by whom it is for."""
        known, member = self.known[lead_id], self.people[who]
        expected = self._refusal(known, who, verb)
        verbs: dict[str, Callable[[], object]] = {
            "assign": lambda: assign(member, lead_id, self.people["bob"].person_id),
            "follow": lambda: member.follow(lead_id),
        }
        assert reason_of(verbs.get(verb, lambda: act(member, verb, lead_id))) == expected
        if expected:
            return
        known.state = LEAD_TRANSITIONS[LeadAction(verb)][known.state]
        known.owner = {"assign": "bob", "claim": who, "return": "", "restore": ""}.get(verb, known.owner)

    @rule(
        target=requests,
        lead_id=leads,
        who=st.sampled_from(NAMES[:2]),
        contact=st.booleans(),
        sale=st.sampled_from(["", "年度采购", "备件"]),
        fault=st.sampled_from(FAULTS),
        on=st.sets(st.sampled_from([CUSTOMER_NAME, CONTACT_PHONE])),
    )
    def convert(
        self, lead_id: str, who: str, contact: bool, sale: str, fault: str, on: set[tuple[int, int]]
    ) -> tuple[str, pb.ConvertLeadRequest, str]:
        """F120 to F131: whole, or not at all and for the reason that the model gives."""
        known = self.known[lead_id]
        self.world.rules = on
        linked = self.names.get(known.company, "") if CUSTOMER_NAME in on else ""
        expected = self._conversion_refusal(known, who, contact, sale, linked, on)
        if not expected:
            self._order(fault)
            expected = "CUSTOMER_CAP" if fault == "refused" else ""
        request = request_for(pb.Lead(lead_id=lead_id), opportunity=sale, create_contact=contact)
        outcome = self.people[who].outcome(request)
        if isinstance(outcome, AppError):
            assert outcome.reason == expected
            return who, request, expected
        assert expected == ""
        assert (outcome.linked, outcome.customer_id if linked else "") == (bool(linked), linked)
        assert (bool(outcome.contact_id), bool(outcome.opportunity_id)) == (contact, bool(sale))
        known.state = LeadState.CONVERTED
        self.customers += not linked
        self.contacts += contact
        if CUSTOMER_NAME in on:
            self.names[known.company] = outcome.customer_id
        if contact and known.phone and CONTACT_PHONE in on:
            self.phones.add(known.phone)
        if sale:
            self.known_sales[outcome.opportunity_id] = Sale(outcome.customer_id, sale, who)
        return who, request, outcome.SerializeToString().hex()

    @rule(asked=requests)
    def repeat(self, asked: tuple[str, pb.ConvertLeadRequest, str]) -> None:
        """The same request gives the same answer, whatever happened since."""
        who, request, before = asked
        if before in ("LEAD_NOT_FOUND", "LEAD_NOT_OWNED", "LEAD_STATE"):
            # Refused at the door: nothing was begun that could be told again.
            return
        outcome = self.people[who].outcome(request)
        again = outcome.reason if isinstance(outcome, AppError) else outcome.SerializeToString().hex()
        assert again == before

    @rule(who=st.sampled_from(NAMES[:2]), won=st.booleans(), data=st.data())
    def close(self, who: str, won: bool, data: st.DataObject) -> None:
        """An opportunity is won or lost once, by its owner."""
        if not self.known_sales:
            return
        sale_id = data.draw(st.sampled_from(sorted(self.known_sales)))
        sale, member = self.known_sales[sale_id], self.people[who]
        expected = "OPPORTUNITY_NOT_FOUND" if sale.owner != who else ""
        expected = expected or ("OPPORTUNITY_STATE" if sale.state != "OPEN" else "")
        win = pb.WinOpportunityRequest(request_id=new_id(), opportunity_id=sale_id)
        lose = pb.LoseOpportunityRequest(request_id=new_id(), opportunity_id=sale_id, reason="价格")
        method, request = (member.stub.WinOpportunity, win) if won else (member.stub.LoseOpportunity, lose)
        assert reason_of(lambda: member.call(method, request)) == expected
        if expected:
            return
        sale.state = "WON" if won else "LOST"

    @invariant()
    def everybody_sees_what_the_model_says(self) -> None:
        """F113: state and owner of each lead, and a log that leads there without a gap."""
        boss = self.people["boss"]
        for lead_id, known in self.known.items():
            found = boss.get(lead_id)
            assert STATES[pb.LeadState.Name(found.lead.state)] == known.state
            assert found.lead.owner_id == (self.people[known.owner].person_id if known.owner else "")
            steps = list(reversed(found.changes))
            assert [step.from_state for step in steps[1:]] == [step.to_state for step in steps[:-1]]
            assert steps[-1].to_state == found.lead.state

    @invariant()
    def nothing_is_left_behind_in_any_service(self) -> None:
        """F127: customers, contacts, keys and opportunities are those of conversions that went through."""
        made = (len(self.world.customers), len(self.world.contacts))
        assert made == (self.made[0] + self.customers, self.made[1] + self.contacts)
        for held in self.world.keys.values():
            assert held.subject_id in self.world.customers or held.subject_id in self.world.contacts
        states = {
            each.opportunity_id: pb.OpportunityState.Name(each.state).removeprefix("OPPORTUNITY_STATE_")
            for name in NAMES[:2]
            for each in self.people[name].opportunities()
        }
        assert states == {sale_id: sale.state for sale_id, sale in self.known_sales.items()}

    def _phone(self, number: int) -> str:
        """Return a number of this run, "" for none."""
        return f"138{int(self.mark, 16) % 10**7:07}{number}" if number else ""

    def _sees(self, known: Known, who: str) -> bool:
        return who in ("boss", known.owner) or known.state is LeadState.UNASSIGNED

    def _refusal(self, known: Known, who: str, verb: str) -> str:
        """Return why a verb is refused, "" when it is not."""
        rights = MANAGER if who == "boss" else RIGHTS
        needed = {"assign": "leads.assign", "claim": "leads.claim", "restore": "leads.restore"}
        if needed.get(verb, "leads.follow") not in rights:
            return "RIGHT_MISSING"
        if not self._sees(known, who):
            return "LEAD_NOT_FOUND"
        if (verb in OWNERS or (verb == "void" and who != "boss")) and known.owner != who:
            return "LEAD_NOT_OWNED"
        return "" if known.state in LEAD_TRANSITIONS[LeadAction(verb)] else "LEAD_STATE"

    def _conversion_refusal(
        self, known: Known, who: str, contact: bool, sale: str, linked: str, on: set[tuple[int, int]]
    ) -> str:
        if not self._sees(known, who):
            return "LEAD_NOT_FOUND"
        if known.owner != who:
            return "LEAD_NOT_OWNED"
        if known.state not in LEAD_TRANSITIONS[LeadAction.CONVERT]:
            return "LEAD_STATE"
        if contact and CONTACT_PHONE in on and known.phone in self.phones:
            return "CONTACT_EXISTS"
        taken = {(each.customer_id, each.name) for each in self.known_sales.values()}
        return "OPPORTUNITY_EXISTS" if linked and (linked, sale) in taken else ""

    def _order(self, fault: str) -> None:
        """Let customers fail in this conversion."""
        down = [Unavailable("DOWN", "不可用", "Down")]
        match fault:
            case "refused":
                self.world.before["CreateForConversion"].append(RuleViolation("CUSTOMER_CAP", "满", "Full"))
            case "away":
                self.world.before["CreateForConversion"] += down
            case "answer lost":
                self.world.after["CreateForConversion"] += down


@pytest.fixture(scope="module", autouse=True)
def worker(around: Settings) -> Iterator[None]:
    """Leads' worker."""
    runtime = Runtime("leads", around, Base.metadata, {})
    with working(runtime, bundle(runtime)):
        yield
    runtime.store.close()


@pytest.mark.timeout(400)
def test_leads_follow_their_model_through_any_sequence(team: Team) -> None:
    """F113 to F131: verbs, conversions with faults, repeats and sales in any order."""

    class Here(Machine):
        def __init__(self) -> None:
            super().__init__(team)

    run_state_machine_as_test(Here, settings=FEW)
