"""The cashier: receipts and payments for contracts, and a journal whose last row is the balance (F87, F182, F183)."""

from collections.abc import Sequence
from datetime import datetime
from decimal import Decimal
from enum import StrEnum

from sqlalchemy import func, select
from sqlalchemy.dialects.postgresql import insert

from services.chassis.db import Transaction
from services.chassis.errors import AlreadyExists, InvalidInput, RuleViolation, not_found
from services.chassis.ids import new_id, parse_id
from services.chassis.tokens import Caller
from services.kernel.money import format_amount, parse_amount
from services.kernel.texts import parse_text
from services.orders.domain.contracts import STATE_ZH, ContractState
from services.orders.store.tables import Account, Contract, JournalEntry, Voucher
from services.orders.usecases.contracts import find_contract


class MoneyKind(StrEnum):
    """Which way money goes."""

    RECEIPT = "receipt"
    PAYMENT = "payment"


class VoucherState(StrEnum):
    """Where a voucher is in its life; BOOKED and REJECTED are its ends."""

    SUBMITTED = "submitted"
    BOOKED = "booked"
    REJECTED = "rejected"


# Contracts in one of these take money.
PAYABLE = (ContractState.EFFECTIVE, ContractState.EXPIRED, ContractState.TERMINATED)


def create_account(tx: Transaction, name: str, balance: str) -> Account:
    """Add an account with its opening balance in CNY; raises InvalidInput naming the field, ACCOUNT_EXISTS."""
    name, opening = parse_text(name, "name", 50), parse_amount(balance or "0", "balance")
    account = tx.session.scalars(
        insert(Account)
        .values(id=new_id(), tenant_id=tx.tenant.id, name=name, balance=0)
        .on_conflict_do_nothing()
        .returning(Account)
    ).one_or_none()
    if account is None:
        raise AlreadyExists(
            "ACCOUNT_EXISTS", "账户“{name}”已存在", "There is an account “{name}” already", name=name
        )
    if opening:
        _write(tx, account, None, opening, "期初余额")
    return account


def accounts(tx: Transaction) -> Sequence[Account]:
    """Return the accounts by name."""
    return tx.session.scalars(
        select(Account).where(Account.tenant_id == tx.tenant.id).order_by(Account.name)
    ).all()


def record_receipt(
    tx: Transaction, caller: Caller, contract_id: str, *, amount: str, account_id: str, note: str
) -> Voucher:
    """Record money that came in: it is in the journal at once.

    Raises InvalidInput naming the field, NotFound CONTRACT_NOT_FOUND or ACCOUNT_NOT_FOUND, RuleViolation
    CONTRACT_STATE.
    """
    voucher = _voucher(tx, caller, contract_id, MoneyKind.RECEIPT, amount, account_id, note)
    _book(tx, voucher)
    return voucher


def submit_payment(
    tx: Transaction, caller: Caller, contract_id: str, *, amount: str, account_id: str, note: str
) -> Voucher:
    """Ask for money to be paid out; nothing is in the journal before it is approved. Raises as `record_receipt`."""
    voucher = _voucher(tx, caller, contract_id, MoneyKind.PAYMENT, amount, account_id, note)
    contract = find_contract(tx, caller, contract_id)
    account = _account(tx, account_id)
    text = format_amount(voucher.amount)
    shown = {
        "number": contract.number,
        "title": contract.title,
        "amount": text,
        "account": account.name,
        "note": voucher.note,
    }
    tx.emit(
        "payment_submitted",
        voucher.id,
        voucher.version,
        {
            "voucherId": voucher.id,
            "number": contract.number,
            "title": voucher.note or contract.title,
            "amount": text,
            "submitterId": caller.person_id,
            "shown": [{"name": name, "value": value} for name, value in shown.items()],
        },
    )
    return voucher


def decide_payment(tx: Transaction, voucher_id: str, *, passed: bool) -> None:
    """Take over what became of a payment's approval, once (F182, F183); raises NotFound VOUCHER_NOT_FOUND."""
    voucher = tx.session.scalar(
        select(Voucher).where(Voucher.tenant_id == tx.tenant.id, Voucher.id == voucher_id).with_for_update()
    )
    if voucher is None:
        raise not_found("voucher", "凭证", voucher_id)
    if voucher.state != VoucherState.SUBMITTED:
        return
    voucher.version += 1
    if passed:
        _book(tx, voucher)
    else:
        voucher.state = VoucherState.REJECTED


def vouchers(tx: Transaction, contract_id: str) -> Sequence[Voucher]:
    """Return a contract's receipts and payments, newest first."""
    return tx.session.scalars(
        select(Voucher)
        .where(Voucher.tenant_id == tx.tenant.id, Voucher.contract_id == contract_id)
        .order_by(Voucher.create_time.desc(), Voucher.id.desc())
    ).all()


def booked(tx: Transaction, contract: Contract, kind: MoneyKind) -> Decimal:
    """Return what a contract's booked vouchers of a kind come to, in CNY."""
    query = select(func.coalesce(func.sum(Voucher.amount), 0)).where(
        Voucher.tenant_id == tx.tenant.id,
        Voucher.contract_id == contract.id,
        Voucher.kind == kind,
        Voucher.state == VoucherState.BOOKED,
    )
    return Decimal(tx.session.scalar(query) or 0)


def journal(
    tx: Transaction, account_id: str, after: tuple[datetime, str] | None, limit: int
) -> Sequence[JournalEntry]:
    """Return an account's journal, newest first, from behind `after` on; raises NotFound ACCOUNT_NOT_FOUND."""
    account = _account(tx, account_id)
    query = select(JournalEntry).where(
        JournalEntry.tenant_id == tx.tenant.id, JournalEntry.account_id == account.id
    )
    if after:
        query = query.where(JournalEntry.id < _entry_id(after[1]))
    # In the order in which they were written under the account's lock, whatever the clocks said.
    return tx.session.scalars(query.order_by(JournalEntry.id.desc()).limit(limit)).all()


def _entry_id(text: str) -> int:
    if not text.isdecimal():
        raise InvalidInput("page_token", "PAGE_TOKEN_INVALID", "分页标识无效", "page_token is not valid")
    return int(text)


def _voucher(
    tx: Transaction,
    caller: Caller,
    contract_id: str,
    kind: MoneyKind,
    amount: str,
    account_id: str,
    note: str,
) -> Voucher:
    value = parse_amount(amount, "amount")
    if not value:
        raise InvalidInput("amount", "AMOUNT_ZERO", "金额应大于0", "The amount is above 0")
    note = parse_text(note, "note", 200, required=False)
    contract = find_contract(tx, caller, contract_id)
    state = ContractState(contract.state)
    if state not in PAYABLE:
        raise RuleViolation(
            "CONTRACT_STATE",
            f"合同{STATE_ZH[state]}，不能登记收付款",
            "The contract is {state}: no money can be recorded",
            state=state,
            action=kind,
        )
    voucher = Voucher(
        id=new_id(),
        tenant_id=tx.tenant.id,
        contract_id=contract.id,
        account_id=_account(tx, account_id).id,
        kind=kind,
        amount=value,
        note=note,
        state=VoucherState.SUBMITTED,
        submitter_id=caller.person_id,
        create_time=tx.now,
        version=1,
    )
    tx.session.add(voucher)
    tx.session.flush()
    return voucher


def _account(tx: Transaction, account_id: str, *, lock: bool = False) -> Account:
    account_id = parse_id(account_id, "account_id")
    query = select(Account).where(Account.tenant_id == tx.tenant.id, Account.id == account_id)
    # Not against key shares: those of vouchers that name the account would wait for each other in a ring.
    account = tx.session.scalar(
        query.with_for_update(key_share=True).execution_options(populate_existing=True) if lock else query
    )
    if account is None:
        raise not_found("account", "账户", account_id)
    return account


def _book(tx: Transaction, voucher: Voucher) -> None:
    amount = voucher.amount if voucher.kind == MoneyKind.RECEIPT else -voucher.amount
    _write(tx, _account(tx, voucher.account_id, lock=True), voucher.id, amount, voucher.note)
    voucher.state = VoucherState.BOOKED


def _write(tx: Transaction, account: Account, voucher_id: str | None, amount: Decimal, note: str) -> None:
    """Add a row to the journal of a locked account, or a new one, and let the balance be what it says."""
    account.balance += amount
    tx.session.add(
        JournalEntry(
            tenant_id=tx.tenant.id,
            account_id=account.id,
            voucher_id=voucher_id,
            amount=amount,
            balance=account.balance,
            note=note,
            create_time=tx.now,
        )
    )
    tx.session.flush()
