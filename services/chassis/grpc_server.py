"""One builder for every gRPC server: access, errors, metrics, health, reflection and a graceful stop.

A method without `crm.options.v1.access` is refused for everybody: deny first. Rights are checked before a
handler runs, so a refusal says nothing about what exists; what it answers is held to the declared reach and masking,
see `declarations`.
"""

import contextvars
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Protocol, TypeVar, cast

import grpc
import structlog
from crm.options.v1 import options_pb2
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection
from sqlalchemy.exc import OperationalError

from services.chassis import declarations
from services.chassis.db import Message, Store, Transaction
from services.chassis.epochs import Epochs
from services.chassis.errors import (
    INTERNAL_EN,
    INTERNAL_ZH,
    AppError,
    Forbidden,
    Internal,
    InvalidInput,
    Unauthenticated,
    Unavailable,
)
from services.chassis.grpc_errors import to_status
from services.chassis.grpc_tls import server_credentials
from services.chassis.ids import new_id
from services.chassis.logging import get_logger
from services.chassis.metrics import RPC_SECONDS
from services.chassis.settings import InternalTls
from services.chassis.tenancy import Tenant
from services.chassis.tokens import Caller, Verifier

log = get_logger(__name__)

# Threads that answer RPCs; more only wait for the database.
THREADS = 16
# How often health is looked at, in seconds.
HEALTH_S = 2.0
# Health, the only thing to be asked without a token.
OPEN_SERVICES = ("grpc.health.v1.Health",)
# Schemas are for whoever has a token, of a person or of a service.
TOKEN_ONLY_SERVICES = ("grpc.reflection.v1alpha.ServerReflection",)

_caller: contextvars.ContextVar[Caller] = contextvars.ContextVar("caller")
_token: contextvars.ContextVar[str] = contextvars.ContextVar("token")
_method: contextvars.ContextVar[str] = contextvars.ContextVar("method")


def current_caller() -> Caller:
    """Return who called the RPC at hand."""
    return _caller.get()


def current_token() -> str:
    """Return the token of the RPC at hand, to pass on in the caller's name."""
    return _token.get()


def current_tenant() -> Tenant:
    """Return the tenant of the RPC at hand; raises Unauthenticated for a call that names none."""
    tenant = _caller.get().tenant
    if tenant is None:
        raise Unauthenticated("TENANT_MISSING", "缺少租户信息", "The call names no tenant")
    return tenant


def require_right(right: str) -> None:
    """Raise Forbidden unless the caller has this right; for what depends on the request's content."""
    if right not in _caller.get().rights:
        raise forbidden(right)


def forbidden(right: str) -> Forbidden:
    """Return the refusal for a missing right."""
    return Forbidden(
        "RIGHT_MISSING", "您没有该操作的权限（{right}）", "You lack the right for this ({right})", right=right
    )


def check_access(method: str, caller: Caller) -> options_pb2.Access:
    """Return what the contract declares of a method; raises Forbidden unless it lets this caller call it."""
    access = declarations.access_of(method)
    if access is None:
        raise forbidden(method)
    if caller.service:
        if caller.service not in access.services:
            raise forbidden(method)
    elif not ((access.any_person and not caller.is_key) or (access.right and access.right in caller.rights)):
        raise forbidden(access.right or method)
    return access


def _translated(error: Exception) -> AppError:
    """Return what the caller is told of an error; what is not ours to tell is logged."""
    if isinstance(error, AppError):
        return error
    if isinstance(error, OperationalError):
        # The database is away or gave up a lock. A commit whose answer was lost is found again by the request id.
        log.warning("database failed an RPC", error=str(error.orig))
        return Unavailable(
            "DATABASE_UNAVAILABLE", "数据库暂不可用，请稍后重试", "The database is unavailable; try later"
        )
    log.error("unhandled error in an RPC", exc_info=error)
    return Internal("INTERNAL", INTERNAL_ZH, INTERNAL_EN)


def _held(answer: Any) -> Any:
    """Return an answer, or a part of one, as its method's declaration lets it go out."""
    declarations.check_reach(answer)
    declarations.mask(answer)
    return answer


class _Interceptor(grpc.ServerInterceptor):  # type: ignore[type-arg]  # generic in its types only
    """Knows the caller, holds the method to its declaration, turns errors into statuses, measures."""

    def __init__(self, service: str, verifier: Verifier, epochs: Epochs) -> None:
        self._service = service
        self._verifier = verifier
        self._epochs = epochs

    def intercept_service(
        self,
        continuation: "Callable[[grpc.HandlerCallDetails], grpc.RpcMethodHandler[Any, Any] | None]",
        handler_call_details: grpc.HandlerCallDetails,
    ) -> "grpc.RpcMethodHandler[Any, Any] | None":
        handler = continuation(handler_call_details)
        method = handler_call_details.method
        if handler is None or method.lstrip("/").startswith(OPEN_SERVICES):
            return handler
        metadata = {str(key): value for key, value in handler_call_details.invocation_metadata or ()}
        if handler.unary_unary:
            return grpc.unary_unary_rpc_method_handler(
                self._unary(method, metadata, handler.unary_unary),
                handler.request_deserializer,
                handler.response_serializer,
            )
        if handler.unary_stream:
            return grpc.unary_stream_rpc_method_handler(
                self._stream(method, metadata, handler.unary_stream),
                handler.request_deserializer,
                handler.response_serializer,
            )
        if handler.stream_stream and method.lstrip("/").startswith(TOKEN_ONLY_SERVICES):
            return grpc.stream_stream_rpc_method_handler(
                self._reflect(metadata, handler.stream_stream),
                handler.request_deserializer,
                handler.response_serializer,
            )
        return None

    def _enter(self, method: str, metadata: dict[str, Any]) -> Caller:
        locale = str(metadata.get("accept-language", "zh-CN"))
        request_id = str(metadata.get("x-request-id", "")) or new_id()
        structlog.contextvars.clear_contextvars()
        structlog.contextvars.bind_contextvars(
            process=f"{self._service}.api", trace_id=request_id, method=method
        )
        token = str(metadata.get("authorization", "")).removeprefix("Bearer ")
        caller = self._verifier.verify(token, locale)
        self._epochs.check(caller)
        caller = declarations.begin(method, check_access(method, caller), caller)
        _caller.set(caller)
        _token.set(token)
        _method.set(method)
        return caller

    def _fail(self, error: AppError, metadata: dict[str, Any], context: grpc.ServicerContext) -> None:
        context.abort_with_status(to_status(error, str(metadata.get("accept-language", "zh-CN"))))

    def _unary(
        self, method: str, metadata: dict[str, Any], behaviour: Callable[..., Any]
    ) -> Callable[..., Any]:
        name = method.rpartition("/")[2]

        def answer(request: Any, context: grpc.ServicerContext) -> Any:
            started, code = time.perf_counter(), "OK"
            try:
                self._enter(method, metadata)
                return _held(behaviour(request, context))
            except Exception as error:
                told = _translated(error)
                code = told.code
                self._fail(told, metadata, context)
            finally:
                RPC_SECONDS.labels(self._service, name, code).observe(time.perf_counter() - started)

        return answer

    def _stream(
        self, method: str, metadata: dict[str, Any], behaviour: Callable[..., Any]
    ) -> Callable[..., Any]:
        name = method.rpartition("/")[2]

        def answer(request: Any, context: grpc.ServicerContext) -> Iterator[Any]:
            started, code = time.perf_counter(), "OK"
            try:
                self._enter(method, metadata)
                for part in behaviour(request, context):
                    yield _held(part)
            except Exception as error:
                told = _translated(error)
                code = told.code
                self._fail(told, metadata, context)
            finally:
                RPC_SECONDS.labels(self._service, name, code).observe(time.perf_counter() - started)

        return answer

    def _reflect(self, metadata: dict[str, Any], behaviour: Callable[..., Any]) -> Callable[..., Any]:
        def answer(requests: Any, context: grpc.ServicerContext) -> Iterator[Any]:
            try:
                self._verifier.verify(str(metadata.get("authorization", "")).removeprefix("Bearer "))
                yield from behaviour(requests, context)
            except AppError as error:
                self._fail(error, metadata, context)

        return answer


class Mutation(Message, Protocol):
    """A request that carries its own id."""

    request_id: str


Answer = TypeVar("Answer", bound=Message)


class Api:
    """What every service's servicer stands on: `read` and `write` around its use cases."""

    def __init__(self, store: Store) -> None:
        self.store = store

    def read(self, work: Callable[[Transaction], Answer]) -> Answer:
        """Run a query in the caller's tenant and return its response."""
        with self.store.transaction(current_tenant(), _caller.get().actor_id) as tx:
            return work(tx)

    def write(self, request: Mutation, answer: type[Answer], work: Callable[[Transaction], Answer]) -> Answer:
        """Run a use case once for `request.request_id`; a repeat gets the first answer again.

        Raises InvalidInput NOT_A_UUID or REQUEST_ID_REUSED for the request id.
        """
        caller = _caller.get()
        if not request.request_id:
            raise InvalidInput(
                "request_id", "REQUEST_ID_MISSING", "缺少请求编号 request_id", "request_id is missing"
            )
        with self.store.transaction(current_tenant(), caller.actor_id) as tx:
            # Held to its declaration before the commit: what was written without asking whose it is must not stay, and
            # a repeat gets what was answered first.
            outcome = tx.once(
                caller.person_id or caller.service,
                _method.get(),
                request.request_id,
                request.SerializeToString(deterministic=True),
                lambda: cast(Answer, _held(work(tx))),
            )
            if isinstance(outcome, bytes):
                declarations.note_held()
        if isinstance(outcome, bytes):
            parsed = answer()
            parsed.ParseFromString(outcome)  # type: ignore[attr-defined]  # every protobuf message has it
            return parsed
        return cast(Answer, outcome)


class Server:
    """A gRPC server with its health service; stop is graceful.

    epochs: what is known of old tokens; whoever makes the server keeps it fresh. tls: of the site, mutual.
    """

    def __init__(
        self,
        service: str,
        verifier: Verifier,
        epochs: Epochs | None = None,
        tls: InternalTls | None = None,
    ) -> None:
        self._credentials = server_credentials(tls) if tls else None
        self._executor = ThreadPoolExecutor(max_workers=THREADS, thread_name_prefix="rpc")
        self.grpc = grpc.server(
            self._executor,
            interceptors=[_Interceptor(service, verifier, epochs or Epochs())],
            options=[("grpc.so_reuseport", 0), ("grpc.max_receive_message_length", 16 * 1024 * 1024)],
        )
        self._services: tuple[str, ...] = ("",)
        self._stopping = threading.Event()
        self._health = health.HealthServicer()
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self.grpc)

    def start(self, bind_address: str, port: int, *services: str) -> int:
        """Listen and report SERVING; return the port. services: full names, for reflection."""
        reflection.enable_server_reflection((*services, *OPEN_SERVICES, *TOKEN_ONLY_SERVICES), self.grpc)
        address = f"{bind_address}:{port}"
        if self._credentials:
            bound = self.grpc.add_secure_port(address, self._credentials)
        else:
            bound = self.grpc.add_insecure_port(address)
        self._services = ("", *services)
        self.grpc.start()
        self._report(True)
        return bound

    def watch(self, healthy: Callable[[], bool]) -> None:
        """Ask `healthy` every two seconds, in a thread, and report what it says."""

        def look() -> None:
            while not self._stopping.wait(HEALTH_S):
                self._report(healthy())

        threading.Thread(target=look, name="health", daemon=True).start()

    def _report(self, healthy: bool) -> None:
        answers = health_pb2.HealthCheckResponse
        for service in self._services:
            self._health.set(service, answers.SERVING if healthy else answers.NOT_SERVING)

    def stop(self, grace_s: float = 5) -> None:
        """Report NOT_SERVING, let calls finish for `grace_s` seconds, break off the others, wait for their ends."""
        self._stopping.set()
        self._health.enter_graceful_shutdown()
        self.grpc.stop(grace_s).wait()
        # A stream that is broken off notices at its next part, and notes how it ended: the store is still there then.
        self._executor.shutdown()
