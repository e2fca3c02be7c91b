"""Rules, alerts and dashboards: they load, fire where they shall, and ask for what the product tells."""

import json
import re
import subprocess
from importlib import import_module
from pathlib import Path

import pytest
from prometheus_client import REGISTRY

from deploy.grafana.__main__ import DASHBOARDS, Panel
from deploy.grafana.__main__ import main as dashboards

ROOT = Path(__file__).resolve().parents[3]
RULES = ROOT / "deploy/prometheus"
RUNBOOKS = ROOT / "docs/runbooks"
PANELS: list[Panel] = [panel for _, panels in DASHBOARDS.values() for panel in panels]
ALERTS = re.findall(r"- alert: (\w+)", (RULES / "alerts.yml").read_text())


def promtool(*words: str) -> str:
    """Run Debian's promtool in the folder of the rules and return what it says; raises when it complains."""
    done = subprocess.run(["promtool", *words], cwd=RULES, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_rules_load() -> None:
    assert "SUCCESS" in promtool("check", "rules", "rules.yml", "alerts.yml")


def test_the_alerts_fire_where_they_shall_and_not_where_they_nearly_would() -> None:
    promtool("test", "rules", "alerts_test.yml")


@pytest.mark.parametrize("alert", ALERTS)
def test_each_alert_is_tested_both_ways_and_has_a_runbook(alert: str) -> None:
    tests = (RULES / "alerts_test.yml").read_text()
    assert f"name: {alert} fires" in tests
    assert f"name: {alert} stays quiet" in tests
    book = (RUNBOOKS / f"{alert}.md").read_text()
    headings = re.findall(r"^## (.+)$", book, re.MULTILINE)
    assert headings == ["Meaning", "Impact", "Diagnosis", "Mitigation"]


def test_no_runbook_is_left_without_its_alert() -> None:
    assert sorted(path.stem for path in RUNBOOKS.glob("*.md")) == sorted(ALERTS)


def test_the_dashboards_are_as_they_are_written() -> None:
    assert dashboards(["--check"]) == 0


def test_prometheus_understands_every_panel(tmp_path: Path) -> None:
    rules = [{"record": f"panel:{number}", "expr": panel.query} for number, panel in enumerate(PANELS)]
    file = tmp_path / "panels.yml"
    # JSON is YAML.
    file.write_text(json.dumps({"groups": [{"name": "panels", "rules": rules}]}))
    assert f"SUCCESS: {len(PANELS)} rules found" in promtool("check", "rules", str(file))


def test_every_metric_that_is_asked_for_is_one_that_the_product_tells() -> None:
    for module in (ROOT / "services").glob("*/metrics.py"):
        import_module(f"services.{module.parent.name}.metrics")
    told = {sample for metric in REGISTRY.collect() for sample in names(metric.name, metric.type)}
    texts = "\n".join(
        [
            *(panel.query for panel in PANELS),
            *((RULES / f"{name}.yml").read_text() for name in ("rules", "alerts")),
        ]
    )
    # What a rule records has colons in its name.
    asked = set(re.findall(r"(?<![:\w])crm_\w+\b(?!:)", texts))
    assert len(asked) > 10
    assert asked <= told


def names(metric: str, kind: str) -> list[str]:
    """Return the names under which Prometheus stores a metric."""
    if kind == "histogram":
        return [f"{metric}_{part}" for part in ("bucket", "count", "sum")]
    return [f"{metric}_total"] if kind == "counter" else [metric]
