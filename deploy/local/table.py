"""The processes of the product, as data."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from deploy.local.process import BACKGROUND, Program
from deploy.local.state import State, write_private
from services.chassis.settings import SERVICES
from services.chassis.tokens import IDENTITY, generate_key

ROOT = Path(__file__).resolve().parents[2]
GATEWAY = "gateway"
# For whom nobody waits at a screen or a telephone: where processors are few they stand back for the others. Not the
# worker, nor Temporal: who converts a lead waits for both.
PATIENT = frozenset({"events"})
# Longest time for bringing the schemas up to date, in seconds: large tables take their time.
MIGRATION_S = 6 * 3600.0
# Everybody who signs tokens.
ISSUERS = (*SERVICES, GATEWAY)
# Whom the worker may speak as: whoever may have activities. Not identity, which speaks for people.
WORKER_ISSUERS = tuple(name for name in SERVICES if name != IDENTITY)


@dataclass(frozen=True)
class Site:
    """What the table has to know of a stack.

    `given` is the environment we were started in, `ours` what we add for every process: stores, PBX, modem.
    `asked_port` is the port that the desktop must
    have; without it, it gets `preferred_port` or any.
    """

    state: State
    given: Mapping[str, str]
    ours: Mapping[str, str]
    api_replicas: int = 1
    gateway_replicas: int = 1
    background_replicas: int = 1
    asked_port: int | None = None
    preferred_port: int | None = None


@dataclass(frozen=True)
class Plan:
    """What to run: `migrate` once before the rest, then the tiers, which stop in reverse.

    `addresses` are where browsers go, one for each gateway. `environment` is what a command of the product
    needs beside its own environment.
    """

    tiers: Sequence[Sequence[Program]]
    environment: Mapping[str, str]
    migrate: Program | None = None
    addresses: Sequence[str] = field(default=())


Table = Callable[[Site], Plan]


def product(site: Site) -> Plan:
    """Lay out the product's processes on one machine."""
    keys = signing_keys(site.state)
    ports = {
        (name, number): site.state.ports.take(f"{name}-{number}")
        for name in SERVICES
        for number in range(1, site.api_replicas + 1)
    }
    ours = {
        **site.ours,
        # The code generated from the contracts is a package of its own.
        "PYTHONPATH": f"{ROOT}:{ROOT / 'proto/gen'}",
        "PYTHONUNBUFFERED": "1",
        "TRUSTED_KEYS": json.dumps({name: public for name, (_, public) in keys.items()}),
        **{
            f"{name.upper()}_ADDRESS": "ipv4:"
            + ",".join(f"127.0.0.1:{ports[name, number]}" for number in range(1, site.api_replicas + 1))
            for name in SERVICES
        },
    }
    common = {**site.given, **ours}

    def program(
        name: str, module: str, role: str, issuers: Sequence[str], health: str = "", **more: str
    ) -> Program:
        metrics_port = site.state.ports.take(f"{name}.metrics")
        return Program(
            name=name,
            argv=[sys.executable, "-m", module, role],
            env={
                **common,
                "BIND_ADDRESS": "127.0.0.1",
                "SIGNING_KEYS": signing(issuers),
                "METRICS_PORT": str(metrics_port),
                **more,
            },
            health=health or f"metrics://127.0.0.1:{metrics_port}",
            cwd=ROOT,
            ports={"metrics": metrics_port} | ({"listen": int(more["PORT"])} if "PORT" in more else {}),
            niceness=BACKGROUND if name.partition("-")[0] in PATIENT else 0,
        )

    def signing(issuers: Sequence[str]) -> str:
        return json.dumps({name: keys[name][0] for name in issuers})

    apis = [
        program(
            f"{name}-{number}", f"services.{name}", "api", [name], f"grpc://127.0.0.1:{port}", PORT=str(port)
        )
        for (name, number), port in ports.items()
    ]
    edges = [
        program(name, "services", kind, issuers)
        for kind, issuers in (("events", ()), ("worker", WORKER_ISSUERS))
        for name in several(kind, site.background_replicas)
    ]
    # A shop without a PBX or a modem runs without its edge.
    if "AMI_ADDRESS" in common:
        edges.append(program("pbx", "services.telephony", "pbx", ["telephony"]))
    if "MODEMS" in common:
        edges.append(program("modem", "services.telephony", "modem", ["telephony"]))
    bind = common.get("BIND_ADDRESS", "127.0.0.1")
    host = "127.0.0.1" if bind == "0.0.0.0" else bind  # noqa: S104 - compared, not bound
    scheme = "https" if common.get("TLS_CERTIFICATE") else "http"
    gateways, addresses = [], []
    for number in range(1, site.gateway_replicas + 1):
        name = f"{GATEWAY}-{number}"
        if site.asked_port and number == 1:
            port = site.state.ports.demand(name, site.asked_port, host=bind)
        else:
            port = site.state.ports.take(name, host=bind, prefer=site.preferred_port if number == 1 else None)
        addresses.append(f"{scheme}://{host}:{port}")
        gateways.append(
            program(
                name,
                f"services.{GATEWAY}",
                "api",
                [GATEWAY],
                f"{addresses[-1]}/healthz",
                PORT=str(port),
                BIND_ADDRESS=bind,
            )
        )
    return Plan(
        migrate=replace(program("migrate", "services", "migrate", []), start_timeout_s=MIGRATION_S),
        tiers=[apis, edges, gateways],
        environment={**ours, "SIGNING_KEYS": signing(ISSUERS)},
        addresses=addresses,
    )


def several(kind: str, replicas: int) -> list[str]:
    """Return the names of so many processes of a kind that nobody calls: one alone needs no number."""
    return [kind] if replicas == 1 else [f"{kind}-{number}" for number in range(1, replicas + 1)]


def signing_keys(state: State) -> dict[str, tuple[str, str]]:
    """Return each issuer's (private, public) key, made once and kept readable by us only."""
    file = state.secret_file("signing-keys.json")
    kept: dict[str, list[str]] = json.loads(file.read_text()) if file.exists() else {}
    if missing := [name for name in ISSUERS if name not in kept]:
        kept |= {name: list(generate_key()) for name in missing}
        write_private(file, json.dumps(kept))
    return {name: (private, public) for name, (private, public) in kept.items()}
