"""Run the gateway: `python -m services.gateway api`."""

import argparse
import os
import signal
import sys
from logging import CRITICAL, getLogger

import uvicorn

from services.chassis import logging
from services.chassis.process import started
from services.chassis.settings import SettingsError, read_secret_files
from services.gateway.app import build
from services.gateway.settings import Settings

PROCESS = "gateway.api"

# Seconds that requests at work have after SIGTERM.
STOP_TIMEOUT_S = 10
# Seconds between pings to a live socket, and until a missing answer ends it.
PING_S = 20.0
# Largest frame that a live socket may send in bytes: pages say nothing.
FRAME_LIMIT_BYTES = 4096


def server(settings: Settings) -> uvicorn.Server:
    """Return the HTTP server, not started."""
    return uvicorn.Server(
        uvicorn.Config(
            build(settings),
            host=settings.bind_address,
            port=settings.port,
            # The frame writes the access log; uvicorn's other lines go the same way as ours.
            log_config=None,
            access_log=False,
            server_header=False,
            timeout_graceful_shutdown=STOP_TIMEOUT_S,
            ws_ping_interval=PING_S,
            ws_ping_timeout=PING_S,
            ws_max_size=FRAME_LIMIT_BYTES,
            # Frames are small and must be quick.
            ws_per_message_deflate=False,
            ssl_certfile=settings.tls_certificate or None,
            ssl_keyfile=settings.tls_key or None,
        )
    )


def main() -> int:
    """Run the role that the command line asks for; return its exit status."""
    parser = argparse.ArgumentParser(prog="python -m services.gateway")
    parser.add_argument("role", choices=["api"])
    parser.parse_args()
    try:
        settings = Settings.read(read_secret_files(os.environ))
    except SettingsError as error:
        print(f"gateway: {error}", file=sys.stderr)
        return 2
    logging.configure(PROCESS, settings.log_level)
    # It logs every attempt to connect; we log once that the link is down, and once that it is back.
    getLogger("aiormq").setLevel(CRITICAL)
    # uvicorn stops at these and then raises them again: for us that is a good end.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: sys.exit(0))
    gateway = server(settings)
    started(PROCESS, settings.metrics_address, settings.metrics_port)
    gateway.run()
    return 0


if __name__ == "__main__":
    sys.exit(main())
