"""Run Debian's Prometheus over one stack: every process of the product with its role as `job` and its name as
`instance`, and the rules and alerts of deploy/prometheus.

Asked for by PROMETHEUS=yes; `make status` names its port.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable
from pathlib import Path

from deploy.local.errors import LocalError
from deploy.local.process import BACKGROUND, BARE_ENVIRONMENT, Program
from deploy.local.state import State, write_private

ROOT = Path(__file__).resolve().parents[2]
RULES = ROOT / "deploy/prometheus"
# Seconds between two looks at every process, and at the rules.
LOOK_S = 5
# How long its figures are kept.
KEEP = "15d"


def prometheus_program(state: State, watched: Iterable[Program]) -> Program:
    """Return a Prometheus that reads the metrics ports of these programs; raises LocalError when it is missing."""
    program = shutil.which("prometheus")
    if not program:
        raise LocalError("缺少 Prometheus，请先安装 / Prometheus is missing: apt-get install prometheus")
    home = state.home("prometheus")
    port = state.ports.take("prometheus")
    configuration = {
        "global": {"scrape_interval": f"{LOOK_S}s", "evaluation_interval": f"{LOOK_S}s"},
        "rule_files": [str(home / name) for name in ("rules.yml", "alerts.yml")],
        "scrape_configs": [
            {
                "job_name": "gonghai",
                "static_configs": [
                    {
                        "targets": [f"127.0.0.1:{each.ports['metrics']}"],
                        # customers-1 and customers-2 are two instances of one job.
                        "labels": {"job": each.name.partition("-")[0], "instance": each.name},
                    }
                    for each in watched
                    if "metrics" in each.ports
                ],
            }
        ],
    }

    def prepare() -> None:
        # JSON is YAML. The rules are copied: the account may not reach the checkout.
        write_private(home / "prometheus.yml", json.dumps(configuration, indent=1), state.account)
        for name in ("rules.yml", "alerts.yml"):
            write_private(home / name, (RULES / name).read_text(), state.account)

    return Program(
        name="prometheus",
        argv=[
            *(program, f"--config.file={home / 'prometheus.yml'}", f"--storage.tsdb.path={home / 'data'}"),
            *(f"--storage.tsdb.retention.time={KEEP}", f"--web.listen-address=127.0.0.1:{port}"),
            "--log.level=warn",
        ],
        env=BARE_ENVIRONMENT,
        health=f"http://127.0.0.1:{port}/-/ready",
        prepare=prepare,
        account=state.account,
        cwd=home,
        ports={"http": port},
        niceness=BACKGROUND,
    )
