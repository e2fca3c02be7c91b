"""What people submit by approvals' own form: expenses, support and follow-up matters, anything else (F181)."""

from services.approvals.domain.flows import REQUESTS, SubjectType
from services.approvals.store import queries
from services.approvals.store.queries import Whole
from services.approvals.usecases.approvals import Submission, submit
from services.chassis.db import Transaction
from services.chassis.errors import InvalidInput, not_found
from services.chassis.ids import new_id
from services.kernel.money import format_amount, parse_amount
from services.kernel.texts import parse_text

LONGEST_TITLE = 200
LONGEST_DETAILS = 2000

# How a request's title begins.
WORDS = {
    SubjectType.EXPENSE: "费用",
    SubjectType.SUPPORT: "支持",
    SubjectType.FOLLOW_UP: "跟进",
    SubjectType.CUSTOMER: "客户",
    SubjectType.LEAD: "线索",
    SubjectType.OPPORTUNITY: "商机",
    SubjectType.QUOTE: "报价",
    SubjectType.OTHER: "申请",
}


def submit_request(
    tx: Transaction,
    submitter_id: str,
    subject_type: SubjectType,
    *,
    title: str,
    amount: str,
    details: str,
    about: str,
    subject_id: str = "",
) -> Whole:
    """Submit a request; with subject_id, an own one again: what waits of it is void.

    amount: CNY, "" for none. Raises InvalidInput naming the field: SUBJECT_TYPE_UNKNOWN, TEXT_*, AMOUNT_INVALID,
    AMOUNT_MISSING; NotFound REQUEST_NOT_FOUND.
    """
    if subject_type not in REQUESTS:
        raise InvalidInput(
            "subject_type", "SUBJECT_TYPE_UNKNOWN", "该类型不能自行发起", "That is not a kind of request"
        )
    title = parse_text(title, "title", LONGEST_TITLE)
    details = parse_text(details, "details", LONGEST_DETAILS, required=False)
    about = parse_text(about, "about", LONGEST_TITLE, required=False)
    if subject_type is SubjectType.EXPENSE and not amount:
        raise InvalidInput("amount", "AMOUNT_MISSING", "请填写金额", "An expense has an amount")
    money = parse_amount(amount, "amount") if amount else None
    if subject_id and not queries.submitted_by(tx, subject_type, subject_id, submitter_id):
        raise not_found("request", "申请", subject_id)
    shown = {
        "title": title,
        "amount": format_amount(money) if money is not None else "",
        "about": about,
        "details": details,
    }
    return submit(
        tx,
        Submission(
            approval_id=new_id(),
            subject_type=subject_type,
            subject_id=subject_id or new_id(),
            title=f"{WORDS[subject_type]}：{title}",
            submitter_id=submitter_id,
            chosen_approver_id="",
            amount=money,
            shown=[(name, value) for name, value in shown.items() if value],
        ),
    )
