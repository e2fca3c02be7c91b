"""What a record holds and how it is found: proto to use case and back."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC

import grpc
from crm.customers.v1 import customers_pb2
from crm.customers.v1 import records_pb2 as pb
from crm.customers.v1 import records_pb2_grpc as pb_grpc

from services.chassis.db import Store, Transaction
from services.chassis.errors import AppError, InvalidInput, not_found
from services.chassis.grpc_server import Api, current_caller, current_tenant
from services.chassis.ids import derive_id, parse_id
from services.chassis.paging import cut_page, decode_cursor, encode_cursor, page_size
from services.customers.api.records import RecordsApi
from services.customers.clients import Dedupe
from services.customers.domain.customers import ContactDraft
from services.customers.messages import customer_message, draft_of, follow_up_message
from services.customers.record_messages import (
    address_message,
    category_message,
    contact_columns,
    edit_of,
    entry_message,
    field_message,
    finance_message,
    parse_view,
    plan_message,
    view_draft,
    view_message,
)
from services.customers.store.tables import Customer, Phone
from services.customers.usecases import (
    categories,
    fields,
    page,
    plans,
    records,
    reservations,
    saved_views,
    timeline,
    views,
)
from services.kernel.credit_codes import is_credit_code
from services.kernel.field_store import definition_of_form
from services.kernel.phones import PhoneNumber, kept, parse_phone
from services.kernel.texts import parse_text


class DetailsApi(pb_grpc.RecordsServiceServicer, Api):
    """Answers for fields, categories, contacts, numbers, plans, views and pages of customers."""

    def __init__(self, store: Store, dedupe: Dedupe, customers: RecordsApi) -> None:
        super().__init__(store)
        self._dedupe = dedupe
        self._customers = customers

    def ListFields(
        self, request: pb.ListFieldsRequest, context: grpc.ServicerContext
    ) -> pb.ListFieldsResponse:
        """Return the fields of a kind of record."""
        kind = fields.parse_object(request.object)
        return self.read(
            lambda tx: pb.ListFieldsResponse(
                fields=map(field_message, fields.list_fields(tx, kind, removed=request.all))
            )
        )

    def CreateField(
        self, request: pb.CreateFieldRequest, context: grpc.ServicerContext
    ) -> pb.CreateFieldResponse:
        """Add a field."""
        kind, definition = fields.parse_object(request.field.object), definition_of_form(request.field)
        return self.write(
            request,
            pb.CreateFieldResponse,
            lambda tx: pb.CreateFieldResponse(field=field_message(fields.create_field(tx, kind, definition))),
        )

    def UpdateField(
        self, request: pb.UpdateFieldRequest, context: grpc.ServicerContext
    ) -> pb.UpdateFieldResponse:
        """Change a field."""
        kind, definition = fields.parse_object(request.object), definition_of_form(request.field)

        def answer(tx: Transaction) -> pb.UpdateFieldResponse:
            row = fields.update_field(tx, kind, request.key, definition, active=request.field.active)
            return pb.UpdateFieldResponse(field=field_message(row))

        return self.write(request, pb.UpdateFieldResponse, answer)

    def OrderFields(
        self, request: pb.OrderFieldsRequest, context: grpc.ServicerContext
    ) -> pb.OrderFieldsResponse:
        """Put fields into an order."""
        kind = fields.parse_object(request.object)
        return self.write(
            request,
            pb.OrderFieldsResponse,
            lambda tx: pb.OrderFieldsResponse(
                fields=map(field_message, fields.order_fields(tx, kind, request.keys))
            ),
        )

    def UpdateCustomer(
        self, request: pb.UpdateCustomerRequest, context: grpc.ServicerContext
    ) -> pb.UpdateCustomerResponse:
        """Change a customer; a new name and a new credit code are reserved first."""
        caller, customer_id = current_caller(), parse_id(request.customer_id, "customer_id")
        edit = edit_of(request)
        name, code = edit.columns.get("name", ""), edit.columns.get("finance", {}).get("tax_number", "")
        if name or code:
            with self.store.transaction(current_tenant(), caller.actor_id) as tx:
                row = records.editable(tx, caller, customer_id)
                name = "" if kept(name, row.name) == row.name else name
                code = "" if code == row.finance.get("tax_number") or not is_credit_code(code) else code
        reservation_id = self._reservation_id(request.request_id) if name or code else ""

        def answer(tx: Transaction) -> pb.UpdateCustomerResponse:
            row = records.update_customer(tx, caller, customer_id, request.version, edit, reservation_id)
            return pb.UpdateCustomerResponse(customer=_shown(tx, row))

        with self._reserved(reservation_id, customer_id, name=name, credit_code=code):
            return self.write(request, pb.UpdateCustomerResponse, answer)

    def CreateContact(
        self, request: pb.CreateContactRequest, context: grpc.ServicerContext
    ) -> pb.CreateContactResponse:
        """Add a contact to a customer, or create a customer with it."""
        caller = current_caller()
        if not request.customer_id:
            created = self._customers.CreateCustomer(
                customers_pb2.CreateCustomerRequest(
                    request_id=request.request_id,
                    name=request.customer_name or request.contact.name,
                    contacts=[request.contact],
                    approver_id=request.approver_id,
                ),
                context,
            )
            return pb.CreateContactResponse(
                customer=created.customer, contact_id=created.customer.contacts[0].contact_id
            )
        customer_id = parse_id(request.customer_id, "customer_id")
        reservation_id = self._reservation_id(request.request_id)
        form = customers_pb2.CreateCustomerRequest(name="x", contacts=[request.contact])
        contact = draft_of(form, reservation_id).contacts[0]

        def answer(tx: Transaction) -> pb.CreateContactResponse:
            row = records.create_contact(tx, caller, customer_id, contact, reservation_id)
            return pb.CreateContactResponse(customer=_shown(tx, row), contact_id=contact.id)

        with self._reserved(reservation_id, customer_id, (contact,)):
            return self.write(request, pb.CreateContactResponse, answer)

    def UpdateContact(
        self, request: pb.UpdateContactRequest, context: grpc.ServicerContext
    ) -> pb.UpdateContactResponse:
        """Change a contact."""
        caller, contact_id = current_caller(), parse_id(request.contact_id, "contact_id")
        columns = contact_columns(request)
        return self.write(
            request,
            pb.UpdateContactResponse,
            lambda tx: pb.UpdateContactResponse(
                customer=_shown(tx, records.update_contact(tx, caller, contact_id, request.version, columns))
            ),
        )

    def AddPhone(self, request: pb.AddPhoneRequest, context: grpc.ServicerContext) -> pb.AddPhoneResponse:
        """Add a further number."""
        caller, customer_id = current_caller(), parse_id(request.customer_id, "customer_id")
        contact_id = parse_id(request.contact_id, "contact_id") if request.contact_id else ""
        number = parse_phone(request.number, "number")
        reservation_id = self._reservation_id(request.request_id)

        def answer(tx: Transaction) -> pb.AddPhoneResponse:
            row = records.add_phone(tx, caller, customer_id, contact_id, number, reservation_id)
            return pb.AddPhoneResponse(customer=_shown(tx, row))

        contacts = (ContactDraft(contact_id, "", phones=(number,)),) if contact_id else ()
        with self._reserved(reservation_id, customer_id, contacts, () if contact_id else (number,)):
            return self.write(request, pb.AddPhoneResponse, answer)

    def ReplacePhone(
        self, request: pb.ReplacePhoneRequest, context: grpc.ServicerContext
    ) -> pb.ReplacePhoneResponse:
        """Put another number in a number's place."""
        caller, phone_id = current_caller(), parse_id(request.phone_id, "phone_id")
        number = parse_phone(request.number, "number")
        reservation_id = self._reservation_id(request.request_id)
        with self.store.transaction(current_tenant(), caller.actor_id) as tx:
            phone = tx.session.get(Phone, (tx.tenant.id, phone_id))
            if phone is None:
                raise not_found("phone", "号码", phone_id)
            customer_id, contact_id = phone.customer_id, phone.contact_id

        def answer(tx: Transaction) -> pb.ReplacePhoneResponse:
            row = records.replace_phone(tx, caller, phone_id, number, reservation_id)
            return pb.ReplacePhoneResponse(customer=_shown(tx, row))

        contacts = (ContactDraft(contact_id, "", phones=(number,)),) if contact_id else ()
        with self._reserved(reservation_id, customer_id, contacts, () if contact_id else (number,)):
            return self.write(request, pb.ReplacePhoneResponse, answer)

    def _reservation_id(self, request_id: str) -> str:
        """Return the id under which a request reserves its keys, the same for a repeat."""
        seed = derive_id(current_tenant().id, current_caller().person_id, parse_id(request_id, "request_id"))
        return derive_id(seed, "reservation")

    @contextmanager
    def _reserved(
        self,
        reservation_id: str,
        customer_id: str,
        contacts: Sequence[ContactDraft] = (),
        phones: Sequence[PhoneNumber] = (),
        *,
        name: str = "",
        credit_code: str = "",
    ) -> Iterator[None]:
        """Hold further keys of a customer while its rows are written; without a reservation's id do nothing.

        Whether the caller may edit it is asked before dedupe is, so that nobody reserves for a stranger's customer.
        """
        if not reservation_id:
            yield
            return
        caller, tenant = current_caller(), current_tenant()
        with self.store.transaction(tenant, caller.actor_id) as tx:
            settled = reservations.is_settled(tx, reservation_id)
            if not settled:
                records.editable(tx, caller, customer_id)
        if not settled:
            self._dedupe.reserve_more(
                tenant, caller, reservation_id, customer_id, name, phones, contacts, credit_code
            )
        try:
            yield
        except AppError as error:
            if not error.retryable:
                self._customers.release(reservation_id)
            raise

    def ListCategories(
        self, request: pb.ListCategoriesRequest, context: grpc.ServicerContext
    ) -> pb.ListCategoriesResponse:
        """Return the tree of categories."""
        return self.read(
            lambda tx: pb.ListCategoriesResponse(
                categories=map(category_message, categories.list_categories(tx))
            )
        )

    def CreateCategory(
        self, request: pb.CreateCategoryRequest, context: grpc.ServicerContext
    ) -> pb.CreateCategoryResponse:
        """Add a category."""
        parent_id = parse_id(request.parent_id, "parent_id") if request.parent_id else ""
        name = parse_text(request.name, "name", 50)
        return self.write(
            request,
            pb.CreateCategoryResponse,
            lambda tx: pb.CreateCategoryResponse(
                category=category_message(categories.create_category(tx, parent_id, name))
            ),
        )

    def UpdateCategory(
        self, request: pb.UpdateCategoryRequest, context: grpc.ServicerContext
    ) -> pb.UpdateCategoryResponse:
        """Rename or move a category."""
        category_id = parse_id(request.category_id, "category_id")
        name = parse_text(request.name, "name", 50) if request.HasField("name") else None
        parent_id = None
        if request.HasField("parent_id"):
            parent_id = parse_id(request.parent_id, "parent_id") if request.parent_id else ""
        return self.write(
            request,
            pb.UpdateCategoryResponse,
            lambda tx: pb.UpdateCategoryResponse(
                category=category_message(categories.update_category(tx, category_id, name, parent_id))
            ),
        )

    def DeleteCategory(
        self, request: pb.DeleteCategoryRequest, context: grpc.ServicerContext
    ) -> pb.DeleteCategoryResponse:
        """Remove a category."""
        category_id = parse_id(request.category_id, "category_id")

        def answer(tx: Transaction) -> pb.DeleteCategoryResponse:
            categories.delete_category(tx, category_id)
            return pb.DeleteCategoryResponse()

        return self.write(request, pb.DeleteCategoryResponse, answer)

    def CountCustomers(
        self, request: pb.CountCustomersRequest, context: grpc.ServicerContext
    ) -> pb.CountCustomersResponse:
        """Return how many customers there are of each class."""
        caller, view = current_caller(), parse_view(request.view)
        pool_id = parse_id(request.pool_id, "pool_id") if request.pool_id else ""

        def answer(tx: Transaction) -> pb.CountCustomersResponse:
            counts = views.count_customers(
                tx, caller, view, pool_id=pool_id, filter_text=request.filter, by=request.by
            )
            return pb.CountCustomersResponse(
                counts=[pb.ClassCount(value=value, count=count) for value, count in counts]
            )

        return self.read(answer)

    def ListSavedViews(
        self, request: pb.ListSavedViewsRequest, context: grpc.ServicerContext
    ) -> pb.ListSavedViewsResponse:
        """Return own views and shared ones."""
        caller = current_caller()
        return self.read(
            lambda tx: pb.ListSavedViewsResponse(
                views=[
                    view_message(row, own=row.person_id == caller.person_id)
                    for row in saved_views.list_views(tx, caller)
                ]
            )
        )

    def SaveView(self, request: pb.SaveViewRequest, context: grpc.ServicerContext) -> pb.SaveViewResponse:
        """Keep a view."""
        caller, draft = current_caller(), view_draft(request.view)
        return self.write(
            request,
            pb.SaveViewResponse,
            lambda tx: pb.SaveViewResponse(
                view=view_message(saved_views.save_view(tx, caller, draft), own=True)
            ),
        )

    def DeleteView(
        self, request: pb.DeleteViewRequest, context: grpc.ServicerContext
    ) -> pb.DeleteViewResponse:
        """Forget a view."""
        caller, view_id = current_caller(), parse_id(request.view_id, "view_id")

        def answer(tx: Transaction) -> pb.DeleteViewResponse:
            saved_views.delete_view(tx, caller, view_id)
            return pb.DeleteViewResponse()

        return self.write(request, pb.DeleteViewResponse, answer)

    def CreatePlan(
        self, request: pb.CreatePlanRequest, context: grpc.ServicerContext
    ) -> pb.CreatePlanResponse:
        """Plan a follow-up."""
        caller, customer_id = current_caller(), parse_id(request.customer_id, "customer_id")
        text = parse_text(request.text, "text", 1000)
        if not request.HasField("due_time"):
            raise InvalidInput("due_time", "TIME_MISSING", "请填写计划时间", "Say when it is due")
        due_time = request.due_time.ToDatetime(tzinfo=UTC)

        def answer(tx: Transaction) -> pb.CreatePlanResponse:
            plan = plans.create_plan(tx, caller, customer_id, text, due_time)
            return pb.CreatePlanResponse(plan=plan_message(plan, _name(tx, customer_id), numbers_shown=True))

        return self.write(request, pb.CreatePlanResponse, answer)

    def CompletePlan(
        self, request: pb.CompletePlanRequest, context: grpc.ServicerContext
    ) -> pb.CompletePlanResponse:
        """Complete a plan by its follow-up."""
        caller, plan_id = current_caller(), parse_id(request.plan_id, "plan_id")
        text = parse_text(request.text, "text", 4000)

        def answer(tx: Transaction) -> pb.CompletePlanResponse:
            plan, follow_up = plans.complete_plan(tx, caller, plan_id, text)
            return pb.CompletePlanResponse(
                # The own words, both.
                plan=plan_message(plan, _name(tx, plan.customer_id), numbers_shown=True),
                follow_up=follow_up_message(follow_up, numbers_shown=True),
            )

        return self.write(request, pb.CompletePlanResponse, answer)

    def ListPlans(self, request: pb.ListPlansRequest, context: grpc.ServicerContext) -> pb.ListPlansResponse:
        """Return a page of open plans."""
        caller, size, after = (
            current_caller(),
            page_size(request.page_size),
            decode_cursor(request.page_token),
        )
        customer_id = parse_id(request.customer_id, "customer_id") if request.customer_id else ""

        def answer(tx: Transaction) -> pb.ListPlansResponse:
            found, more = cut_page(
                plans.list_plans(tx, caller, customer_id, after=after, limit=size + 1), size
            )
            last = found[-1].plan if more else None
            return pb.ListPlansResponse(
                plans=[plan_message(item.plan, item.customer_name, item.numbers_shown) for item in found],
                next_page_token=encode_cursor(last.due_time, last.plan_id) if last else "",
            )

        return self.read(answer)

    def GetCustomerPage(
        self, request: pb.GetCustomerPageRequest, context: grpc.ServicerContext
    ) -> pb.GetCustomerPageResponse:
        """Return all there is to see of a customer."""
        caller, customer_id = current_caller(), parse_id(request.customer_id, "customer_id")

        def answer(tx: Transaction) -> pb.GetCustomerPageResponse:
            found = page.customer_page(tx, caller, customer_id)
            shown = found.seen.numbers_shown
            return pb.GetCustomerPageResponse(
                customer=customer_message(found.seen, tx.now),
                addresses=[address_message(row, shown) for row in found.addresses],
                finance=None if found.finance is None else finance_message(found.finance),
                follow_ups=[follow_up_message(row, shown) for row in found.follow_ups],
                plans=[plan_message(item.plan, item.customer_name, shown) for item in found.plans],
                timeline=[entry_message(row, caller.locale, shown) for row in found.timeline],
                account=pb.Account(
                    approved_orders=found.account.approved,
                    approved_amount=found.account.amount,
                    open_orders=found.account.open,
                ),
                category_names=found.category_names,
                parent=_linked(found.parent),
                dealer=_linked(found.dealer),
                linked=map(_link, found.linked),
            )

        return self.read(answer)

    def ListTimeline(
        self, request: pb.ListTimelineRequest, context: grpc.ServicerContext
    ) -> pb.ListTimelineResponse:
        """Return a page of a customer's timeline."""
        caller, customer_id = current_caller(), parse_id(request.customer_id, "customer_id")
        size, after = page_size(request.page_size), decode_cursor(request.page_token)

        def answer(tx: Transaction) -> pb.ListTimelineResponse:
            customer = views.seen_customer(tx, caller, customer_id)
            found = timeline.list_timeline(tx, customer.customer_id, after=after, limit=size + 1)
            rows, more = cut_page(found, size)
            last = rows[-1] if more else None
            shown = views.numbers_shown(caller, customer)
            return pb.ListTimelineResponse(
                entries=[entry_message(row, caller.locale, shown) for row in rows],
                next_page_token=encode_cursor(last.time, last.entry_id) if last else "",
            )

        return self.read(answer)


def _shown(tx: Transaction, row: Customer) -> customers_pb2.Customer:
    tx.session.flush()
    return customer_message(views.show(tx, current_caller(), row), tx.now)


def _name(tx: Transaction, customer_id: str) -> str:
    return plans.name_of_customers(tx, [customer_id])[customer_id]


def _linked(link: page.Link | None) -> pb.LinkedCustomer | None:
    return _link(link) if link else None


def _link(link: page.Link) -> pb.LinkedCustomer:
    return pb.LinkedCustomer(customer_id=link.customer_id, name=link.name, relation=link.relation)
