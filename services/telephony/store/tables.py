"""Telephony's tables: staff and lines, calls and pops, recordings, SMS and modems.

`line`, `modem` and the leases say which tenant a number, a SIM or a process works for; every other row
belongs to one tenant's call or message. A live call carries its graph as JSON, so a restart in mid-call
goes on from there.
"""

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    DateTime,
    Float,
    ForeignKey,
    Index,
    Integer,
    PrimaryKeyConstraint,
    Table,
    Text,
    UniqueConstraint,
    Uuid,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB

from services.chassis.db import service_metadata

metadata = service_metadata("telephony")


def _time(name: str, *, nullable: bool = True) -> Column[object]:
    return Column(name, DateTime(timezone=True), nullable=nullable)


def _id(name: str, *, nullable: bool = False) -> Column[str]:
    return Column(name, Uuid(as_uuid=False), nullable=nullable)


def _text(name: str, default: str | None = "") -> Column[str]:
    return Column(name, Text, nullable=False, server_default=default)


# Members of staff as identity told of them last.
person = Table(
    "person",
    metadata,
    Column("id", Uuid(as_uuid=False), primary_key=True),
    _id("tenant_id"),
    _text("name"),
    _text("department_path"),
    _text("extension"),
    Column("version", BigInteger, nullable=False),
)

# A number that belongs to one tenant: an extension, or a DID. pbx "" stands for whichever PBX has it.
line = Table(
    "line",
    metadata,
    Column("id", Uuid(as_uuid=False), primary_key=True),
    _id("tenant_id"),
    _text("pbx"),
    Column("kind", Text, nullable=False),
    Column("number", Text, nullable=False),
    # Whose extension it is; nobody's for a shared desk or a DID.
    _id("person_id", nullable=True),
    UniqueConstraint("pbx", "kind", "number"),
    # With the number: without statistics, as of a new tenant, the planner else reads all lines for each seat.
    Index("ix_line_number", "tenant_id", "kind", "number"),
)

# Who sits at which extension; a row without sign_off_time is now.
agent_session = Table(
    "agent_session",
    metadata,
    Column("id", Uuid(as_uuid=False), primary_key=True),
    _id("tenant_id"),
    _id("person_id"),
    _text("person_name"),
    Column("extension", Text, nullable=False),
    _time("sign_on_time", nullable=False),
    _time("sign_off_time"),
    Index(
        "uq_agent_session_extension",
        "tenant_id",
        "extension",
        unique=True,
        postgresql_where=text("sign_off_time IS NULL"),
    ),
    Index(
        "uq_agent_session_person",
        "tenant_id",
        "person_id",
        unique=True,
        postgresql_where=text("sign_off_time IS NULL"),
    ),
)

call = Table(
    "call",
    metadata,
    # Derived from the PBX and the linked id, so that a repeated write finds its row.
    Column("id", Uuid(as_uuid=False), primary_key=True),
    _id("tenant_id"),
    Column("pbx", Text, nullable=False),
    Column("linked_id", Text, nullable=False),
    Column("direction", Text, nullable=False),
    Column("state", Text, nullable=False),
    # The party outside: E.164 where it is one, else as the PBX gave it, empty for a hidden or internal one.
    _text("number"),
    _text("did"),
    _text("queue"),
    _id("customer_id", nullable=True),
    _text("customer_name"),
    # The lead it belongs to, where it is no customer's.
    _id("lead_id", nullable=True),
    _text("lead_name"),
    # The customer's owner when a person linked it: sees the number. Null in a pool, and where callers tell.
    _id("customer_owner_id", nullable=True),
    # Who may be calling, best first, as pops show them; null: not looked up yet.
    Column("callers", JSONB(none_as_null=True), nullable=True),
    # Who began an outbound or internal call.
    _id("origin_person_id", nullable=True),
    _id("answered_by_id", nullable=True),
    _text("answered_by_name"),
    _time("start_time", nullable=False),
    _time("answer_time"),
    _time("end_time"),
    # It ended while the PBX could not be seen: its times are those of the resync.
    Column("lost", Boolean, nullable=False, server_default=text("false")),
    _text("note"),
    # What came of it, in the tenant's words; empty until somebody says.
    _text("disposition"),
    _id("disposed_by_id", nullable=True),
    # To whom somebody gave it who could do nothing for the caller.
    _id("handed_to_id", nullable=True),
    Column("version", BigInteger, nullable=False),
    # The live call as the graph knows it; null once it is over.
    Column("graph", JSONB(none_as_null=True), nullable=True),
    Index(None, "tenant_id", "start_time", "id"),
    Index(None, "tenant_id", "customer_id", "start_time"),
    Index("ix_call_number", "tenant_id", "number", "start_time"),
    Index("ix_call_live", "pbx", postgresql_where=text("graph IS NOT NULL")),
)

# Until when each PBX was followed without a gap; in the home database only, and of no tenant.
pbx_progress = Table(
    "pbx_progress",
    metadata,
    Column("pbx", Text, primary_key=True),
    _time("followed_until", nullable=False),
)

leg = Table(
    "leg",
    metadata,
    Column("call_id", Uuid(as_uuid=False), ForeignKey(call.c.id, ondelete="CASCADE"), primary_key=True),
    # Asterisk's unique id of its channel.
    Column("uniqueid", Text, primary_key=True),
    _id("tenant_id"),
    _text("extension"),
    _text("number"),
    # Who was signed on at the extension when it rang.
    _id("person_id", nullable=True),
    Column("position", Integer, nullable=False),
    _time("ring_time"),
    _time("answer_time"),
    _time("end_time"),
    _text("result"),
    Index(None, "tenant_id", "person_id", "call_id"),
    # What an agent's phone does now, and did last.
    Index("ix_leg_agent", "tenant_id", "person_id", "end_time"),
)

# Who owns a customer now, as customers tells; null in a pool. Only of customers that it told of.
customer_owner = Table(
    "customer_owner",
    metadata,
    _id("tenant_id"),
    Column("customer_id", Uuid(as_uuid=False), nullable=False),
    _id("owner_id", nullable=True),
    Column("version", BigInteger, nullable=False),
    PrimaryKeyConstraint("tenant_id", "customer_id"),
)

# Somebody who called and was not reached since: one row for each number, kept when it is closed.
missed_caller = Table(
    "missed_caller",
    metadata,
    Column("id", Uuid(as_uuid=False), primary_key=True),
    _id("tenant_id"),
    # As the call has it; a hidden one is a caller of its own with each call.
    _text("number"),
    Column("call_count", Integer, nullable=False),
    _time("first_time", nullable=False),
    _time("last_time", nullable=False),
    _id("last_call_id"),
    # Calls until then are dealt with, whether anybody was reached or not.
    _time("handle_time"),
    _id("handled_by_id", nullable=True),
    Index("ix_missed_caller_open", "tenant_id", "last_time", "id", postgresql_where=text("call_count > 0")),
)

# What an agent chose to be; ringing, talking and wrap-up follow from the calls.
agent_choice = Table(
    "agent_choice",
    metadata,
    _id("tenant_id"),
    Column("person_id", Uuid(as_uuid=False), nullable=False),
    # idle, busy, break.
    Column("state", Text, nullable=False),
    _text("reason"),
    # Also ends the wrap-up of what ended before.
    _time("time", nullable=False),
    PrimaryKeyConstraint("tenant_id", "person_id"),
)

# What a PBX shall do, each at most once: intent before, outcome after.
pbx_order = Table(
    "pbx_order",
    metadata,
    Column("id", Uuid(as_uuid=False), primary_key=True),
    _id("tenant_id"),
    # Who asked.
    _id("person_id"),
    # "" stands for whichever PBX has the extension.
    _text("pbx"),
    # dial, pause, resume.
    Column("kind", Text, nullable=False),
    # Whose phone rings first; the call's linked id.
    _text("extension"),
    Column("linked_id", Text, nullable=False),
    # E.164, of a dial.
    _text("number"),
    # queued, sending, accepted, failed, uncertain.
    Column("state", Text, nullable=False),
    _text("reason"),
    _time("create_time", nullable=False),
    _time("send_time"),
    Index("ix_pbx_order_open", "create_time", postgresql_where=text("state IN ('queued', 'sending')")),
)

# Numbers that nobody dials by record.
do_not_call = Table(
    "do_not_call",
    metadata,
    _id("tenant_id"),
    Column("number", Text, nullable=False),
    _id("person_id"),
    _time("time", nullable=False),
    PrimaryKeyConstraint("tenant_id", "number"),
)

# How desks work, where a tenant changed it.
desk_settings = Table(
    "desk_settings",
    metadata,
    Column("tenant_id", Uuid(as_uuid=False), primary_key=True),
    Column("wrap_up_s", Integer, nullable=False),
    Column("dispositions", JSONB, nullable=False),
    Column("break_reasons", JSONB, nullable=False),
    Column("version", BigInteger, nullable=False),
    # Rules by the way a call came: direct, queue.
    Column("pops", JSONB, nullable=False, server_default=text("'{}'")),
)

# What callers asked a price for; the rest of it is dedupe's.
call_inquiry = Table(
    "call_inquiry",
    metadata,
    Column("inquiry_id", Uuid(as_uuid=False), primary_key=True),
    _id("tenant_id"),
    Column("call_id", Uuid(as_uuid=False), ForeignKey(call.c.id, ondelete="CASCADE"), nullable=False),
    Column("products", JSONB, nullable=False),
    _id("person_id"),
    _time("create_time", nullable=False),
    Index("ix_call_inquiry_call", "tenant_id", "call_id", "create_time"),
)

pop = Table(
    "pop",
    metadata,
    Column("id", Uuid(as_uuid=False), primary_key=True),
    _id("tenant_id"),
    Column("call_id", Uuid(as_uuid=False), ForeignKey(call.c.id, ondelete="CASCADE"), nullable=False),
    _id("person_id"),
    Column("extension", Text, nullable=False),
    Column("state", Text, nullable=False),
    Column("version", BigInteger, nullable=False),
    # As this person may see it.
    _text("number"),
    Column("callers", JSONB, nullable=False),
    _id("answered_by_id", nullable=True),
    _text("answered_by_name"),
    _time("ring_time", nullable=False),
    _time("answer_time"),
    _time("end_time"),
    UniqueConstraint("call_id", "extension", "person_id"),
    Index(
        "ix_pop_open",
        "tenant_id",
        "person_id",
        "ring_time",
        postgresql_where=text("state IN ('ringing', 'talking', 'wrap_up')"),
    ),
)

recording = Table(
    "recording",
    metadata,
    Column("id", Uuid(as_uuid=False), primary_key=True),
    _id("tenant_id"),
    Column("call_id", Uuid(as_uuid=False), ForeignKey(call.c.id, ondelete="CASCADE"), nullable=False),
    Column("pbx", Text, nullable=False),
    # Where Asterisk wrote it.
    Column("path", Text, nullable=False),
    # pending, kept, refused.
    Column("state", Text, nullable=False),
    # Where it is kept, below the recordings folder.
    _text("key"),
    Column("duration_s", Float, nullable=False, server_default="0"),
    Column("size_bytes", BigInteger, nullable=False, server_default="0"),
    _text("sha256"),
    Column("silent", Boolean, nullable=False, server_default=text("false")),
    # Why it was refused, or is not finished yet.
    _text("detail"),
    _time("create_time", nullable=False),
    _time("next_try_time", nullable=False),
    Column("attempts", Integer, nullable=False, server_default="0"),
    UniqueConstraint("call_id", "path"),
    Index("ix_recording_pending", "pbx", "next_try_time", postgresql_where=text("state = 'pending'")),
)

# Who listened to what, and when.
recording_play = Table(
    "recording_play",
    metadata,
    Column("id", Uuid(as_uuid=False), primary_key=True),
    _id("tenant_id"),
    Column(
        "recording_id", Uuid(as_uuid=False), ForeignKey(recording.c.id, ondelete="CASCADE"), nullable=False
    ),
    _id("person_id"),
    _time("time", nullable=False),
    Index(None, "tenant_id", "recording_id", "time"),
)

sms = Table(
    "sms",
    metadata,
    Column("id", Uuid(as_uuid=False), primary_key=True),
    _id("tenant_id"),
    # Whom it is for: a member of staff, or somebody at a customer.
    _id("person_id", nullable=True),
    _id("customer_id", nullable=True),
    Column("number", Text, nullable=False),
    Column("text", Text, nullable=False),
    Column("encoding", Text, nullable=False),
    # urgent, reminder, bulk.
    _text("lane", "reminder"),
    Column("state", Text, nullable=False),
    # Why it failed, for programs: a `domain.sms.Reason`; detail says it in words.
    _text("reason"),
    Column("segment_count", Integer, nullable=False),
    # Number that joins the parts on the handset, 0 to 255.
    Column("concat_reference", Integer, nullable=False),
    # The bulk SMS that it is of.
    _id("bulk_id", nullable=True),
    # The modem that began it; all parts leave by one SIM.
    _text("modem"),
    _text("detail"),
    _time("create_time", nullable=False),
    _time("expire_time", nullable=False),
    # When a modem took it up; what a number gets is counted by it.
    _time("begin_time"),
    _time("send_time"),
    _time("deliver_time"),
    # Who said what became of an uncertain one.
    _id("decided_by_id", nullable=True),
    _time("decide_time"),
    Column("version", BigInteger, nullable=False),
    Index(None, "tenant_id", "create_time", "id"),
    Index("ix_sms_number", "tenant_id", "number", "create_time"),
    Index(
        "ix_sms_open",
        "tenant_id",
        "expire_time",
        postgresql_where=text("state IN ('queued', 'sending', 'uncertain')"),
    ),
    Index(
        "ix_sms_bulk_open",
        "bulk_id",
        postgresql_where=text("bulk_id IS NOT NULL AND state IN ('queued', 'sending')"),
    ),
)

sms_segment = Table(
    "sms_segment",
    metadata,
    Column("id", Uuid(as_uuid=False), primary_key=True),
    _id("tenant_id"),
    Column("sms_id", Uuid(as_uuid=False), ForeignKey(sms.c.id, ondelete="CASCADE"), nullable=False),
    Column("part", Integer, nullable=False),
    Column("text", Text, nullable=False),
    Column("state", Text, nullable=False),
    _text("modem"),
    # TP-MR, 0 to 255, as the network gave it.
    Column("reference", Integer, nullable=True),
    Column("attempts", Integer, nullable=False, server_default="0"),
    _time("next_attempt_time", nullable=False),
    _time("intent_time"),
    _time("send_time"),
    _time("deliver_time"),
    _text("detail"),
    # The message's lane as a number: 0 goes first.
    Column("priority", Integer, nullable=False, server_default="1"),
    UniqueConstraint("sms_id", "part"),
    Index(
        "ix_sms_segment_next",
        "tenant_id",
        "priority",
        "next_attempt_time",
        "sms_id",
        "part",
        postgresql_where=text("state = 'queued'"),
    ),
    Index(
        "ix_sms_segment_held",
        "tenant_id",
        "modem",
        postgresql_where=text("state IN ('claimed', 'sending')"),
    ),
    Index("ix_sms_segment_modem", "modem", "send_time"),
)

# Delivery reports, each kept once; segment_id is null where none matched.
sms_report = Table(
    "sms_report",
    metadata,
    Column("modem", Text, primary_key=True),
    Column("fingerprint", Text, primary_key=True),
    _id("tenant_id"),
    Column("reference", Integer, nullable=False),
    Column("number", Text, nullable=False),
    Column("status", Integer, nullable=False),
    Column("fate", Text, nullable=False),
    _time("sent_time"),
    _time("done_time"),
    _time("receive_time", nullable=False),
    _id("segment_id", nullable=True),
)

# Received segments, each kept once.
sms_incoming = Table(
    "sms_incoming",
    metadata,
    Column("modem", Text, primary_key=True),
    Column("fingerprint", Text, primary_key=True),
    _id("tenant_id"),
    Column("number", Text, nullable=False),
    Column("text", Text, nullable=False),
    Column("encoding", Text, nullable=False),
    Column("part", Integer, nullable=False),
    Column("parts", Integer, nullable=False),
    Column("reference", Integer, nullable=False),
    _time("sent_time"),
    _time("receive_time", nullable=False),  # The message it was joined to.
    _id("received_id", nullable=True),
    Index(
        "ix_sms_incoming_parts",
        "tenant_id",
        "receive_time",
        postgresql_where=text("received_id IS NULL"),
    ),
)

# Received messages, joined of their segments, with whose they are; match_time is null until that was asked.
sms_received = Table(
    "sms_received",
    metadata,
    Column("id", Uuid(as_uuid=False), primary_key=True),
    _id("tenant_id"),
    Column("modem", Text, nullable=False),
    Column("number", Text, nullable=False),
    Column("text", Text, nullable=False),
    Column("parts", Integer, nullable=False),
    # Segments that never came.
    Column("missing_parts", Integer, nullable=False),
    Column("opt_out", Boolean, nullable=False),
    _time("receive_time", nullable=False),
    _time("match_time"),
    _id("customer_id", nullable=True),
    _text("customer_name"),
    _id("contact_id", nullable=True),
    _text("contact_name"),
    _id("owner_id", nullable=True),
    Index("ix_sms_received_tenant_id_receive_time_id", "tenant_id", "receive_time", "id"),
    Index(
        "ix_sms_received_unmatched",
        "tenant_id",
        "receive_time",
        postgresql_where=text("match_time IS NULL"),
    ),
)

# Numbers that get no bulk SMS any more.
sms_opt_out = Table(
    "sms_opt_out",
    metadata,
    Column("tenant_id", Uuid(as_uuid=False), primary_key=True),
    Column("number", Text, primary_key=True),
    # The message that asked for it.
    _id("received_id", nullable=True),
    _time("time", nullable=False),
)

# Numbers whose people agreed to promotions by SMS, and who noted it.
sms_consent = Table(
    "sms_consent",
    metadata,
    Column("tenant_id", Uuid(as_uuid=False), primary_key=True),
    Column("number", Text, primary_key=True),
    _id("person_id"),
    _time("time", nullable=False),
)

# One text to many customers; see `domain.bulk`.
sms_bulk = Table(
    "sms_bulk",
    metadata,
    Column("id", Uuid(as_uuid=False), primary_key=True),
    _id("tenant_id"),
    # Who wrote it.
    _id("person_id"),
    _text("name", None),
    _text("kind", None),
    _text("signature", None),
    _text("text", None),
    _text("consent_basis", None),
    # Which customers, as their service lists them: view, poolId, query, filter.
    Column("selection", JSONB, nullable=False),
    Column("every_mobile", Boolean, nullable=False),
    _text("state", None),
    # Where the list goes on; empty at its beginning, and no more used once everybody is in.
    _text("page_token"),
    Column("customer_count", Integer, nullable=False, server_default="0"),
    # Where the next recipient stands.
    Column("next_position", Integer, nullable=False, server_default="0"),
    Column("duplicate_count", Integer, nullable=False, server_default="0"),
    Column("without_mobile_count", Integer, nullable=False, server_default="0"),
    # Segments that the longest of its texts takes.
    Column("segment_count", Integer, nullable=False, server_default="0"),
    _time("start_time"),
    _time("create_time", nullable=False),
    _time("end_time"),
    Index("ix_sms_bulk_tenant_id_create_time_id", "tenant_id", "create_time", "id"),
    Index("ix_sms_bulk_running", "tenant_id", "start_time", postgresql_where=text("state = 'running'")),
)

# Who gets it: each number once; position: the order. Its SMS, once there is one, says what became of it.
sms_recipient = Table(
    "sms_recipient",
    metadata,
    Column("bulk_id", Uuid(as_uuid=False), ForeignKey(sms_bulk.c.id, ondelete="CASCADE"), primary_key=True),
    Column("number", Text, primary_key=True),
    _id("tenant_id"),
    Column("position", Integer, nullable=False),
    _id("customer_id"),
    _text("customer_name"),
    _text("contact_name"),
    # waiting, queued (there is an SMS), skipped.
    _text("state", None),
    _text("reason"),
    _id("sms_id", nullable=True),
    UniqueConstraint("bulk_id", "position"),
    Index("ix_sms_recipient_waiting", "bulk_id", "position", postgresql_where=text("state = 'waiting'")),
)

# A tenant's rules for SMS; without a row the defaults of `domain.sms.Policy` hold.
sms_policy = Table(
    "sms_policy",
    metadata,
    Column("tenant_id", Uuid(as_uuid=False), primary_key=True),
    Column("bulk_from_minute", Integer, nullable=False),
    Column("bulk_until_minute", Integer, nullable=False),
    Column("number_hourly_limit", Integer, nullable=False),
    Column("number_daily_limit", Integer, nullable=False),
    Column("blocked_after_s", Integer, nullable=False),
)

# A modem and its SIM belong to one tenant.
modem = Table(
    "modem",
    metadata,
    Column("name", Text, primary_key=True),
    _id("tenant_id"),
    _text("state", "down"),
    _text("detail"),
    _time("state_time"),
    # Whether it may be used, and how much its SIM may send.
    Column("enabled", Boolean, nullable=False, server_default=text("true")),
    Column("hourly_limit", Integer, nullable=False, server_default="200"),
    Column("daily_limit", Integer, nullable=False, server_default="1000"),
    # As +CSQ has it, 0 to 31; null: not known.
    Column("signal", Integer, nullable=True),
    # When the process that owns it was last alive.
    _time("seen_time"),
)
