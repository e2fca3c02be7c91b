"""Identity's own metrics."""

from prometheus_client import Counter

SIGN_INS = Counter(
    "crm_identity_sign_ins", "Sign-ins by password, by outcome: opened or refused.", ["outcome"]
)
