"""Run the modem emulator: python -m deploy.local.modem_emulator --link PATH [--inbox FILE.jsonl] ..."""

import argparse
import signal
import sys
from pathlib import Path
from typing import NoReturn

from deploy.local.modem_emulator.modem import NETWORK_S
from deploy.local.modem_emulator.server import Emulator


def main() -> int:
    """Parse the arguments and serve until SIGTERM or SIGINT; 0 then, 2 for arguments that make no sense."""
    parser = argparse.ArgumentParser(
        prog="modem_emulator",
        description="短信猫模拟器 / An SMS modem simulator on a pty; no message ever leaves it.",
    )
    parser.add_argument(
        "--link", type=Path, required=True, help="where programs find the modem, such as var/modem0"
    )
    parser.add_argument("--inbox", type=Path, help="append each message sent, one JSON object a line")
    parser.add_argument("--control", type=Path, help="a Unix socket that takes requests, see control.py")
    parser.add_argument(
        "--report-delay-s", type=float, default=1.0, help="from sending to the delivery report"
    )
    parser.add_argument(
        "--network-s", type=float, default=NETWORK_S, help="how long the network takes over a segment"
    )
    arguments = parser.parse_args()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, _end)
    try:
        Emulator(
            arguments.link, arguments.inbox, arguments.control, arguments.report_delay_s, arguments.network_s
        ).run()
    except OSError as error:
        parser.error(str(error))
    return 0


def _end(*_: object) -> NoReturn:
    raise SystemExit(0)


if __name__ == "__main__":
    sys.exit(main())
