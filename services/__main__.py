"""Processes that host several services: `python -m services events|worker|migrate|queues|...`."""

import importlib
import json
import os
import sys
from collections.abc import Sequence

from services.chassis import logging
from services.chassis.service import Service, migrate, patch_for_nameko, run_events, run_worker
from services.chassis.settings import SERVICES, Settings, SettingsError, read_secret_files

USAGE = (
    "usage: python -m services events|worker|migrate|check [--repair]|revise NAME MESSAGE|queues"
    "|rebuild-queues|dead-letters [QUEUE [replay]]"
)


def load(names: Sequence[str] = SERVICES) -> list[Service]:
    """Return the services by name."""
    return [importlib.import_module(f"services.{name}.__main__").SERVICE for name in names]


def rebuild_queues(settings: Settings) -> int:
    """Let every queue live where AMQP_QUEUE_TYPE says; return the exit status."""
    from services.chassis.amqp import read_manifest
    from services.chassis.queues import rebuild

    try:
        rebuilt = rebuild(settings.amqp_url, read_manifest(), settings.queue_type)
    except SettingsError as error:
        print(error, file=sys.stderr)
        return 1
    print(f"{rebuilt} rebuilt, all are {settings.queue_type} now")
    return 0


def main(words: Sequence[str]) -> int:
    """Run the process that the command line asks for; return its exit status."""
    if not words:
        print(USAGE, file=sys.stderr)
        return 2
    if words[0] == "events":
        patch_for_nameko()
    if words[0] == "queues":
        from services.chassis.amqp import MANIFEST, manifest

        handlers = [handler for service in load() if service.handlers for handler in service.handlers().all]
        MANIFEST.write_text(json.dumps(manifest(handlers), indent=2) + "\n")
        return 0
    try:
        environ = read_secret_files(os.environ)
        settings = Settings.read(environ)
    except SettingsError as error:
        print(error, file=sys.stderr)
        return 2
    logging.configure(words[0], settings.log_level)
    match list(words):
        case ["events"]:
            return run_events(load(), settings, environ)
        case ["worker"]:
            return run_worker(load(), settings, environ)
        case ["migrate"]:
            return migrate(load(), settings)
        case ["check", *words] if set(words) <= {"--repair"}:
            from services.reconcile.command import check

            return check(load(), settings, environ, words)
        case ["revise", name, message]:
            from services.chassis.migrations.runner import revise

            (service,) = load([name])
            revise(name, service.metadata(), settings.database_urls["main"], message)
            return 0
        case ["rebuild-queues"]:
            return rebuild_queues(settings)
        case ["dead-letters", *rest]:
            from services.chassis.dead_letters import command

            return command(settings.amqp_url, rest)
    print(USAGE, file=sys.stderr)
    return 2


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
