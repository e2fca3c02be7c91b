"""What changed of people's rights and accounts reaches this gateway's sessions and open pages within two seconds."""

import asyncio
from collections.abc import Mapping

import grpc
from crm.identity.v1 import identity_pb2

from services.chassis.epochs import LOOK_S
from services.chassis.logging import get_logger
from services.chassis.tokens import Signer
from services.gateway.clients import Backends, Trace
from services.gateway.live import Live
from services.gateway.sessions import Sessions

log = get_logger(__name__)


async def watch(backends: Backends, signer: Signer, sessions: Sessions, live: Live) -> None:
    """Ask identity each second whose epoch rose, until cancelled; for those, ask again who they are.

    An account that was disabled or signed out loses its pages; one whose rights changed gets fresh snapshots.
    """
    known: Mapping[str, int] = {}
    down = False
    while True:
        await asyncio.sleep(LOOK_S)
        try:
            answer = await backends.identity.ListEpochs(
                identity_pb2.ListEpochsRequest(),
                timeout=LOOK_S,
                metadata=Trace.unasked().metadata(signer.service_token(None)),
            )
        except grpc.aio.AioRpcError as error:
            if not down:
                log.warning("changes of rights are not known", code=error.code().name)
            down = True
            continue
        down = False
        raised = {item.person_id: item.epoch for item in answer.epochs}
        for person_id, epoch in raised.items():
            if known.get(person_id) != epoch:
                sessions.forget_account(person_id)
                live.recheck(person_id)
        known = raised
