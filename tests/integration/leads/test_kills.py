"""The worker killed with SIGKILL around every step of a conversion: once it is back, all of it is there, or nothing."""

import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from crm.leads.v1 import leads_pb2 as pb

from services.chassis.errors import RuleViolation
from services.chassis.settings import Settings
from services.leads.usecases.conversions import conversion_id
from services.leads.workflows import contracts
from tests.integration.leads.conftest import Events, Team
from tests.integration.leads.test_conversion import assert_untouched, request_for

FORWARD = (
    contracts.BEGIN,
    contracts.PLAN,
    contracts.RESERVE,
    contracts.WRITE_CUSTOMER,
    contracts.FINISH,
)
MOMENTS = ("before", "after")
ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture(scope="module")
def plans(
    tmp_path_factory: pytest.TempPathFactory, environment: Mapping[str, str], around: Settings
) -> Iterator[Path]:
    """The folder of the places to die at, and the worker that dies there."""
    folder = tmp_path_factory.mktemp("plans")
    addresses = {f"{name.upper()}_ADDRESS": address for name, address in around.addresses.items()}
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.integration.leads.dying_worker", str(folder)],
        env={**os.environ, **environment, **addresses},
        cwd=ROOT,
        stdin=subprocess.PIPE,
    )
    yield folder
    assert process.stdin
    process.stdin.close()
    assert process.wait(60) == 0


def plan(plans: Path, request: pb.ConvertLeadRequest, *places: str) -> None:
    """Say where the worker dies in this conversion."""
    (plans / conversion_id(request.lead_id, request.request_id)).write_text("\n".join(places))


def deaths(plans: Path, *requests: pb.ConvertLeadRequest) -> int:
    """Return how often the worker died in these conversions."""
    ids = [conversion_id(request.lead_id, request.request_id) for request in requests]
    return sum(len(list(plans.glob(f"{each} *"))) for each in ids)


@pytest.mark.timeout(300)
def test_a_conversion_survives_kill_9_before_and_after_every_step(
    team: Team, plans: Path, events: Events
) -> None:
    """F120, F127: eleven conversions, two at a time, killed fifteen times between them."""
    rep = team.person()
    places = [[f"{moment} {step}"] for step in FORWARD for moment in MOMENTS]
    # One that dies again and again.
    places.append([f"after {step}" for step in FORWARD])
    leads = [
        rep.lead(company=f"公司{number}", phone=f"138001380{number:02}") for number in range(len(places))
    ]
    requests = [request_for(lead) for lead in leads]
    for request, wanted in zip(requests, places, strict=True):
        plan(plans, request, *wanted)
    # Not all at once: a death is one of all that are under way, and after each Temporal waits longer with them.
    with ThreadPoolExecutor(2) as threads:
        answers = list(threads.map(rep.outcome, requests))
    assert deaths(plans, *requests) == sum(map(len, places))
    for lead, answer in zip(leads, answers, strict=True):
        assert isinstance(answer, pb.ConvertLeadResponse)
        assert team.world.customers[answer.customer_id] == lead.company
        assert team.world.contacts[answer.contact_id][0] == answer.customer_id
        (opportunity,) = rep.opportunities(answer.customer_id)
        assert opportunity.opportunity_id == answer.opportunity_id
        found = rep.get(lead.lead_id)
        assert found.lead.state == pb.LEAD_STATE_CONVERTED
        assert len(found.changes) == 2
    assert len(team.world.customers) == len(team.world.contacts) == len(rep.opportunities()) == len(leads)
    assert len(events.of(team.tenant, "lead_converted")) == len(leads)


@pytest.mark.timeout(300)
@pytest.mark.parametrize(
    "place", [f"after {contracts.WRITE_CUSTOMER}", *(f"{m} {contracts.ABORT}" for m in MOMENTS)]
)
def test_a_refused_conversion_leaves_nothing_behind_through_kill_9(
    team: Team, plans: Path, place: str
) -> None:
    rep = team.person()
    lead = rep.lead(company="云海科技", phone="13800138000")
    request = request_for(lead)
    full = RuleViolation("CUSTOMER_CAP", "满", "Full")
    # The next worker takes every step again, and asks a second time.
    team.world.before["CreateForConversion"] += [full] * 2
    plan(plans, request, place)
    assert rep.refusal(request).reason == "CUSTOMER_CAP"
    assert deaths(plans, request) == 1
    assert_untouched(team, rep, lead)


@pytest.mark.timeout(300)
def test_a_write_whose_answer_died_with_the_worker_is_found_again(team: Team, plans: Path) -> None:
    """Customers wrote, the worker died, and the second try is refused: asked before giving up, customers says so."""
    rep = team.person()
    lead = rep.lead(company="云海科技", phone="13800138000")
    request = request_for(lead)
    plan(plans, request, f"after {contracts.WRITE_CUSTOMER}")

    def full() -> None:
        team.world.before["CreateForConversion"].append(RuleViolation("CUSTOMER_CAP", "满", "Full"))

    team.world.hooks["CreateForConversion"] += [lambda: None, full]
    answer = rep.convert(request)
    assert team.world.customers == {answer.customer_id: "云海科技"}
    assert rep.get(lead.lead_id).lead.state == pb.LEAD_STATE_CONVERTED
