"""Logs: one JSON object a line on standard error, a constant message plus fields.

Telephone numbers are masked in every field, wherever they come from, before a line is written.
"""

import logging
import re
import sys
from collections.abc import MutableMapping
from typing import Any

import structlog

# Seven or more digits with an optional plus: everything a telephone number can look like.
NUMBER = re.compile(r"(?<![\w-])\+?\d{7,15}(?![\w-])", re.ASCII)


def mask_numbers(text: str) -> str:
    """Return the text with the middle of every number-like run replaced by ****."""
    return NUMBER.sub(lambda match: f"{match[0][:3]}****{match[0][-2:]}", text)


def _mask(_logger: object, _method: str, fields: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    return {name: _masked(value) for name, value in fields.items()}


def _masked(value: Any) -> Any:
    """Return a value with every number in it masked, however deep it stands."""
    if isinstance(value, str):
        return mask_numbers(value)
    if isinstance(value, dict):
        return {name: _masked(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_masked(item) for item in value]
    return value


def configure(process: str, level: str) -> None:
    """Send structlog's and the standard library's records to standard error as JSON lines.

    process: name bound into every line, for example "customers.api". level: DEBUG, INFO, WARNING or ERROR.
    """
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        # What the standard library's loggers were given as `extra`.
        structlog.stdlib.ExtraAdder(),
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info,
        _mask,
    ]
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                structlog.processors.JSONRenderer(ensure_ascii=False),
            ],
        )
    )
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(level)
    # One line per connection attempt and per frame is noise at INFO.
    for noisy in ("amqp", "kombu", "panoramisk", "temporalio", "alembic", "httpx"):
        logging.getLogger(noisy).setLevel(max(logging.WARNING, root.level))
    structlog.contextvars.bind_contextvars(process=process)


def current_trace() -> str:
    """Return the id of the request at hand, "" outside of one."""
    return str(structlog.contextvars.get_contextvars().get("trace_id", ""))


def get_logger(name: str) -> structlog.stdlib.BoundLogger:
    """Return a logger: `log.info("customer claimed", customer_id=...)`."""
    logger: structlog.stdlib.BoundLogger = structlog.stdlib.get_logger(name)
    return logger
