"""A tenant moves to another database while people write: nothing is lost, nothing comes twice, whatever dies."""

import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

import pytest
from crm.identity.v1 import identity_pb2 as pb
from sqlalchemy import func, insert, select, text

from services.chassis import places
from services.chassis.db import Transaction
from services.chassis.errors import Unavailable
from services.chassis.ids import new_id
from services.chassis.relocation import Moved, MoveError, Relocation
from services.chassis.service import Runtime
from services.chassis.tenancy import Tenant
from services.identity import commands
from services.identity.store.tables import Audit, Department
from services.identity.usecases import audit
from services.identity.usecases.tenants import register
from tests.support.running import relaying
from tests.support.staff import ADMIN_PASSWORD, Company, new_company
from tests.support.until import until

STEPS = ("prepared", "copied", "frozen", "settled", "switched", "opened", "registered", "cleaned")


class KilledError(BaseException):
    """Stand for kill -9: nobody who tidies up catches it."""


@pytest.fixture(scope="module", autouse=True)
def relayed(runtime: Runtime) -> Iterator[None]:
    """Let the outbox drain, as it does at work."""
    with relaying(runtime):
        yield


@pytest.fixture
def moving(runtime: Runtime, address: str, issuer_keys: Mapping[str, tuple[str, str]]) -> Company:
    """A company in the home database that is about to move to the south."""
    return new_company(runtime, address, issuer_keys, "main")


def move(
    runtime: Runtime,
    tenant: Tenant,
    said: Callable[[str], None] = lambda step: None,
    *,
    to: str = "south",
    patience_s: float = 60.0,
) -> Moved:
    """Move a tenant from where it says it is."""
    urls = runtime.settings.database_urls
    relocation = Relocation(tenant.id, tenant.database, to, urls, patience_s, said)
    return relocation.run(lambda: register(runtime.store, tenant.id, to))


def write(runtime: Runtime, tenant: Tenant) -> tuple[str, str]:
    """Add a department and a row that the database numbers; return its id and where that was."""
    department_id = new_id()
    with runtime.store.transaction(tenant) as tx:
        row = {"id": department_id, "tenant_id": tenant.id, "name": "云海", "path": f"{department_id}/"}
        tx.session.execute(insert(Department).values(parent_id=department_id, **row))
        tx.session.execute(
            text(
                "INSERT INTO customers.moved_row (tenant_id, move_id, place, row_id)"
                " VALUES (:tenant, :tenant, 'test', :row)"
            ),
            {"tenant": tenant.id, "row": department_id},
        )
        audit.record(tx, "written", department_id)
        tx.emit("thing_happened", department_id, 1, {})
    return department_id, tx.tenant.database


def read(runtime: Runtime, tenant: Tenant) -> list[str]:
    """Return what was written, in the order of the database's numbers."""
    with runtime.store.transaction(tenant) as tx:
        query = text(
            "SELECT row_id::text FROM customers.moved_row WHERE tenant_id = :tenant ORDER BY sequence"
        )
        return list(tx.session.scalars(query, {"tenant": tenant.id}))


def departments(runtime: Runtime, database: str, tenant: Tenant) -> list[str]:
    """Return the departments of a tenant that stand in a database, whoever serves it."""
    with runtime.store.across(database) as session:
        return list(session.scalars(select(Department.id).where(Department.tenant_id == tenant.id)))


@contextmanager
def writers(runtime: Runtime, tenant: Tenant, count: int) -> Iterator[list[tuple[str, str]]]:
    """Let some write all the time, each again until it is acknowledged; give what was."""
    done: list[tuple[str, str]] = []
    stop = threading.Event()

    def work() -> None:
        while not stop.is_set():
            try:
                done.append(write(runtime, tenant))
            except Unavailable:
                # TENANT_MOVING: to be tried again, as every client does.
                stop.wait(0.02)

    threads = [threading.Thread(target=work) for _ in range(count)]
    for thread in threads:
        thread.start()
    try:
        yield done
    finally:
        stop.set()
        for thread in threads:
            thread.join()


def test_a_tenant_moves_while_it_is_written_and_loses_nothing(runtime: Runtime, moving: Company) -> None:
    """Writers that know the old database only: some are refused for a moment, none is told a lie."""
    here = moving.tenant
    with writers(runtime, here, 3) as done:
        until(lambda: len(done) > 30)
        moved = move(runtime, here)
        settled = len(done)
        until(lambda: len(done) > settled + 30)
    acknowledged = [department_id for department_id, _ in done]
    assert {database for _, database in done[:30]} == {"main"}
    assert {database for _, database in done[settled + 3 :]} == {"south"}
    there = Tenant(here.id, "south")
    assert sorted(read(runtime, there)) == sorted(acknowledged)
    assert sorted(read(runtime, here)) == sorted(acknowledged)
    assert set(acknowledged) < set(departments(runtime, "south", here))
    assert departments(runtime, "main", here) == []
    with runtime.store.transaction(there) as tx:
        count = select(func.count()).where(Audit.tenant_id == here.id, Audit.action == "written")
        assert tx.session.scalar(count) == len(acknowledged)
    assert moved.copies >= 2
    assert tuple(dict.fromkeys(moved.steps)) == STEPS
    # What was written first still comes first.
    assert read(runtime, there).index(acknowledged[0]) < read(runtime, there).index(acknowledged[-1])


@pytest.mark.parametrize("step", STEPS)
def test_a_move_that_is_killed_after_any_step_goes_on_when_it_is_run_again(
    runtime: Runtime, moving: Company, step: str
) -> None:
    """Between two steps the tenant can always be read; only one killed while it is frozen leaves it unwritable."""
    here = moving.tenant
    written = [write(runtime, here)[0] for _ in range(5)]

    def die(said: str) -> None:
        if said == step:
            raise KilledError

    with pytest.raises(KilledError):
        move(runtime, here, die)
    if step == "switched":
        # The one instant in which nobody serves it.
        with pytest.raises(Unavailable):
            read(runtime, here)
    else:
        assert read(runtime, here) == written
    if step in ("frozen", "settled", "switched"):
        with pytest.raises(Unavailable):
            write(runtime, here)
    else:
        written.append(write(runtime, here)[0])
    move(runtime, here)
    written.append(write(runtime, here)[0])
    assert read(runtime, here) == written
    assert set(written) < set(departments(runtime, "south", here))
    assert departments(runtime, "main", here) == []


def test_a_tenant_that_moves_back_is_where_it_was(runtime: Runtime, moving: Company) -> None:
    here = moving.tenant
    written = [write(runtime, here)[0]]
    move(runtime, here)
    written.append(write(runtime, here)[0])
    move(runtime, Tenant(here.id, "south"), to="main")
    for named in (here, Tenant(here.id, "south")):
        department_id, database = write(runtime, named)
        written.append(department_id)
        assert database == "main"
        assert read(runtime, named) == written
    assert departments(runtime, "south", here) == []


def test_a_move_that_cannot_be_finished_leaves_the_tenant_at_work(runtime: Runtime, moving: Company) -> None:
    """A transaction that does not end would be lost: the move gives up, and the writer is answered."""
    here = moving.tenant
    with runtime.store.transaction(here) as slow:
        slow.session.execute(text("SELECT 1"))
        with pytest.raises(MoveError, match="does not end"):
            move(runtime, here, patience_s=0.3)
        slow.session.execute(
            insert(Department).values(id=new_id(), tenant_id=here.id, name="慢", path=f"{new_id()}/")
        )
    assert write(runtime, here)[1] == "main"
    move(runtime, here)
    with runtime.store.transaction(here) as tx:
        assert tx.session.scalar(select(func.count()).where(Department.name == "慢")) == 1


def test_whoever_moves_is_alone(runtime: Runtime, moving: Company) -> None:
    def again(step: str) -> None:
        if step == "frozen":
            with pytest.raises(MoveError, match="another command"):
                move(runtime, moving.tenant)

    move(runtime, moving.tenant, again)


def test_what_was_handled_or_asked_before_the_move_has_no_second_effect(
    runtime: Runtime, moving: Company
) -> None:
    """An event that comes again, a request that is sent again: the new database knows both."""
    here, event_id, request_id = moving.tenant, new_id(), new_id()
    done: list[str] = []

    def once(tx: Transaction) -> None:
        def work() -> pb.SignOutResponse:
            done.append(tx.tenant.database)
            return pb.SignOutResponse()

        tx.once("caller", "Method", request_id, b"request", work)

    with runtime.store.transaction(here) as tx:
        assert tx.first_time("handler", event_id)
        once(tx)
    move(runtime, here)
    with runtime.store.transaction(here) as tx:
        assert not tx.first_time("handler", event_id)
        once(tx)
    assert done == ["main"]


def test_the_command_moves_a_company_whose_people_stay_signed_in(
    runtime: Runtime, moving: Company, capsys: pytest.CaptureFixture[str]
) -> None:
    """Sessions and keys name the old database for as long as they live; its neighbour there is left alone."""
    secret = moving.sign_in("admin", ADMIN_PASSWORD).session_token
    neighbour = Tenant(new_id(), "main")
    written, _ = write(runtime, neighbour)
    words = ["--slug", moving.slug, "--to", "south"]
    assert commands.move_tenant(runtime, words) == 0
    assert "cleaned" in capsys.readouterr().out
    assert moving.exchange(secret).tenant_id == moving.tenant.id
    assert moving.ended(secret, "main.nobody") == ["main.nobody"]
    assert moving.sign_in("admin", ADMIN_PASSWORD).session_token.startswith("south.")
    assert read(runtime, neighbour) == [written]
    assert commands.move_tenant(runtime, words) == 0
    assert commands.move_tenant(runtime, [*words[:3], "west"]) == 1
    assert "DATABASE_UNKNOWN" in capsys.readouterr().err
    with runtime.store.engine("main").begin() as connection:
        assert places.place_of(connection, moving.tenant.id) == places.Place("south")
