"""Write the Grafana dashboards from what stands here: python -m deploy.grafana [--check].

One for each service: rate, errors and duration of its RPCs, its events, its outbox, and what it alone measures; and
`floor`, for the screen on the wall of a call center. Import them, or let Grafana provision this folder; the data
source is asked for. With --check nothing is written, and a file that differs is an error.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from services.chassis.settings import SERVICES

FOLDER = Path(__file__).parent
# Grafana's grid is 24 columns wide; three panels stand in a row.
PANEL_WIDTH, PANEL_HEIGHT, PANELS_A_ROW = 8, 8, 3


@dataclass(frozen=True)
class Panel:
    """One graph: its title, what it asks Prometheus, the legend of each line and the unit in Grafana's words."""

    title: str
    query: str
    legend: str = ""
    unit: str = "short"


def red(service: str) -> Sequence[Panel]:
    """Return rate, errors and duration of a service, and how its facts travel."""
    own = f'service="{service}"'
    rpc = "crm_rpc_handling_seconds"
    return (
        Panel("请求 / requests", f"sum by (method) (rate({rpc}_count{{{own}}}[5m]))", "{{method}}", "reqps"),
        Panel(
            "失败 / failures",
            f'sum by (method, code) (rate({rpc}_count{{{own}, code!="OK"}}[5m]))',
            "{{method}} {{code}}",
            "reqps",
        ),
        Panel(
            "耗时 p99 / duration p99",
            f"histogram_quantile(0.99, sum by (method, le) (rate({rpc}_bucket{{{own}}}[5m])))",
            "{{method}}",
            "s",
        ),
        Panel(
            "事件 / events",
            f"sum by (event, outcome) (rate(crm_events_handled_total{{{own}}}[5m]))",
            "{{event}} {{outcome}}",
            "cps",
        ),
        Panel(
            "发件箱最旧 / oldest in the outbox",
            f"max by (database, lane) (crm_outbox_oldest_seconds{{{own}}})",
            "{{database}} {{lane}}",
            "s",
        ),
        Panel(
            "投递 / deliveries",
            f"sum by (kind) (rate(crm_outbox_delivered_rows_total{{{own}}}[5m]))",
            "{{kind}}",
            "cps",
        ),
    )


def work(queue: str) -> Sequence[Panel]:
    """Return rate, errors and duration of a service's workflows and of their activities, which are its jobs."""
    own = f'queue="{queue}"'
    return (
        Panel(
            "流程 / workflows",
            f"sum by (workflow, outcome) (rate(crm_workflows_ended_total{{{own}}}[5m]))",
            "{{workflow}} {{outcome}}",
            "cps",
        ),
        Panel(
            "任务 / activities",
            f"sum by (activity, outcome) (rate(crm_activity_seconds_count{{{own}}}[5m]))",
            "{{activity}} {{outcome}}",
            "cps",
        ),
        Panel(
            "任务耗时 p99 / activity duration p99",
            f"histogram_quantile(0.99, sum by (activity, le) (rate(crm_activity_seconds_bucket{{{own}}}[5m])))",
            "{{activity}}",
            "s",
        ),
    )


CALLS = (
    Panel("进行中的通话 / live calls", "sum by (pbx) (crm_telephony_live_calls)", "{{pbx}}"),
    Panel("振铃中的来电 / calls ringing", "sum by (pbx) (crm_telephony_ringing_calls)", "{{pbx}}"),
    Panel(
        "弹屏写入 / event to commit",
        "histogram_quantile(0.99, sum by (le) (rate(crm_telephony_call_write_seconds_bucket[5m])))",
        "p99",
        "s",
    ),
    Panel("AMI 连接 / AMI link", "max by (pbx) (crm_telephony_ami_up)", "{{pbx}}"),
    Panel(
        "来电识别 / who is calling",
        "sum by (outcome) (rate(crm_telephony_caller_lookups_total[5m]))",
        "{{outcome}}",
        "cps",
    ),
    Panel(
        "录音 / recordings",
        "sum by (outcome) (rate(crm_telephony_recordings_total[5m]))",
        "{{outcome}}",
        "cps",
    ),
)
SMS = (
    Panel("短信猫 / modems", "max by (modem) (crm_telephony_modem_ready)", "{{modem}}"),
    Panel("信号 / signal (+CSQ)", "max by (modem) (crm_telephony_modem_signal)", "{{modem}}"),
    Panel("待发短信 / SMS waiting", "max by (database, lane) (crm_telephony_sms_waiting)", "{{lane}}"),
    Panel(
        "短信分段 / SMS segments",
        "sum by (outcome) (rate(crm_telephony_sms_segments_total[5m]))",
        "{{outcome}}",
        "cps",
    ),
    Panel(
        "SIM 卡剩余额度 / what SIMs may still send",
        "min by (modem, period) (crm_telephony_sim_quota_left_segments)",
        "{{modem}} {{period}}",
    ),
    Panel("结果未知 / uncertain", "max by (database) (crm_telephony_sms_uncertain)", "{{database}}"),
)
SOCKETS = (
    Panel("在线页面 / live sockets", "sum by (instance) (crm_gateway_live_sockets)", "{{instance}}"),
    Panel("推送 / frames", "sum by (kind) (rate(crm_gateway_live_frames_total[5m]))", "{{kind}}", "cps"),
)
# Services with workflows; their queue has their name.
WORKING = frozenset({"customers", "leads", "orders", "dedupe", "approvals", "notify"})
# What a service measures beyond what every one does.
OWN: Mapping[str, Sequence[Panel]] = {
    "identity": (
        Panel(
            "登录 / sign-ins",
            "sum by (outcome) (rate(crm_identity_sign_ins_total[5m]))",
            "{{outcome}}",
            "cps",
        ),
    ),
    "customers": (
        Panel(
            "归属变更 / changes of owner",
            "sum by (cause) (rate(crm_customers_ownership_changes_total[5m]))",
            "{{cause}}",
            "cps",
        ),
        Panel(
            "回收预警 / reclaim warnings", "sum(rate(crm_customers_reclaim_warnings_total[5m]))", "", "cps"
        ),
        Panel(
            "回收滞后 / reclaims due",
            "max by (database) (crm_customers_reclaim_backlog_rows)",
            "{{database}}",
        ),
        Panel(
            "回收最迟 / reclaims late by",
            "max by (database) (crm_customers_reclaim_backlog_seconds)",
            "{{database}}",
            "s",
        ),
        Panel(
            "待分配 / allocations due",
            "max by (database) (crm_customers_allocation_backlog_rows)",
            "{{database}}",
        ),
        Panel("导入行 / imported rows", "sum(rate(crm_customers_imported_rows_total[5m]))", "", "cps"),
    ),
    "leads": (
        Panel(
            "转化 / conversions",
            "sum by (outcome) (rate(crm_leads_conversions_total[5m]))",
            "{{outcome}}",
            "cps",
        ),
        Panel(
            "回收滞后 / reclaims due", "max by (database) (crm_leads_reclaim_backlog_rows)", "{{database}}"
        ),
        Panel(
            "回收最迟 / reclaims late by",
            "max by (database) (crm_leads_reclaim_backlog_seconds)",
            "{{database}}",
            "s",
        ),
    ),
    "approvals": (
        Panel("超时步骤 / overdue steps", "max by (database) (crm_approvals_overdue_steps)", "{{database}}"),
        Panel(
            "超时最久 / overdue by", "max by (database) (crm_approvals_overdue_seconds)", "{{database}}", "s"
        ),
    ),
    "dedupe": (
        Panel(
            "占用 / reservations",
            "sum by (outcome) (rate(crm_dedupe_reservations_total[5m]))",
            "{{outcome}}",
            "cps",
        ),
    ),
    "notify": (
        Panel(
            "外发消息 / deliveries",
            "sum by (channel, outcome) (rate(crm_notify_deliveries_total[5m]))",
            "{{channel}} {{outcome}}",
            "cps",
        ),
        Panel(
            "提醒 / reminders",
            "sum by (outcome) (rate(crm_notify_reminders_total[5m]))",
            "{{outcome}}",
            "cps",
        ),
    ),
    "telephony": (*CALLS, *SMS),
}
GATEWAY = (
    Panel(
        "请求 / requests",
        "sum by (route) (rate(crm_gateway_request_seconds_count[5m]))",
        "{{route}}",
        "reqps",
    ),
    Panel(
        "失败 / failures",
        'sum by (route, status) (rate(crm_gateway_request_seconds_count{status=~"5.."}[5m]))',
        "{{route}} {{status}}",
        "reqps",
    ),
    Panel(
        "耗时 p99 / duration p99",
        "histogram_quantile(0.99, sum by (route, le) (rate(crm_gateway_request_seconds_bucket[5m])))",
        "{{route}}",
        "s",
    ),
    *SOCKETS,
)
FLOOR = (
    *SOCKETS[:1],
    *CALLS,
    Panel("服务在线 / processes up", "sum by (job) (up)", "{{job}}"),
    *SMS[:3],
    Panel(
        "发件箱最旧 / oldest in an outbox", "max by (service) (crm_outbox_oldest_seconds)", "{{service}}", "s"
    ),
)
DASHBOARDS: Mapping[str, tuple[str, Sequence[Panel]]] = {
    "floor": ("公海 · 大屏 / floor", FLOOR),
    "gateway": ("公海 · gateway", GATEWAY),
    **{
        name: (
            f"公海 · {name}",
            (*red(name), *(work(name) if name in WORKING else ()), *OWN.get(name, ())),
        )
        for name in SERVICES
    },
}


def dashboard(name: str, title: str, panels: Sequence[Panel]) -> dict[str, Any]:
    """Return a dashboard as Grafana's JSON model has it."""
    source = {"type": "prometheus", "uid": "${source}"}
    return {
        "uid": f"gonghai-{name}",
        "title": title,
        "tags": ["gonghai"],
        "timezone": "browser",
        "refresh": "10s",
        "time": {"from": "now-1h", "to": "now"},
        "schemaVersion": 39,
        "templating": {"list": [{"name": "source", "type": "datasource", "query": "prometheus"}]},
        "panels": [
            {
                "id": number + 1,
                "type": "timeseries",
                "title": panel.title,
                "datasource": source,
                "gridPos": {
                    "x": number % PANELS_A_ROW * PANEL_WIDTH,
                    "y": number // PANELS_A_ROW * PANEL_HEIGHT,
                    "w": PANEL_WIDTH,
                    "h": PANEL_HEIGHT,
                },
                "fieldConfig": {"defaults": {"unit": panel.unit, "min": 0}, "overrides": []},
                "targets": [
                    {"refId": "A", "datasource": source, "expr": panel.query, "legendFormat": panel.legend}
                ],
            }
            for number, panel in enumerate(panels)
        ],
    }


def main(argv: Sequence[str]) -> int:
    """Write or check every dashboard; return the exit status."""
    stale = []
    for name, (title, panels) in DASHBOARDS.items():
        text = json.dumps(dashboard(name, title, panels), ensure_ascii=False, indent=1) + "\n"
        file = FOLDER / f"{name}.json"
        if argv == ["--check"]:
            if not file.exists() or file.read_text() != text:
                stale.append(file.name)
        else:
            file.write_text(text)
    if stale:
        print(f"stale: {', '.join(stale)}; write them with: python -m deploy.grafana", file=sys.stderr)
    return 1 if stale else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
