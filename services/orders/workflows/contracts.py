"""What the workflow, its activity and its starter agree on: ids, queue, names, payloads."""

from dataclasses import dataclass
from datetime import datetime

from services.chassis.tenancy import Tenant

QUEUE = "orders"
EXPIRY_WORKFLOW = "ExpireContracts"
EXPIRE = "orders.expire_contracts"


def expiry_workflow_id(tenant_id: str) -> str:
    """Return the id of a tenant's expiry of contracts, of which one runs."""
    return f"contract-expiry-{tenant_id}"


@dataclass(frozen=True)
class Expiry:
    """Whose contracts."""

    tenant: Tenant


@dataclass(frozen=True)
class ExpireAt:
    """What is over by `now` expires; the activity answers whether there may be more."""

    tenant: Tenant
    now: datetime
