"""Telephony's metrics; no number, person or tenant is ever a label."""

from prometheus_client import Counter, Gauge, Histogram

AMI_UP = Gauge("crm_telephony_ami_up", "1 while the link to the PBX is up.", ["pbx"])
AMI_REFUSED = Gauge("crm_telephony_ami_refused", "1 while the PBX refuses the login.", ["pbx"])
AMI_EVENTS = Counter("crm_telephony_ami_events", "AMI events taken in.", ["pbx"])
AMI_OVERFLOWS = Gauge("crm_telephony_ami_dropped_events", "AMI events dropped, a resync followed.", ["pbx"])
EDGE_ACTIVE = Gauge("crm_telephony_edge_active", "1 while this process holds the lease.", ["edge"])
LIVE_CALLS = Gauge("crm_telephony_live_calls", "Calls that are going on.", ["pbx"])
RINGING_CALLS = Gauge("crm_telephony_ringing_calls", "Of these, calls that nobody answered yet.", ["pbx"])
UNASSIGNED = Counter("crm_telephony_unassigned_calls", "Calls whose numbers belong to no tenant.", ["pbx"])
WRITE_SECONDS = Histogram(
    "crm_telephony_call_write_seconds",
    "From the arrival of an AMI event to the commit of what it changed.",
    buckets=(0.0025, 0.005, 0.01, 0.02, 0.03, 0.05, 0.1, 0.25, 0.5, 1, 5, 30),
)
WRITE_FAILURES = Counter("crm_telephony_call_write_failures", "Writes of calls that failed and are repeated.")
LOOKUPS = Counter("crm_telephony_caller_lookups", "Questions who is calling, by outcome.", ["outcome"])
RECORDINGS = Counter("crm_telephony_recordings", "Recordings, by what became of them.", ["outcome"])
MODEM_READY = Gauge("crm_telephony_modem_ready", "1 while the modem sends and receives.", ["modem"])
MODEM_SIGNAL = Gauge(
    "crm_telephony_modem_signal", "Signal as +CSQ has it, 0 to 31; -1: not known.", ["modem"]
)
SIM_STOPPED = Gauge(
    "crm_telephony_sim_stopped",
    "1 while the SIM is missing, locked or barred: a person has to look.",
    ["modem"],
)
SIM_QUOTA_LEFT = Gauge(
    "crm_telephony_sim_quota_left_segments",
    "SMS segments that a SIM may still send, of its limits for an hour and for 24 hours.",
    ["modem", "period"],
)
SMS_BLOCKED = Gauge(
    "crm_telephony_sms_blocked",
    "Tenants whose urgent or reminding SMS wait while none of their modems can send; alert on more than 0.",
    ["database"],
)
SMS_UNROUTED = Counter("crm_telephony_sms_unrouted", "SMS given up as no modem could send them.")
SMS_WAITING = Gauge("crm_telephony_sms_waiting", "SMS that wait for a modem.", ["database", "lane"])
SMS_UNCERTAIN = Gauge(
    "crm_telephony_sms_uncertain", "SMS of which nobody knows whether they went out.", ["database"]
)
SMS_SEGMENTS = Counter("crm_telephony_sms_segments", "SMS segments, by outcome.", ["outcome"])
