"""Tell a running modem emulator what is to happen: faults, unplugging, messages from outside.

By hand: python -m deploy.local.modem_emulator.control SOCKET receive number=+8613800138000 text=收到
"""

import json
import socket
import sys
from pathlib import Path
from typing import Any


def tell(control: Path, do: str, **arguments: Any) -> Any:
    """Send one request and return its result; ValueError if the emulator refuses it, OSError if none is
    there.

    do, with its arguments: fault (cms_error, number, accepted, unplug, count: see `modem.Fault`), set (sim,
    registration, report_status), unplug, plug, fill, say (line, count, every_s), receive (number, text),
    receive_pdu (pdu, octets), submitted (returns each segment taken), faults (returns how many are still to
    come), restarts (returns how many AT+CFUN=1,1 there were).
    """
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(5.0)
        connection.connect(str(control))
        with connection.makefile("rw", encoding="utf-8") as stream:
            stream.write(json.dumps({"do": do, **arguments}) + "\n")
            stream.flush()
            answer = json.loads(stream.readline())
    if "error" in answer:
        raise ValueError(answer["error"])
    return answer["result"]


def _main(control: str, do: str, *arguments: str) -> None:
    fields = dict(argument.split("=", 1) for argument in arguments)
    print(json.dumps(tell(Path(control), do, **fields), ensure_ascii=False))


if __name__ == "__main__":
    _main(*sys.argv[1:])
