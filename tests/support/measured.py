"""Read what a process would show to Prometheus."""

from collections.abc import Sequence

from prometheus_client import Gauge

from services.chassis.measures import Measurer


def measured(measurer: Measurer, gauges: Sequence[Gauge], database: str) -> list[float]:
    """Let it look once, and return what the gauges of a database say."""
    measurer.look()
    found = {
        (gauge, sample.labels["database"]): sample.value
        for gauge in gauges
        for metric in gauge.collect()
        for sample in metric.samples
    }
    return [found[gauge, database] for gauge in gauges]
