"""Rank what the index found by name alone: a thousand candidates become the few that are compared field by field."""

from collections.abc import Sequence
from dataclasses import dataclass
from heapq import nlargest

from rapidfuzz import process
from rapidfuzz.distance import Indel

from services.dedupe.matching.normalise import Name
from services.dedupe.matching.similarity import SOUND_DISCOUNT, compare_regions, most_likeness

# Candidates by name that are compared field by field.
COMPARED = 12
# Candidates by spelling, and as many by sound, among which regions decide.
RANKED = 64
# What the same region is worth against another one.
REGION_LIKENESS = 0.04
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
        spelt = _nearest(name.core, self.cores)
        # Regions move nobody further than this, so who is farther behind the last one is out already.
        least = spelt[COMPARED - 1][0] - 2 * REGION_LIKENESS if len(spelt) >= COMPARED else 0.0
        best = {index: score for score, index in spelt if score >= least}
        for score, index in _nearest(name.sound, self.sounds, least / SOUND_DISCOUNT):
            best[index] = max(best.get(index, 0.0), SOUND_DISCOUNT * score)
        for index in [place for place, core in enumerate(self.cores) if core.startswith(name.core)]:
            best[index] = max(best.get(index, 0.0), PREFIX_LIKENESS)

        ranked = nlargest(COMPARED, best, lambda index: best[index] + _worth(name, self.regions[index]))
        return [
            self.ids[index]
            for index in ranked
            if most_likeness(name, self.cores[index], self.sounds[index]) >= least_likeness
        ]


def _nearest(asked: str, values: Sequence[str], least: float = 0.0) -> list[tuple[float, int]]:
    """Return likeness and place of the values that are likest and at least so alike, the best first."""
    found = process.extract(
        asked,
        values,
        scorer=Indel.normalized_similarity,
        processor=None,
        limit=RANKED,
        score_cutoff=max(least, 0.0),
    )
    return [(score, index) for _, score, index in found]


def _worth(name: Name, regions: str) -> float:
    """Return what the regions of a candidate are worth to a name."""
    return REGION_LIKENESS * compare_regions(name.regions, regions.split(",") if regions else ())
