"""Somebody who calls a service over a real channel and gets AppErrors for refusals."""

from collections.abc import Callable, Mapping
from typing import Any

import grpc
import pytest

from services.chassis.errors import AppError
from services.chassis.grpc_errors import from_rpc_error
from services.chassis.tenancy import Tenant
from services.chassis.tokens import Signer


class Caller:
    """Calls a stub's methods with a token; failures come back as AppErrors."""

    def __init__(self, token: Callable[[], str], locale: str = "zh-CN") -> None:
        self._token = token
        self._locale = locale

    def __call__(self, method: Callable[..., Any], request: object) -> Any:
        """Return the answer; raises the AppError of a refusal."""
        metadata = (("authorization", f"Bearer {self._token()}"), ("accept-language", self._locale))
        try:
            return method(request, timeout=10, metadata=metadata)
        except grpc.RpcError as error:
            raise from_rpc_error(error) from error

    def refused(self, method: Callable[..., Any], request: object) -> AppError:
        """Return the error of a call that must be refused."""
        with pytest.raises(AppError) as failed:
            self(method, request)
        return failed.value


def service_caller(
    issuer: str, keys: Mapping[str, tuple[str, str]], tenant: Tenant | None, actor_id: str = ""
) -> Caller:
    """Return a service that calls into a tenant."""
    signer = Signer(issuer, keys[issuer][0])
    return Caller(lambda: signer.service_token(tenant, actor_id))
