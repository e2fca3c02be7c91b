"""Printing over gRPC: requests to use cases and back."""

import grpc
from crm.orders.v1 import printing_pb2, printing_pb2_grpc

from services.chassis.db import Transaction
from services.chassis.errors import InvalidInput
from services.chassis.grpc_server import Api, current_caller
from services.chassis.timestamps import timestamp
from services.orders.domain.documents import FIELDS, LINE_FIELDS, LINE_PREFIXES, LINED, DocumentKind
from services.orders.store.tables import PrintTemplate
from services.orders.usecases.printing import (
    create_template,
    delete_template,
    list_templates,
    print_document,
    sample_template,
)

KINDS = {
    DocumentKind.QUOTE: printing_pb2.DOCUMENT_KIND_QUOTE,
    DocumentKind.ORDER: printing_pb2.DOCUMENT_KIND_ORDER,
    DocumentKind.CONTRACT: printing_pb2.DOCUMENT_KIND_CONTRACT,
}
KIND_OF = {number: kind for kind, number in KINDS.items()}


class PrintingApi(printing_pb2_grpc.PrintingServiceServicer, Api):
    """The servicer."""

    def CreatePrintTemplate(
        self, request: printing_pb2.CreatePrintTemplateRequest, context: grpc.ServicerContext
    ) -> printing_pb2.CreatePrintTemplateResponse:
        kind = document_kind(request.kind)
        return self.write(
            request,
            printing_pb2.CreatePrintTemplateResponse,
            lambda tx: printing_pb2.CreatePrintTemplateResponse(
                template=template_message(create_template(tx, kind, request.name, request.content))
            ),
        )

    def DeletePrintTemplate(
        self, request: printing_pb2.DeletePrintTemplateRequest, context: grpc.ServicerContext
    ) -> printing_pb2.DeletePrintTemplateResponse:
        def work(tx: Transaction) -> printing_pb2.DeletePrintTemplateResponse:
            delete_template(tx, request.template_id)
            return printing_pb2.DeletePrintTemplateResponse()

        return self.write(request, printing_pb2.DeletePrintTemplateResponse, work)

    def ListPrintTemplates(
        self, request: printing_pb2.ListPrintTemplatesRequest, context: grpc.ServicerContext
    ) -> printing_pb2.ListPrintTemplatesResponse:
        kind = KIND_OF.get(request.kind)

        def work(tx: Transaction) -> printing_pb2.ListPrintTemplatesResponse:
            return printing_pb2.ListPrintTemplatesResponse(
                templates=map(template_message, list_templates(tx, kind)),
                fields=[field for each in KINDS if kind in (None, each) for field in field_messages(each)],
            )

        return self.read(work)

    def GetSampleTemplate(
        self, request: printing_pb2.GetSampleTemplateRequest, context: grpc.ServicerContext
    ) -> printing_pb2.GetSampleTemplateResponse:
        sample = sample_template(document_kind(request.kind))
        return printing_pb2.GetSampleTemplateResponse(
            name=sample.name, content_type=sample.content_type, content=sample.content
        )

    def PrintDocument(
        self, request: printing_pb2.PrintDocumentRequest, context: grpc.ServicerContext
    ) -> printing_pb2.PrintDocumentResponse:
        caller, kind = current_caller(), document_kind(request.kind)

        def work(tx: Transaction) -> printing_pb2.PrintDocumentResponse:
            printed = print_document(tx, caller, kind, request.document_id, request.template_id)
            return printing_pb2.PrintDocumentResponse(
                name=printed.name, content_type=printed.content_type, content=printed.content
            )

        return self.read(work)


def document_kind(number: printing_pb2.DocumentKind.ValueType) -> DocumentKind:
    """Return which documents are meant; raises InvalidInput DOCUMENT_KIND_MISSING."""
    kind = KIND_OF.get(number)
    if kind is None:
        raise InvalidInput("kind", "DOCUMENT_KIND_MISSING", "请说明单据类型", "Say what is printed")
    return kind


def template_message(template: PrintTemplate) -> printing_pb2.PrintTemplate:
    """Return what a workbook is."""
    return printing_pb2.PrintTemplate(
        template_id=template.id,
        kind=KINDS[DocumentKind(template.kind)],
        name=template.name,
        size_bytes=template.size_bytes,
        digest=template.digest,
        create_time=timestamp(template.create_time),
    )


def field_messages(kind: DocumentKind) -> list[printing_pb2.PrintField]:
    """Return what cells of a workbook may name, in order."""
    english, chinese = LINE_PREFIXES
    names = [(field.key, field.zh) for field in FIELDS[kind]]
    if kind in LINED:
        names += [(f"{english}{field.key}", f"{chinese}{field.zh}") for field in LINE_FIELDS]
    return [printing_pb2.PrintField(kind=KINDS[kind], key=key, name=name) for key, name in names]
