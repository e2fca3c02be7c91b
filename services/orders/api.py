"""Orders over gRPC: requests to use cases and back."""

from collections.abc import Mapping, Sequence
from datetime import timedelta

import grpc
from crm.orders.v1 import orders_pb2, orders_pb2_grpc
from google.protobuf.duration_pb2 import Duration

from services.chassis.db import Transaction
from services.chassis.errors import InvalidInput
from services.chassis.grpc_server import Api, current_caller
from services.chassis.ids import parse_id
from services.chassis.paging import cut_page, decode_cursor, encode_cursor, page_size
from services.chassis.timestamps import timestamp
from services.chassis.tokens import Caller
from services.kernel.fields import FieldDefinition, FieldType, Stored, display_value
from services.kernel.money import format_amount
from services.kernel.phones import texts_for
from services.kernel.texts import parse_text
from services.orders.domain.contracts import ContractState, parse_day
from services.orders.domain.contracts import owner_actions as contract_actions
from services.orders.domain.states import OrderState, owner_actions
from services.orders.store.queries import (
    Category,
    OrderFilter,
    find_order,
    handle_within,
    list_orders,
    order_changes,
    order_lines,
    submit_without_papers,
    summarize,
)
from services.orders.store.tables import (
    Account,
    Attachment,
    Contract,
    ContractVersion,
    JournalEntry,
    Order,
    OrderChange,
    OrderLine,
    Product,
    Voucher,
)
from services.orders.usecases.cashier import (
    MoneyKind,
    VoucherState,
    accounts,
    booked,
    create_account,
    journal,
    record_receipt,
    submit_payment,
    vouchers,
)
from services.orders.usecases.contracts import (
    ContractFilter,
    contract_versions,
    create_contract,
    find_contract,
    list_contracts,
    submit_contract,
    terminate_contract,
    update_contract,
)
from services.orders.usecases.fields import FIELDS, FieldObject, numbers_shown
from services.orders.usecases.files import FileKind, attach, attachments, open_attachment
from services.orders.usecases.lines import LineInput
from services.orders.usecases.orders import (
    accept_order,
    close_order,
    submit_order,
    update_order,
    update_settings,
)
from services.orders.usecases.products import (
    ProductInput,
    create_product,
    list_products,
    product_fields,
    update_product,
    update_product_fields,
)

RIGHT = "orders.handle"

STATES = {
    OrderState.GENERATED: orders_pb2.ORDER_STATE_GENERATED,
    OrderState.ACCEPTED: orders_pb2.ORDER_STATE_ACCEPTED,
    OrderState.SUBMITTED: orders_pb2.ORDER_STATE_SUBMITTED,
    OrderState.APPROVED: orders_pb2.ORDER_STATE_APPROVED,
    OrderState.REJECTED: orders_pb2.ORDER_STATE_REJECTED,
    OrderState.CLOSED: orders_pb2.ORDER_STATE_CLOSED,
}
CONTRACT_STATES = {
    ContractState.DRAFT: orders_pb2.CONTRACT_STATE_DRAFT,
    ContractState.SUBMITTED: orders_pb2.CONTRACT_STATE_SUBMITTED,
    ContractState.REJECTED: orders_pb2.CONTRACT_STATE_REJECTED,
    ContractState.EFFECTIVE: orders_pb2.CONTRACT_STATE_EFFECTIVE,
    ContractState.EXPIRED: orders_pb2.CONTRACT_STATE_EXPIRED,
    ContractState.TERMINATED: orders_pb2.CONTRACT_STATE_TERMINATED,
}
FILE_KINDS = {
    FileKind.PAYMENT_PROOF: orders_pb2.ATTACHMENT_KIND_PAYMENT_PROOF,
    FileKind.CONTRACT: orders_pb2.ATTACHMENT_KIND_CONTRACT,
}
MONEY_KINDS = {
    MoneyKind.RECEIPT: orders_pb2.MONEY_KIND_RECEIPT,
    MoneyKind.PAYMENT: orders_pb2.MONEY_KIND_PAYMENT,
}
VOUCHER_STATES = {
    VoucherState.SUBMITTED: orders_pb2.VOUCHER_STATE_SUBMITTED,
    VoucherState.BOOKED: orders_pb2.VOUCHER_STATE_BOOKED,
    VoucherState.REJECTED: orders_pb2.VOUCHER_STATE_REJECTED,
}
CATEGORIES = {
    orders_pb2.ORDER_CATEGORY_STATE: Category.STATE,
    orders_pb2.ORDER_CATEGORY_OWNER: Category.OWNER,
    orders_pb2.ORDER_CATEGORY_PRODUCT: Category.PRODUCT,
    orders_pb2.ORDER_CATEGORY_MONTH: Category.MONTH,
}
# Rows of a summary.
MOST_ROWS = 1000
# Characters of an address of delivery.
LONGEST_ADDRESS = 500
STATE_FILTERS = {message: state for state, message in STATES.items()}


class OrdersApi(orders_pb2_grpc.OrdersServiceServicer, Api):
    """The servicer."""

    def GetOrder(
        self, request: orders_pb2.GetOrderRequest, context: grpc.ServicerContext
    ) -> orders_pb2.GetOrderResponse:
        caller = current_caller()

        def work(tx: Transaction) -> orders_pb2.GetOrderResponse:
            order = find_order(tx, None if caller.service else caller, request.order_id)
            return orders_pb2.GetOrderResponse(
                order=whole_order(tx, order, caller),
                changes=[
                    change_message(change, numbers_shown(order, caller))
                    for change in order_changes(tx, order.id)
                ],
            )

        return self.read(work)

    def ListOrders(
        self, request: orders_pb2.ListOrdersRequest, context: grpc.ServicerContext
    ) -> orders_pb2.ListOrdersResponse:
        caller = current_caller()
        size, after = page_size(request.page_size), decode_cursor(request.page_token)
        wanted = order_filter(request)

        def work(tx: Transaction) -> orders_pb2.ListOrdersResponse:
            page, more = cut_page(list_orders(tx, caller, wanted, after, size + 1), size)
            return orders_pb2.ListOrdersResponse(
                orders=[order_message(order, caller) for order in page],
                next_page_token=encode_cursor(page[-1].create_time, page[-1].id) if more else "",
            )

        return self.read(work)

    def AcceptOrder(
        self, request: orders_pb2.AcceptOrderRequest, context: grpc.ServicerContext
    ) -> orders_pb2.AcceptOrderResponse:
        caller = current_caller()
        return self.write(
            request,
            orders_pb2.AcceptOrderResponse,
            lambda tx: orders_pb2.AcceptOrderResponse(
                order=whole_order(tx, accept_order(tx, caller, request.order_id), caller)
            ),
        )

    def SubmitOrder(
        self, request: orders_pb2.SubmitOrderRequest, context: grpc.ServicerContext
    ) -> orders_pb2.SubmitOrderResponse:
        caller = current_caller()
        return self.write(
            request,
            orders_pb2.SubmitOrderResponse,
            lambda tx: orders_pb2.SubmitOrderResponse(
                order=whole_order(tx, submit_order(tx, caller, request.order_id), caller)
            ),
        )

    def CloseOrder(
        self, request: orders_pb2.CloseOrderRequest, context: grpc.ServicerContext
    ) -> orders_pb2.CloseOrderResponse:
        caller = current_caller()
        return self.write(
            request,
            orders_pb2.CloseOrderResponse,
            lambda tx: orders_pb2.CloseOrderResponse(
                order=whole_order(tx, close_order(tx, caller, request.order_id, request.reason), caller)
            ),
        )

    def GetSettings(
        self, request: orders_pb2.GetSettingsRequest, context: grpc.ServicerContext
    ) -> orders_pb2.GetSettingsResponse:
        def work(tx: Transaction) -> orders_pb2.GetSettingsResponse:
            duration = Duration()
            duration.FromTimedelta(handle_within(tx))
            return orders_pb2.GetSettingsResponse(
                settings=orders_pb2.Settings(
                    handle_within=duration, submit_without_papers=submit_without_papers(tx)
                )
            )

        return self.read(work)

    def UpdateSettings(
        self, request: orders_pb2.UpdateSettingsRequest, context: grpc.ServicerContext
    ) -> orders_pb2.UpdateSettingsResponse:
        value = timespan(request.settings.handle_within)

        def work(tx: Transaction) -> orders_pb2.UpdateSettingsResponse:
            update_settings(tx, value, without_papers=request.settings.submit_without_papers)
            return orders_pb2.UpdateSettingsResponse(settings=request.settings)

        return self.write(request, orders_pb2.UpdateSettingsResponse, work)

    def UpdateOrder(
        self, request: orders_pb2.UpdateOrderRequest, context: grpc.ServicerContext
    ) -> orders_pb2.UpdateOrderResponse:
        caller = current_caller()
        lines = [LineInput(line.product_id, line.quantity, line.unit_price) for line in request.lines]
        ship_to = None
        if request.HasField("ship_to"):
            ship_to = parse_text(request.ship_to, "ship_to", LONGEST_ADDRESS, required=False)

        def work(tx: Transaction) -> orders_pb2.UpdateOrderResponse:
            order = update_order(
                tx, caller, request.order_id, request.version, lines, request.contract_id, ship_to
            )
            return orders_pb2.UpdateOrderResponse(order=whole_order(tx, order, caller))

        return self.write(request, orders_pb2.UpdateOrderResponse, work)

    def SummarizeOrders(
        self, request: orders_pb2.SummarizeOrdersRequest, context: grpc.ServicerContext
    ) -> orders_pb2.SummarizeOrdersResponse:
        caller = current_caller()
        category = CATEGORIES.get(request.category, Category.STATE)
        wanted = order_filter(request)

        def work(tx: Transaction) -> orders_pb2.SummarizeOrdersResponse:
            rows = summarize(tx, caller, category, wanted, MOST_ROWS)
            return orders_pb2.SummarizeOrdersResponse(
                rows=[
                    orders_pb2.OrderSummaryRow(
                        key=orders_pb2.OrderState.Name(STATES[OrderState(row.key)])
                        if category is Category.STATE
                        else row.key,
                        name=row.name,
                        count=row.count,
                        amount=format_amount(row.amount),
                    )
                    for row in rows
                ]
            )

        return self.read(work)

    def CreateProduct(
        self, request: orders_pb2.CreateProductRequest, context: grpc.ServicerContext
    ) -> orders_pb2.CreateProductResponse:
        def work(tx: Transaction) -> orders_pb2.CreateProductResponse:
            product = create_product(tx, product_input(request.product))
            return orders_pb2.CreateProductResponse(product=product_message(product, product_fields(tx)))

        return self.write(request, orders_pb2.CreateProductResponse, work)

    def UpdateProduct(
        self, request: orders_pb2.UpdateProductRequest, context: grpc.ServicerContext
    ) -> orders_pb2.UpdateProductResponse:
        def work(tx: Transaction) -> orders_pb2.UpdateProductResponse:
            given = request.product
            product = update_product(tx, request.product_id, product_input(given), given.version)
            return orders_pb2.UpdateProductResponse(product=product_message(product, product_fields(tx)))

        return self.write(request, orders_pb2.UpdateProductResponse, work)

    def ListProducts(
        self, request: orders_pb2.ListProductsRequest, context: grpc.ServicerContext
    ) -> orders_pb2.ListProductsResponse:
        def work(tx: Transaction) -> orders_pb2.ListProductsResponse:
            definitions = product_fields(tx)
            found = list_products(
                tx,
                current_caller(),
                request.query.strip(),
                inactive=request.include_inactive,
                filter_text=request.filter,
                order_by=request.order_by,
            )
            return orders_pb2.ListProductsResponse(
                products=[product_message(product, definitions) for product in found]
            )

        return self.read(work)

    def ListProductFields(
        self, request: orders_pb2.ListProductFieldsRequest, context: grpc.ServicerContext
    ) -> orders_pb2.ListProductFieldsResponse:
        return self.read(
            lambda tx: orders_pb2.ListProductFieldsResponse(fields=map(field_message, product_fields(tx)))
        )

    def UpdateProductFields(
        self, request: orders_pb2.UpdateProductFieldsRequest, context: grpc.ServicerContext
    ) -> orders_pb2.UpdateProductFieldsResponse:
        fields = [field_definition(field, f"fields[{index}]") for index, field in enumerate(request.fields)]
        return self.write(
            request,
            orders_pb2.UpdateProductFieldsResponse,
            lambda tx: orders_pb2.UpdateProductFieldsResponse(
                fields=map(field_message, update_product_fields(tx, fields))
            ),
        )

    def AddAttachment(
        self, request: orders_pb2.AddAttachmentRequest, context: grpc.ServicerContext
    ) -> orders_pb2.AddAttachmentResponse:
        caller = current_caller()
        kinds = {number: kind for kind, number in FILE_KINDS.items()}
        if request.kind not in kinds:
            raise InvalidInput(
                "kind", "ATTACHMENT_KIND_MISSING", "请说明附件用途", "Say what the file is for"
            )

        def work(tx: Transaction) -> orders_pb2.AddAttachmentResponse:
            row = attach(tx, caller, kinds[request.kind], request.subject_id, request.name, request.content)
            return orders_pb2.AddAttachmentResponse(attachment=attachment_message(row))

        return self.write(request, orders_pb2.AddAttachmentResponse, work)

    def GetAttachment(
        self, request: orders_pb2.GetAttachmentRequest, context: grpc.ServicerContext
    ) -> orders_pb2.GetAttachmentResponse:
        caller = current_caller()

        def work(tx: Transaction) -> orders_pb2.GetAttachmentResponse:
            row, content = open_attachment(tx, caller, request.attachment_id)
            return orders_pb2.GetAttachmentResponse(attachment=attachment_message(row), content=content)

        return self.read(work)

    def CreateContract(
        self, request: orders_pb2.CreateContractRequest, context: grpc.ServicerContext
    ) -> orders_pb2.CreateContractResponse:
        caller = current_caller()

        def work(tx: Transaction) -> orders_pb2.CreateContractResponse:
            contract = create_contract(
                tx,
                caller,
                title=request.title,
                order_id=request.order_id,
                amount=request.amount,
                start=request.start_date,
                end=request.end_date,
                fields={field.key: field.value for field in request.fields},
            )
            return orders_pb2.CreateContractResponse(contract=contract_message(tx, contract, caller))

        return self.write(request, orders_pb2.CreateContractResponse, work)

    def UpdateContract(
        self, request: orders_pb2.UpdateContractRequest, context: grpc.ServicerContext
    ) -> orders_pb2.UpdateContractResponse:
        caller = current_caller()

        def work(tx: Transaction) -> orders_pb2.UpdateContractResponse:
            contract = update_contract(
                tx,
                caller,
                request.contract_id,
                request.version,
                title=request.title,
                amount=request.amount,
                start=request.start_date,
                end=request.end_date,
                comment=request.comment,
                fields={field.key: field.value for field in request.fields},
            )
            return orders_pb2.UpdateContractResponse(contract=contract_message(tx, contract, caller))

        return self.write(request, orders_pb2.UpdateContractResponse, work)

    def SubmitContract(
        self, request: orders_pb2.SubmitContractRequest, context: grpc.ServicerContext
    ) -> orders_pb2.SubmitContractResponse:
        caller = current_caller()

        def work(tx: Transaction) -> orders_pb2.SubmitContractResponse:
            contract = submit_contract(tx, caller, request.contract_id)
            return orders_pb2.SubmitContractResponse(contract=contract_message(tx, contract, caller))

        return self.write(request, orders_pb2.SubmitContractResponse, work)

    def TerminateContract(
        self, request: orders_pb2.TerminateContractRequest, context: grpc.ServicerContext
    ) -> orders_pb2.TerminateContractResponse:
        caller = current_caller()

        def work(tx: Transaction) -> orders_pb2.TerminateContractResponse:
            contract = terminate_contract(tx, caller, request.contract_id, request.reason)
            return orders_pb2.TerminateContractResponse(contract=contract_message(tx, contract, caller))

        return self.write(request, orders_pb2.TerminateContractResponse, work)

    def GetContract(
        self, request: orders_pb2.GetContractRequest, context: grpc.ServicerContext
    ) -> orders_pb2.GetContractResponse:
        caller = current_caller()

        def work(tx: Transaction) -> orders_pb2.GetContractResponse:
            contract = find_contract(tx, caller, request.contract_id)
            received = booked(tx, contract, MoneyKind.RECEIPT)
            return orders_pb2.GetContractResponse(
                contract=contract_message(tx, contract, caller),
                versions=[
                    version_message(tx, contract, row, caller) for row in contract_versions(tx, contract.id)
                ],
                attachments=map(attachment_message, attachments(tx, contract.id)),
                vouchers=[
                    voucher_message(voucher, numbers_shown(contract, caller))
                    for voucher in vouchers(tx, contract.id)
                ],
                received=format_amount(received),
                paid=format_amount(booked(tx, contract, MoneyKind.PAYMENT)),
                balance=format_amount(contract.amount - received),
            )

        return self.read(work)

    def ListContracts(
        self, request: orders_pb2.ListContractsRequest, context: grpc.ServicerContext
    ) -> orders_pb2.ListContractsResponse:
        caller, size = current_caller(), page_size(request.page_size)
        wanted = ContractFilter(
            {number: state for state, number in CONTRACT_STATES.items()}.get(request.state),
            request.customer_id,
            request.query.strip(),
            request.filter,
            request.order_by,
        )

        def work(tx: Transaction) -> orders_pb2.ListContractsResponse:
            page, next_page_token = list_contracts(tx, caller, wanted, request.page_token, size)
            return orders_pb2.ListContractsResponse(
                contracts=[contract_message(tx, contract, caller) for contract in page],
                next_page_token=next_page_token,
            )

        return self.read(work)

    def CreateAccount(
        self, request: orders_pb2.CreateAccountRequest, context: grpc.ServicerContext
    ) -> orders_pb2.CreateAccountResponse:
        return self.write(
            request,
            orders_pb2.CreateAccountResponse,
            lambda tx: orders_pb2.CreateAccountResponse(
                account=account_message(create_account(tx, request.name, request.balance))
            ),
        )

    def ListAccounts(
        self, request: orders_pb2.ListAccountsRequest, context: grpc.ServicerContext
    ) -> orders_pb2.ListAccountsResponse:
        return self.read(
            lambda tx: orders_pb2.ListAccountsResponse(accounts=map(account_message, accounts(tx)))
        )

    def RecordReceipt(
        self, request: orders_pb2.RecordReceiptRequest, context: grpc.ServicerContext
    ) -> orders_pb2.RecordReceiptResponse:
        caller = current_caller()

        def work(tx: Transaction) -> orders_pb2.RecordReceiptResponse:
            voucher = record_receipt(
                tx,
                caller,
                request.contract_id,
                amount=request.amount,
                account_id=request.account_id,
                note=request.note,
            )
            return orders_pb2.RecordReceiptResponse(
                # The own words.
                voucher=voucher_message(voucher, shown=True)
            )

        return self.write(request, orders_pb2.RecordReceiptResponse, work)

    def SubmitPayment(
        self, request: orders_pb2.SubmitPaymentRequest, context: grpc.ServicerContext
    ) -> orders_pb2.SubmitPaymentResponse:
        caller = current_caller()

        def work(tx: Transaction) -> orders_pb2.SubmitPaymentResponse:
            voucher = submit_payment(
                tx,
                caller,
                request.contract_id,
                amount=request.amount,
                account_id=request.account_id,
                note=request.note,
            )
            return orders_pb2.SubmitPaymentResponse(
                # The own words.
                voucher=voucher_message(voucher, shown=True)
            )

        return self.write(request, orders_pb2.SubmitPaymentResponse, work)

    def ListJournal(
        self, request: orders_pb2.ListJournalRequest, context: grpc.ServicerContext
    ) -> orders_pb2.ListJournalResponse:
        size, after = page_size(request.page_size), decode_cursor(request.page_token)

        def work(tx: Transaction) -> orders_pb2.ListJournalResponse:
            page, more = cut_page(journal(tx, request.account_id, after, size + 1), size)
            return orders_pb2.ListJournalResponse(
                entries=map(entry_message, page),
                next_page_token=encode_cursor(page[-1].create_time, str(page[-1].id)) if more else "",
            )

        return self.read(work)


def order_filter(
    request: orders_pb2.ListOrdersRequest | orders_pb2.SummarizeOrdersRequest,
) -> OrderFilter:
    """Return which orders are asked for; raises InvalidInput naming the field: NOT_A_UUID, DAY_INVALID."""

    def record(field: str, text: str) -> str:
        return parse_id(text, field) if text else ""

    return OrderFilter(
        state=STATE_FILTERS.get(request.state),
        owner_id=record("owner_id", request.owner_id),
        customer_id=record("customer_id", request.customer_id),
        product_id=record("product_id", request.product_id),
        first_day=parse_day(request.first_day, "first_day") if request.first_day else None,
        last_day=parse_day(request.last_day, "last_day") if request.last_day else None,
    )


def order_message(order: Order, caller: Caller) -> orders_pb2.Order:
    """Return an order as this caller may see it."""
    owned = order.owner_id == caller.person_id and RIGHT in caller.rights
    state = OrderState(order.state)
    message = orders_pb2.Order(
        order_id=order.id,
        number=order.number,
        opportunity_id=order.opportunity_id,
        customer_id=order.customer_id,
        customer_name=order.customer_name,
        owner_id=order.owner_id,
        title=order.title,
        amount=format_amount(order.amount),
        state=STATES[state],
        remind_time=timestamp(order.remind_time),
        create_time=timestamp(order.create_time),
        version=order.version,
        allowed_actions=owner_actions(state) if owned else [],
        contract_id=order.contract_id or "",
        ship_to=order.ship_to,
    )
    return texts_for(message, may_see=numbers_shown(order, caller))


def whole_order(tx: Transaction, order: Order, caller: Caller) -> orders_pb2.Order:
    """Return an order with its lines and files."""
    message = order_message(order, caller)
    message.lines.extend(map(line_message, order_lines(tx, order.id)))
    message.attachments.extend(map(attachment_message, attachments(tx, order.id)))
    return texts_for(message, may_see=numbers_shown(order, caller))


def line_message(line: OrderLine) -> orders_pb2.OrderLine:
    """Return a line of an order."""
    return orders_pb2.OrderLine(
        product_id=line.product_id,
        product_code=line.product_code,
        product_name=line.product_name,
        unit=line.unit,
        quantity=f"{line.quantity.normalize():f}",
        unit_price=format_amount(line.unit_price),
        amount=format_amount(line.amount),
    )


def attachment_message(attachment: Attachment) -> orders_pb2.Attachment:
    """Return what a file is."""
    return orders_pb2.Attachment(
        attachment_id=attachment.id,
        kind=FILE_KINDS[FileKind(attachment.kind)],
        name=attachment.name,
        content_type=attachment.content_type,
        size_bytes=attachment.size_bytes,
        digest=attachment.digest,
        uploader_id=attachment.uploader_id,
        create_time=timestamp(attachment.create_time),
    )


def product_message(product: Product, definitions: Sequence[FieldDefinition]) -> orders_pb2.Product:
    """Return a product; its own fields as people read and type them."""
    return orders_pb2.Product(
        product_id=product.id,
        code=product.code,
        name=product.name,
        unit=product.unit,
        price=format_amount(product.price),
        active=product.active,
        fields=field_values(definitions, product.fields, numbers_shown=True),
        version=product.version,
    )


def field_message(definition: FieldDefinition) -> orders_pb2.ProductField:
    """Return a field of products."""
    return orders_pb2.ProductField(
        key=definition.key,
        name=definition.name,
        type=definition.type.value,
        required=definition.required,
        choices=definition.choices,
    )


def contract_message(tx: Transaction, contract: Contract, caller: Caller) -> orders_pb2.Contract:
    """Return a contract as this caller may see it."""
    owned = contract.owner_id == caller.person_id and RIGHT in caller.rights
    state = ContractState(contract.state)
    message = orders_pb2.Contract(
        contract_id=contract.id,
        number=contract.number,
        title=contract.title,
        customer_id=contract.customer_id,
        customer_name=contract.customer_name,
        amount=format_amount(contract.amount),
        start_date=contract.start_date.isoformat(),
        end_date=contract.end_date.isoformat(),
        state=CONTRACT_STATES[state],
        owner_id=contract.owner_id,
        version=contract.version,
        create_time=timestamp(contract.create_time),
        allowed_actions=contract_actions(state) if owned else [],
        fields=field_values(
            FIELDS.definitions(tx, FieldObject.CONTRACT), contract.fields, numbers_shown(contract, caller)
        ),
    )
    return texts_for(message, may_see=numbers_shown(contract, caller))


def field_values(
    definitions: Sequence[FieldDefinition], stored: Mapping[str, Stored], numbers_shown: bool
) -> list[orders_pb2.FieldValue]:
    """Return the tenant's own fields that have a value, as people read and type them (F59)."""
    shown = {
        definition.key: display_value(definition, stored.get(definition.key), numbers_shown=numbers_shown)
        for definition in definitions
    }
    return [orders_pb2.FieldValue(key=key, value=text) for key, text in shown.items() if text]


def version_message(
    tx: Transaction, contract: Contract, version: ContractVersion, caller: Caller
) -> orders_pb2.ContractVersion:
    """Return a contract as a change left it."""
    message = orders_pb2.ContractVersion(
        contract=orders_pb2.Contract(
            contract_id=contract.id,
            number=contract.number,
            title=version.title,
            customer_id=contract.customer_id,
            customer_name=contract.customer_name,
            amount=format_amount(version.amount),
            start_date=version.start_date.isoformat(),
            end_date=version.end_date.isoformat(),
            state=CONTRACT_STATES[ContractState(version.state)],
            owner_id=contract.owner_id,
            version=version.version,
            create_time=timestamp(contract.create_time),
            fields=field_values(
                FIELDS.definitions(tx, FieldObject.CONTRACT), version.fields, numbers_shown(contract, caller)
            ),
        ),
        actor_id=version.actor_id or "",
        comment=version.comment,
        create_time=timestamp(version.create_time),
    )
    return texts_for(message, may_see=numbers_shown(contract, caller))


def voucher_message(voucher: Voucher, shown: bool) -> orders_pb2.Voucher:
    """Return a receipt or payment. shown: whether the reader may see the numbers in what people typed."""
    message = orders_pb2.Voucher(
        voucher_id=voucher.id,
        contract_id=voucher.contract_id,
        kind=MONEY_KINDS[MoneyKind(voucher.kind)],
        amount=format_amount(voucher.amount),
        account_id=voucher.account_id,
        note=voucher.note,
        state=VOUCHER_STATES[VoucherState(voucher.state)],
        submitter_id=voucher.submitter_id,
        create_time=timestamp(voucher.create_time),
    )
    return texts_for(message, may_see=shown)


def account_message(account: Account) -> orders_pb2.Account:
    """Return an account with its balance."""
    return orders_pb2.Account(
        account_id=account.id, name=account.name, balance=format_amount(account.balance)
    )


def entry_message(entry: JournalEntry) -> orders_pb2.JournalEntry:
    """Return a row of the journal."""
    return orders_pb2.JournalEntry(
        voucher_id=entry.voucher_id or "",
        amount=format_amount(entry.amount),
        balance=format_amount(entry.balance),
        note=entry.note,
        create_time=timestamp(entry.create_time),
    )


def product_input(product: orders_pb2.Product) -> ProductInput:
    """Return a product as typed."""
    return ProductInput(
        product.code,
        product.name,
        product.unit,
        product.price,
        product.active,
        {field.key: field.value for field in product.fields},
    )


def field_definition(field: orders_pb2.ProductField, path: str) -> FieldDefinition:
    """Return a field as typed; raises InvalidInput FIELD_TYPE_UNKNOWN."""
    if field.type not in set(FieldType):
        raise InvalidInput(f"{path}.type", "FIELD_TYPE_UNKNOWN", "没有该字段类型", "There is no such type")
    return FieldDefinition(
        field.key, field.name, FieldType(field.type), required=field.required, choices=tuple(field.choices)
    )


def change_message(change: OrderChange, shown: bool) -> orders_pb2.OrderChange:
    """Return a row of an order's log. shown: whether the reader may see the numbers in what people typed."""
    message = orders_pb2.OrderChange(
        from_state=STATES[OrderState(change.from_state)]
        if change.from_state
        else orders_pb2.ORDER_STATE_UNSPECIFIED,
        to_state=STATES[OrderState(change.to_state)],
        actor_id=change.actor_id or "",
        comment=change.comment,
        create_time=timestamp(change.create_time),
    )
    return texts_for(message, may_see=shown)


def timespan(duration: Duration) -> timedelta:
    """Return a duration of the contract; 0 for one that is missing or malformed."""
    try:
        return duration.ToTimedelta()
    except (ValueError, OverflowError):
        return timedelta()
