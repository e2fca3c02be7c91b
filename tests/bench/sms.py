"""How many SMS a second leave, beside other programs through the same modem emulator, and what a restart sends twice.

    make bench-sms

At a 50 ms network: the engine over its tables, gammu-smsd, smstools and Kannel, each with its own spool, by the times
at which the emulator's network took the messages; then each is killed with SIGKILL the moment the network has one, and
started again, three times. At a realistic 3 s network: the engine against the theory, eight modems against one, and
how long reminders wait behind 10,000 bulk messages. The others are unpacked from Debian beside the system. The last
line is one JSON object.
"""

import contextlib
import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from pathlib import Path

from deploy.local.pbx.unpack import CACHE, unpack_packages
from deploy.local.ports import Ports
from deploy.local.stores import PrivateStores
from services.chassis.clock import utc_now
from services.chassis.db import Store
from services.chassis.ids import derive_id, new_id
from services.chassis.migrations.runner import upgrade
from services.chassis.tenancy import Tenant
from services.telephony.domain.sms import VALIDITY, Lane, Policy
from services.telephony.modem.pdu import Submit
from services.telephony.store import tables
from services.telephony.usecases import modems, sms, staff
from tests.support.modem import Emulator, emulator
from tests.support.until import until

TEXT = "【示例公司】订单已超过处理时限，请尽快处理。"
SLOW_NETWORK_S = 3.0
BULK = 10_000
# A program that has sent nothing this long is through.
QUIET_S = 20.0
KILLS = 3


def number(index: int) -> str:
    """Return a number for each message: nothing may hold one up for another's sake."""
    return f"+86138{index:08}"


@dataclass(frozen=True)
class Peer:
    """A program that sends: what puts a message into its spool before it runs, what runs, and what puts one in then."""

    name: str
    commands: Sequence[Sequence[str]]
    environment: Mapping[str, str]
    put: Callable[[int], None]
    # Takes messages only while it runs.
    put_running: bool = False


@contextlib.contextmanager
def running(peer: Peer) -> Iterator[list[subprocess.Popen[bytes]]]:
    """Run a program and kill it in the end."""
    processes = [
        subprocess.Popen(
            command,
            env={**os.environ, **peer.environment},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        for command in peer.commands
    ]
    try:
        yield processes
    finally:
        for process in processes:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def rate_of(peer: Peer, network: Emulator, count: int) -> float:
    """Return how many messages a second the network got, from the first to the last."""
    if not peer.put_running:
        for index in range(count):
            peer.put(index)
    with running(peer):
        if peer.put_running:
            for index in range(count):
                peer.put(index)
        until(lambda: len(network.submitted()) >= count, timeout_s=180)
    times = times_of(network)[:count]
    return (count - 1) / (times[-1] - times[0])


def duplicates_of(peer: Peer, network: Emulator, count: int) -> int:
    """Return how many messages left a second time though nobody asked: killed as the network took one, restarted."""
    before = len(network.submitted())
    if not peer.put_running:
        for index in range(count):
            peer.put(1000 + index)
    for turn in range(KILLS):
        with running(peer):
            if peer.put_running and turn == 0:
                for index in range(count):
                    peer.put(1000 + index)
            reached = before + 2 * (turn + 1)
            deadline = time.monotonic() + 60
            while len(network.submitted()) < reached and time.monotonic() < deadline:
                time.sleep(0.002)
    with running(peer):
        until_quiet(network)
    left = [Submit.decode(entry["pdu"]).number for entry in network.submitted()[before:]]
    return len(left) - len(set(left))


def until_quiet(network: Emulator) -> None:
    """Wait until nothing was sent for a while."""
    seen, since = -1, time.monotonic()
    while time.monotonic() - since < QUIET_S:
        if (now := len(network.submitted())) != seen:
            seen, since = now, time.monotonic()
        time.sleep(0.2)


def times_of(network: Emulator) -> list[float]:
    """Return when the network took each segment, in seconds."""
    return [datetime.fromisoformat(entry["time"]).timestamp() for entry in network.submitted()]


def taken_at(network: Emulator, to: str) -> float:
    """Return when the network took the message to a number, in seconds; 0: not yet."""
    times = (entry["time"] for entry in network.submitted() if entry["number"] == to)
    return next((datetime.fromisoformat(time).timestamp() for time in times), 0.0)


# --- the engine


class Shop:
    """A tenant whose messages the engine sends from PostgreSQL."""

    def __init__(self, stores: PrivateStores) -> None:
        self.url = stores.database_urls["main"]
        upgrade("telephony", tables.metadata, self.url)
        self.store = Store({"main": self.url}, tables.metadata, utc_now)
        self.tenant = Tenant(new_id(), "main")
        self.environment = {
            "DATABASE_URL": self.url,
            "AMQP_URL": stores.amqp_url,
            "TEMPORAL_ADDRESS": stores.temporal_address,
            "SIGNING_KEYS": "{}",
            "TRUSTED_KEYS": "{}",
        }
        with self.store.transaction(self.tenant) as tx:
            # At any hour, as the bench may run at any.
            modems.save_policy(tx, Policy(bulk_from_minute=0, bulk_until_minute=24 * 60))

    def engine(self, modem: str, port: Path) -> Peer:
        """Return the engine on one modem."""
        with self.store.transaction(self.tenant) as tx:
            staff.add_modem(tx, modem)
        arguments = (self.tenant.database, self.tenant.id, modem, str(port))
        command = [sys.executable, "-m", "tests.bench.sms_modem", *arguments]
        return Peer("engine", [command], self.environment, lambda index: self.put(number(index)))

    def put(self, to: str, lane: Lane = Lane.REMINDER, text: str = TEXT) -> None:
        """Queue one message."""
        with self.store.transaction(self.tenant) as tx:
            sms.queue_sms(tx, new_id(), new_id(), to, text, lane=lane)

    def put_bulk(self, count: int) -> None:
        """Queue many at once, as rows."""
        with self.store.transaction(self.tenant) as tx:
            cut, ids = sms.cut_text(TEXT), [new_id() for _ in range(count)]
            common = {"tenant_id": self.tenant.id, "text": TEXT}
            tx.session.execute(
                tables.sms.insert(),
                [
                    {
                        **common,
                        "id": sms_id,
                        "lane": Lane.BULK.value,
                        "number": number(100_000 + index),
                        "encoding": cut.encoding.value,
                        "state": "queued",
                        "segment_count": 1,
                        "concat_reference": 0,
                        "create_time": tx.now,
                        "expire_time": tx.now + VALIDITY,
                        "version": 1,
                    }
                    for index, sms_id in enumerate(ids)
                ],
            )
            tx.session.execute(
                tables.sms_segment.insert(),
                [
                    {
                        **common,
                        "id": derive_id("segment", sms_id, "1"),
                        "sms_id": sms_id,
                        "part": 1,
                        "state": "queued",
                        "priority": Lane.BULK.priority,
                        "next_attempt_time": tx.now,
                    }
                    for sms_id in ids
                ],
            )


@contextlib.contextmanager
def open_shop(stores: PrivateStores) -> Iterator[Shop]:
    """Open a shop of its own in the stores."""
    opened = Shop(stores)
    try:
        yield opened
    finally:
        opened.store.close()


# --- the others


def unpacked() -> Path:
    """Return the tree with the other programs, downloaded the first time."""
    root, draft = CACHE / "sms-peers", CACHE / "sms-peers.new"
    if not root.exists():
        CACHE.mkdir(parents=True, exist_ok=True)
        subprocess.run(["rm", "-rf", str(draft)], check=True)
        unpack_packages(draft, ["gammu-smsd", "kannel", "smstools"])
        draft.rename(root)
    return root


def program(root: Path, path: str, *arguments: object) -> list[str]:
    """Return the command of an unpacked program: by its own loader and libraries."""
    libraries = ":".join(str(root / each) for each in ("usr/lib/x86_64-linux-gnu", "usr/lib"))
    loader = next((root / "usr/lib").rglob("ld-linux-x86-64.so.2"))
    return [str(loader), "--library-path", libraries, str(root / path), *map(str, arguments)]


def gammu(root: Path, folder: Path, network: Emulator) -> Peer:
    """Set gammu-smsd up with its spool of files."""
    spool = {name: folder / name for name in ("inbox", "outbox", "sent", "error")}
    for each in spool.values():
        each.mkdir()
    config = folder / "smsdrc"
    config.write_text(
        f"[gammu]\ndevice = {network.link}\nconnection = at115200\nsynchronizetime = no\n"
        f"[smsd]\nservice = files\nlogfile = {folder / 'log'}\ncheckbattery = 0\nchecksignal = 0\n"
        f"inboxpath = {spool['inbox']}/\noutboxpath = {spool['outbox']}/\n"
        f"sentsmspath = {spool['sent']}/\nerrorsmspath = {spool['error']}/\n"
    )

    def put(index: int) -> None:
        inject = program(root, "usr/bin/gammu-smsd-inject", "-c", config, "TEXT", number(index))
        subprocess.run([*inject, "-unicode", "-text", TEXT], check=True, stdout=subprocess.DEVNULL)

    return Peer("gammu-smsd", [program(root, "usr/bin/gammu-smsd", "-c", config)], {}, put)


def smstools(root: Path, folder: Path, network: Emulator) -> Peer:
    """Set smstools up."""
    names = ("outgoing", "checked", "incoming", "failed", "sent")
    for name in names:
        (folder / name).mkdir()
    lines = [
        *(f"{name} = {folder / name}" for name in (*names, "infofile", "pidfile", "logfile")),
        *("devices = GSM1", "delaytime = 1", "delaytime_mainprocess = 1", "stats_interval = 0"),
        *("[GSM1]", f"device = {network.link}", "incoming = no", ""),
    ]
    config = folder / "smsd.conf"
    config.write_text("\n".join(lines))

    def put(index: int) -> None:
        draft = folder / f"message{index}"
        draft.write_text(f"To: {number(index)[1:]}\nAlphabet: UTF-8\n\n{TEXT}")
        draft.rename(folder / "outgoing" / draft.name)

    # -t: end with the terminal's signals, stay in the foreground.
    return Peer("smstools", [program(root, "usr/sbin/smsd", "-c", config, "-t")], {}, put)


def kannel(root: Path, folder: Path, network: Emulator) -> Peer:
    """Set Kannel up: its bearerbox on the modem, its smsbox for who sends."""
    ports = Ports()
    admin, box, send = (ports.take(name) for name in ("admin", "box", "send"))
    config = folder / "kannel.conf"
    config.write_text(
        f"group = core\nadmin-port = {admin}\nadmin-interface = 127.0.0.1\nadmin-password = x\n"
        f"smsbox-port = {box}\nsmsbox-interface = 127.0.0.1\nlog-file = {folder / 'bearerbox.log'}\nlog-level = 0\n"
        f"store-type = file\nstore-location = {folder / 'store'}\nstore-dump-freq = 1\n\n"
        f"group = modems\nid = emulated\nname = emulated\n\n"
        f"group = smsc\nsmsc = at\nmodemtype = emulated\ndevice = {network.link}\nspeed = 115200\n\n"
        f"group = smsbox\nbearerbox-host = 127.0.0.1\nbearerbox-port = {box}\nsendsms-port = {send}\n"
        f"sendsms-interface = 127.0.0.1\nlog-file = {folder / 'smsbox.log'}\n\n"
        f"group = sendsms-user\nusername = bench\npassword = bench\nmax-messages = 10\n"
    )

    def put(index: int) -> None:
        words = {
            "username": "bench",
            "password": "bench",
            "from": "10086",
            "to": number(index),
            "text": TEXT,
            "coding": "2",
            "charset": "UTF-8",
        }
        address = f"http://127.0.0.1:{send}/cgi-bin/sendsms?{urllib.parse.urlencode(words)}"
        until(lambda: accepted(address), timeout_s=30)

    # Its smsbox gives up where the bearerbox does not listen yet.
    wait = f'until (exec 3<>/dev/tcp/127.0.0.1/{box}) 2>/dev/null; do sleep 0.05; done; exec "$@"'
    bearerbox, smsbox = (program(root, f"usr/sbin/{name}", config) for name in ("bearerbox", "smsbox"))
    return Peer("kannel", [bearerbox, ["bash", "-c", wait, "smsbox", *smsbox]], {}, put, put_running=True)


def accepted(address: str) -> bool:
    """Tell whether Kannel has taken a message; it does once both boxes are up."""
    with contextlib.suppress(OSError), urllib.request.urlopen(address, timeout=5) as answer:  # noqa: S310 - loopback
        return bool(answer.status < 300)
    return False


# --- what is measured


def side_by_side(shop: Shop, folder: Path) -> dict[str, float | None]:
    """Measure all four at a 50 ms network; a peer that sends nothing at all has no figure."""
    root = unpacked()
    figures: dict[str, float | None] = {}
    peers: list[tuple[str, int, Callable[[Path, Emulator], Peer]]] = [
        ("engine", 100, lambda _, network: shop.engine("fast", network.link)),
        ("gammu", 12, lambda at, network: gammu(root, at, network)),
        ("smstools", 20, lambda at, network: smstools(root, at, network)),
        ("kannel", 20, lambda at, network: kannel(root, at, network)),
    ]
    for name, count, set_up in peers:
        at = folder / name
        at.mkdir()
        with emulator(at) as network:
            peer = set_up(at, network)
            try:
                figures[f"{name}_per_s"] = round(rate_of(peer, network, count), 3)
                figures[f"{name}_duplicates"] = duplicates_of(peer, network, 2 * KILLS + 2)
            except AssertionError as error:
                print(f"{name}: {error}")
                if f"{name}_per_s" not in figures:
                    figures[f"{name}_per_s"] = None
        print(
            f"{name}: {figures[f'{name}_per_s']} messages/s, {figures.get(f'{name}_duplicates')} sent twice"
        )
    return figures


def slow_network(shop: Shop, folder: Path) -> dict[str, float]:
    """Measure the engine at a 3 s network: one modem, eight modems, reminders behind bulk."""
    figures: dict[str, float] = {}
    with contextlib.ExitStack() as stack:
        networks = []
        for place in range(8):
            at = folder / f"slow{place}"
            at.mkdir()
            networks.append(stack.enter_context(emulator(at, network_s=SLOW_NETWORK_S)))
        engines = [shop.engine(f"slow{place}", network.link) for place, network in enumerate(networks)]
        # One modem.
        one = rate_of(engines[0], networks[0], 8)
        figures["real_ratio"] = round(one * SLOW_NETWORK_S, 3)
        print(f"one modem at {SLOW_NETWORK_S} s: {one:.3f} messages/s, theory {1 / SLOW_NETWORK_S:.3f}")
        # Eight, with work for longer than they are watched.
        for index in range(8 * 9):
            shop.put(number(5000 + index))
        before = [len(network.submitted()) for network in networks]
        for engine in engines:
            stack.enter_context(running(engine))
        until(
            lambda: all(
                len(each.submitted()) >= skip + 7 for each, skip in zip(networks, before, strict=True)
            ),
            timeout_s=120,
        )
        # Each from its own first message on: they start one after the other.
        watched = [times_of(each)[skip:][:7] for each, skip in zip(networks, before, strict=True)]
        eight = sum((len(times) - 1) / (times[-1] - times[0]) for times in watched)
        figures["eight_modems_ratio"] = round(eight / one, 2)
        print(f"eight modems: {eight:.3f} messages/s, {figures['eight_modems_ratio']} times one")
    return figures


def reminders_behind_bulk(shop: Shop, folder: Path) -> float:
    """Return the 95th percentile of how long a reminder takes while 10,000 bulk messages wait, in seconds."""
    at = folder / "bulk"
    at.mkdir()
    with emulator(at, network_s=SLOW_NETWORK_S) as network:
        engine = shop.engine("bulk", network.link)
        shop.put_bulk(BULK)
        waits = []
        with running(engine):
            until(network.submitted, timeout_s=60)
            for index in range(12):
                # At a different moment of the dialogue each time.
                time.sleep(0.4 + index * 0.27)
                to, begin = number(9000 + index), time.time()
                shop.put(to, Lane.REMINDER)
                waits.append(until(partial(taken_at, network, to), timeout_s=60) - begin)
    print(
        f"reminders behind {BULK} bulk messages: {statistics.median(waits):.1f} s median, {max(waits):.1f} s at most"
    )
    return sorted(waits)[min(len(waits) - 1, round(0.95 * len(waits)))]


def main() -> int:
    """Measure and print."""
    with (
        PrivateStores(given=os.environ) as stores,
        tempfile.TemporaryDirectory(prefix="bench-sms-") as folder,
    ):
        # Each in a queue of its own: what one measurement leaves behind must not go before the next one's messages.
        with open_shop(stores) as fast:
            figures = side_by_side(fast, Path(folder))
        with open_shop(stores) as slow:
            figures |= slow_network(slow, Path(folder))
        with open_shop(stores) as busy:
            figures["reminder_p95_s"] = round(reminders_behind_bulk(busy, Path(folder)), 2)
    print(json.dumps(figures))
    return 0


if __name__ == "__main__":
    sys.exit(main())
