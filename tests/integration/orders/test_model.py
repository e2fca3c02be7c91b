"""Orders, contracts and money against a model: any sequence of verbs, decisions and repeats (Hypothesis).

The served API, and the handlers as the events process runs them, each event delivered once or twice.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

import pytest
from crm.orders.v1 import orders_pb2 as pb
from google.protobuf.message import Message
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    initialize,
    invariant,
    rule,
    run_state_machine_as_test,
)

from services.chassis.errors import AppError
from services.chassis.ids import new_id
from services.orders.domain.contracts import TRANSITIONS as CONTRACT_WAYS
from services.orders.domain.contracts import USABLE, ContractAction, ContractState
from services.orders.domain.states import TRANSITIONS as ORDER_WAYS
from services.orders.domain.states import OrderAction, OrderState
from services.orders.usecases.cashier import PAYABLE
from tests.integration.orders.conftest import Shop
from tests.integration.orders.test_papers import PDF, RIGHTS, Desk, line

FEW = settings(
    max_examples=5,
    stateful_step_count=20,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
DECISIONS = {"approve": "passed", "reject": "rejected", "withdraw": "withdrawn"}


@dataclass
class Known:
    """An order as it should be."""

    state: OrderState = OrderState.GENERATED
    amount: Decimal = Decimal("12000.00")
    lines: bool = False
    proof: bool = False
    contract_id: str = ""


@dataclass
class KnownContract:
    """A contract as it should be."""

    state: ContractState = ContractState.DRAFT
    version: int = 1
    received: Decimal = field(default=Decimal("0.00"))


def reason_of(call: Callable[[], object]) -> str:
    """Call; return why it was refused, "" when it was not."""
    try:
        call()
    except AppError as refused:
        return refused.reason
    return ""


class Machine(RuleBasedStateMachine):
    """The model beside the system."""

    orders: Bundle[str] = Bundle("orders")
    contracts: Bundle[str] = Bundle("contracts")
    payments: Bundle[str] = Bundle("payments")

    def __init__(self, shop: Shop) -> None:
        super().__init__()
        self.shop = shop
        boss = shop.person("orders.view", "products.manage", "finance.manage", "settings.manage", scope="all")
        # Whoever works in this run owns no order of the runs before.
        self.desk = Desk(shop, shop.person(*RIGHTS, "finance.manage"), boss)
        self.known: dict[str, Known] = {}
        self.known_contracts: dict[str, KnownContract] = {}
        # Amount, and whether it is decided.
        self.known_payments: dict[str, tuple[Decimal, bool]] = {}
        self.balance = Decimal("3730.00")

    @initialize()
    def open_shop(self) -> None:
        """An account and a product of this run."""
        request = pb.CreateAccountRequest(request_id=new_id(), name=f"户 {new_id()}", balance="3730")
        self.account = self.desk.boss.call(self.shop.stub.CreateAccount, request).account.account_id
        self.product = self.desk.product(code=f"P-{new_id()}", price="199.99")

    @rule(target=orders, twice=st.booleans())
    def win(self, twice: bool) -> str:
        """F50: a won opportunity makes one order, however often it is told."""
        event = self.shop.opportunity_won(self.desk.rep)
        for _ in range(2 if twice else 1):
            self.shop.deliver(event)
        listed = self.desk.rep.call(self.shop.stub.ListOrders, pb.ListOrdersRequest()).orders
        (order,) = (each for each in listed if each.opportunity_id == event.data["opportunityId"])
        self.known[order.order_id] = Known()
        return str(order.order_id)

    @rule(order_id=orders, quantity=st.integers(1, 30), price=st.sampled_from(["", "0.01", "33.33"]))
    def fill(self, order_id: str, quantity: int, price: str) -> None:
        """F48, F83: the amount is the sum of the lines."""
        known, order = self.known[order_id], self._order(order_id)
        request = self.desk.update(
            order, line(self.product, str(quantity), price), contract_id=known.contract_id
        )
        if self._refused(
            known.state not in ORDER_WAYS[OrderAction.UPDATE], self.shop.stub.UpdateOrder, request
        ):
            return
        known.lines = True
        known.amount = (Decimal(price or "199.99") * quantity).quantize(Decimal("0.01"))

    @rule(order_id=orders)
    def prove(self, order_id: str) -> None:
        """A payment proof is attached while the order is not submitted."""
        known = self.known[order_id]
        request = pb.AddAttachmentRequest(
            request_id=new_id(),
            kind=pb.ATTACHMENT_KIND_PAYMENT_PROOF,
            subject_id=order_id,
            name="回单.pdf",
            content=PDF,
        )
        if not self._refused(
            known.state not in ORDER_WAYS[OrderAction.UPDATE], self.shop.stub.AddAttachment, request
        ):
            known.proof = True

    @rule(target=contracts, order_id=orders)
    def draft(self, order_id: str) -> str:
        """A contract is drafted for an order, which is put under it."""
        known = self.known[order_id]
        request = pb.CreateContractRequest(
            request_id=new_id(),
            title="年度框架",
            order_id=order_id,
            start_date="2026-01-01",
            end_date="2036-12-31",
        )
        if self._refused(
            known.state not in ORDER_WAYS[OrderAction.UPDATE], self.shop.stub.CreateContract, request
        ):
            return ""
        known.contract_id = self._order(order_id).contract_id
        self.known_contracts[known.contract_id] = KnownContract()
        return known.contract_id

    @rule(
        order_id=orders, action=st.sampled_from([OrderAction.ACCEPT, OrderAction.SUBMIT, OrderAction.CLOSE])
    )
    def move(self, order_id: str, action: OrderAction) -> None:
        """F47, F51: the table's ways, and submitted only with what it needs."""
        known = self.known[order_id]
        ways = ORDER_WAYS[action]
        order = pb.Order(order_id=order_id)
        verbs: dict[OrderAction, Callable[[], object]] = {
            OrderAction.ACCEPT: lambda: self.shop.accept(self.desk.rep, order),
            OrderAction.SUBMIT: lambda: self.shop.submit(self.desk.rep, order),
            OrderAction.CLOSE: lambda: self.shop.close(self.desk.rep, order),
        }
        expected = "" if known.state in ways else "ORDER_STATE"
        if action is OrderAction.SUBMIT and not expected:
            contract = self.known_contracts.get(known.contract_id)
            complete = known.lines and known.proof and contract and contract.state in USABLE
            expected = "" if complete else "ORDER_INCOMPLETE"
        assert reason_of(verbs[action]) == expected
        if expected:
            return
        known.state = ways[known.state]

    @rule(order_id=orders, decision=st.sampled_from(sorted(DECISIONS)), twice=st.booleans())
    def decide(self, order_id: str, decision: str, twice: bool) -> None:
        """Approvals' word counts once, and only while the order waits for it."""
        known = self.known[order_id]
        for _ in range(2 if twice else 1):
            self.desk.decided(DECISIONS[decision], "order", order_id)
        known.state = ORDER_WAYS[OrderAction(decision)].get(known.state, known.state)

    @rule(contract_id=contracts, action=st.sampled_from(["update", "submit", "terminate"]))
    def change_contract(self, contract_id: str, action: str) -> None:
        """F45, F46: the table's ways; each change is a version."""
        if not contract_id:
            return
        known, stub = self.known_contracts[contract_id], self.shop.stub
        given = {"request_id": new_id(), "contract_id": contract_id}
        method, request = {
            "update": (
                stub.UpdateContract,
                pb.UpdateContractRequest(
                    **given,  # type: ignore[arg-type]  # texts only
                    version=known.version,
                    title="年度框架",
                    amount="5000",
                    start_date="2026-01-01",
                    end_date="2036-12-31",
                ),
            ),
            "submit": (stub.SubmitContract, pb.SubmitContractRequest(**given)),
            "terminate": (stub.TerminateContract, pb.TerminateContractRequest(**given, reason="取消")),
        }[action]
        ways = CONTRACT_WAYS[ContractAction(action)]
        if not self._refused(known.state not in ways, method, request):
            known.state = ways[known.state]
            known.version += 1

    @rule(contract_id=contracts, decision=st.sampled_from(sorted(DECISIONS)), twice=st.booleans())
    def decide_contract(self, contract_id: str, decision: str, twice: bool) -> None:
        """The same of a contract (F180)."""
        if not contract_id:
            return
        known = self.known_contracts[contract_id]
        for _ in range(2 if twice else 1):
            self.desk.decided(DECISIONS[decision], "contract", contract_id)
        ways = CONTRACT_WAYS[ContractAction(decision)]
        if known.state in ways:
            known.state = ways[known.state]
            known.version += 1

    @rule(contract_id=contracts, cents=st.integers(1, 10**7))
    def receive(self, contract_id: str, cents: int) -> None:
        """F87: a receipt is in the journal at once."""
        if not contract_id:
            return
        known, amount = self.known_contracts[contract_id], Decimal(cents) / 100
        request = pb.RecordReceiptRequest(
            request_id=new_id(), contract_id=contract_id, amount=f"{amount:.2f}", account_id=self.account
        )
        if not self._refused(known.state not in PAYABLE, self.shop.stub.RecordReceipt, request):
            known.received += amount
            self.balance += amount

    @rule(target=payments, contract_id=contracts, cents=st.integers(1, 10**5))
    def ask_payment(self, contract_id: str, cents: int) -> str:
        """A payment waits for its approval."""
        if not contract_id:
            return ""
        known, amount = self.known_contracts[contract_id], Decimal(cents) / 100
        request = pb.SubmitPaymentRequest(
            request_id=new_id(), contract_id=contract_id, amount=f"{amount:.2f}", account_id=self.account
        )
        if self._refused(known.state not in PAYABLE, self.shop.stub.SubmitPayment, request):
            return ""
        voucher = next(
            each
            for each in self.desk.seen(pb.Contract(contract_id=contract_id)).vouchers
            if each.kind == pb.MONEY_KIND_PAYMENT and each.voucher_id not in self.known_payments
        )
        self.known_payments[voucher.voucher_id] = (amount, False)
        return str(voucher.voucher_id)

    @rule(voucher_id=payments, passed=st.booleans(), twice=st.booleans())
    def decide_payment(self, voucher_id: str, passed: bool, twice: bool) -> None:
        """F182, F183: booked once, when it passed, however often it is told."""
        if not voucher_id:
            return
        amount, decided = self.known_payments[voucher_id]
        for _ in range(2 if twice else 1):
            self.desk.decided("passed" if passed else "rejected", "payment", voucher_id)
        if not decided and passed:
            self.balance -= amount
        self.known_payments[voucher_id] = (amount, True)

    @invariant()
    def orders_are_as_the_model_says(self) -> None:
        """F47 to F49: state, amount and sums; numbers are unique."""
        listed = self.desk.rep.call(self.shop.stub.ListOrders, pb.ListOrdersRequest(page_size=200)).orders
        found = {
            each.order_id: (pb.OrderState.Name(each.state), Decimal(each.amount), each.contract_id)
            for each in listed
        }
        assert found == {
            order_id: (f"ORDER_STATE_{known.state.name}", known.amount, known.contract_id)
            for order_id, known in self.known.items()
        }
        assert len({each.number for each in listed}) == len(listed)
        rows = self.desk.rep.call(self.shop.stub.SummarizeOrders, pb.SummarizeOrdersRequest()).rows
        assert sum(Decimal(row.amount) for row in rows) == sum(each.amount for each in self.known.values())

    @invariant()
    def money_adds_up(self) -> None:
        """F87, F183: the balance is what the journal says, row by row, and what the model says."""
        request = pb.ListJournalRequest(account_id=self.account, page_size=200)
        entries = list(reversed(self.desk.boss.call(self.shop.stub.ListJournal, request).entries))
        running = Decimal(0)
        for entry in entries:
            running += Decimal(entry.amount)
            assert Decimal(entry.balance) == running
        assert running == self.balance
        for contract_id, known in self.known_contracts.items():
            seen = self.desk.seen(pb.Contract(contract_id=contract_id))
            assert (Decimal(seen.received), seen.contract.version) == (known.received, known.version)
            assert [each.contract.version for each in seen.versions] == list(range(known.version, 0, -1))

    def _order(self, order_id: str) -> pb.Order:
        return self.shop.get(self.desk.rep, pb.Order(order_id=order_id)).order

    def _refused(self, expected: bool, method: Any, request: Message) -> bool:
        """Call; return whether it was refused, which it must be exactly when a state does not allow it."""
        reason = reason_of(lambda: self.desk.rep.call(method, request))
        assert reason in (("ORDER_STATE", "CONTRACT_STATE") if expected else ("",))
        return expected


@pytest.mark.timeout(400)
def test_orders_and_money_follow_their_model_through_any_sequence(shop: Shop) -> None:
    """F45 to F51, F83, F87, F182, F183."""
    shop.require_papers()

    class Here(Machine):
        def __init__(self) -> None:
            super().__init__(shop)

    run_state_machine_as_test(Here, settings=FEW)
