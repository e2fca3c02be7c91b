"""Queues that live on several nodes, and the way there from queues that do not: no message is lost on it."""

import json
from collections.abc import Iterator

import pytest
from kombu import Connection, Queue

from deploy.local.stores import PrivateStores
from services.chassis.amqp import (
    ATTEMPT_HEADER,
    Publisher,
    connection_to,
    dead_queue,
    declare,
    event_exchange,
    move_all,
    retry_queue,
)
from services.chassis.ids import new_id
from services.chassis.queues import rebuild
from services.chassis.settings import QueueType, SettingsError

SERVICE = "queuetest"


@pytest.fixture
def entry() -> dict[str, str]:
    """A handler's line in the manifest that no other test has."""
    word = new_id()
    return {"exchange": f"{SERVICE}.events", "routing_key": word, "queue": f"evt-{SERVICE}-{word}"}


@pytest.fixture
def connection(stores: PrivateStores) -> Iterator[Connection]:
    """A connection with confirms."""
    with connection_to(stores.amqp_url, transport_options={"confirm_publish": True}) as connection:
        yield connection


def put(connection: Connection, queue: str, number: int) -> None:
    """Put a message into a queue."""
    connection.Producer().publish(
        {"number": number}, exchange="", routing_key=queue, delivery_mode=2, headers={ATTEMPT_HEADER: 1}
    )


def numbers(connection: Connection, queue: str) -> list[int]:
    """Take all messages of a queue."""
    found = []
    with connection.channel() as channel:
        bound = Queue(queue).bind(channel)
        while message := bound.get(no_ack=True):
            found.append(int(json.loads(message.body)["number"]))
    return sorted(found)


def filled(stores: PrivateStores, connection: Connection, entry: dict[str, str], kind: QueueType) -> None:
    """Declare a handler's queues, with messages 1 and 2, one that waits for its next try, 3, and a dead one, 4."""
    declare(stores.amqp_url, [SERVICE], [entry], kind)
    for number, queue in enumerate(
        (
            entry["queue"],
            entry["queue"],
            retry_queue(entry["queue"], 900).name,
            dead_queue(entry["queue"]).name,
        ),
        1,
    ):
        put(connection, queue, number)


@pytest.mark.parametrize(
    ("before", "after"), [(QueueType.CLASSIC, QueueType.QUORUM), (QueueType.QUORUM, QueueType.CLASSIC)]
)
def test_queues_move_to_another_type_under_their_names_and_lose_nothing(
    stores: PrivateStores, connection: Connection, entry: dict[str, str], before: QueueType, after: QueueType
) -> None:
    filled(stores, connection, entry, before)
    with pytest.raises(SettingsError, match="rebuild-queues"):
        declare(stores.amqp_url, [SERVICE], [entry], after)
    assert rebuild(stores.amqp_url, [entry], after) == 1
    declare(stores.amqp_url, [SERVICE], [entry], after)
    assert rebuild(stores.amqp_url, [entry], after) == 0
    publisher = Publisher(stores.amqp_url, [entry])
    event = {"id": new_id(), "source": SERVICE, "type": entry["routing_key"], "number": 5}
    assert publisher.publish([event]) == [None]
    publisher.close()
    assert numbers(connection, entry["queue"]) == [1, 2, 3, 5]
    assert numbers(connection, dead_queue(entry["queue"]).name) == [4]


def test_a_rebuild_that_died_with_the_queue_deleted_goes_on(
    stores: PrivateStores, connection: Connection, entry: dict[str, str]
) -> None:
    """It dies when the messages wait in the other queue, which is bound, and the queue itself is not there."""
    filled(stores, connection, entry, QueueType.CLASSIC)
    waiting = f"{entry['queue']}.rebuilt"
    with connection.channel() as channel:
        Queue(
            waiting,
            event_exchange(SERVICE),
            entry["routing_key"],
            queue_arguments={"x-queue-type": "quorum"},
        ).bind(channel).declare()
        move_all(connection, entry["queue"], waiting, as_they_are=True)
        channel.queue_delete(entry["queue"])
    publisher = Publisher(stores.amqp_url, [entry])
    event = {"id": new_id(), "source": SERVICE, "type": entry["routing_key"], "number": 5}
    assert publisher.publish([event]) == [None]
    publisher.close()
    rebuild(stores.amqp_url, [entry], QueueType.QUORUM)
    assert numbers(connection, entry["queue"]) == [1, 2, 3, 5]
    assert numbers(connection, dead_queue(entry["queue"]).name) == [4]


def test_queues_at_work_are_left_alone(
    stores: PrivateStores, connection: Connection, entry: dict[str, str]
) -> None:
    declare(stores.amqp_url, [SERVICE], [entry])
    with (
        connection.Consumer([Queue(entry["queue"], no_declare=True)], callbacks=[lambda *_: None]),
        pytest.raises(SettingsError, match="stop `events`"),
    ):
        rebuild(stores.amqp_url, [entry], QueueType.QUORUM)
