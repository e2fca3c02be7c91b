"""How many conversions a second, beside workflows with as many empty activities on the same server.

    python -m tests.bench.convert [--conversions 150] [--callers 10]

A conversion is a call of ConvertLead that makes customer, contact and opportunity: the services that it needs run as
processes of their own, as in production, and so does the worker. The bare workflow has five activities that do nothing,
as many as a conversion, and its answer is waited for in the same way; it stands for what the server can do at most. A
conversion's activities are local, so five local ones that do nothing are run too: what is between the two is the work.
All take turns in rounds, so that they see the same machine. `approvals_per_s` is tests.bench.approvals' figure on the
same stores.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TypeVar

import grpc
from crm.leads.v1 import leads_pb2 as pb
from crm.leads.v1.leads_pb2_grpc import LeadsServiceStub

from deploy.local.stores import PrivateStores
from services.__main__ import load
from services.chassis.clock import utc_now
from services.chassis.errors import Unavailable
from services.chassis.ids import new_id
from services.chassis.service import migrate
from services.chassis.settings import Settings
from services.chassis.temporal import TemporalLink
from services.chassis.tokens import Caller as Claims
from services.chassis.tokens import Signer, generate_key
from services.identity.__main__ import SERVICE as IDENTITY
from services.identity.domain.rights import PRESET_ROLES
from tests.bench import bare
from tests.bench.approvals import approvals_per_s
from tests.bench.figures import percentile
from tests.support.callers import Caller
from tests.support.served import free_port
from tests.support.staff import new_company
from tests.support.until import until

ROOT = Path(__file__).resolve().parents[2]
SERVED = ("identity", "dedupe", "customers", "leads")
ISSUERS = (*SERVED, "gateway", "orders", "approvals", "notify", "telephony")
ROUNDS = 3
# Conversions by one caller, when the rounds are over: how long somebody waits while nobody else converts.
ALONE = 30
# Longest wait for one bare workflow, in seconds.
PATIENCE_S = 60.0

Asked = tuple[Caller, pb.ConvertLeadRequest]
Item = TypeVar("Item")


@contextmanager
def running(*command: str, environ: Mapping[str, str]) -> Iterator[None]:
    """Run a program of ours beside this one."""
    with subprocess.Popen(
        [sys.executable, "-m", *command], cwd=ROOT, env={**os.environ, **environ}, stdout=subprocess.DEVNULL
    ) as process:
        try:
            yield
        finally:
            process.terminate()


class Bench:
    """A tenant with a rep for each caller, the services that convert, and a link to Temporal."""

    def __init__(self, settings: Settings, environ: Mapping[str, str], address: str, callers: int) -> None:
        self.callers = callers
        self.temporal = TemporalLink(settings.temporal_address, settings.temporal_namespace)
        keys = {
            name: (settings.signing_keys[name], settings.trusted_keys[name]) for name in settings.signing_keys
        }
        company = new_company(IDENTITY.runtime(settings, environ), settings.addresses["identity"], keys)
        signer = Signer("identity", settings.signing_keys["identity"])
        (role,) = (role for role in PRESET_ROLES if role.code == "sales_rep")
        self._stub = LeadsServiceStub(grpc.insecure_channel(address))
        self._reps = []
        for number in range(callers):
            claims = Claims(
                tenant=company.tenant,
                person_id=company.add(f"rep{number}", "sales_rep"),
                name="王伟",
                rights=role.rights,
                scope="self",
            )
            self._reps.append(Caller(lambda claims=claims: signer.person_token(claims, utc_now())[0]))  # type: ignore[misc]  # mypy infers no lambda's default
        self._count = 0

    def leads(self, count: int) -> list[Asked]:
        """Make leads and return the requests to convert them, each with its owner."""
        requests = []
        for _ in range(count):
            self._count += 1
            rep = self._reps[self._count % len(self._reps)]
            lead = rep(
                self._stub.CreateLead,
                pb.CreateLeadRequest(
                    request_id=new_id(),
                    name="韩梅梅",
                    company=f"云海第{self._count}贸易有限公司",
                    phone=f"138{self._count:08}",
                ),
            ).lead
            request = pb.ConvertLeadRequest(request_id=new_id(), lead_id=lead.lead_id, create_contact=True)
            request.opportunity.name, request.opportunity.amount = "年度采购", "12000"
            requests.append((rep, request))
        return requests

    def convert(self, asked: Asked) -> float:
        """Convert a lead and return how long its caller waited, in seconds."""
        rep, request = asked
        started = time.perf_counter()
        while True:
            try:
                rep(self._stub.ConvertLead, request)
                return time.perf_counter() - started
            except Unavailable:
                # It goes on; the same request finds its answer, as a client asks for it.
                continue

    def bare(self, local: bool) -> float:
        """Run a bare workflow and return how long its caller waited, in seconds."""
        started = time.perf_counter()
        self.temporal.ask(
            bare.WORKFLOW,
            local,
            # As one tenant's conversions: all beside each other.
            tenant_id="bare",
            workflow_id=f"bare-{new_id()}",
            queue=bare.QUEUE,
            update=bare.ENDED,
            result=type(None),
            timeout_s=PATIENCE_S,
        )
        return time.perf_counter() - started

    def at_once(
        self, work: Callable[[Item], float], items: Sequence[Item], callers: int = 0
    ) -> tuple[float, list[float]]:
        """Do all of it by as many callers, 0 for all; return the seconds that it took and those that each took."""
        started = time.perf_counter()
        with ThreadPoolExecutor(callers or self.callers) as threads:
            waits = list(threads.map(work, items))
        return time.perf_counter() - started, waits


def milliseconds(waits: Sequence[float], share: float) -> float:
    """Return the wait that this share of all does not exceed, in milliseconds."""
    return round(percentile(waits, share) * 1000, 1)


def measure(bench: Bench, count: int) -> dict[str, float]:
    """Return conversions and bare workflows a second, and how long callers waited."""
    share = count // ROUNDS
    # Not counted: every process loads what it needs.
    bench.at_once(bench.convert, bench.leads(bench.callers * 5))
    bench.at_once(bench.bare, [True, False] * bench.callers)
    seconds: dict[str, float] = {"convert": 0.0, "bare": 0.0, "bare_local": 0.0}
    waits: dict[str, list[float]] = {name: [] for name in seconds}

    def add(name: str, took: float, waited: list[float]) -> None:
        seconds[name] += took
        waits[name] += waited

    for _ in range(ROUNDS):
        add("convert", *bench.at_once(bench.convert, bench.leads(share)))
        add("bare", *bench.at_once(bench.bare, [False] * share))
        add("bare_local", *bench.at_once(bench.bare, [True] * share))
    _, alone = bench.at_once(bench.convert, bench.leads(ALONE), callers=1)
    rates = {name: len(waits[name]) / seconds[name] for name in seconds}
    return {
        "conversions_per_s": round(rates["convert"], 1),
        "bare_per_s": round(rates["bare"], 1),
        "of_bare": round(rates["convert"] / rates["bare"], 2),
        "bare_local_per_s": round(rates["bare_local"], 1),
        "of_bare_local": round(rates["convert"] / rates["bare_local"], 2),
        "convert_p50_ms": milliseconds(waits["convert"], 0.5),
        "convert_p99_ms": milliseconds(waits["convert"], 0.99),
        "convert_alone_p50_ms": milliseconds(alone, 0.5),
        "convert_alone_p99_ms": milliseconds(alone, 0.99),
        "bare_p99_ms": milliseconds(waits["bare"], 0.99),
    }


def answers(address: str) -> bool:
    """Tell whether a service listens."""
    try:
        grpc.channel_ready_future(grpc.insecure_channel(address)).result(timeout=1)
    except grpc.FutureTimeoutError:
        return False
    return True


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--conversions", type=int, default=150)
    parser.add_argument("--callers", type=int, default=10)
    asked = parser.parse_args()
    keys = {issuer: generate_key() for issuer in ISSUERS}
    with PrivateStores(databases=("main",), given={}) as stores, ExitStack() as stack:
        ports = {name: free_port() for name in SERVED}
        environ = {
            "DATABASE_URL": stores.database_urls["main"],
            "AMQP_URL": stores.amqp_url,
            "TEMPORAL_ADDRESS": stores.temporal_address,
            "SIGNING_KEYS": json.dumps({name: private for name, (private, _) in keys.items()}),
            "TRUSTED_KEYS": json.dumps({name: public for name, (_, public) in keys.items()}),
            "PYTHONPATH": f"{ROOT}:{ROOT / 'proto/gen'}",
            "LOG_LEVEL": "WARNING",
            **{f"{name.upper()}_ADDRESS": f"127.0.0.1:{port}" for name, port in ports.items()},
        }
        settings = Settings.read(environ)
        migrate(load(), settings)
        for name, port in ports.items():
            stack.enter_context(running(f"services.{name}", "api", environ={**environ, "PORT": str(port)}))
        stack.enter_context(running("services.leads", "worker", environ=environ))
        stack.enter_context(running("tests.bench.bare", environ=environ))
        for name in SERVED:
            until(lambda name=name: answers(settings.addresses[name]), 60)  # type: ignore[misc]  # mypy infers no lambda's default
        bench = Bench(settings, environ, settings.addresses["leads"], asked.callers)
        figures = measure(bench, asked.conversions)
        bench.temporal.close()
        approvals = approvals_per_s(environ, callers=asked.callers)
    print(
        json.dumps(
            {
                "conversions": asked.conversions,
                "callers": asked.callers,
                **figures,
                "approvals_per_s": round(approvals, 1),
            }
        )
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
