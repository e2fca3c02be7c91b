"""The one-machine stack's commands: python -m deploy.local demo | up | down | status | logs | call | ...

`make help` lists the same doors with less to type.
"""

from __future__ import annotations

import argparse
import contextlib
import errno
import fcntl
import functools
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from deploy.local.backup import backup, backup_running, restore
from deploy.local.errors import LocalError
from deploy.local.health import answers
from deploy.local.pbx.phones import Caller
from deploy.local.process import has_ended, wait_until
from deploy.local.stack import Stack
from deploy.local.table import ROOT, Table, product

# One folder for each stack. systemd names another place by this variable.
STACKS = Path(os.environ.get("STATE_DIRECTORY") or ROOT / "var")
# Where the desktop is looked for first.
PREFERRED_PORT = 8080
# The longest that a stop may take before we say that it hangs.
STOP_TIMEOUT_S = 90.0
SAMPLES = "deploy.local.samples"


def run(name: str, *, simulators: bool, samples: bool, table: Table = product) -> int:
    """Run a stack in the foreground until Ctrl-C or `down`; with `samples` an empty one is filled."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    # A closed terminal ends it, unless nohup said otherwise.
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
        signal.signal(signal.SIGHUP, signal.default_int_handler)
    try:
        stack = Stack(
            STACKS / name,
            simulators=simulators,
            ring_s=float(number_in("RING_SECONDS") or 8),
            api_replicas=number_in("API_REPLICAS") or 1,
            gateway_replicas=number_in("GATEWAY_REPLICAS") or 1,
            background_replicas=number_in("BACKGROUND_REPLICAS") or 1,
            asked_port=number_in("PORT"),
            preferred_port=PREFERRED_PORT,
            table=table,
            say=lambda line: print(line, flush=True),
        )
        try:
            stack.start()
            if samples:
                fill_in_samples(stack)
            print(hints(stack), flush=True)
            threading.Event().wait()
        finally:
            # A second Ctrl-C must not leave half of it stopped; each stop is bounded.
            for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
                signal.signal(number, signal.SIG_IGN)
            print("停止中 / stopping …", flush=True)
            stack.stop()
            print("已停止 / stopped", flush=True)
    except KeyboardInterrupt:
        return 0
    return 0


def number_in(variable: str) -> int | None:
    """Return a whole number from the environment, None when it is not set; raises LocalError for anything
    else."""
    text = os.environ.get(variable, "")
    if text and not text.isdecimal():
        raise LocalError(f"{variable} 不是整数 / is not a whole number: {text}")
    return int(text) if text else None


def fill_in_samples(stack: Stack) -> None:
    """Let the samples fill an empty stack; they print the users themselves."""
    environment = {**os.environ, **stack.plan.environment, "GATEWAY_URL": stack.address}
    done = subprocess.run([sys.executable, "-m", SAMPLES], cwd=ROOT, env=environment, check=False)
    if done.returncode:
        raise LocalError(f"示例数据写入失败 / filling in the samples failed ({done.returncode})")


def hints(stack: Stack) -> str:
    """Say where the desktop is and what can be tried."""
    lines = ["", f"  打开 / open     {stack.address}", f"  接口 / API      {stack.address}/api/docs", ""]
    if stack.pbx:
        lines += [
            "  另开一个终端试试 / try in another terminal:",
            "    make call FROM=13800138000    客户来电，座席页面弹屏 / a customer calls: watch the agent's page",
            "    make call FROM=13911112222    陌生来电，新建客户 / an unknown number: a new-record form",
            "    make sms-inbox                已发出的短信 / what went out through the modem emulator",
        ]
    else:
        lines += [
            "  首个租户与管理员 / the first tenant and administrator:",
            "    make create-tenant SLUG=acme NAME=某某公司 ADMIN=admin ADMIN_NAME=管理员",
        ]
    lines += [
        "    make status                   进程 / processes",
        "    make down                     停止 / stop",
        "",
    ]
    return "\n".join(lines)


def down(names: Sequence[str]) -> int:
    """Stop the stacks of these names that run."""
    running = {name: pid for name in names if (pid := running_pid(name))}
    if not running:
        print("没有在运行 / nothing is running")
    for name, pid in running.items():
        os.kill(pid, signal.SIGTERM)
        if not wait_until(functools.partial(has_ended, pid), STOP_TIMEOUT_S):
            raise LocalError(
                f"{name} (pid {pid}) 未能停止 / does not stop; `kill -9 {pid}` 会全部结束 / ends all of it"
            )
        print(f"{name} 已停止 / stopped")
    return 0


def status(names: Sequence[str]) -> int:
    """Print each process of the stacks that run; 1 when one is unwell or none runs."""
    well = True
    running = [name for name in names if running_pid(name)]
    if not running:
        print("没有在运行 / nothing is running")
        return 1
    for name in running:
        stack = read_stack(name)
        print(f"{name}  pid {stack['pid']}  {' '.join(stack['addresses'])}")
        for process in stack["processes"]:
            alive = process["pid"] is not None and not has_ended(process["pid"])
            healthy = alive and answers(process["health"])
            well = well and healthy
            ports = " ".join(f"{kind}:{port}" for kind, port in process["ports"].items())
            word = "正常 ok" if healthy else ("异常 unhealthy" if alive else "停止 down")
            again = f"  重启 restarted {process['restarts']}x" if process["restarts"] else ""
            print(f"  {process['name']:<16}{process['pid'] or '-':>8}  {ports:<28}  {word}{again}")
    return 0 if well else 1


def logs(name: str) -> int:
    """Follow the logs of a stack's processes."""
    files = [process["log"] for process in read_stack(name)["processes"]]
    os.execvp("tail", ["tail", "-n", "5", "-F", *files])  # noqa: S606 - becomes tail


def call(name: str, number: str, to: str, seconds: float) -> int:
    """Place a call from outside, and wait until it is over."""
    sip_port = read_stack(name)["sip_port"]
    if sip_port is None:
        raise LocalError("没有模拟电话 / this stack has no simulated phones: use `make demo`")
    process = Caller(sip_port, STACKS / name / "phones").place([number], to, seconds)
    print(f"{number} 呼叫 / calls {to}，{seconds:.0f} 秒后挂断 / hangs up after {seconds:.0f} s", flush=True)
    process.spawn()
    try:
        wait_until(lambda: not process.alive, seconds + 90, interval_s=0.2)
    finally:
        process.kill()
    if process.exit_code:
        raise LocalError(f"呼叫失败 / the call failed{process.log_tail()}")
    print("通话结束 / the call is over")
    return 0


def sms_inbox(name: str) -> int:
    """Print what went out through the modem emulator, oldest first."""
    inbox = read_stack(name)["inbox"]
    if inbox is None:
        raise LocalError("没有短信模拟器 / this stack has no modem emulator: use `make demo`")
    messages = Path(inbox).read_text(encoding="utf-8").splitlines() if Path(inbox).exists() else []
    for message in map(json.loads, messages):
        print(f"{message['time']}  {message['number']}  {message['text']}")
    if not messages:
        print("还没有短信 / no message yet")
    return 0


def execute(name: str, words: Sequence[str]) -> int:
    """Become `python -m words...` in the environment of a running stack."""
    environment = json.loads(Path(read_stack(name)["environment"]).read_text())
    os.chdir(ROOT)
    os.execve(sys.executable, [sys.executable, "-m", *words], {**os.environ, **environment})  # noqa: S606  # our own interpreter


def clean(names: Sequence[str]) -> int:
    """Remove the data of stacks that do not run."""
    for name in names:
        if running_pid(name):
            raise LocalError(f"{name} 正在运行 / is running: `make down` 先 / first")
        shutil.rmtree((STACKS / name).resolve())
        if (STACKS / name).is_symlink():
            (STACKS / name).unlink()
        print(f"{STACKS / name} 已删除 / removed")
    return 0


def back_up(name: str, to: Path) -> int:
    """Write a stack to one file; one that runs stands still while its stores' files are copied."""
    if running_pid(name):
        processes = read_stack(name)["processes"]
        pids = {each["name"]: each["pid"] for each in processes if each["pid"]}
        size, stood_s = backup_running((STACKS / name).resolve(), to, pids)
        print(f"{name} -> {to} ({size / 1e6:.1f} MB, {stood_s:.1f} s 停顿 / stood still)")
        return 0
    with held(name) as folder:
        size = backup(folder, to)
    print(f"{name} -> {to} ({size / 1e6:.1f} MB)")
    return 0


def bring_back(name: str, file: Path) -> int:
    """Make a stack from such a file."""
    (STACKS / name).parent.mkdir(parents=True, exist_ok=True)
    restore(file, STACKS / name)
    print(f"{file} -> {name}: `make {name}`" if name in ("up", "demo") else f"{file} -> {name}")
    return 0


@contextlib.contextmanager
def held(name: str) -> Iterator[Path]:
    """Keep a stack from being started meanwhile; raises LocalError when it runs or is not there."""
    folder = (STACKS / name).resolve()
    if not folder.is_dir():
        raise LocalError(f"{folder} 不存在 / does not exist")
    with (folder / "lock").open("a") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise LocalError(f"{name} 正在运行 / is running: `make down` 先 / first") from None
        yield folder


def running_pid(name: str) -> int | None:
    """Return the process that runs this stack, or None."""
    try:
        with (STACKS / name / "lock").open() as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                return int(lock.read())
    except FileNotFoundError:
        pass
    return None


def read_stack(name: str) -> dict[str, Any]:
    """Return what a running stack wrote down of itself; raises LocalError when it is not (yet) there."""
    try:
        return dict(json.loads((STACKS / name / "stack.json").read_text()))
    except FileNotFoundError:
        raise LocalError(f"{name} 没有在运行 / is not running: `make {name}`") from None


def known_stacks() -> list[str]:
    """List the stacks that have data here."""
    return sorted(lock.parent.name for lock in STACKS.glob("*/lock"))


def chosen(name: str | None) -> str:
    """Return the stack asked for, else the one that runs; raises LocalError when that is unclear."""
    running = [each for each in known_stacks() if running_pid(each)]
    if name or len(running) == 1:
        return name or running[0]
    if not running:
        raise LocalError("没有在运行 / nothing is running: `make demo` or `make up`")
    raise LocalError(f"请用 STACK= 指定 / which one? STACK={' | STACK='.join(running)}")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; a LocalError is printed without a traceback, and the exit status is 1."""
    parser = argparse.ArgumentParser(prog="python -m deploy.local")
    parser.add_argument("--stack", help="name of the stack, where several run")
    commands = parser.add_subparsers(dest="command", required=True)
    for name in ("demo", "up", "down", "status", "logs", "sms-inbox", "clean"):
        commands.add_parser(name)
    calling = commands.add_parser("call")
    calling.add_argument("number")
    calling.add_argument("--to", default="4000")
    calling.add_argument("--seconds", type=float, default=20.0)
    commands.add_parser("backup").add_argument("to", type=Path)
    commands.add_parser("restore").add_argument("file", type=Path)
    commands.add_parser("run").add_argument("words", nargs=argparse.REMAINDER)
    given = parser.parse_args(argv)
    names = [given.stack] if given.stack else known_stacks()
    actions: dict[str, Callable[[], int]] = {
        "demo": lambda: run(given.stack or "demo", simulators=True, samples=True),
        "up": lambda: run(given.stack or "up", simulators=False, samples=False),
        "down": lambda: down(names),
        "status": lambda: status(names),
        "logs": lambda: logs(chosen(given.stack)),
        "call": lambda: call(chosen(given.stack), given.number, given.to, given.seconds),
        "sms-inbox": lambda: sms_inbox(chosen(given.stack)),
        "run": lambda: execute(chosen(given.stack), given.words),
        "clean": lambda: clean(names),
        "backup": lambda: back_up(given.stack or "up", given.to),
        "restore": lambda: bring_back(given.stack or "up", given.file),
    }
    try:
        return actions[given.command]()
    except LocalError as error:
        print(error, file=sys.stderr)
        return 1
    except OSError as error:
        if error.errno != errno.ENOSPC:
            raise
        print(f"磁盘已满 / the disk is full: {error}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
