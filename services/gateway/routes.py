"""The HTTP routes that the contracts declare.

Every RPC with a `google.api.http` annotation is a route; nothing about a single RPC is written by hand. Only what
the contracts use is understood: one binding, body "*" for POST and PATCH, no body for GET, path fields that are
strings.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from types import ModuleType

from crm.approvals.v1 import approvals_pb2
from crm.customers.v1 import (
    customers_pb2,
    exports_pb2,
    imports_pb2,
    merges_pb2,
    pools_pb2,
    records_pb2,
    registry_pb2,
    reveals_pb2,
)
from crm.dedupe.v1 import dedupe_pb2
from crm.identity.v1 import identity_pb2, schedules_pb2
from crm.leads.v1 import fields_pb2 as lead_fields_pb2
from crm.leads.v1 import leads_pb2
from crm.leads.v1 import pools_pb2 as lead_pools_pb2
from crm.notify.v1 import mails_pb2, notices_pb2, notify_pb2
from crm.orders.v1 import fields_pb2 as sales_fields_pb2
from crm.orders.v1 import orders_pb2, printing_pb2, quotes_pb2
from crm.telephony.v1 import bulk_pb2, desk_pb2, sms_pb2, telephony_pb2
from google.api import annotations_pb2
from google.protobuf.descriptor import Descriptor, FieldDescriptor, MethodDescriptor
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass

# The services behind the gateway, by the name that addresses and tokens use, with the files of their contracts.
CONTRACTS: dict[str, tuple[ModuleType, ...]] = {
    "identity": (identity_pb2, schedules_pb2),
    "customers": (
        customers_pb2,
        imports_pb2,
        merges_pb2,
        exports_pb2,
        pools_pb2,
        records_pb2,
        registry_pb2,
        reveals_pb2,
    ),
    "leads": (leads_pb2, lead_fields_pb2, lead_pools_pb2),
    "orders": (orders_pb2, quotes_pb2, printing_pb2, sales_fields_pb2),
    "dedupe": (dedupe_pb2,),
    "approvals": (approvals_pb2,),
    "notify": (notify_pb2, notices_pb2, mails_pb2),
    "telephony": (telephony_pb2, sms_pb2, desk_pb2, bulk_pb2),
}

# A path field in a template: {customer_id}, {person.person_id}.
PATH_FIELD = re.compile(r"{([a-z_.]+)}")


@dataclass(frozen=True)
class Route:
    """One RPC at its place in the HTTP API.

    service: whose RPC. verb: GET, POST or PATCH. template: path as annotated, fields in braces. path_fields:
    their dotted names in order. has_body: whether the JSON body is the rest of the request; else the query is.
    """

    service: str
    verb: str
    template: str
    path_fields: tuple[str, ...]
    has_body: bool
    method: MethodDescriptor

    @property
    def rpc_path(self) -> str:
        """Path of the RPC on the wire."""
        return f"/{self.method.containing_service.full_name}/{self.method.name}"

    @property
    def request(self) -> type[Message]:
        """Class of the request."""
        return GetMessageClass(self.method.input_type)

    @property
    def response(self) -> type[Message]:
        """Class of the response."""
        return GetMessageClass(self.method.output_type)


def path_field(request: Descriptor, dotted: str) -> FieldDescriptor:
    """Return the field that a path's dotted name leads to; raises KeyError when there is none."""
    parent, _, rest = dotted.partition(".")
    field = request.fields_by_name[parent]
    return path_field(field.message_type, rest) if rest and field.message_type else field


def routes() -> list[Route]:
    """Return every annotated RPC's route, in the contracts' order."""
    return [
        route
        for name, modules in CONTRACTS.items()
        for module in modules
        for route in _routes_of(name, module)
    ]


def _routes_of(service: str, module: ModuleType) -> Iterator[Route]:
    for contract in module.DESCRIPTOR.services_by_name.values():
        for method in contract.methods:
            options = method.GetOptions()
            if not options.HasExtension(annotations_pb2.http):
                continue
            rule = options.Extensions[annotations_pb2.http]
            pattern = rule.WhichOneof("pattern")
            template = getattr(rule, pattern)
            path_fields = tuple(PATH_FIELD.findall(template))
            for dotted in path_fields:
                if path_field(method.input_type, dotted).type != FieldDescriptor.TYPE_STRING:
                    raise ValueError(f"{method.full_name}: path field {dotted} is not a string")
            if (rule.body == "*") is not (pattern in {"post", "patch"}):
                raise ValueError(f'{method.full_name}: POST and PATCH have body "*", GET has none')
            yield Route(service, pattern.upper(), template, path_fields, rule.body == "*", method)
