"""What a contract declares of a method, held to while it is answered.

The interceptor reads one declaration, `crm.options.v1.access`: who may call, how far the method reaches, what becomes
of numbers. A handler that forgets to ask whose records somebody sees gives no answer and writes nothing; a number that
no rule has shown leaves masked. So a mistake in a handler shows too little, never too much. Outside of a call (events,
activities, sweeps) nothing is held to.
"""

import contextvars
import re
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from functools import cache
from typing import Any

from crm.options.v1 import options_pb2 as pb
from google.protobuf import descriptor_pool
from google.protobuf.descriptor import Descriptor, FieldDescriptor, MethodDescriptor

from services.chassis.errors import INTERNAL_EN, INTERNAL_ZH, Internal
from services.chassis.logging import get_logger
from services.chassis.tokens import Caller

log = get_logger(__name__)

# So many digits in a row are no longer a mask's.
CLEAR = re.compile(r"\d{7,}", re.ASCII)


@dataclass
class _Call:
    """A call being answered. asked: the rule of scopes was. shown: numbers that a rule lets this caller see.

    repeated: the answer is the one that this caller got before.
    """

    method: str
    declared: pb.Access
    asked: bool = False
    repeated: bool = False
    shown: set[str] = field(default_factory=set)


_call: contextvars.ContextVar[_Call | None] = contextvars.ContextVar("declared_call", default=None)


@cache
def access_of(method: str) -> pb.Access | None:
    """Return what the contract declares for "/package.Service/Method"; None when it declares nothing."""
    service_name, _, method_name = method.lstrip("/").partition("/")
    try:
        service = descriptor_pool.Default().FindServiceByName(service_name)
    except KeyError:
        return None
    descriptor: MethodDescriptor | None = service.methods_by_name.get(method_name)
    if descriptor is None or not descriptor.GetOptions().HasExtension(pb.access):
        return None
    access: pb.Access = descriptor.GetOptions().Extensions[pb.access]
    return access


def begin(method: str, declared: pb.Access, caller: Caller) -> Caller:
    """Hold the call at hand to its declaration from here on; return the caller as the handler is to know it."""
    _call.set(_Call(method, declared))
    if caller.person_id and declared.reach == pb.REACH_OWN:
        return replace(caller, scope="self", paths=())
    # A service that is named acts for the system.
    if not caller.person_id:
        note_scope_asked()
    return caller


def note_scope_asked() -> None:
    """Note that the rule of scopes was asked in the call at hand."""
    call = _call.get()
    if call:
        call.asked = True


def show_number(number: str) -> str:
    """Return a number that a rule lets the caller see, so that the call at hand answers it in the clear."""
    call = _call.get()
    if call:
        call.shown.add(number)
    return number


def note_repeated() -> None:
    """Note that the call at hand is a repeat: its answer was held to all this when it was made, for the same caller."""
    call = _call.get()
    if call:
        call.repeated = True


def check_reach(answer: Any) -> None:
    """Raise Internal for an answer that tells something without anybody having asked whose records these are.

    Inside the transaction it undoes what was written.
    """
    call = _call.get()
    if (
        call is None
        or call.asked
        or call.repeated
        or call.declared.reach != pb.REACH_SCOPE
        or not answer.ByteSize()
    ):
        return
    log.error("an answer was withheld: the rule of scopes was not asked", method=call.method)
    raise Internal("INTERNAL", INTERNAL_ZH, INTERNAL_EN)


def mask(answer: Any) -> None:
    """Mask the numbers in an answer as its method declares; those that a rule showed stay."""
    call = _call.get()
    if call is None or call.repeated or call.declared.masking == pb.MASKING_CLEAR:
        return
    shown = call.shown if call.declared.masking == pb.MASKING_BY_RULE else frozenset()
    for message, name in _numbers(answer):
        value = getattr(message, name)
        if value not in shown and CLEAR.search(value):
            setattr(message, name, hide(value))


def hide(number: str) -> str:
    """Return a text with the middle of every run of digits hidden."""
    return CLEAR.sub(lambda found: f"{found[0][:3]}****{found[0][-2:]}", number)


def _numbers(message: Any) -> Iterator[tuple[Any, str]]:
    """Give (message, field) of every number that stands in a message and below."""
    for item in number_fields(message.DESCRIPTOR):
        if item.type == FieldDescriptor.TYPE_STRING:
            yield message, item.name
        elif item.is_repeated:
            for inner in getattr(message, item.name):
                yield from _numbers(inner)
        elif message.HasField(item.name):
            yield from _numbers(getattr(message, item.name))


@cache
def number_fields(descriptor: Descriptor) -> tuple[FieldDescriptor, ...]:
    """Return the fields of a message that are a number, or lead to one."""
    return tuple(item for item in descriptor.fields if _leads_to_number(item, frozenset()))


def _leads_to_number(item: FieldDescriptor, above: frozenset[str]) -> bool:
    if item.message_type is None:
        return bool(item.GetOptions().Extensions[pb.telephone_number])
    name = item.message_type.full_name
    return name not in above and any(
        _leads_to_number(inner, above | {name}) for inner in item.message_type.fields
    )
