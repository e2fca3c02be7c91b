"""Grafana dashboards, written as data and kept as the JSON that Grafana imports."""
