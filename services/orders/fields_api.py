"""FieldsService: the tenant's own fields, proto to use case and back."""

import grpc
from crm.orders.v1 import fields_pb2 as pb
from crm.orders.v1 import fields_pb2_grpc as pb_grpc

from services.chassis.db import Transaction
from services.chassis.grpc_server import Api
from services.kernel.field_store import FieldColumns, definition_of_form
from services.orders.usecases.fields import FIELDS, parse_object


class FieldsApi(pb_grpc.FieldsServiceServicer, Api):
    """Answers which fields the tenant added."""

    def ListFields(
        self, request: pb.ListFieldsRequest, context: grpc.ServicerContext
    ) -> pb.ListFieldsResponse:
        """Return the fields of a kind of record."""
        kind = parse_object(request.object, "object")
        return self.read(
            lambda tx: pb.ListFieldsResponse(
                fields=map(field_message, FIELDS.rows(tx, kind, removed=request.all))
            )
        )

    def CreateField(
        self, request: pb.CreateFieldRequest, context: grpc.ServicerContext
    ) -> pb.CreateFieldResponse:
        """Add a field; see `FieldStore.create` for what is refused."""
        kind, definition = (
            parse_object(request.field.object, "field.object"),
            definition_of_form(request.field),
        )
        return self.write(
            request,
            pb.CreateFieldResponse,
            lambda tx: pb.CreateFieldResponse(field=field_message(FIELDS.create(tx, kind, definition))),
        )

    def UpdateField(
        self, request: pb.UpdateFieldRequest, context: grpc.ServicerContext
    ) -> pb.UpdateFieldResponse:
        """Change a field; see `FieldStore.update` for what is refused."""
        kind, definition = parse_object(request.object, "object"), definition_of_form(request.field)

        def work(tx: Transaction) -> pb.UpdateFieldResponse:
            row = FIELDS.update(tx, kind, request.key, definition, active=request.field.active)
            return pb.UpdateFieldResponse(field=field_message(row))

        return self.write(request, pb.UpdateFieldResponse, work)

    def OrderFields(
        self, request: pb.OrderFieldsRequest, context: grpc.ServicerContext
    ) -> pb.OrderFieldsResponse:
        """Put fields into an order."""
        kind = parse_object(request.object, "object")
        return self.write(
            request,
            pb.OrderFieldsResponse,
            lambda tx: pb.OrderFieldsResponse(
                fields=map(field_message, FIELDS.order(tx, kind, request.keys))
            ),
        )


def field_message(row: FieldColumns) -> pb.Field:
    """Return a field."""
    return pb.Field(
        object=row.object,
        key=row.key,
        name=row.name,
        type=row.type,
        required=row.required,
        unique=row.is_unique,
        searchable=row.searchable,
        listed=row.listed,
        max_length=row.max_length,
        choices=row.choices,
        active=row.active,
        version=row.version,
    )
