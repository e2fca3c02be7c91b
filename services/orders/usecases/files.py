"""Files of orders and contracts: kept by the digest of their content, each content once (F51, F86)."""

import hashlib
from collections.abc import Sequence
from enum import StrEnum

from sqlalchemy import select
from sqlalchemy.dialects.postgresql import insert

from services.chassis.db import Transaction
from services.chassis.errors import Forbidden, RuleViolation, not_found
from services.chassis.ids import new_id, parse_id
from services.chassis.tokens import Caller
from services.kernel.texts import parse_text
from services.orders.domain.files import content_type
from services.orders.store.queries import find_order
from services.orders.store.tables import Attachment, Blob
from services.orders.usecases.contracts import find_contract
from services.orders.usecases.orders import own_order

# Files of one record.
MOST_FILES = 50


class FileKind(StrEnum):
    """What a file is for."""

    PAYMENT_PROOF = "payment_proof"
    CONTRACT = "contract"


def attach(
    tx: Transaction, caller: Caller, kind: FileKind, subject_id: str, name: str, content: bytes
) -> Attachment:
    """Attach a file to an own order that is not submitted, or to an own contract.

    Raises InvalidInput naming the field (see `content_type`), NotFound, Forbidden ORDER_NOT_OWNED or
    CONTRACT_NOT_OWNED, RuleViolation ORDER_STATE or FILES_TOO_MANY.
    """
    name = parse_text(name, "name", 200)
    found_type = content_type(name, content)
    if kind is FileKind.PAYMENT_PROOF:
        subject = own_order(tx, caller, subject_id, field="subject_id").id
    else:
        contract = find_contract(tx, caller, subject_id, lock=True, field="subject_id")
        if contract.owner_id != caller.person_id:
            raise Forbidden(
                "CONTRACT_NOT_OWNED", "只有合同负责人可以操作", "Only the contract's owner may do this"
            )
        subject = contract.id
    if len(attachments(tx, subject)) >= MOST_FILES:
        raise RuleViolation(
            "FILES_TOO_MANY", "最多上传{most}个文件", "At most {most} files can be attached", most=MOST_FILES
        )
    digest = hashlib.sha256(content).hexdigest()
    tx.session.execute(
        insert(Blob).values(tenant_id=tx.tenant.id, digest=digest, content=content).on_conflict_do_nothing()
    )
    attachment = Attachment(
        id=new_id(),
        tenant_id=tx.tenant.id,
        kind=kind,
        subject_id=subject,
        name=name,
        content_type=found_type,
        size_bytes=len(content),
        digest=digest,
        uploader_id=caller.person_id,
        create_time=tx.now,
    )
    tx.session.add(attachment)
    return attachment


def attachments(tx: Transaction, subject_id: str) -> Sequence[Attachment]:
    """Return the files of an order or a contract, oldest first."""
    return tx.session.scalars(
        select(Attachment)
        .where(Attachment.tenant_id == tx.tenant.id, Attachment.subject_id == subject_id)
        .order_by(Attachment.create_time, Attachment.id)
    ).all()


def open_attachment(tx: Transaction, caller: Caller, attachment_id: str) -> tuple[Attachment, bytes]:
    """Return a file of an order or a contract that the caller sees; raises NotFound ATTACHMENT_NOT_FOUND or theirs."""
    attachment_id = parse_id(attachment_id, "attachment_id")
    row = tx.session.scalar(
        select(Attachment).where(Attachment.tenant_id == tx.tenant.id, Attachment.id == attachment_id)
    )
    if row is None:
        raise not_found("attachment", "附件", attachment_id)
    if row.kind == FileKind.PAYMENT_PROOF:
        find_order(tx, caller, row.subject_id)
    else:
        find_contract(tx, caller, row.subject_id)
    return row, tx.session.get_one(Blob, (tx.tenant.id, row.digest)).content
