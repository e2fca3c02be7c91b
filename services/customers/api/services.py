"""What other services ask customers: proto to use case and back."""

import grpc
from crm.customers.v1 import customers_pb2 as pb

from services.chassis.db import Transaction
from services.chassis.grpc_server import Api, current_caller, current_tenant
from services.chassis.ids import parse_id
from services.customers.clients import Identity
from services.customers.domain.customers import ContactDraft, CustomerDraft, Owner
from services.customers.usecases import matching, reservations
from services.customers.usecases.conversion import create_for_conversion
from services.kernel.phones import mask_number, match_number, parse_phone
from services.kernel.texts import parse_text


class ServicesApi(Api):
    """Answers telephony, leads and dedupe."""

    _identity: Identity

    def MatchPhone(
        self, request: pb.MatchPhoneRequest, context: grpc.ServicerContext
    ) -> pb.MatchPhoneResponse:
        """Return who may be calling."""
        e164 = match_number(request.number)
        person_id = parse_id(request.person_id, "person_id") if request.person_id else ""
        if not e164:
            return pb.MatchPhoneResponse(masked_number=mask_number(request.number))
        with self.store.transaction(current_tenant()) as tx:
            found = matching.match_phone(tx, e164, person_id)
        return pb.MatchPhoneResponse(
            candidates=[
                pb.Candidate(
                    customer_id=candidate.customer_id,
                    customer_name=candidate.customer_name,
                    contact_id=candidate.contact_id,
                    contact_name=candidate.contact_name,
                    owner_id=candidate.owner_id,
                    reasons=candidate.reasons,
                )
                for candidate in found
            ],
            e164=e164,
            masked_number=mask_number(e164),
        )

    def CreateForConversion(
        self, request: pb.CreateForConversionRequest, context: grpc.ServicerContext
    ) -> pb.CreateForConversionResponse:
        """Write a conversion's rows."""
        actor_id = parse_id(request.actor_id, "actor_id")
        phones = (parse_phone(request.contact_phone, "contact_phone"),) if request.contact_phone else ()
        contacts = (
            (
                ContactDraft(
                    parse_id(request.contact_id, "contact_id"),
                    parse_text(request.contact_name, "contact_name", 100),
                    phones=phones,
                ),
            )
            if request.contact_id
            else ()
        )
        draft = CustomerDraft(
            id=parse_id(request.customer_id, "customer_id"),
            name=parse_text(request.name, "name", 200, required=request.create_customer),
            contacts=contacts,
        )
        reservation_id = parse_id(request.reservation_id, "reservation_id") if request.reservation_id else ""
        person = self._identity.person(current_tenant(), actor_id, actor_id)
        owner = Owner(actor_id, person.department_path)

        def answer(tx: Transaction) -> pb.CreateForConversionResponse:
            create_for_conversion(tx, owner, draft, reservation_id, create_customer=request.create_customer)
            return pb.CreateForConversionResponse()

        return self.write(request, pb.CreateForConversionResponse, answer)

    def SettleReservation(
        self, request: pb.SettleReservationRequest, context: grpc.ServicerContext
    ) -> pb.SettleReservationResponse:
        """Tell what became of a reservation; one that was not written is cancelled for good by the question."""
        reservation_id = parse_id(request.reservation_id, "reservation_id")
        with self.store.transaction(current_tenant(), current_caller().actor_id) as tx:
            written = reservations.settle(tx, reservation_id)
        return pb.SettleReservationResponse(
            result=pb.SETTLE_RESULT_WRITTEN if written else pb.SETTLE_RESULT_CANCELLED
        )
