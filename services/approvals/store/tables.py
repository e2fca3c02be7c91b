"""Approvals' tables."""

from datetime import datetime
from decimal import Decimal
from typing import Any

from sqlalchemy import (
    BigInteger,
    DateTime,
    ForeignKey,
    ForeignKeyConstraint,
    Identity,
    Index,
    Integer,
    Numeric,
    Text,
    Uuid,
    false,
    text,
)
from sqlalchemy.dialects.postgresql import ARRAY, JSONB
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from services.chassis.db import service_metadata


class Base(DeclarativeBase):
    """Base of approvals' tables."""

    metadata = service_metadata("approvals")
    type_annotation_map = {  # noqa: RUF012 - SQLAlchemy reads it from the class
        datetime: DateTime(timezone=True),
        str: Text(),
    }


class Flow(Base):
    """The steps for one type of subject, in order, as `queries.pack_step` writes them."""

    __tablename__ = "flow"
    tenant_id: Mapped[str] = mapped_column(Uuid(as_uuid=False), primary_key=True)
    subject_type: Mapped[str] = mapped_column(primary_key=True)
    steps: Mapped[list[dict[str, Any]]] = mapped_column(JSONB)
    version: Mapped[int] = mapped_column(BigInteger)
    # As `queries.pack_rules` writes them.
    rules: Mapped[dict[str, str]] = mapped_column(JSONB, server_default="{}")


class FlowVersion(Base):
    """A version that a flow had; append-only."""

    __tablename__ = "flow_version"
    tenant_id: Mapped[str] = mapped_column(Uuid(as_uuid=False), primary_key=True)
    subject_type: Mapped[str] = mapped_column(primary_key=True)
    version: Mapped[int] = mapped_column(BigInteger, primary_key=True)
    steps: Mapped[list[dict[str, Any]]] = mapped_column(JSONB)
    # NULL for the preset.
    actor_id: Mapped[str | None] = mapped_column(Uuid(as_uuid=False))
    create_time: Mapped[datetime]
    rules: Mapped[dict[str, str]] = mapped_column(JSONB, server_default="{}")


class Approval(Base):
    """One submission of a subject. chosen_approver_id: for steps without a role. reminders: sent so far."""

    __tablename__ = "approval"
    id: Mapped[str] = mapped_column(Uuid(as_uuid=False), primary_key=True)
    tenant_id: Mapped[str] = mapped_column(Uuid(as_uuid=False))
    subject_type: Mapped[str]
    subject_id: Mapped[str] = mapped_column(Uuid(as_uuid=False))
    title: Mapped[str]
    submitter_id: Mapped[str] = mapped_column(Uuid(as_uuid=False))
    chosen_approver_id: Mapped[str | None] = mapped_column(Uuid(as_uuid=False))
    amount: Mapped[Decimal | None] = mapped_column(Numeric(14, 2))
    # [[name, value]] in order, and its hash.
    shown: Mapped[list[list[str]]] = mapped_column(JSONB)
    shown_hash: Mapped[str]
    state: Mapped[str]
    open_step: Mapped[int] = mapped_column(Integer)
    reminders: Mapped[int] = mapped_column(Integer)
    flow_version: Mapped[int] = mapped_column(BigInteger)
    version: Mapped[int] = mapped_column(BigInteger)
    create_time: Mapped[datetime]
    # The flow's, as they were.
    rules: Mapped[dict[str, str]] = mapped_column(JSONB, server_default="{}")
    __table_args__ = (
        Index(
            "uq_approval_subject_undecided",
            "tenant_id",
            "subject_type",
            "subject_id",
            unique=True,
            postgresql_where=text("state IN ('preparing', 'open')"),
        ),
        Index("ix_approval_submitter", "tenant_id", "submitter_id", "create_time"),
        Index("ix_approval_subject", "tenant_id", "subject_type", "subject_id", "create_time"),
    )


class Step(Base):
    """A step of an approval, copied from its flow.

    spec: as `queries.pack_step` writes it; NULL in what a release before wrote, which has columns for what it knew.
    role: the first of roles, for readers of a release before.
    """

    __tablename__ = "step"
    approval_id: Mapped[str] = mapped_column(
        Uuid(as_uuid=False), ForeignKey("approvals.approval.id"), primary_key=True
    )
    step_index: Mapped[int] = mapped_column(Integer, primary_key=True)
    tenant_id: Mapped[str] = mapped_column(Uuid(as_uuid=False))
    name: Mapped[str]
    role: Mapped[str]
    roles: Mapped[list[str]] = mapped_column(ARRAY(Text()), server_default="{}")
    person_ids: Mapped[list[str]] = mapped_column(ARRAY(Uuid(as_uuid=False)), server_default="{}")
    amount_from: Mapped[Decimal | None] = mapped_column(Numeric(14, 2))
    amount_below: Mapped[Decimal | None] = mapped_column(Numeric(14, 2))
    time_limit_s: Mapped[int] = mapped_column(Integer, server_default="259200")
    escalate_role: Mapped[str] = mapped_column(server_default="")
    escalated: Mapped[bool] = mapped_column(server_default=false())
    spec: Mapped[dict[str, Any] | None] = mapped_column(JSONB)
    # Who may act on it now; whose consent is needed, in order, where all have to pass.
    approver_ids: Mapped[list[str]] = mapped_column(ARRAY(Uuid(as_uuid=False)))
    seat_ids: Mapped[list[str]] = mapped_column(ARRAY(Uuid(as_uuid=False)), server_default="{}")
    state: Mapped[str]
    # Why the system ended it, "" for a step that people decided.
    auto_reason: Mapped[str] = mapped_column(server_default="")
    # When a decision, of a person or of the system, ended it.
    decide_time: Mapped[datetime | None]
    __table_args__ = (
        Index(
            "ix_step_open_approvers",
            "approver_ids",
            postgresql_using="gin",
            postgresql_where=text("state = 'open'"),
        ),
    )


class Delegation(Base):
    """Who handed a step to whom; append-only."""

    __tablename__ = "delegation"
    id: Mapped[int] = mapped_column(BigInteger, Identity(), primary_key=True)
    tenant_id: Mapped[str] = mapped_column(Uuid(as_uuid=False))
    approval_id: Mapped[str] = mapped_column(Uuid(as_uuid=False))
    step_index: Mapped[int] = mapped_column(Integer)
    from_person_id: Mapped[str] = mapped_column(Uuid(as_uuid=False))
    to_person_id: Mapped[str] = mapped_column(Uuid(as_uuid=False))
    comment: Mapped[str]
    create_time: Mapped[datetime]
    __table_args__ = (
        ForeignKeyConstraint(
            ["approval_id", "step_index"], ["approvals.step.approval_id", "approvals.step.step_index"]
        ),
        Index("ix_delegation_step", "approval_id", "step_index", "id"),
    )


class Deputy(Base):
    """Who decides in whose place, and from when until when; ended early, end_time is when."""

    __tablename__ = "deputy"
    id: Mapped[str] = mapped_column(Uuid(as_uuid=False), primary_key=True)
    tenant_id: Mapped[str] = mapped_column(Uuid(as_uuid=False))
    person_id: Mapped[str] = mapped_column(Uuid(as_uuid=False))
    deputy_id: Mapped[str] = mapped_column(Uuid(as_uuid=False))
    begin_time: Mapped[datetime]
    end_time: Mapped[datetime]
    comment: Mapped[str]
    actor_id: Mapped[str] = mapped_column(Uuid(as_uuid=False))
    create_time: Mapped[datetime]
    __table_args__ = (
        Index("ix_deputy_person", "tenant_id", "person_id", "end_time"),
        Index("ix_deputy_deputy", "tenant_id", "deputy_id", "end_time"),
    )


class Decision(Base):
    """Who decided a step, on what; append-only, by its key one for each step, or for each seat of it."""

    __tablename__ = "decision"
    approval_id: Mapped[str] = mapped_column(Uuid(as_uuid=False), primary_key=True)
    step_index: Mapped[int] = mapped_column(Integer, primary_key=True)
    # Whose consent it is, where all have to pass; "" for the whole step.
    seat: Mapped[str] = mapped_column(primary_key=True, server_default="")
    tenant_id: Mapped[str] = mapped_column(Uuid(as_uuid=False))
    # In whose place, NULL for the own.
    for_person_id: Mapped[str | None] = mapped_column(Uuid(as_uuid=False))
    decider_id: Mapped[str] = mapped_column(Uuid(as_uuid=False))
    passed: Mapped[bool]
    shown_hash: Mapped[str]
    comment: Mapped[str]
    create_time: Mapped[datetime]
    __table_args__ = (
        ForeignKeyConstraint(
            ["approval_id", "step_index"], ["approvals.step.approval_id", "approvals.step.step_index"]
        ),
        Index(None, "tenant_id", "decider_id"),
    )
