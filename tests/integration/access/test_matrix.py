"""Who may call what: every RPC of every service as every preset role, a key and every service, against a table.

The table is `matrix.txt`; `WRITE_ACCESS_TABLE=1 pytest tests/integration/access` writes it anew, for a person to look
at what changed. A row is an RPC, then who gets in.
"""

import base64
import json
import os
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path

import jwt
from crm.options.v1 import options_pb2

from services.chassis.clock import utc_now
from services.chassis.ids import new_id
from services.chassis.tenancy import Tenant
from services.chassis.tokens import Caller, Signer, generate_key
from services.identity.domain.rights import PRESET_ROLES
from tests.integration.access.conftest import Rpc, System

TABLE = Path(__file__).with_name("matrix.txt")
SERVICES = (
    "approvals",
    "customers",
    "dedupe",
    "gateway",
    "identity",
    "leads",
    "notify",
    "orders",
    "telephony",
)


def person(signer: Signer, tenant: Tenant, rights: frozenset[str], scope: str = "all", **more: object) -> str:
    """Return a token of somebody with these rights who owns nothing."""
    caller = Caller(tenant=tenant, person_id=new_id(), name="王伟", rights=rights, scope=scope, **more)  # type: ignore[arg-type]  # keywords of several types
    return signer.person_token(caller, utc_now())[0]


def gets_in(rpc: Rpc, token: str) -> bool:
    """Tell whether an RPC lets the caller past its door; what it says to an empty request does not matter."""
    error, _ = rpc.call(token)
    return error is None or error.code not in ("UNAUTHENTICATED", "PERMISSION_DENIED")


def test_every_rpc_declares_who_may_call_it(system: System) -> None:
    """F235: deny first; one without a word is refused for everybody, and is a mistake."""
    silent = [
        rpc.path
        for rpc in system.rpcs
        if not rpc.method.GetOptions().HasExtension(options_pb2.access)
        or not (
            (access := rpc.method.GetOptions().Extensions[options_pb2.access]).right
            or access.any_person
            or access.services
        )
    ]
    assert silent == []


def test_every_rpc_lets_in_whom_the_table_names(
    system: System, signer: Signer, issuer_keys: Mapping[str, tuple[str, str]], main_tenant: Tenant
) -> None:
    """F234, F235."""
    callers = {role.code: person(signer, main_tenant, role.rights, role.scope.value) for role in PRESET_ROLES}
    callers["nobody"] = person(signer, main_tenant, frozenset())
    callers["key"] = person(signer, main_tenant, frozenset({"leads.capture"}), "self", is_key=True)
    callers |= {
        f"[{name}]": Signer(name, issuer_keys[name][0]).service_token(main_tenant, new_id())
        for name in SERVICES
    }

    def row(rpc: Rpc) -> str:
        let_in = [name for name, token in callers.items() if gets_in(rpc, token)]
        return " ".join([rpc.path.removeprefix("/"), *let_in])

    with ThreadPoolExecutor(8) as pool:
        rows = sorted(pool.map(row, system.rpcs))
    if os.environ.get("WRITE_ACCESS_TABLE"):
        TABLE.write_text("\n".join(rows) + "\n")
    assert rows == TABLE.read_text().splitlines()


def test_stolen_expired_and_altered_tokens_get_nothing_from_any_rpc(
    system: System, signer: Signer, issuer_keys: Mapping[str, tuple[str, str]], main_tenant: Tenant
) -> None:
    """F243."""
    admin = Caller(
        tenant=main_tenant, person_id=new_id(), rights=PRESET_ROLES[0].rights, scope="all", epoch=3
    )
    good, _ = signer.person_token(admin, utc_now())
    header, payload, signature = good.split(".")
    claims = json.loads(base64.urlsafe_b64decode(payload + "=="))
    richer = base64.urlsafe_b64encode(json.dumps(claims | {"ten": new_id()}).encode()).decode().rstrip("=")
    forged = Signer("identity", generate_key()[0])
    # A service's stolen key: it signs a person's claims, under its own name and under identity's.
    stolen = Signer("orders", issuer_keys["orders"][0])
    bad = {
        "nothing": "",
        "rubbish": "x.y.z",
        "expired": signer.person_token(admin, utc_now() - timedelta(minutes=5))[0],
        "altered": f"{header}.{richer}.{signature}",
        "forged": forged.person_token(admin, utc_now())[0],
        "unsigned": jwt.encode(claims, "", "none", headers={"kid": "identity"}),
        "stolen, as identity": jwt.encode(claims, stolen._key, "EdDSA", headers={"kid": "identity"}),
    }
    # Of a key that was stolen from a service, no person can be made: the claims count for nothing.
    service_only = stolen.person_token(admin, utc_now())[0]
    old = good
    system.epochs.take({admin.person_id: 4})

    def let_in(rpc: Rpc) -> list[str]:
        entered = []
        for name, token in (bad | {"of an old epoch": old}).items():
            error, _ = rpc.call(token)
            if error is None or error.code != "UNAUTHENTICATED":
                entered.append(f"{rpc.path} for {name}")
        access = rpc.method.GetOptions().Extensions[options_pb2.access]
        if "orders" not in access.services and gets_in(rpc, service_only):
            entered.append(f"{rpc.path} for a person made by a service's key")
        return entered

    try:
        with ThreadPoolExecutor(8) as pool:
            assert [each for found in pool.map(let_in, system.rpcs) for each in found] == []
    finally:
        system.epochs.take({})
