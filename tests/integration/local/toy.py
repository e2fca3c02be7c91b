"""A stack of real stores, PBX and modem emulator with web servers in the place of the product.

python -m tests.integration.local.toy NAME      runs it as `make demo` would
"""

import signal
import sys

from deploy.local.__main__ import run
from deploy.local.process import BARE_ENVIRONMENT, Program
from deploy.local.table import Plan, Site


def toy(site: Site) -> Plan:
    """Plan one web server a tier, the last one standing for the gateway."""

    def server(name: str) -> Program:
        port = site.state.ports.take(name)
        return Program(
            name=name,
            argv=[sys.executable, "-m", "http.server", str(port), "--bind", "127.0.0.1"],
            env=BARE_ENVIRONMENT,
            health=f"http://127.0.0.1:{port}/",
            cwd=site.state.logs,
            ports={"listen": port},
        )

    tiers = [server("first"), server("second"), server("desktop")]
    return Plan(
        migrate=Program("migrate", [sys.executable, "-c", "print('migrated')"], health=""),
        tiers=[[each] for each in tiers],
        environment=site.ours,
        addresses=[f"http://127.0.0.1:{tiers[-1].ports['listen']}"],
    )


if __name__ == "__main__":
    # Whoever runs the tests in the background made us ignore Ctrl-C.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    sys.exit(run(sys.argv[1], simulators=True, samples=False, table=toy))
