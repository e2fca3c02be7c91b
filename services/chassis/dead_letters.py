"""Look at dead letters and put them back: `python -m services dead-letters [QUEUE [replay]]`."""

import json
from collections.abc import Sequence

from kombu import Connection

from services.chassis.amqp import ERROR_HEADER, connection_to, dead_queue, move_all, read_manifest
from services.chassis.logging import mask_numbers


def command(amqp_url: str, words: Sequence[str]) -> int:
    """Without words: count by queue. With a queue: print its letters, or with `replay` put them back."""
    with connection_to(amqp_url, transport_options={"confirm_publish": True}) as connection:
        match list(words):
            case []:
                for entry in read_manifest():
                    depth = count(connection, entry["queue"])
                    if depth:
                        print(f"{depth:6d}  {entry['queue']}")  # noqa: T201 - a command's answer
            case [queue]:
                for letter in peek(connection, queue):
                    print(mask_numbers(json.dumps(letter, ensure_ascii=False)))  # noqa: T201  # a command's output
            case [queue, "replay"]:
                print(f"{replay(connection, queue)} put back into {queue}")  # noqa: T201  # a command's output
            case _:
                return 2
    return 0


def count(connection: Connection, queue: str) -> int:
    """Return how many dead letters a queue has."""
    depth: int = dead_queue(queue).bind(connection.default_channel).queue_declare(passive=True).message_count
    return depth


def peek(connection: Connection, queue: str) -> list[dict[str, object]]:
    """Return the dead letters of a queue with the error of each; they stay where they are."""
    letters = []
    with connection.channel() as channel:
        dead = dead_queue(queue).bind(channel)
        while (message := dead.get(no_ack=False, accept=["json"])) is not None:
            letters.append({"error": message.headers.get(ERROR_HEADER, ""), "event": message.payload})
    # Closing the channel gives every unacknowledged message back.
    return letters


def replay(connection: Connection, queue: str) -> int:
    """Move every dead letter back into its queue, from the first try on; return how many."""
    return move_all(connection, dead_queue(queue).name, queue)
