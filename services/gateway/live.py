"""The live socket: what concerns a person reaches the person's open pages within milliseconds.

Each gateway has a queue of its own at the broker, gone with it. A page that connects is subscribed first, then
gets a snapshot, then what happened meanwhile and from then on; so nothing falls between. Whenever events may have
been lost (the link to the broker was down, the subscription ended) every page gets a fresh snapshot. Within a
socket, a pop that is not newer than what the page has is not sent. When this process dies, its pages connect to
another one.

Frames are JSON objects with `type` and `seq`, which counts a socket's frames from 1 on; openapi.json holds their
schemas (`live.*`).
"""

import asyncio
import json
from collections import defaultdict
from collections.abc import Callable
from typing import Any

import aio_pika
import grpc
from aio_pika.abc import AbstractIncomingMessage
from aio_pika.connection import make_url
from crm.notify.v1 import notify_pb2
from crm.telephony.v1 import telephony_pb2
from google.protobuf import json_format
from google.protobuf.message import Message
from starlette.websockets import WebSocket, WebSocketDisconnect

from services.chassis.ids import new_id
from services.chassis.logging import get_logger
from services.gateway import metrics
from services.gateway.clients import TIMEOUT_S, Backends, Trace
from services.gateway.sessions import Session, Sessions, same_origin, secret_of, spread
from services.gateway.transcode import to_json

log = get_logger(__name__)

# What is taken from the broker: exchange and routing keys.
SUBSCRIPTIONS = {
    "telephony.events": ("pop_changed", "agent_changed"),
    "notify.events": ("message_created", "messages_read"),
    "approvals.events": ("approval_changed",),
}
# Seconds after which a broker that says nothing counts as gone.
HEARTBEAT_S = 10
# Seconds between attempts to reach the broker or a service: the first, and the longest.
BACKOFF_S, BACKOFF_MAX_S = 0.2, 5.0
# Questions of pages to the services at the same time.
ASKS_AT_ONCE = 32
# Frames that wait for a slow reader before its socket is closed.
BACKLOG_FRAMES = 256
# Looks whether pages' sessions still hold, in one life of a cached exchange.
SESSION_CHECKS = 2.5
# Longest wait, in seconds, for a close frame to go out to a reader that does not read.
CLOSE_TIMEOUT_S = 5.0
# Close codes (RFC 6455, and IANA's registry): 1013 "try again later"; 4401 is ours, after HTTP's 401.
CLOSE_SLOW, CLOSE_SIGNED_OUT = 1013, 4401
# Subprotocols of clients that can neither set a header nor have the cookie: "gonghai", "bearer.<secret>".
SUBPROTOCOL, SUBPROTOCOL_SECRET = "gonghai", "bearer."

Person = tuple[str, str]


class Ended(Exception):
    """The socket is to be closed with this code, for this cause."""

    def __init__(self, code: int, cause: str) -> None:
        self.code = code
        self.cause = cause
        super().__init__(cause)


class Page:
    """One open socket: what waits to be sent, and what its page has already.

    turn: held while something is asked of the services, by all pages of the gateway. alive_s: seconds without news
    after which the page is told that the socket lives. All of it runs in the event loop's thread; no method waits but
    `run` and its tasks.
    """

    def __init__(
        self,
        websocket: WebSocket,
        secret: str,
        trace: Trace,
        backends: Backends,
        sessions: Sessions,
        turn: asyncio.Semaphore,
        alive_s: float,
    ) -> None:
        self._websocket = websocket
        self._alive_s = alive_s
        self._turn = turn
        self.english = trace.locale == "en"
        self.secret = secret
        self._trace = trace
        self._backends = backends
        self._sessions = sessions
        self._frames: asyncio.Queue[str] = asyncio.Queue(BACKLOG_FRAMES)
        self._overflow = asyncio.Event()
        # Highest version given for each pop, closed ones too: a late repeat must not bring one back.
        self._versions: dict[str, int] = {}
        # Pops that wait while a snapshot is taken.
        self._held: list[telephony_pb2.Pop] | None = []
        self._wake = asyncio.Event()
        self._suspect = asyncio.Event()
        self._stale = self._count_stale = False
        self.resync()

    def resync(self) -> None:
        """Take a fresh snapshot; what comes meanwhile is held and follows it."""
        self._stale = True
        if self._held is None:
            self._held = []
        self._wake.set()

    def recount(self) -> None:
        """Ask for the number of unread messages and send it."""
        self._count_stale = True
        self._wake.set()

    def pop(self, pop: telephony_pb2.Pop) -> None:
        """Give a pop that changed, unless the page has it newer."""
        if self._held is not None:
            self._held.append(pop)
            if len(self._held) > BACKLOG_FRAMES:
                self._overflow.set()
        elif pop.version > self._versions.get(pop.pop_id, 0):
            self._versions[pop.pop_id] = pop.version
            self.give("pop", f'"pop": {to_json(pop)}')

    def give(self, kind: str, *members: str) -> None:
        """Queue a frame; `members` are the JSON members behind its type and number."""
        metrics.FRAMES.labels(kind).inc()
        try:
            self._frames.put_nowait(", ".join((f'"type": "{kind}"', *members)))
        except asyncio.QueueFull:
            self._overflow.set()

    async def run(self) -> None:
        """Serve the socket until it ends; raises Ended or WebSocketDisconnect inside an exception group."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._send())
            tasks.create_task(self._receive())
            tasks.create_task(self._refresh())
            tasks.create_task(self._watch_session())
            tasks.create_task(self._watch_backlog())

    async def _send(self) -> None:
        seq = 0
        while True:
            try:
                # The snapshot comes first, however late.
                async with asyncio.timeout(self._alive_s if seq else None):
                    frame = await self._frames.get()
            except TimeoutError:
                frame = '"type": "alive"'
            seq += 1
            await self._websocket.send_text(f'{{"seq": {seq}, {frame}}}')

    async def _receive(self) -> None:
        # Pages have nothing to say; reading is how their going is noticed.
        while True:
            message = await self._websocket.receive()
            if message["type"] == "websocket.disconnect":
                raise WebSocketDisconnect(message.get("code", 1005))

    async def _watch_backlog(self) -> None:
        await self._overflow.wait()
        raise Ended(CLOSE_SLOW, "slow")

    def recheck(self) -> None:
        """Look at once whether the session still holds, and take what the person now may see."""
        self._suspect.set()
        self.resync()

    async def _watch_session(self) -> None:
        while True:
            await self._suspect.wait()
            self._suspect.clear()
            try:
                await self._sessions.of(self.secret, self._trace)
            except grpc.aio.AioRpcError as error:
                end_if_signed_out(error)

    async def _refresh(self) -> None:
        backoff_s = BACKOFF_S
        while True:
            await self._wake.wait()
            self._wake.clear()
            try:
                if self._stale:
                    await self._snapshot()
                elif self._count_stale:
                    await self._count()
                backoff_s = BACKOFF_S
            except grpc.aio.AioRpcError as error:
                end_if_signed_out(error)
                self._wake.set()
                await asyncio.sleep(backoff_s)
                backoff_s = min(backoff_s * 2, BACKOFF_MAX_S)

    async def _snapshot(self) -> None:
        self._stale = self._count_stale = False
        try:
            pops, count = await asyncio.gather(self._ask(self._list_pops), self._ask(self._unread_count))
        except grpc.aio.AioRpcError:
            self._stale = True
            raise
        self._versions |= {pop.pop_id: pop.version for pop in pops}
        listed = ", ".join(to_json(pop) for pop in pops)
        self.give("snapshot", f'"pops": [{listed}], "unreadCount": {count}')
        if not self._stale:
            held, self._held = self._held or [], None
            for pop in held:
                self.pop(pop)

    async def _count(self) -> None:
        self._count_stale = False
        try:
            count = await self._ask(self._unread_count)
        except grpc.aio.AioRpcError:
            self._count_stale = True
            raise
        self.give("unread", f'"unreadCount": {count}')

    async def _ask(self, act: Callable[[str], Any]) -> Any:
        # Pages that all came back at once wait for each other; refused, they would only come back again.
        async with self._turn:
            return await self._sessions.acting_for_a_page(self.secret, self._trace, act)

    async def _list_pops(self, token: str) -> list[telephony_pb2.Pop]:
        request = telephony_pb2.ListPopsRequest()
        metadata = self._trace.metadata(token)
        answer = await self._backends.telephony.ListPops(request, timeout=TIMEOUT_S, metadata=metadata)
        return list(answer.pops)

    async def _unread_count(self, token: str) -> int:
        request = notify_pb2.ListMessagesRequest(unread_only=True, page_size=1)
        metadata = self._trace.metadata(token)
        answer = await self._backends.notify.ListMessages(request, timeout=TIMEOUT_S, metadata=metadata)
        return answer.unread_count


def end_if_signed_out(error: grpc.aio.AioRpcError) -> None:
    """Raise Ended when the session is over; any other error of a service passes."""
    if error.code() is grpc.StatusCode.UNAUTHENTICATED:
        raise Ended(CLOSE_SIGNED_OUT, "signed_out") from error


class Live:
    """All open pages of this gateway and its subscription at the broker.

    amqp_url: RabbitMQ. alive_s: see Page.
    """

    def __init__(self, amqp_url: str, backends: Backends, sessions: Sessions, alive_s: float) -> None:
        self._amqp_url = amqp_url
        self._alive_s = alive_s
        self._backends = backends
        self._sessions = sessions
        self._turn = asyncio.Semaphore(ASKS_AT_ONCE)
        self._pages: defaultdict[Person, set[Page]] = defaultdict(set)
        self._takers: dict[str, Callable[[str, dict[str, Any]], None]] = {
            "pop_changed": self._take_pop,
            "agent_changed": self._take_agent,
            "message_created": self._take_message,
            "messages_read": self._take_read,
            "approval_changed": self._take_approval,
        }
        # Set while events come in.
        self.subscribed = asyncio.Event()

    async def serve(self, websocket: WebSocket) -> None:
        """Answer one WebSocket request, from its handshake to its end."""
        if same_origin(websocket) is False:
            # Before the handshake: a foreign page learns nothing but "no".
            await websocket.close()
            return
        offered: list[str] = websocket.scope.get("subprotocols", [])
        secret, _ = secret_of(websocket)
        secret = secret or next(
            (
                item.removeprefix(SUBPROTOCOL_SECRET)
                for item in offered
                if item.startswith(SUBPROTOCOL_SECRET)
            ),
            "",
        )
        await websocket.accept(SUBPROTOCOL if SUBPROTOCOL in offered else None)
        metrics.SOCKETS.inc()
        code, cause = 1011, "error"
        try:
            session = await self._session(secret, websocket.state.trace)
            await self._serve(websocket, secret, session)
        except* WebSocketDisconnect:
            code, cause = 0, "left"
        except* Ended as group:
            ended = next(iter(leaves(group)))
            code, cause = ended.code, ended.cause
        finally:
            metrics.SOCKETS.dec()
            metrics.SOCKETS_CLOSED.labels(cause).inc()
            if code:
                await close(websocket, code, cause)

    async def _session(self, secret: str, trace: Trace) -> Session:
        if not secret:
            raise Ended(CLOSE_SIGNED_OUT, "signed_out")
        try:
            return await self._sessions.of(secret, trace)
        except grpc.aio.AioRpcError as error:
            end_if_signed_out(error)
            raise Ended(CLOSE_SLOW, "unavailable") from error

    async def _serve(self, websocket: WebSocket, secret: str, session: Session) -> None:
        trace = websocket.state.trace
        page = Page(websocket, secret, trace, self._backends, self._sessions, self._turn, self._alive_s)
        person = (session.tenant_id, session.person_id)
        self._pages[person].add(page)
        try:
            await page.run()
        finally:
            self._pages[person].discard(page)
            if not self._pages[person]:
                del self._pages[person]

    def recheck(self, person_id: str) -> None:
        """Look at once whether a person's open pages may stay."""
        for (_, owner_id), pages in self._pages.items():
            if owner_id == person_id:
                for page in pages:
                    page.recheck()

    async def check_sessions(self) -> None:
        """Look now and then whether the sessions of all open pages still hold, at once for all, until cancelled.

        A page whose session is over asks for itself, and is closed by the answer. While identity is away pages stay.
        """
        down = False
        while True:
            await asyncio.sleep(spread(self._sessions.cache_s) / SESSION_CHECKS)
            pages = [page for pages in self._pages.values() for page in pages]
            try:
                ended = set(await self._sessions.ended(list({page.secret for page in pages})))
            except grpc.aio.AioRpcError as error:
                if not down:
                    log.warning("it is not known whose sessions have ended", code=error.code().name)
                down = True
                continue
            down = False
            for page in pages:
                if page.secret in ended:
                    self._sessions.forget(page.secret)
                    page.recheck()

    async def follow(self) -> None:
        """Take events from the broker until cancelled; a lost link is taken up again, with fresh snapshots."""
        backoff_s = BACKOFF_S
        quiet = False
        while True:
            try:
                await self._subscription()
                log.warning("the subscription to events was lost")
                quiet, backoff_s = True, BACKOFF_S
            except Exception as error:
                # Whatever it is, pages must follow again as soon as they can.
                if not quiet:
                    log.warning("the broker cannot be reached", error=str(error))
                quiet = True
            await asyncio.sleep(backoff_s)
            backoff_s = min(backoff_s * 2, BACKOFF_MAX_S)

    async def _subscription(self) -> None:
        """Subscribe and take events until the subscription is lost."""
        lost = asyncio.Event()
        connection = aio_pika.Connection(make_url(self._amqp_url, heartbeat=HEARTBEAT_S))
        connection.close_callbacks.add(lambda *_: lost.set())
        # Closed also where it never opened.
        async with connection:
            await connection.connect(timeout=BACKOFF_MAX_S)
            channel = await connection.channel(publisher_confirms=False)
            channel.close_callbacks.add(lambda *_: lost.set())
            underlay = await channel.get_underlay_channel()
            underlay.on_consumer_cancel_callbacks.add(lambda _: lost.set())
            queue = await channel.declare_queue(f"live-{new_id()}", exclusive=True, auto_delete=True)
            for name, keys in SUBSCRIPTIONS.items():
                exchange = await channel.declare_exchange(name, aio_pika.ExchangeType.TOPIC, durable=True)
                for key in keys:
                    await queue.bind(exchange, key)
            await queue.consume(self._on_message, no_ack=True)
            try:
                self.subscribed.set()
                metrics.SUBSCRIBED.set(1)
                log.info("subscribed to events")
                for pages in self._pages.values():
                    for page in pages:
                        page.resync()
                await lost.wait()
            finally:
                self.subscribed.clear()
                metrics.SUBSCRIBED.set(0)

    async def _on_message(self, message: AbstractIncomingMessage) -> None:
        # Nothing in here waits, so events keep their order.
        try:
            event = json.loads(message.body)
            taker = self._takers.get(event["type"])
            if taker:
                taker(event["tenant"]["id"], event["data"])
        except (ValueError, LookupError, TypeError, AttributeError) as error:
            metrics.EVENTS_BAD.inc()
            log.error(
                "an event could not be read", routing_key=message.routing_key, error=type(error).__name__
            )

    def _of(self, tenant_id: str, person_id: str) -> set[Page]:
        return self._pages.get((tenant_id, person_id), set())

    def _take_pop(self, tenant_id: str, data: dict[str, Any]) -> None:
        if pages := self._of(tenant_id, data["personId"]):
            pop = parsed(telephony_pb2.Pop(), data)
            for page in pages:
                page.pop(pop)

    def _take_agent(self, tenant_id: str, data: dict[str, Any]) -> None:
        for page in self._of(tenant_id, data["personId"]):
            page.give("agent")

    def _take_message(self, tenant_id: str, data: dict[str, Any]) -> None:
        if pages := self._of(tenant_id, data["personId"]):
            words = {False: data["message"], True: {**data["message"], **data.get("english", {})}}
            for page in pages:
                page.give(
                    "message", f'"message": {to_json(parsed(notify_pb2.Message(), words[page.english]))}'
                )
                page.recount()

    def _take_read(self, tenant_id: str, data: dict[str, Any]) -> None:
        for page in self._of(tenant_id, data["personId"]):
            page.recount()

    def _take_approval(self, tenant_id: str, data: dict[str, Any]) -> None:
        for person_id in set(data["personIds"]):
            for page in self._of(tenant_id, person_id):
                page.give("approval", f'"approvalId": {json.dumps(data["approvalId"])}')


def parsed(message: Message, data: dict[str, Any]) -> Any:
    """Return a message of an event's JSON; a newer sender's fields are left out; raises ValueError."""
    try:
        return json_format.ParseDict(data, message, ignore_unknown_fields=True)
    except json_format.ParseError as error:
        raise ValueError(str(error)) from error


def leaves(group: BaseExceptionGroup[Any]) -> list[Any]:
    """Return the exceptions of a group and of the groups in it."""
    found: list[Any] = []
    for item in group.exceptions:
        found += leaves(item) if isinstance(item, BaseExceptionGroup) else [item]
    return found


async def close(websocket: WebSocket, code: int, reason: str) -> None:
    """Close a socket; one whose reader does not read is left to the server, which drops it."""
    try:
        async with asyncio.timeout(CLOSE_TIMEOUT_S):
            await websocket.close(code, reason)
    except (TimeoutError, RuntimeError, WebSocketDisconnect):
        log.info("a socket could not be closed properly", code=code)
