"""What a contract declares of a method, held to while it is answered.

The interceptor reads one declaration, `crm.options.v1.access`: who may call, how far the method reaches, what becomes
of numbers. A handler that forgets to ask whose records somebody sees gives no answer and writes nothing; a number that
no rule has shown leaves masked, in a field of its own and in what people typed alike. So a mistake in a handler shows
too little, never too much. Outside of a call (events, activities, sweeps) nothing is held to.
"""

import contextvars
from collections.abc import Set
from dataclasses import dataclass, field, replace
from functools import cache
from typing import Any

from crm.options.v1 import options_pb2 as pb
from google.protobuf import descriptor_pool
from google.protobuf.descriptor import Descriptor, FieldDescriptor, MethodDescriptor

from services.chassis.errors import INTERNAL_EN, INTERNAL_ZH, Internal
from services.chassis.logging import get_logger
from services.chassis.numbers import NUMBER, hide_numbers
from services.chassis.tokens import Caller

log = get_logger(__name__)


@dataclass
class _Call:
    """A call being answered. asked: the rule of scopes was. by_person: who called is no service.

    held: the answer was held to all this already. shown: numbers, and texts that hold some, that a rule lets this
    caller read.
    """

    method: str
    declared: pb.Access
    by_person: bool
    asked: bool = False
    held: bool = False
    shown: set[str] = field(default_factory=set)


@dataclass(frozen=True)
class _Fields:
    """What of a message is looked at, by name: numbers, texts that people typed, lists of such, and what leads to more.

    below: with whether there are many.
    """

    numbers: tuple[str, ...]
    texts: tuple[str, ...]
    lists: tuple[str, ...]
    below: tuple[tuple[str, bool], ...]


_call: contextvars.ContextVar[_Call | None] = contextvars.ContextVar("declared_call", default=None)


@cache
def access_of(method: str) -> pb.Access | None:
    """Return what the contract declares for "/package.Service/Method"; None when it declares nothing."""
    descriptor = _method_of(method)
    if descriptor is None or not descriptor.GetOptions().HasExtension(pb.access):
        return None
    access: pb.Access = descriptor.GetOptions().Extensions[pb.access]
    return access


def _method_of(method: str) -> MethodDescriptor | None:
    service_name, _, method_name = method.lstrip("/").partition("/")
    try:
        service = descriptor_pool.Default().FindServiceByName(service_name)
    except KeyError:
        return None
    found: MethodDescriptor | None = service.methods_by_name.get(method_name)
    return found


@cache
def _answers_none(method: str) -> bool:
    """Tell whether an answer has no place for a number or a text: a file's rows are not kept in mind."""
    descriptor = _method_of(method)
    return descriptor is not None and held_fields(descriptor.output_type) == _Fields((), (), (), ())


def begin(method: str, declared: pb.Access, caller: Caller) -> Caller:
    """Hold the call at hand to its declaration from here on; return the caller as the handler is to know it."""
    _call.set(_Call(method, declared, bool(caller.person_id)))
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
    if call and not _answers_none(call.method):
        call.shown.add(number)
    return number


def show_text(text: str) -> str:
    """Return a text whose numbers a rule lets the caller read, so that the call at hand answers it as it is."""
    return show_number(text)


def show_texts(message: Any) -> None:
    """Let the call at hand answer what people typed into a message, and below, as it is."""
    call = _call.get()
    if call and call.by_person:
        typed: list[str] = []
        _collect(message, typed)
        # Mostly none holds a number: one look at all of them costs less.
        if NUMBER.search("|".join(typed)):
            call.shown.update(typed)


def note_held() -> None:
    """Note that the answer of the call at hand was held to all this when it was made, for the same caller."""
    call = _call.get()
    if call:
        call.held = True


def check_reach(answer: Any) -> None:
    """Raise Internal for an answer that tells something without anybody having asked whose records these are.

    Inside the transaction it undoes what was written.
    """
    call = _call.get()
    if (
        call is None
        or call.asked
        or call.held
        or call.declared.reach != pb.REACH_SCOPE
        or not answer.ByteSize()
    ):
        return
    log.error("an answer was withheld: the rule of scopes was not asked", method=call.method)
    raise Internal("INTERNAL", INTERNAL_ZH, INTERNAL_EN)


def mask(answer: Any) -> None:
    """Mask the numbers in an answer as its method declares, and those that people typed; what a rule showed stays."""
    call = _call.get()
    if call is None or call.held or call.declared.masking == pb.MASKING_CLEAR:
        return
    numbers = call.shown if call.declared.masking == pb.MASKING_BY_RULE else frozenset()
    _mask(answer, numbers, call.shown if call.by_person else None)


def _mask(message: Any, numbers: Set[str], texts: Set[str] | None) -> None:
    """Mask a message and what is below. numbers, texts: that stay; texts: None where all do."""
    fields = held_fields(message.DESCRIPTOR)
    for name in fields.numbers:
        _mask_field(message, name, numbers)
    if texts is not None:
        for name in fields.texts:
            _mask_field(message, name, texts)
        for name in fields.lists:
            values = getattr(message, name)
            if any(NUMBER.search(value) for value in values):
                values[:] = [value if value in texts else hide_numbers(value) for value in values]
    for name, many in fields.below:
        if many:
            for inner in getattr(message, name):
                _mask(inner, numbers, texts)
        elif message.HasField(name):
            _mask(getattr(message, name), numbers, texts)


def _mask_field(message: Any, name: str, stays: Set[str]) -> None:
    value = getattr(message, name)
    if NUMBER.search(value) and value not in stays:
        setattr(message, name, hide_numbers(value))


def _collect(message: Any, typed: list[str]) -> None:
    """Add to `typed` what people typed into a message and below."""
    fields = held_fields(message.DESCRIPTOR)
    for name in fields.texts:
        typed.append(getattr(message, name))
    for name in fields.lists:
        typed.extend(getattr(message, name))
    for name, many in fields.below:
        if many:
            for inner in getattr(message, name):
                _collect(inner, typed)
        elif message.HasField(name):
            _collect(getattr(message, name), typed)


@cache
def held_fields(descriptor: Descriptor) -> _Fields:
    """Return which fields of a message are numbers or typed, or lead to such."""
    own = [item for item in descriptor.fields if item.message_type is None]
    typed = [item for item in own if item.GetOptions().Extensions[pb.typed_text]]
    return _Fields(
        tuple(item.name for item in own if item.GetOptions().Extensions[pb.telephone_number]),
        tuple(item.name for item in typed if not item.is_repeated),
        tuple(item.name for item in typed if item.is_repeated),
        tuple(
            (item.name, item.is_repeated)
            for item in descriptor.fields
            if item.message_type is not None and _is_held(item, frozenset())
        ),
    )


def _is_held(item: FieldDescriptor, above: frozenset[str]) -> bool:
    if item.message_type is None:
        options = item.GetOptions().Extensions
        return bool(options[pb.telephone_number] or options[pb.typed_text])
    name = item.message_type.full_name
    return name not in above and any(_is_held(inner, above | {name}) for inner in item.message_type.fields)
