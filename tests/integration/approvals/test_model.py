"""Approvals against a model: whatever people do in whatever order, the running service comes to what the model says."""

from collections.abc import Callable
from dataclasses import dataclass

import pytest
from crm.approvals.v1 import approvals_pb2 as pb
from crm.identity.v1 import identity_pb2
from google.protobuf.timestamp_pb2 import Timestamp
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from hypothesis.stateful import run_state_machine_as_test as run_machine

from services.chassis.errors import AppError
from services.chassis.ids import new_id
from tests.integration.approvals.conftest import Desk
from tests.support.until import until

pytestmark = pytest.mark.usefixtures("running")

APPROVERS = ("wang", "wu", "zhou")
# The submitter, whom a flow may name and nobody asks.
SUBMITTER = "li"
LIMIT = 10000
MODES = (pb.STEP_MODE_ANY, pb.STEP_MODE_ALL, pb.STEP_MODE_IN_TURN)


@dataclass(frozen=True)
class Planned:
    """A step of a flow: whom it names, how they decide, whether only from LIMIT on."""

    people: tuple[str, ...]
    mode: int
    from_limit: bool


@dataclass
class Modelled:
    """An approval as it should be. consents: by step, (who, in whose place) of what was passed."""

    approval: pb.Approval
    plan: list[Planned]
    amount: int
    repeats_pass: bool
    recall: int
    consents: list[list[tuple[str, str]]]
    states: list[int]
    state: int = pb.APPROVAL_STATE_OPEN

    def people(self, index: int) -> list[str]:
        """Return who decides a step: never the submitter, the administrator where nobody is left."""
        return [name for name in self.plan[index].people if name != SUBMITTER] or ["admin"]

    def left(self, index: int) -> list[str]:
        """Return who is asked to decide a step now, or would be."""
        mode = self.plan[index].mode
        if mode == pb.STEP_MODE_ANY or self.people(index) == ["admin"]:
            return self.people(index)
        consented = {place for _, place in self.consents[index]} | self.known(index)
        left = [name for name in self.people(index) if name not in consented]
        return left[:1] if mode == pb.STEP_MODE_IN_TURN else left

    def known(self, index: int) -> set[str]:
        """Return who passed a step before and is not asked again."""
        earlier = {who for consents in self.consents[:index] for who, _ in consents}
        return earlier if self.repeats_pass else set()

    @property
    def open_step(self) -> int:
        """The open step, -1 if none is."""
        return self.states.index(pb.STEP_STATE_OPEN) if pb.STEP_STATE_OPEN in self.states else -1

    def advance(self) -> None:
        """Open the next step that somebody has to decide."""
        for index, planned in enumerate(self.plan):
            if self.states[index] in (pb.STEP_STATE_PASSED, pb.STEP_STATE_AUTO_APPROVED):
                continue
            if planned.from_limit and self.amount < LIMIT:
                self.states[index] = pb.STEP_STATE_AUTO_APPROVED
                continue
            whole = planned.mode == pb.STEP_MODE_ANY or self.people(index) == ["admin"]
            if whole and self.known(index).intersection(self.people(index)):
                self.states[index] = pb.STEP_STATE_AUTO_APPROVED
            elif not whole and not self.left(index):
                decided = bool(self.consents[index])
                self.states[index] = pb.STEP_STATE_PASSED if decided else pb.STEP_STATE_AUTO_APPROVED
            else:
                self.states[index] = pb.STEP_STATE_OPEN
                return
        self.state = pb.APPROVAL_STATE_PASSED

    def decide(self, who: str, place: str, *, passed: bool) -> None:
        """Take a decision that counts."""
        index = self.open_step
        if not passed:
            self.states[index] = pb.STEP_STATE_REJECTED
            self.state = pb.APPROVAL_STATE_REJECTED
            return
        self.consents[index].append((who, place))
        if self.plan[index].mode == pb.STEP_MODE_ANY or self.people(index) == ["admin"]:
            self.states[index] = pb.STEP_STATE_PASSED
        self.advance()

    def end(self, state: int) -> None:
        """End it without a decision."""
        self.states[self.open_step] = pb.STEP_STATE_WAITING
        self.state = state


STEPS = st.builds(
    Planned,
    people=st.lists(st.sampled_from((*APPROVERS, SUBMITTER)), min_size=1, max_size=3, unique=True).map(tuple),
    mode=st.sampled_from(MODES),
    from_limit=st.booleans(),
)
AMOUNTS = st.sampled_from((1, LIMIT - 1, LIMIT, LIMIT + 1))
PEOPLE = st.sampled_from((*APPROVERS, SUBMITTER, "admin"))


class Machine(RuleBasedStateMachine):
    """People who submit, decide, hand on, stand in, take back and change what they submitted."""

    def __init__(self, desk: Desk, ids: dict[str, str]) -> None:
        super().__init__()
        self.desk, self.ids = desk, ids
        self.names = {person_id: name for name, person_id in ids.items()}
        self.callers = {
            name: desk.company.admin if name == "admin" else desk.company.caller(name) for name in ids
        }
        # (deputy's id, in whose place, who), oldest first.
        self.deputies: list[tuple[str, str, str]] = []
        self.all: list[Modelled] = []
        self.plan: list[Planned] = []
        self.repeats_pass = False
        self.recall: int = pb.RECALL_UNDECIDED

    @initialize(
        plan=st.lists(STEPS, min_size=1, max_size=3),
        repeats_pass=st.booleans(),
        recall=st.sampled_from((pb.RECALL_UNDECIDED, pb.RECALL_UNTOUCHED, pb.RECALL_NEVER)),
        amount=AMOUNTS,
    )
    def begin(self, plan: list[Planned], repeats_pass: bool, recall: int, amount: int) -> None:
        """Set a flow and submit."""
        self.change_flow(plan, repeats_pass, recall)
        self.submit(amount)

    @rule(
        plan=st.lists(STEPS, min_size=1, max_size=3),
        repeats_pass=st.booleans(),
        recall=st.sampled_from((pb.RECALL_UNDECIDED, pb.RECALL_UNTOUCHED, pb.RECALL_NEVER)),
    )
    def change_flow(self, plan: list[Planned], repeats_pass: bool, recall: int) -> None:
        """Set another flow: what runs keeps its own."""
        self.plan, self.repeats_pass, self.recall = plan, repeats_pass, recall
        flows = self.callers["admin"](self.desk.stub.ListFlows, pb.ListFlowsRequest()).flows
        version = next(flow.version for flow in flows if flow.subject_type == pb.SUBJECT_TYPE_EXPENSE)
        steps = [
            pb.FlowStep(
                name=f"第{index}步",
                person_ids=[self.ids[name] for name in planned.people],
                mode=planned.mode,  # type: ignore[arg-type]  # a number of the enum
                amount_from=f"{LIMIT}.00" if planned.from_limit else "",
            )
            for index, planned in enumerate(plan)
        ]
        request = pb.UpdateFlowRequest(
            request_id=new_id(),
            subject_type=pb.SUBJECT_TYPE_EXPENSE,
            steps=steps,
            version=version,
            repeat=pb.REPEAT_PASS if repeats_pass else pb.REPEAT_ASK,
            recall=recall,  # type: ignore[arg-type]  # a number of the enum
        )
        self.callers["admin"](self.desk.stub.UpdateFlow, request)

    @rule(amount=AMOUNTS)
    def submit(self, amount: int, subject_id: str = "") -> None:
        """Submit an expense and wait until its approvers are found."""
        request = pb.SubmitRequestRequest(
            request_id=new_id(),
            subject_type=pb.SUBJECT_TYPE_EXPENSE,
            title="差旅",
            amount=f"{amount}.00",
            subject_id=subject_id,
        )
        submitted = self.callers[SUBMITTER](self.desk.stub.SubmitRequest, request).approval
        until(lambda: self.look(submitted.approval_id).state != pb.APPROVAL_STATE_PREPARING, timeout_s=120)
        modelled = Modelled(
            submitted,
            list(self.plan),
            amount,
            self.repeats_pass,
            self.recall,
            [[] for _ in self.plan],
            [pb.STEP_STATE_WAITING for _ in self.plan],
        )
        modelled.advance()
        self.all.append(modelled)

    @precondition(lambda self: any(one.open_step >= 0 for one in self.all))
    @rule(amount=AMOUNTS, data=st.data())
    def submit_again(self, amount: int, data: st.DataObject) -> None:
        """Change what waits: its round is void."""
        modelled = self.some_open(data)
        self.submit(amount, modelled.approval.subject_id)
        modelled.end(pb.APPROVAL_STATE_VOIDED)

    @precondition(lambda self: self.all)
    @rule(who=PEOPLE, passed=st.booleans(), stale=st.booleans(), data=st.data())
    def decide(self, who: str, passed: bool, stale: bool, data: st.DataObject) -> None:
        """Decide, whether it is one's turn or not, on what was shown or on something else."""
        modelled = data.draw(st.sampled_from(self.all))
        index = max(0, modelled.open_step)
        request = self.desk.decision(modelled.approval, passed=passed, step=index)
        if stale:
            request.shown_hash = "0" * 64
        place = self.place(modelled, who)
        done = self.tried(lambda: self.callers[who](self.desk.stub.DecideApproval, request))
        assert done == (bool(place) and not stale)
        if done:
            modelled.decide(who, place, passed=passed)

    @precondition(lambda self: any(one.open_step >= 0 for one in self.all))
    @rule(taker=PEOPLE, data=st.data())
    def hand_on(self, taker: str, data: st.DataObject) -> None:
        """An approver puts somebody else in the own place."""
        modelled = self.some_open(data)
        index = modelled.open_step
        giver = data.draw(st.sampled_from(modelled.left(index)))
        request = pb.DelegateApprovalRequest(
            request_id=new_id(),
            approval_id=modelled.approval.approval_id,
            step_index=index,
            to_person_id=self.ids[taker],
        )
        seated = modelled.people(index)
        done = self.tried(lambda: self.callers[giver](self.desk.stub.DelegateApproval, request))
        assert done == (taker != SUBMITTER and taker not in seated)
        if done:
            named = modelled.plan[index]
            people = tuple(taker if name == giver else name for name in seated)
            modelled.plan[index] = Planned(
                people, pb.STEP_MODE_ANY if seated == ["admin"] else named.mode, False
            )
            # Whoever passed an earlier step may not be asked again.
            modelled.advance()

    @precondition(lambda self: len(self.deputies) < 2)
    @rule(principal=st.sampled_from(APPROVERS), who=st.sampled_from((*APPROVERS, "admin")))
    def name_deputy(self, principal: str, who: str) -> None:
        """Somebody decides in somebody else's place from now on."""
        end = Timestamp()
        end.GetCurrentTime()
        end.seconds += 3600
        request = pb.CreateDeputyRequest(request_id=new_id(), to_person_id=self.ids[who], end_time=end)
        made: list[pb.CreateDeputyResponse] = []
        done = self.tried(lambda: made.append(self.callers[principal](self.desk.stub.CreateDeputy, request)))
        assert done == (who != principal)
        if done:
            self.deputies.append((made[0].deputy.deputy_id, principal, who))

    @precondition(lambda self: self.deputies)
    @rule()
    def end_deputy(self) -> None:
        """The oldest deputy's time is over."""
        deputy_id, principal, _ = self.deputies.pop(0)
        request = pb.EndDeputyRequest(request_id=new_id(), deputy_id=deputy_id)
        self.callers[principal](self.desk.stub.EndDeputy, request)

    @precondition(lambda self: self.all)
    @rule(data=st.data())
    def withdraw(self, data: st.DataObject) -> None:
        """Take a submission back, where its flow lets one."""
        modelled = data.draw(st.sampled_from(self.all))
        request = pb.WithdrawApprovalRequest(request_id=new_id(), approval_id=modelled.approval.approval_id)
        touched = any(modelled.consents)
        allowed = modelled.open_step >= 0 and (
            modelled.recall == pb.RECALL_UNDECIDED or (modelled.recall == pb.RECALL_UNTOUCHED and not touched)
        )
        done = self.tried(lambda: self.callers[SUBMITTER](self.desk.stub.WithdrawApproval, request))
        assert done == allowed
        if done:
            modelled.end(pb.APPROVAL_STATE_WITHDRAWN)

    @invariant()
    def everything_is_as_modelled(self) -> None:
        """Compare each approval that the model has."""
        for modelled in self.all:
            seen = self.look(modelled.approval.approval_id)
            assert seen.state == modelled.state
            assert [step.state for step in seen.steps] == modelled.states
            assert seen.shown_hash == modelled.approval.shown_hash
            passed = [
                [
                    (self.names[row.decider_id], self.names[row.for_person_id or row.decider_id])
                    for row in rows
                ]
                for rows in ([row for row in step.decisions if row.passed] for step in seen.steps)
            ]
            assert [sorted(rows) for rows in passed] == [sorted(rows) for rows in modelled.consents]
            if modelled.open_step >= 0:
                asked = [self.names[one] for one in seen.steps[modelled.open_step].approver_ids]
                assert sorted(asked) == sorted(modelled.left(modelled.open_step))

    @invariant()
    def inboxes_hold_what_waits(self) -> None:
        """Nobody's inbox lacks, or has too much of, what the person may decide."""
        for name, caller in self.callers.items():
            ours = {one.approval.approval_id: one for one in self.all}
            waiting = {item.approval_id for item in self.desk.listed(caller) if item.approval_id in ours}
            assert waiting == {key for key, one in ours.items() if self.place(one, name)}

    def teardown(self) -> None:
        """Leave no deputy to the next run."""
        while self.deputies:
            self.end_deputy()

    def place(self, modelled: Modelled, who: str) -> str:
        """Return in whose place somebody may decide the open step, "" in nobody's."""
        if modelled.open_step < 0:
            return ""
        asked = modelled.left(modelled.open_step)
        principals = [principal for _, principal, deputy in self.deputies if deputy == who]
        candidates = [who] if who == SUBMITTER else [who, *principals]
        return next((name for name in candidates if name in asked), "")

    def some_open(self, data: st.DataObject) -> Modelled:
        """Return an approval that waits."""
        return data.draw(st.sampled_from([one for one in self.all if one.open_step >= 0]))

    def look(self, approval_id: str) -> pb.Approval:
        """Return an approval as the administrator sees it."""
        request = pb.GetApprovalRequest(approval_id=approval_id)
        answer: pb.GetApprovalResponse = self.callers["admin"](self.desk.stub.GetApproval, request)
        return answer.approval

    @staticmethod
    def tried(work: Callable[[], object]) -> bool:
        """Return whether something was done rather than refused."""
        try:
            work()
        except AppError:
            return False
        return True


@pytest.mark.parametrize("desk", ["main"], indirect=True)
def test_whatever_people_do_an_approval_is_as_the_model_says(desk: Desk) -> None:
    """F171, F175-F178, O1."""
    ids = {
        "wang": desk.company.add("wang", "sales_manager"),
        "wu": desk.company.add("wu", "sales_manager"),
        "zhou": desk.company.add("zhou", "director"),
        "li": desk.company.add("li", "sales_rep"),
        "admin": "",
    }
    me = desk.company.admin(desk.company.stub.GetMe, identity_pb2.GetMeRequest())
    ids["admin"] = me.person.person_id
    run_machine(
        lambda: Machine(desk, ids),  # type: ignore[arg-type]  # it takes whatever makes a machine, as its own code says
        settings=settings(
            max_examples=6,
            stateful_step_count=12,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
