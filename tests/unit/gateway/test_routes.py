"""Which RPCs the gateway serves."""

import importlib
import pkgutil

import crm
from google.api import annotations_pb2

from services.gateway.routes import routes


def test_every_rpc_with_an_address_is_served() -> None:
    """A contract of a new file that the gateway was not told of would have addresses that nothing answers."""
    declared = {
        method.full_name
        for found in pkgutil.walk_packages(crm.__path__, "crm.")
        if found.name.endswith("_pb2")
        for service in importlib.import_module(found.name).DESCRIPTOR.services_by_name.values()
        for method in service.methods
        if method.GetOptions().HasExtension(annotations_pb2.http)
    }
    assert declared == {route.method.full_name for route in routes()}
