"""What an order needs before it is submitted, contracts with their versions, and the cashier's journal."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
from crm.orders.v1 import orders_pb2 as pb
from sqlalchemy import func, select
from temporalio import activity
from temporalio.client import WorkflowHandle
from temporalio.worker import Worker

from services.chassis.clock import utc_now
from services.chassis.db import Store
from services.chassis.errors import AppError, Conflict, InvalidInput
from services.chassis.ids import new_id
from services.kernel.china_time import CHINA
from services.orders.events import handlers
from services.orders.store.tables import Blob, JournalEntry
from services.orders.usecases.contracts import expire_contracts
from services.orders.workflows.activities import ExpiryActivities
from services.orders.workflows.contracts import (
    EXPIRE,
    EXPIRY_WORKFLOW,
    QUEUE,
    ExpireAt,
    Expiry,
    expiry_workflow_id,
)
from services.orders.workflows.workflow import ExpireContracts
from tests.integration.orders.conftest import Clock, Owner, Shop
from tests.support.histories import record
from tests.support.running import event_of, take
from tests.support.time_skipping import soon, time_skipping

PDF = b"%PDF-1.7 a proof"
RIGHTS = ("orders.view", "orders.handle", "attachments.download")


@dataclass
class Desk:
    """A tenant that wants papers, with a rep and somebody who manages products and money."""

    shop: Shop
    rep: Owner
    boss: Owner

    def product(self, code: str = "KT-35", price: str = "2500", **fields: str) -> pb.Product:
        """Add a product."""
        product = pb.Product(code=code, name="空调", unit="台", price=price, active=True)
        product.fields.extend(pb.FieldValue(key=key, value=value) for key, value in fields.items())
        request = pb.CreateProductRequest(request_id=new_id(), product=product)
        answer: pb.CreateProductResponse = self.boss.call(self.shop.stub.CreateProduct, request)
        return answer.product

    def update(self, order: pb.Order, *lines: pb.OrderLine, contract_id: str = "") -> pb.UpdateOrderRequest:
        """Return the request that fills an order in."""
        return pb.UpdateOrderRequest(
            request_id=new_id(),
            order_id=order.order_id,
            version=order.version,
            lines=lines,
            contract_id=contract_id,
        )

    def filled(self, order: pb.Order, *lines: pb.OrderLine, contract_id: str = "") -> pb.Order:
        """Fill an order in."""
        request = self.update(order, *lines, contract_id=contract_id)
        answer: pb.UpdateOrderResponse = self.rep.call(self.shop.stub.UpdateOrder, request)
        return answer.order

    def attach(
        self,
        subject_id: str,
        kind: pb.AttachmentKind.ValueType = pb.ATTACHMENT_KIND_PAYMENT_PROOF,
        name: str = "回单.pdf",
        content: bytes = PDF,
    ) -> pb.Attachment:
        """Attach a file."""
        request = pb.AddAttachmentRequest(
            request_id=new_id(), kind=kind, subject_id=subject_id, name=name, content=content
        )
        answer: pb.AddAttachmentResponse = self.rep.call(self.shop.stub.AddAttachment, request)
        return answer.attachment

    def contract(self, order: pb.Order, end: str = "2027-11-21", amount: str = "") -> pb.Contract:
        """Draft a contract."""
        request = pb.CreateContractRequest(
            request_id=new_id(),
            title="年度框架",
            order_id=order.order_id,
            amount=amount,
            start_date="2026-11-22",
            end_date=end,
        )
        answer: pb.CreateContractResponse = self.rep.call(self.shop.stub.CreateContract, request)
        return answer.contract

    def seen(self, contract: pb.Contract) -> pb.GetContractResponse:
        """Return a contract with all that belongs to it."""
        request = pb.GetContractRequest(contract_id=contract.contract_id)
        answer: pb.GetContractResponse = self.rep.call(self.shop.stub.GetContract, request)
        return answer

    def submitted(self, contract: pb.Contract) -> pb.Contract:
        """Send a contract to its reviewers."""
        request = pb.SubmitContractRequest(request_id=new_id(), contract_id=contract.contract_id)
        answer: pb.SubmitContractResponse = self.rep.call(self.shop.stub.SubmitContract, request)
        return answer.contract

    def decided(self, kind: str, subject_type: str, subject_id: str) -> None:
        """Let approvals decide."""
        data = {
            "approvalId": new_id(),
            "subjectType": subject_type,
            "subjectId": subject_id,
            "submitterId": self.rep.person_id,
            "deciderId": new_id(),
            "comment": "同意",
        }
        self.shop.deliver(event_of(self.shop.tenant, "approvals", f"approval_{kind}", data))

    def effective(self, order: pb.Order, end: str = "2027-11-21", amount: str = "") -> pb.Contract:
        """Return a contract in force."""
        contract = self.submitted(self.contract(order, end, amount))
        self.decided("passed", "contract", contract.contract_id)
        return self.seen(contract).contract

    def account(self, balance: str) -> pb.Account:
        """Add an account."""
        request = pb.CreateAccountRequest(request_id=new_id(), name="基本户", balance=balance)
        answer: pb.CreateAccountResponse = self.boss.call(self.shop.stub.CreateAccount, request)
        return answer.account

    def balance(self) -> str:
        """Return the balance of the one account."""
        (account,) = self.boss.call(self.shop.stub.ListAccounts, pb.ListAccountsRequest()).accounts
        return str(account.balance)


@pytest.fixture
def desk(shop: Shop) -> Desk:
    """A tenant with the default settings."""
    shop.require_papers()
    boss = shop.person("orders.view", "products.manage", "finance.manage", "settings.manage", scope="all")
    return Desk(shop, shop.person(*RIGHTS), boss)


def line(product: pb.Product, quantity: str = "1", unit_price: str = "") -> pb.OrderLine:
    """Return a line as typed."""
    return pb.OrderLine(product_id=product.product_id, quantity=quantity, unit_price=unit_price)


def test_an_order_is_submitted_only_with_product_contract_and_payment_proof(desk: Desk) -> None:
    """F51: each missing one is named, and nothing is told to approvals before."""
    order = desk.shop.generate(desk.rep)

    def missing(now: pb.Order) -> str:
        request = pb.SubmitOrderRequest(request_id=new_id(), order_id=now.order_id)
        refused = desk.rep.call.refused(desk.shop.stub.SubmitOrder, request)
        assert refused.reason == "ORDER_INCOMPLETE"
        return refused.metadata["missing"]

    assert missing(order) == "product,contract,payment_proof"
    order = desk.filled(order, line(desk.product()))
    assert missing(order) == "contract,payment_proof"
    contract = desk.contract(order)
    assert missing(order) == "payment_proof"
    desk.attach(contract.contract_id, pb.ATTACHMENT_KIND_CONTRACT)
    assert missing(order) == "payment_proof"
    desk.attach(order.order_id)
    assert "order_submitted" not in [told["type"] for told in desk.shop.told()]
    submitted = desk.shop.submit(desk.rep, order)
    assert (submitted.state, submitted.contract_id) == (pb.ORDER_STATE_SUBMITTED, contract.contract_id)
    (told,) = (told for told in desk.shop.told() if told["type"] == "order_submitted")
    assert told["data"]["amount"] == "2500.00"
    assert {"name": "line 1", "value": "空调 × 1 × 2500.00"} in told["data"]["shown"]
    # While it is submitted it stays what its approvers see.
    again = desk.update(submitted, line(desk.product("KT-50")))
    assert desk.rep.call.refused(desk.shop.stub.UpdateOrder, again).reason == "ORDER_STATE"
    with pytest.raises(AppError, match="ORDER_STATE"):
        desk.attach(order.order_id)


def test_lines_keep_what_the_product_was_and_add_up(desk: Desk) -> None:
    """F48, F83."""
    order = desk.shop.generate(desk.rep)
    product = desk.product(price="1866.67")
    filled = desk.filled(order, line(product, "3"), line(product, "0.5", "99.99"))
    assert [(row.quantity, row.unit_price, row.amount) for row in filled.lines] == [
        ("3", "1866.67", "5600.01"),
        ("0.5", "99.99", "50.00"),
    ]
    assert filled.amount == "5650.01"
    changed = pb.Product(
        code="KT-36", name="新名", unit="套", price="1", active=False, version=product.version
    )
    request = pb.UpdateProductRequest(request_id=new_id(), product_id=product.product_id, product=changed)
    desk.boss.call(desk.shop.stub.UpdateProduct, request)
    request.request_id = new_id()
    assert isinstance(desk.boss.call.refused(desk.shop.stub.UpdateProduct, request), Conflict)
    seen = desk.shop.get(desk.rep, filled)
    assert [(row.product_code, row.product_name, row.unit) for row in seen.order.lines] == [
        ("KT-35", "空调", "台")
    ] * 2
    assert seen.changes[0].comment == "金额 12000.00 → 5650.01；2 行"
    gone = desk.rep.call.refused(desk.shop.stub.UpdateOrder, desk.update(filled, line(product)))
    assert (gone.reason, gone.metadata["field"]) == ("PRODUCT_UNKNOWN", "lines[0].product_id")
    stale = desk.rep.call.refused(desk.shop.stub.UpdateOrder, desk.update(order, line(product)))
    assert stale.reason == "ORDER_CHANGED"


def test_an_order_keeps_the_address_that_was_picked(desk: Desk) -> None:
    """F41: also where the customer's own addresses change later; who says nothing of it changes nothing."""
    order, bought = desk.shop.generate(desk.rep), line(desk.product())
    request = desk.update(order, bought)
    request.ship_to = " 上海市浦东新区张江路1号 王小明 "
    kept: pb.Order = desk.rep.call(desk.shop.stub.UpdateOrder, request).order
    assert kept.ship_to == "上海市浦东新区张江路1号 王小明"
    kept = desk.filled(kept, bought)
    assert kept.ship_to == "上海市浦东新区张江路1号 王小明"
    endless = desk.update(kept, bought)
    endless.ship_to = "长" * 501
    refused = desk.rep.call.refused(desk.shop.stub.UpdateOrder, endless)
    assert (refused.reason, refused.metadata["field"]) == ("TEXT_TOO_LONG", "ship_to")
    nowhere = desk.update(kept, bought)
    nowhere.ship_to = ""
    assert desk.rep.call(desk.shop.stub.UpdateOrder, nowhere).order.ship_to == ""


def test_an_order_takes_no_contract_of_another_customer(desk: Desk) -> None:
    order, other = desk.shop.generate(desk.rep), desk.shop.generate(desk.rep)
    foreign, product = desk.contract(other), desk.product()
    refused = desk.rep.call.refused(
        desk.shop.stub.UpdateOrder, desk.update(order, line(product), contract_id=foreign.contract_id)
    )
    assert refused.reason == "CONTRACT_OTHER_CUSTOMER"


def test_products_have_the_tenants_own_fields(desk: Desk) -> None:
    fields = [
        pb.ProductField(key="power", name="功率", type="number", required=True),
        pb.ProductField(key="colour", name="颜色", type="choice", choices=["白", "黑"]),
    ]
    stub = desk.shop.stub
    request = pb.UpdateProductFieldsRequest(request_id=new_id(), fields=fields)
    assert list(desk.boss.call(stub.UpdateProductFields, request).fields) == fields
    product = desk.product("A", power="1.50", colour="白")
    assert {field.key: field.value for field in product.fields} == {"power": "1.5", "colour": "白"}
    for wrong, field in (({"colour": "白"}, "power"), ({"power": "1", "colour": "红"}, "colour")):
        with pytest.raises(InvalidInput) as refused:
            desk.product("B", **wrong)
        assert refused.value.field == f"product.fields.{field}"
    with pytest.raises(AppError, match="PRODUCT_EXISTS"):
        desk.product("A", power="1")
    fixed = pb.UpdateProductFieldsRequest(
        request_id=new_id(), fields=[pb.ProductField(key="power", name="功率", type="text")]
    )
    assert desk.boss.call.refused(stub.UpdateProductFields, fixed).reason == "FIELD_TYPE_FIXED"
    listed = desk.rep.call(stub.ListProducts, pb.ListProductsRequest(query="a")).products
    assert [item.code for item in listed] == ["A"]


def test_a_file_is_kept_once_by_its_digest_and_shown_to_who_sees_the_order(desk: Desk, store: Store) -> None:
    """F86."""
    order = desk.shop.generate(desk.rep)
    first, second = desk.attach(order.order_id), desk.attach(order.order_id, name="副本.pdf")
    assert first.digest == second.digest
    with store.transaction(desk.shop.tenant) as tx:
        blobs = tx.session.scalar(select(func.count()).where(Blob.tenant_id == desk.shop.tenant.id))
    assert blobs == 1
    request = pb.GetAttachmentRequest(attachment_id=first.attachment_id)
    got = desk.rep.call(desk.shop.stub.GetAttachment, request)
    assert (got.content, got.attachment.content_type) == (PDF, "application/pdf")
    stranger = desk.shop.person(*RIGHTS)
    assert stranger.call.refused(desk.shop.stub.GetAttachment, request).reason == "ORDER_NOT_FOUND"
    mute = desk.shop.person("orders.view", person_id=desk.rep.person_id)
    assert mute.call.refused(desk.shop.stub.GetAttachment, request).reason == "RIGHT_MISSING"
    with pytest.raises(InvalidInput, match="FILE_TYPE_REFUSED"):
        desk.attach(order.order_id, content=b"MZ")


def test_a_contract_is_reviewed_before_it_takes_effect_and_each_change_is_a_version(desk: Desk) -> None:
    """F46, F180."""
    contract = desk.contract(desk.shop.generate(desk.rep))
    assert (contract.amount, contract.state, contract.number[-5:]) == (
        "12000.00",
        pb.CONTRACT_STATE_DRAFT,
        "-0001",
    )
    submitted = desk.submitted(contract)
    assert list(submitted.allowed_actions) == []
    (told,) = (told for told in desk.shop.told() if told["type"] == "contract_submitted")
    assert told["data"]["number"] == contract.number
    desk.decided("rejected", "contract", contract.contract_id)
    change = pb.UpdateContractRequest(
        request_id=new_id(),
        contract_id=contract.contract_id,
        version=desk.seen(contract).contract.version,
        title="年度框架二",
        amount="15000",
        start_date="2026-12-01",
        end_date="2027-11-30",
        comment="客户要求",
    )
    changed = desk.rep.call(desk.shop.stub.UpdateContract, change).contract
    assert (changed.state, changed.amount) == (pb.CONTRACT_STATE_DRAFT, "15000.00")
    change.request_id = new_id()
    assert isinstance(desk.rep.call.refused(desk.shop.stub.UpdateContract, change), Conflict)
    desk.submitted(contract)
    desk.decided("passed", "contract", contract.contract_id)
    desk.decided("passed", "contract", contract.contract_id)
    seen = desk.seen(contract)
    assert seen.contract.state == pb.CONTRACT_STATE_EFFECTIVE
    assert [(row.contract.version, row.contract.title) for row in seen.versions] == [
        (6, "年度框架二"),
        (5, "年度框架二"),
        (4, "年度框架二"),
        (3, "年度框架"),
        (2, "年度框架"),
        (1, "年度框架"),
    ]
    assert [row.comment for row in seen.versions][2] == "客户要求"
    # In force, a change is reviewed again.
    change.request_id, change.version = new_id(), 6
    assert desk.rep.call(desk.shop.stub.UpdateContract, change).contract.state == pb.CONTRACT_STATE_DRAFT


def test_a_contract_expires_by_itself_when_its_last_day_is_over_in_china(
    desk: Desk, store: Store, clock: Clock
) -> None:
    """F45."""
    contract = desk.effective(desk.shop.generate(desk.rep), end="2026-12-31")
    # 15:59 UTC is the last minute of the day in China.
    clock.set_to = datetime(2026, 12, 31, 15, 59, tzinfo=UTC)
    for state in (pb.CONTRACT_STATE_EFFECTIVE, pb.CONTRACT_STATE_EXPIRED, pb.CONTRACT_STATE_EXPIRED):
        with store.transaction(desk.shop.tenant) as tx:
            assert not expire_contracts(tx, 10)
        assert desk.seen(contract).contract.state == state
        clock.set_to += timedelta(minutes=1)
    last = desk.seen(contract).versions[0]
    assert (last.contract.state, last.actor_id) == (pb.CONTRACT_STATE_EXPIRED, "")


async def test_the_workflow_expires_a_contract_once_through_a_worker_that_dies(
    desk: Desk, store: Store, clock: Clock
) -> None:
    """F45: killed before its first look, and again when the contract has expired and nobody was told of it yet."""
    last_day = utc_now().astimezone(CHINA).date() + timedelta(days=1)
    contract = desk.effective(desk.shop.generate(desk.rep), end=last_day.isoformat())
    expire = ExpiryActivities(store).expire
    places = ["before", "after"]

    def expired() -> bool:
        return desk.seen(contract).contract.state == pb.CONTRACT_STATE_EXPIRED

    @activity.defn(name=EXPIRE)
    def mortal(at: ExpireAt) -> bool:
        if places[0] == "before":
            places.pop(0)
            raise RuntimeError("died before it")
        more = expire(at)
        if places == ["after"] and expired():
            places[0] = "done"
            raise RuntimeError("died after it")
        return more

    async with time_skipping() as environment:
        with ThreadPoolExecutor(2) as threads:
            async with Worker(
                environment.client,
                task_queue=QUEUE,
                workflows=[ExpireContracts],
                activities=[mortal],
                activity_executor=threads,
            ):
                handle: WorkflowHandle[object, object] = await environment.client.start_workflow(
                    EXPIRY_WORKFLOW,
                    Expiry(desk.shop.tenant),
                    id=expiry_workflow_id(desk.shop.tenant.id),
                    task_queue=QUEUE,
                )
                await environment.sleep(timedelta(hours=2))
                await record("orders", "expired", handle)
                await environment.sleep(timedelta(days=2))
                await soon(expired)
                await environment.sleep(timedelta(hours=1))
    assert places == ["done"]
    states = [version.contract.state for version in desk.seen(contract).versions]
    assert states.count(pb.CONTRACT_STATE_EXPIRED) == 1


def test_contract_numbers_are_unique_under_concurrency(desk: Desk) -> None:
    orders = [desk.shop.generate(desk.rep) for _ in range(8)]
    with ThreadPoolExecutor(8) as threads:
        numbers = [contract.number for contract in threads.map(desk.contract, orders)]
    assert len(set(numbers)) == 8
    request = pb.ListContractsRequest(page_size=5)
    first = desk.rep.call(desk.shop.stub.ListContracts, request)
    request.page_token = first.next_page_token
    rest = desk.rep.call(desk.shop.stub.ListContracts, request).contracts
    assert {item.number for item in (*first.contracts, *rest)} == set(numbers)


def test_an_approved_payment_is_in_the_journal_once_and_in_the_balance(desk: Desk, store: Store) -> None:
    """F182, F183: 3730 - 500 = 3230, however often and by however many the approval is told."""
    contract = desk.effective(desk.shop.generate(desk.rep))
    account = desk.account("3730")
    request = pb.SubmitPaymentRequest(
        request_id=new_id(),
        contract_id=contract.contract_id,
        amount="500",
        account_id=account.account_id,
        note="差旅",
    )
    voucher = desk.rep.call(desk.shop.stub.SubmitPayment, request).voucher
    assert (voucher.state, desk.balance()) == (pb.VOUCHER_STATE_SUBMITTED, "3730.00")
    (told,) = (told for told in desk.shop.told() if told["type"] == "payment_submitted")
    assert told["data"]["voucherId"] == voucher.voucher_id
    with ThreadPoolExecutor(4) as threads:
        list(threads.map(lambda _: desk.decided("passed", "payment", voucher.voucher_id), range(4)))
    assert desk.balance() == "3230.00"
    listed = pb.ListJournalRequest(account_id=account.account_id)
    entries = desk.boss.call(desk.shop.stub.ListJournal, listed).entries
    assert [(row.amount, row.balance, row.note) for row in entries] == [
        ("-500.00", "3230.00", "差旅"),
        ("3730.00", "3730.00", "期初余额"),
    ]
    desk.decided("rejected", "payment", voucher.voucher_id)
    seen = desk.seen(contract)
    assert (seen.vouchers[0].state, seen.paid) == (pb.VOUCHER_STATE_BOOKED, "500.00")
    with store.transaction(desk.shop.tenant) as tx:
        assert tx.session.scalar(
            select(func.sum(JournalEntry.amount)).where(JournalEntry.tenant_id == desk.shop.tenant.id)
        ) == Decimal("3230.00")


def test_receipts_at_the_same_time_all_count_and_the_contracts_balance_follows(desk: Desk) -> None:
    """F87."""
    contract = desk.effective(desk.shop.generate(desk.rep), amount="1000")
    account = desk.account("0")

    def receive(_: int) -> None:
        request = pb.RecordReceiptRequest(
            request_id=new_id(),
            contract_id=contract.contract_id,
            amount="100.10",
            account_id=account.account_id,
        )
        desk.boss.call(desk.shop.stub.RecordReceipt, request)

    with ThreadPoolExecutor(8) as threads:
        list(threads.map(receive, range(8)))
    seen = desk.seen(contract)
    assert (desk.balance(), seen.received, seen.balance) == ("800.80", "800.80", "199.20")
    listed = pb.ListJournalRequest(account_id=account.account_id, page_size=5)
    first = desk.boss.call(desk.shop.stub.ListJournal, listed)
    listed.page_token = first.next_page_token
    rest = desk.boss.call(desk.shop.stub.ListJournal, listed).entries
    balances = [Decimal(row.balance) for row in (*first.entries, *rest)]
    assert balances == [Decimal("100.10") * n for n in range(8, 0, -1)]
    draft = desk.contract(desk.shop.generate(desk.rep))
    early = pb.RecordReceiptRequest(
        request_id=new_id(), contract_id=draft.contract_id, amount="1", account_id=account.account_id
    )
    assert desk.boss.call.refused(desk.shop.stub.RecordReceipt, early).reason == "CONTRACT_STATE"


def test_orders_are_counted_and_summed_by_category(desk: Desk) -> None:
    """F49."""
    product = desk.product(price="100")
    orders = [desk.shop.generate(desk.rep, "50") for _ in range(3)]
    desk.filled(orders[0], line(product, "2"), line(product))
    desk.shop.accept(desk.rep, orders[1])

    def rows(category: pb.OrderCategory.ValueType) -> list[tuple[str, int, str]]:
        request = pb.SummarizeOrdersRequest(category=category)
        answer = desk.rep.call(desk.shop.stub.SummarizeOrders, request)
        return [(row.name or row.key, row.count, row.amount) for row in answer.rows]

    assert rows(pb.ORDER_CATEGORY_STATE) == [
        ("ORDER_STATE_GENERATED", 2, "350.00"),
        ("ORDER_STATE_ACCEPTED", 1, "50.00"),
    ]
    assert rows(pb.ORDER_CATEGORY_OWNER) == [(desk.rep.person_id, 3, "400.00")]
    assert rows(pb.ORDER_CATEGORY_PRODUCT) == [("空调", 1, "300.00")]
    ((month, count, amount),) = rows(pb.ORDER_CATEGORY_MONTH)
    assert (len(month), count, amount) == (7, 3, "400.00")


def test_an_order_told_of_late_is_seen_in_its_owners_department_of_now(shop: Shop) -> None:
    """F249: the move was heard of before the order."""
    owner = shop.person()
    won = shop.opportunity_won(owner)
    moved = {"personId": owner.person_id, "departmentPath": "1/9/"}
    take(shop.store, handlers, event_of(shop.tenant, "identity", "person_saved", moved, version=3))
    older = {"personId": owner.person_id, "departmentPath": "1/5/"}
    take(shop.store, handlers, event_of(shop.tenant, "identity", "person_saved", older, version=2))
    shop.deliver(won)
    for path, seen in (("1/9/", 1), ("1/2/", 0), ("1/5/", 0)):
        boss = shop.person("orders.view", scope="department", department_path=path)
        assert len(boss.call(shop.stub.ListOrders, pb.ListOrdersRequest()).orders) == seen


def test_a_withdrawn_order_goes_back_to_its_owner(shop: Shop) -> None:
    owner = shop.person()
    order = shop.submit(owner, shop.generate(owner))
    shop.deliver(shop.decided("approval_withdrawn", order, submitterId=owner.person_id))
    seen = shop.get(owner, order)
    assert (seen.order.state, seen.changes[0].comment) == (pb.ORDER_STATE_ACCEPTED, "撤回")
    assert shop.submit(owner, order).state == pb.ORDER_STATE_SUBMITTED
