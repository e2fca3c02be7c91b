"""What becomes of a contract: drafted, changed in versions, reviewed, in force, over (F45, F46, F180)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal

from sqlalchemy import and_, or_, select, true

from services.chassis.db import Transaction, WorkflowStart
from services.chassis.errors import Conflict, Forbidden, not_found
from services.chassis.ids import new_id, parse_id
from services.chassis.paging import cut_page
from services.chassis.tokens import Caller
from services.kernel.fields import parse_values
from services.kernel.filters import Context, Kind, may_find
from services.kernel.listing import RecordList
from services.kernel.money import format_amount, parse_amount
from services.kernel.texts import parse_text
from services.kernel.visibility import sees_every_number, visible
from services.orders.domain.contracts import (
    TRANSITIONS,
    ContractAction,
    ContractState,
    next_state,
    parse_term,
)
from services.orders.domain.numbers import business_day, contract_number
from services.orders.store.queries import lock_counter
from services.orders.store.tables import Contract, ContractCounter, ContractVersion
from services.orders.usecases.fields import FIELDS, FieldObject
from services.orders.usecases.orders import own_order
from services.orders.workflows.contracts import EXPIRY_WORKFLOW, QUEUE, Expiry, expiry_workflow_id

LONGEST_COMMENT = 1000
CONTRACTS = RecordList(
    id=Contract.id,
    document=Contract.fields,
    built_in={
        "number": (Kind.TEXT, Contract.number),
        "title": (Kind.TEXT, Contract.title),
        "customer_name": (Kind.TEXT, Contract.customer_name),
        "amount": (Kind.NUMBER, Contract.amount),
        "state": (Kind.CHOICE, Contract.state),
        "owner_id": (Kind.ID, Contract.owner_id),
        "start_date": (Kind.DATE, Contract.start_date),
        "end_date": (Kind.DATE, Contract.end_date),
        "create_time": (Kind.TIME, Contract.create_time),
    },
    sorted_by={
        "create_time": (Contract.create_time, datetime),
        "amount": (Contract.amount, Decimal),
        "start_date": (Contract.start_date, date),
        "end_date": (Contract.end_date, date),
        "number": (Contract.number, str),
    },
    first="-create_time",
    made=frozenset({"number"}),
)


def create_contract(
    tx: Transaction,
    caller: Caller,
    *,
    title: str,
    order_id: str,
    amount: str,
    start: str,
    end: str,
    fields: Mapping[str, str],
) -> Contract:
    """Draft a contract for an own order's customer and put the order under it.

    amount: CNY, "" for the order's. fields: the tenant's own by key. Raises InvalidInput naming the field,
    NotFound ORDER_NOT_FOUND, Forbidden
    ORDER_NOT_OWNED, RuleViolation ORDER_STATE.
    """
    first, last = parse_term(start, end)
    title = parse_text(title, "title", 200)
    values = parse_values(FIELDS.definitions(tx, FieldObject.CONTRACT), fields, "fields")
    order = own_order(tx, caller, order_id)
    day = business_day(tx.now)
    counter = lock_counter(tx, ContractCounter, day)
    counter.count += 1
    contract = Contract(
        id=new_id(),
        tenant_id=tx.tenant.id,
        number=contract_number(day, counter.count),
        title=title,
        customer_id=order.customer_id,
        customer_name=order.customer_name,
        amount=parse_amount(amount, "amount") if amount else order.amount,
        start_date=first,
        end_date=last,
        state=ContractState.DRAFT,
        owner_id=order.owner_id,
        owner_department_path=order.owner_department_path,
        create_time=tx.now,
        fields=values,
        version=0,
    )
    tx.session.add(contract)
    tx.session.flush()
    FIELDS.hold(tx, FieldObject.CONTRACT, contract.id, values, path="fields")
    _keep(tx, contract, caller.person_id, "")
    order.contract_id = contract.id
    order.version += 1
    return contract


def update_contract(
    tx: Transaction,
    caller: Caller,
    contract_id: str,
    version: int,
    *,
    title: str,
    amount: str,
    start: str,
    end: str,
    comment: str,
    fields: Mapping[str, str],
) -> Contract:
    """Change an own contract: a new version, and one in force is reviewed again (F46).

    Raises InvalidInput naming the field, NotFound CONTRACT_NOT_FOUND, Forbidden CONTRACT_NOT_OWNED, RuleViolation
    CONTRACT_STATE, Conflict CONTRACT_CHANGED.
    """
    contract = _own(tx, caller, contract_id)
    after = next_state(ContractState(contract.state), ContractAction.UPDATE)
    if contract.version != version:
        raise Conflict(
            "CONTRACT_CHANGED", "合同已被他人修改，请刷新后重试", "The contract was changed meanwhile"
        )
    contract.start_date, contract.end_date = parse_term(start, end)
    contract.title = parse_text(title, "title", 200)
    contract.amount = parse_amount(amount, "amount")
    before = contract.fields
    contract.fields = parse_values(
        FIELDS.definitions(tx, FieldObject.CONTRACT), fields, "fields", before=before
    )
    FIELDS.hold(tx, FieldObject.CONTRACT, contract.id, contract.fields, before, "fields")
    contract.state = after
    _keep(tx, contract, caller.person_id, _comment(comment, "comment"))
    return contract


def submit_contract(tx: Transaction, caller: Caller, contract_id: str) -> Contract:
    """Send an own contract to its reviewers, with what they are shown; raises as `update_contract`."""
    contract = _own(tx, caller, contract_id)
    contract.state = next_state(ContractState(contract.state), ContractAction.SUBMIT)
    _keep(tx, contract, caller.person_id, "")
    amount = format_amount(contract.amount)
    shown = {
        "number": contract.number,
        "title": contract.title,
        "amount": amount,
        "customer": contract.customer_name,
        "start": contract.start_date.isoformat(),
        "end": contract.end_date.isoformat(),
    }
    tx.emit(
        "contract_submitted",
        contract.id,
        contract.version,
        {
            "contractId": contract.id,
            "number": contract.number,
            "title": contract.title,
            "amount": amount,
            "submitterId": contract.owner_id,
            "shown": [{"name": name, "value": value} for name, value in shown.items()],
        },
    )
    return contract


def terminate_contract(tx: Transaction, caller: Caller, contract_id: str, reason: str) -> Contract:
    """End an own contract before its time; raises as `update_contract`."""
    contract = _own(tx, caller, contract_id)
    contract.state = next_state(ContractState(contract.state), ContractAction.TERMINATE)
    _keep(tx, contract, caller.person_id, _comment(reason, "reason"))
    return contract


def decide_contract(
    tx: Transaction, contract_id: str, action: ContractAction, *, decider_id: str, comment: str
) -> None:
    """Take over what became of a contract's review; one that does not wait for it any more is left alone.

    action: APPROVE, REJECT or WITHDRAW. Raises NotFound CONTRACT_NOT_FOUND.
    """
    contract = find_contract(tx, None, contract_id, lock=True)
    state = ContractState(contract.state)
    if state not in TRANSITIONS[action]:
        return
    contract.state = next_state(state, action)
    _keep(tx, contract, decider_id, comment)
    if action is ContractAction.APPROVE:
        tx.start_workflow(
            WorkflowStart(EXPIRY_WORKFLOW, expiry_workflow_id(tx.tenant.id), QUEUE, Expiry(tx.tenant))
        )


def expire_contracts(tx: Transaction, limit: int) -> bool:
    """Expire contracts whose last day is over in China (F45); return whether there may be more."""
    over = tx.session.scalars(
        select(Contract)
        .where(
            Contract.tenant_id == tx.tenant.id,
            Contract.state == ContractState.EFFECTIVE,
            Contract.end_date < business_day(tx.now),
        )
        .order_by(Contract.end_date)
        .limit(limit)
        .with_for_update(skip_locked=True)
    ).all()
    for contract in over:
        contract.state = next_state(ContractState(contract.state), ContractAction.EXPIRE)
        _keep(tx, contract, "", "")
    return len(over) == limit


def find_contract(
    tx: Transaction,
    caller: Caller | None,
    contract_id: str,
    *,
    lock: bool = False,
    field: str = "contract_id",
) -> Contract:
    """Return a contract, locked if asked; raises NotFound CONTRACT_NOT_FOUND.

    caller: who must be able to see it; None for what approvals decided. field: of the request.
    """
    contract_id = parse_id(contract_id, field)
    query = select(Contract).where(Contract.tenant_id == tx.tenant.id, Contract.id == contract_id)
    if caller:
        query = query.where(visible(caller, Contract.owner_id, Contract.owner_department_path))
    contract = tx.session.scalar(query.with_for_update() if lock else query)
    if contract is None:
        raise not_found("contract", "合同", contract_id)
    return contract


@dataclass(frozen=True)
class ContractFilter:
    """Which contracts a list shows, and in which order; everything that is left out shows all."""

    state: ContractState | None = None
    customer_id: str = ""
    query: str = ""
    filter: str = ""
    order_by: str = ""


def list_contracts(
    tx: Transaction, caller: Caller, wanted: ContractFilter, page_token: str, size: int
) -> tuple[Sequence[Contract], str]:
    """Return a page of the contracts that the caller sees, and the token of the next one, "" on the last.

    Raises InvalidInput below `filter`, ORDER_UNKNOWN and PAGE_TOKEN_INVALID.
    """
    fields = FIELDS.definitions(tx, FieldObject.CONTRACT)
    shown = sees_every_number(caller)
    readable = true() if shown else Contract.owner_id == (caller.person_id or None)
    conditions = [
        Contract.tenant_id == tx.tenant.id,
        visible(caller, Contract.owner_id, Contract.owner_department_path),
        CONTRACTS.condition(
            wanted.filter,
            fields,
            Context(tx.now, caller.person_id),
            numbers_shown=shown,
            shown=readable,
        ),
    ]
    if wanted.state:
        conditions.append(Contract.state == wanted.state)
    if wanted.customer_id:
        conditions.append(Contract.customer_id == parse_id(wanted.customer_id, "customer_id"))
    if wanted.query:
        conditions.append(
            or_(
                Contract.number.icontains(wanted.query, autoescape=True),
                *(
                    and_(
                        column.icontains(wanted.query, autoescape=True),
                        may_find(column, wanted.query, readable),
                    )
                    for column in (Contract.title, Contract.customer_name)
                ),
                Contract.id.in_(FIELDS.found(tx, FieldObject.CONTRACT, [wanted.query], numbers_shown=shown)),
            )
        )
    order = CONTRACTS.sorting(wanted.order_by, fields)
    after = order.after(page_token)
    if after is not None:
        conditions.append(after)
    rows = tx.session.execute(
        select(Contract, order.expression).where(*conditions).order_by(*order.clauses).limit(size + 1)
    ).all()
    page, more = cut_page(rows, size)
    return [row[0] for row in page], order.token(page[-1][1], page[-1][0].id) if more else ""


def contract_versions(tx: Transaction, contract_id: str) -> Sequence[ContractVersion]:
    """Return what a contract was, newest first."""
    return tx.session.scalars(
        select(ContractVersion)
        .where(ContractVersion.tenant_id == tx.tenant.id, ContractVersion.contract_id == contract_id)
        .order_by(ContractVersion.version.desc())
    ).all()


def _own(tx: Transaction, caller: Caller, contract_id: str) -> Contract:
    contract = find_contract(tx, caller, contract_id, lock=True)
    if contract.owner_id != caller.person_id:
        raise Forbidden(
            "CONTRACT_NOT_OWNED", "只有合同负责人可以操作", "Only the contract's owner may do this"
        )
    return contract


def _comment(text: str, field: str) -> str:
    return parse_text(text, field, LONGEST_COMMENT, required=False)


def _keep(tx: Transaction, contract: Contract, actor_id: str, comment: str) -> None:
    """Count a change of a contract, keep what it left, and tell of it."""
    contract.version += 1
    tx.session.add(
        ContractVersion(
            contract_id=contract.id,
            version=contract.version,
            tenant_id=tx.tenant.id,
            title=contract.title,
            amount=contract.amount,
            start_date=contract.start_date,
            end_date=contract.end_date,
            state=contract.state,
            fields=contract.fields,
            actor_id=actor_id or None,
            comment=comment,
            create_time=tx.now,
        )
    )
    tx.emit(
        "contract_changed",
        contract.id,
        contract.version,
        {
            "contractId": contract.id,
            "customerId": contract.customer_id,
            "ownerId": contract.owner_id,
            "state": contract.state,
        },
    )
