"""Run a private Asterisk with phones and a carrier, in one folder, on free loopback ports.

    with PrivatePbx() as pbx:
        pbx.ami_address, pbx.ami_user, pbx.ami_secret, pbx.recordings
        pbx.call("13800138000")                # rings the sales queue
        pbx.processes["asterisk"].kill()       # kill -9
        pbx.processes["asterisk"].start()
        pbx.set_ring("1001", 60)               # from now on 1001 lets it ring

Its parties have loopback addresses of their own, so that Asterisk tells them apart by address; several such
PBXs live side by side by their ports.
"""

from __future__ import annotations

import re
import subprocess
from collections.abc import Mapping
from pathlib import Path

from deploy.local.account import owned_directory, reachable_directory
from deploy.local.pbx.phones import CARRIER_HOST, Caller, phone_program, phone_scenario
from deploy.local.pbx.unpack import CACHE, SUITE, unpack
from deploy.local.process import BARE_ENVIRONMENT, Process, Program
from deploy.local.state import Group, State, write_private

ROOT = Path(__file__).resolve().parents[3]
SITE_CONFIGURATION = ROOT / "deploy/asterisk"
LOCAL_CONFIGURATION = Path(__file__).parent / "conf"

# Extension to the address of its phone: four agents of the sales queue (4000), and one of a second tenant
# (4101).
PHONES = {
    "1001": "127.0.0.11",
    "1002": "127.0.0.12",
    "1003": "127.0.0.13",
    "1004": "127.0.0.14",
    "1101": "127.0.0.21",
}
SALES_AGENTS = ("1001", "1002", "1003", "1004")
# An agent with two telephones, and which ones they are.
SHARED_EXTENSION, SHARED_PHONES = "1005", ("1001", "1002")
# The agents of the floor (4006) share one phone; the first of them are the load queue's (4005).
FLOOR_AGENTS = tuple(str(extension) for extension in range(2000, 2500))
LOAD_AGENTS = FLOOR_AGENTS[:100]
LOAD_PHONE = "127.0.0.99"
# How much longer each next sales agent lets it ring, so that one of them is always the first to answer.
PATIENCE_S = 6.0
# The queues' own wrap-up time (gonghai-queues.conf).
WRAP_UP_S = 2
# Below Asterisk's own folder; parents come before their children, so that each is made with the right owner.
FOLDERS = (
    *("etc", "lib", "lib/keys", "moh", "agi-bin", "cache", "run"),
    *("log", "log/cdr-csv", "log/cel-custom", "spool", "spool/monitor", "spool/tmp"),
)
# Asterisk reports an error for each of these that is missing, and is content with an empty one.
EMPTY_CONFIGURATION = tuple(
    f"{name}.conf"
    for name in (*("acl", "ccss", "indications", "pjproject", "queuerules", "stasis", "udptl"),)
)
# Ports that RTP may use: two for each of two channels a call.
RTP_PORTS = 2000


class PrivatePbx(Group):
    """Asterisk, phones and carrier as a context manager; nothing starts before `start` or `with`.

    `where` is the folder that keeps recordings and call records between runs; without it they are temporary.
    `ring_s` is how long 1001 rings before it answers; the load phone answers after one second. `name` begins
    every call's id; `suite` is Debian's whose Asterisk it is.
    """

    ami_user = "gonghai"

    def __init__(
        self,
        where: Path | State | None = None,
        *,
        ring_s: float = 8.0,
        name: str = "pbx1",
        suite: str = SUITE,
    ) -> None:
        super().__init__(where)
        self.name = name
        self._run = self.state.home("asterisk")
        self._phones = self.state.home("phones")
        # Before all others: a span this wide is hard to find between them.
        self._rtp_start = self.state.ports.take("rtp", datagram=True, span=RTP_PORTS)
        self.sip_port = self.state.ports.take("sip", datagram=True)
        self.ami_secret = self.state.secret("ami")
        self.ami_address = f"127.0.0.1:{self.state.ports.take('ami')}"
        self._phone_ports: dict[str, int] = {}
        self._unpacked = unpack(reachable_directory(CACHE, self.state.account), suite)
        self._plan(ring_s)

    @property
    def recordings(self) -> Path:
        """The folder into which Asterisk records."""
        return self._run / "spool/monitor"

    @property
    def events(self) -> Path:
        """The file into which Asterisk writes its channel events."""
        return self._run / "log/cel-custom/gonghai.csv"

    @property
    def queue_log(self) -> Path:
        """The file into which Asterisk writes what its queues do."""
        return self._run / "log/queue_log"

    @property
    def call_records(self) -> Path:
        """The file into which Asterisk writes its call records."""
        return self._run / "log/cdr-csv/Master.csv"

    @property
    def verbose(self) -> Path:
        """The file into which Asterisk writes what it does with each call, step by step."""
        return self._run / "log/verbose"

    @property
    def version(self) -> str:
        """What Asterisk says of itself, such as "Asterisk 22.10.1"."""
        return self._unpacked.version

    def set_ring(self, extension: str, ring_s: float) -> None:
        """Let the phone of this extension ring so long from now on; its calls are cut off."""
        self.set_scenario(extension, phone_scenario(ring_s))

    def set_scenario(self, extension: str, scenario: str) -> None:
        """Let the phone of this extension do with each call what this SIPp scenario says; its calls are cut off."""
        process = self.processes[f"phone-{extension}"]
        process.stop()
        process.program = self._phone(f"phone-{extension}", PHONES[extension], scenario)
        process.start()

    @property
    def caller(self) -> Caller:
        """The outside world: places calls through the carrier."""
        return Caller(self.sip_port, self._phones)

    def dial(self, extension: str, to: str, seconds: float = 20.0) -> Process:
        """Let an agent dial `to` on the phone of this extension, otherwise as `call`."""
        process = Caller(self.sip_port, self._phones, PHONES[extension]).place([extension], to, seconds)
        process.spawn()
        return process

    def cut_manager(self) -> int:
        """Break every connection to the manager interface, as a network does; return how many there were."""
        listed = self._command("manager show connected")
        # Username, address, start, elapsed, file descriptor, ...
        descriptors = [line.split()[4] for line in listed.splitlines() if line.startswith(self.ami_user)]
        for descriptor in descriptors:
            self._command(f"manager kick session {descriptor}")
        return len(descriptors)

    def takes_calls(self, extension: str) -> bool:
        """Tell whether the sales queue would ring this extension now: free, not paused, past its wrap-up."""
        listed = self._command("queue show sales").splitlines()
        # "1001 (PJSIP/1001) (ringinuse disabled) (Not in use) has taken 2 calls (last was 1 secs ago) (...)"
        (member,) = (line for line in listed if f"(PJSIP/{extension})" in line)
        last = re.search(r"last was (\d+) secs ago", member)
        rested = last is None or int(last[1]) > WRAP_UP_S
        return rested and "(Not in use)" in member and "(paused" not in member

    def hang_up(self) -> None:
        """End every call, as when everybody puts the receiver down."""
        self._command("channel request hangup all")

    def _command(self, words: str) -> str:
        """Let the running Asterisk carry out a console command; raises subprocess.SubprocessError."""
        console = [*self._unpacked.command, "-C", str(self._run / "etc/asterisk.conf"), "-rx", words]
        done = subprocess.run(
            console, check=True, capture_output=True, text=True, env=BARE_ENVIRONMENT, timeout=20
        )
        return done.stdout

    def call(self, number: str, to: str = "4000", seconds: float = 20.0) -> Process:
        """Let a mobile outside dial `to`, talk for so long once the PBX answered, and hang up; return at
        once.

        The process that returns is the call: `exit_code` 0 says that it went as it should, `kill` pulls the
        cable.
        """
        process = self.caller.place([number], to, seconds)
        process.spawn()
        return process

    def _plan(self, ring_s: float) -> None:
        self._phone_ports = {
            name: self.state.ports.take(name, host=host, datagram=True)
            for name, host in {
                "carrier": CARRIER_HOST,
                **{f"phone-{extension}": host for extension, host in PHONES.items()},
                "phone-load": LOAD_PHONE,
            }.items()
        }
        self.add(self._asterisk())
        self.add(self._phone("carrier", CARRIER_HOST, phone_scenario(ring_s)))
        for number, (extension, host) in enumerate(PHONES.items()):
            patience_s = PATIENCE_S * number if extension in SALES_AGENTS else 0
            self.add(self._phone(f"phone-{extension}", host, phone_scenario(ring_s + patience_s)))
        self.add(self._phone("phone-load", LOAD_PHONE, phone_scenario(1.0)))

    def _asterisk(self) -> Program:
        ami_port = int(self.ami_address.rpartition(":")[2])
        values = {
            "RUN": self._run,
            "MODULES": self._unpacked.modules,
            "DATA": self._unpacked.data,
            "PBX_NAME": self.name,
            "SIP_PORT": self.sip_port,
            "AMI_PORT": ami_port,
            "AMI_SECRET": self.ami_secret,
            "RTP_START": self._rtp_start,
            "RTP_END": self._rtp_start + RTP_PORTS - 1,
            "CARRIER_HOST": CARRIER_HOST,
            "CARRIER_PORT": self._phone_ports["carrier"],
            "PHONES": self._endpoints(),
            "SALES_MEMBERS": _members(SALES_AGENTS),
            "LOAD_MEMBERS": _members(LOAD_AGENTS),
            "FLOOR_MEMBERS": _members(FLOOR_AGENTS),
        }
        return Program(
            name="asterisk",
            argv=[*self._unpacked.command, "-C", str(self._run / "etc/asterisk.conf"), "-f"],
            # Fewer malloc arenas: hundreds of threads would else each keep one.
            env=BARE_ENVIRONMENT | {"HOME": str(self._run), "MALLOC_ARENA_MAX": "2"},
            health=f"ami://{self.ami_user}:{self.ami_secret}@{self.ami_address}",
            prepare=lambda: self._configure(values),
            account=self.state.account,
            cwd=self._run,
            ports={"sip": self.sip_port, "ami": ami_port},
        )

    def _configure(self, values: Mapping[str, object]) -> None:
        for folder in FOLDERS:
            owned_directory(self._run / folder, self.state.account)
        texts = dict.fromkeys(EMPTY_CONFIGURATION, "")
        for source in (*SITE_CONFIGURATION.glob("*.conf"), *LOCAL_CONFIGURATION.glob("*.conf")):
            texts[source.name] = source.read_text()
        for name, text in texts.items():
            filled = re.sub(r"@([A-Z_]+)@", lambda match: str(values[match[1]]), text)
            write_private(self._run / "etc" / name, filled, self.state.account)

    def _endpoints(self) -> str:
        at = {
            extension: f"{host}:{self._phone_ports[f'phone-{extension}']}"
            for extension, host in PHONES.items()
        }
        homes: dict[str, tuple[str, ...]] = {extension: (address,) for extension, address in at.items()}
        homes |= dict.fromkeys(FLOOR_AGENTS, (f"{LOAD_PHONE}:{self._phone_ports['phone-load']}",))
        homes[SHARED_EXTENSION] = tuple(at[extension] for extension in SHARED_PHONES)
        return "\n".join(
            f"[{extension}](phone)\naors = {extension}\ncallerid = <{extension}>\n"
            f"[{extension}]\ntype = aor\n"
            + "".join(f"contact = sip:{extension}@{address}\n" for address in addresses)
            for extension, addresses in homes.items()
        )

    def _phone(self, name: str, host: str, scenario: str) -> Program:
        return phone_program(
            name=name,
            host=host,
            port=self._phone_ports[name],
            media_port=self.state.ports.take(f"{name}.rtp", host=host, datagram=True, span=4),
            sip_port=self.sip_port,
            scenario=scenario,
            directory=self._phones,
            account=self.state.account,
        )


def _members(extensions: tuple[str, ...]) -> str:
    return "\n".join(f"member => PJSIP/{each},0,{each},PJSIP/{each}" for each in extensions)
