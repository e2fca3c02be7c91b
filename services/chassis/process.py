"""A process that has started: what its start left in memory stays, and its metrics can be read from now on."""

import gc

from services.chassis import metrics


def started(name: str, bind_address: str, port: int) -> None:
    """Note that everything is in place; call it once, when nothing but work comes after it.

    Python's full collections stop every thread and walk over whatever lives: with the modules, tables and compiled
    statements of a start in their way each takes a tenth of a second, which is a late pop. Those never end, so the
    collector is told to leave them out. name: of the process. port: of the metrics page; 0 leaves it off.
    """
    leave_out_of_collections()
    metrics.serve(name, bind_address, port)


def leave_out_of_collections() -> None:
    """Tell the collector that what lives by now will live on."""
    gc.collect()
    gc.freeze()
