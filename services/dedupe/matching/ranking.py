"""Rank what the index found by name alone: a thousand candidates become the few that are compared field by field."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from rapidfuzz import process
from rapidfuzz.distance import Indel

from services.dedupe.matching.normalise import Name
from services.dedupe.matching.similarity import (
    SHORTEST_SHORT_FORM,
    SOUND_DISCOUNT,
    compare_regions,
    least_spelling,
    most_likeness,
)

# Candidates by name that are compared field by field.
COMPARED = 12
# Candidates by spelling, and as many by sound, among which regions decide.
RANKED = 64
# What the same region is worth against another one.
REGION_LIKENESS = 0.04
# What the scorer may lose of a likeness when it is given the least that counts.
ROUNDING = 1e-6
# A name that begins with what is asked for is as good as this.
PREFIX_LIKENESS = 0.9


@dataclass(frozen=True)
class Candidates:
    """Customers by name, one at each place of the lists. regions: codes, "," between them."""

    ids: Sequence[str]
    cores: Sequence[str]
    sounds: Sequence[str]
    regions: Sequence[str]

    def nearest(self, name: Name, least_likeness: float = 0.0) -> list[str]:
        """Return the customers whose names are nearest to one, by spelling and sound, then by region.

        Of these none whose name is surely less alike than `least_likeness`.
        """
        # What their names are alike at least.
        best = _nearest(name.core, self.cores, least_spelling(least_likeness))
        # Who is out already by spelling need not be looked for by sound.
        heard_from = max(_within_reach(best.values()), least_likeness) / SOUND_DISCOUNT
        for index, score in _nearest(name.sound, self.sounds, heard_from).items():
            best[index] = max(best.get(index, 0.0), SOUND_DISCOUNT * score)
        begun = {index for index, core in enumerate(self.cores) if core.startswith(name.core)}
        heads = {name.core[:end] for end in range(SHORTEST_SHORT_FORM, len(name.core))}
        # A short form may be spelt less alike than that.
        for index in [*begun, *(index for index, core in enumerate(self.cores) if core in heads)]:
            best.setdefault(index, Indel.normalized_similarity(name.core, self.cores[index]))

        scores = best | {index: max(best[index], PREFIX_LIKENESS) for index in begun}
        least = _within_reach(scores.values())
        worth = {
            index: score + _worth(name, self.regions[index])
            for index, score in scores.items()
            if score >= least
        }
        ranked = sorted(worth, key=worth.__getitem__, reverse=True)[:COMPARED]
        return [
            self.ids[index]
            for index in ranked
            if best[index] >= least_likeness
            or most_likeness(name, self.cores[index], self.sounds[index]) >= least_likeness
        ]


def _nearest(asked: str, values: Sequence[str], least: float) -> dict[int, float]:
    """Return how alike the likest values are by their places, the best first, of those that are at least so alike."""
    cutoff = min(max(least - ROUNDING, 0.0), 1.0)
    found = process.extract(
        asked, values, scorer=Indel.normalized_similarity, processor=None, limit=RANKED, score_cutoff=cutoff
    )
    return {index: score for _, score, index in found}


def _within_reach(scores: Collection[float]) -> float:
    """Return the least score with which a region may still bring somebody among the best."""
    if len(scores) < COMPARED:
        return 0.0
    return max(sorted(scores)[-COMPARED] - 2 * REGION_LIKENESS, 0.0)


def _worth(name: Name, regions: str) -> float:
    """Return what the regions of a candidate are worth to a name."""
    if not name.regions or not regions:
        return 0.0
    return REGION_LIKENESS * compare_regions(name.regions, regions.split(","))
