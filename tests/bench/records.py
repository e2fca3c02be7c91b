"""How fast a customer's page, the quick search and a filtered list are over a large base, and import and export.

    make bench-records                      20,000 customers: a try
    make bench-records CUSTOMERS=1000000    the size that the figures are promised for

Stores of its own are started for it and seeded by COPY; customers and dedupe run as processes of their own. One who
sees everybody and a rep with a few hundred customers ask in turn, over a channel as the gateway does: what is measured
is the whole call. Then a list is exported, and a file's rows are imported beside them: see `tests.bench.imports`. The
last line is one JSON object.
"""

import argparse
import json
import os
import random
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime, timedelta
from typing import Any

import grpc
from crm.customers.v1 import customers_pb2 as pb
from crm.customers.v1 import records_pb2
from crm.customers.v1.customers_pb2_grpc import CustomersServiceStub
from crm.customers.v1.records_pb2_grpc import RecordsServiceStub
from psycopg import Connection
from psycopg.types.json import Jsonb

from deploy.local.stores import PrivateStores
from services.__main__ import load
from services.chassis.clock import utc_now
from services.chassis.db import Store
from services.chassis.ids import new_id
from services.chassis.process import leave_out_of_collections
from services.chassis.service import migrate
from services.chassis.settings import Settings
from services.chassis.tenancy import Tenant
from services.chassis.tokens import Caller, Signer
from services.customers.__main__ import SERVICE
from services.customers.domain.search import fold, name_pieces
from services.customers.usecases.fields import FieldObject, create_field
from services.kernel.fields import FieldDefinition, FieldType
from services.kernel.pinyin import initials
from tests.bench.figures import percentile
from tests.bench.imports import environment_of, exported, imported, running
from tests.bench.seeding import seeding

REPS = 2000
ASKED = 400
# Asked before it is measured, so that the first plans and pages of the cache do not count.
WARM = 40
CITIES = ("上海", "北京", "广州", "深圳", "成都", "杭州", "重庆", "武汉")
FIRST = "华中兴国金科天宏盛鑫宇恒瑞博嘉泰永顺达祥海东方明远德信诚安康龙腾飞凯"
KINDS = ("科技", "贸易", "机械", "电子", "化工", "物流", "食品", "建材", "医药", "能源")
INDUSTRIES = ("制造", "零售", "软件", "医疗")
RIGHTS = frozenset({"customers.view", "customers.edit"})

COLUMNS = {
    "customer": "tenant_id, customer_id, name, state, level, region, address, business_type, owner_id,"
    " owner_department_path, own_time, last_evidence_time, rule_version, create_time, version, custom, search_name,"
    " initials, pieces",
    "phone": "tenant_id, phone_id, customer_id, e164, extension, position",
    "follow_up": "tenant_id, follow_up_id, customer_id, author_id, text, create_time",
}


class Base:
    """A tenant with many customers, as they were before the first question."""

    def __init__(self, tenant: Tenant, customers: int) -> None:
        self.tenant = tenant
        self.random = random.Random(1)  # noqa: S311 - a base that is the same each time
        self.reps = [new_id() for _ in range(min(REPS, max(1, customers // 500)))]
        self.ids = [new_id() for _ in range(customers)]
        self.names: list[str] = []
        self.numbers: list[str] = []

    def seed(self, connection: Connection) -> None:
        """Fill the tables."""
        rows_of = {"customer": self._customers, "phone": self._phones, "follow_up": self._follow_ups}
        with seeding(connection, "phone", "follow_up"):
            for table, columns in COLUMNS.items():
                with connection.cursor().copy(f"COPY customers.{table} ({columns}) FROM STDIN") as copy:
                    for row in rows_of[table]():
                        copy.write_row(row)
        connection.commit()
        connection.autocommit = True
        connection.execute(
            "VACUUM ANALYZE customers.customer, customers.customer_search, customers.phone, customers.follow_up"
        )

    def _customers(self) -> Iterator[tuple[object, ...]]:
        now = utc_now()
        for index, customer_id in enumerate(self.ids):
            pick = self.random.choice
            name = pick(CITIES) + pick(FIRST) + pick(FIRST) + pick(FIRST) + pick(KINDS) + "有限公司"
            self.names.append(name)
            time_ = now - timedelta(seconds=index * 30)
            yield (
                self.tenant.id,
                customer_id,
                name,
                "active",
                pick("ABCD"),
                pick(CITIES),
                "",
                pick(INDUSTRIES),
                self.reps[index % len(self.reps)],
                f"root/{index % 20}/",
                time_,
                time_ if index % 3 else None,
                1,
                time_,
                1,
                Jsonb({"industry": pick(INDUSTRIES), "staff": str(self.random.randint(1, 5000))}),
                fold(name),
                initials(name),
                name_pieces(name),
            )

    def _phones(self) -> Iterator[tuple[object, ...]]:
        for index, customer_id in enumerate(self.ids):
            number = f"+86138{index:08}"
            self.numbers.append(number)
            yield self.tenant.id, new_id(), customer_id, number, "", 0

    def _follow_ups(self) -> Iterator[tuple[object, ...]]:
        now: datetime = utc_now()
        for index, customer_id in enumerate(self.ids):
            for day in range(index % 3):
                yield self.tenant.id, new_id(), customer_id, self.reps[0], "已联系", now - timedelta(days=day)


class Bench:
    """Asks the service what people ask, over its own channel."""

    def __init__(self, address: str, signer: Signer, base: Base) -> None:
        self.base = base
        self._signer = signer
        channel = grpc.insecure_channel(address)
        self._customers, self._records = CustomersServiceStub(channel), RecordsServiceStub(channel)
        self.director = Caller(
            tenant=base.tenant,
            person_id=new_id(),
            scope="all",
            department_path="root/",
            rights=RIGHTS | {"numbers.view_all"},
        )
        self.rep = Caller(
            tenant=base.tenant, person_id=base.reps[0], department_path="root/0/", rights=RIGHTS
        )
        self._metadata: dict[str, Any] = {}

    def sign_in(self) -> None:
        """Take fresh tokens, as the gateway does each half minute."""
        for caller in (self.director, self.rep):
            token, _ = self._signer.person_token(caller, utc_now())
            self._metadata[caller.person_id] = (("authorization", f"Bearer {token}"),)

    def view(self, turn: int) -> None:
        """Look at a customer's page."""
        request = records_pb2.GetCustomerPageRequest(customer_id=self.base.random.choice(self.base.ids))
        self._records.GetCustomerPage(request, metadata=self._metadata[self.director.person_id])

    def search(self, turn: int) -> None:
        """Search by a part of a name, by initials, by a number or its end."""
        at = self.base.random.randrange(len(self.base.ids))
        name = self.base.names[at]
        query = (name[2:5], initials(name[:6]), self.base.numbers[at], self.base.numbers[at][-6:], name[5:])[
            turn % 5
        ]
        self._list(turn, query=query)

    def list(self, turn: int) -> None:
        """List by a filter over built-in fields and own ones, in several orders."""
        industry = {"field": "custom.industry", "op": "eq", "value": self.base.random.choice(INDUSTRIES)}
        level = {"field": "level", "op": "in", "value": ["A", "B"]}
        recent = {"field": "last_evidence_time", "op": "within_last_days", "value": 90}
        filter_ = json.dumps(
            ({"all": [industry, level]}, {"all": [level, recent]}, {"any": [level, industry]})[turn % 3]
        )
        self._list(turn, filter=filter_, order_by=("", "-last_evidence_time", "name")[turn % 3])

    def _list(self, turn: int, **asked: str) -> None:
        caller, view = (
            (self.rep, pb.CUSTOMER_VIEW_MINE) if turn % 2 else (self.director, pb.CUSTOMER_VIEW_ALL)
        )
        request = pb.ListCustomersRequest(view=view, page_size=50, **asked)
        self._customers.ListCustomers(request, metadata=self._metadata[caller.person_id])


def milliseconds(bench: Bench, work: Callable[[int], None]) -> list[float]:
    """Return how long each turn took."""
    bench.sign_in()
    for turn in range(WARM):
        work(turn)
    result = []
    for turn in range(ASKED):
        begin = time.perf_counter()
        work(turn)
        result.append((time.perf_counter() - begin) * 1000)
    return result


def main(argv: Sequence[str]) -> int:
    """Seed, ask, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--customers", type=int, default=20_000)
    parser.add_argument("--rows", type=int, default=20_000, help="rows of the import")
    asked = parser.parse_args(argv)
    with PrivateStores(given=os.environ) as stores:
        environment = environment_of(stores)
        settings, url = Settings.read(environment), stores.database_urls["main"]
        migrate(load(), settings)
        store = Store({"main": url}, SERVICE.metadata(), utc_now)
        base = Base(Tenant(new_id(), "main"), asked.customers)
        with store.transaction(base.tenant) as tx:
            create_field(
                tx,
                FieldObject.CUSTOMER,
                FieldDefinition("industry", "行业", FieldType.CHOICE, choices=INDUSTRIES),
            )
            create_field(tx, FieldObject.CUSTOMER, FieldDefinition("staff", "人数", FieldType.NUMBER))
        begin = time.perf_counter()
        with Connection.connect(url) as connection:
            base.seed(connection)
        # As of any process that has started: what stands here of the base is none of the service's.
        leave_out_of_collections()
        print(f"seeded {asked.customers} customers in {time.perf_counter() - begin:.0f} s")
        figures: dict[str, float] = {}
        with running("customers", environment, settings) as service:
            bench = Bench(service.address, Signer("identity", settings.signing_keys["identity"]), base)
            for name, work in (("view", bench.view), ("search", bench.search), ("list", bench.list)):
                took = milliseconds(bench, work)
                print(f"{name}: p50 {percentile(took, 0.5):.1f} ms, p99 {percentile(took, 0.99):.1f} ms")
                figures[f"{name}_p99_ms"] = round(percentile(took, 0.99), 1)
            figures |= exported(service, base.tenant, settings)
        figures |= imported(store, base.tenant, asked.rows, settings, environment)
        store.close()
    print(json.dumps({"customers": asked.customers, **figures}))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
