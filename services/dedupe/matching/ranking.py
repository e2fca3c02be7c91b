"""Rank what the index found by name alone: a thousand candidates become the few that are compared field by field."""

from collections.abc import Sequence
from dataclasses import dataclass
from heapq import nlargest

from rapidfuzz import process
from rapidfuzz.distance import Indel

from services.dedupe.matching.normalise import Name
from services.dedupe.matching.similarity import SOUND_DISCOUNT, compare_regions

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

    def nearest(self, name: Name) -> list[str]:
        """Return the customers whose names are nearest to one, by spelling and sound, then by region."""
        best: dict[int, float] = {}
        for values, asked, worth in ((self.cores, name.core, 1.0), (self.sounds, name.sound, SOUND_DISCOUNT)):
            for _, score, index in process.extract(
                asked, values, scorer=Indel.normalized_similarity, limit=RANKED, processor=None
            ):
                best[index] = max(best.get(index, 0.0), worth * score)
        for index in [place for place, core in enumerate(self.cores) if core.startswith(name.core)]:
            best[index] = max(best.get(index, 0.0), PREFIX_LIKENESS)

        # Regions move nobody further than this, so who is farther behind the last one is out already.
        likeliest = nlargest(COMPARED, best.values())
        least = likeliest[-1] - 2 * REGION_LIKENESS if likeliest else 0.0

        def rank(index: int) -> float:
            regions = tuple(filter(None, self.regions[index].split(",")))
            return best[index] + REGION_LIKENESS * compare_regions(name.regions, regions)

        left = [index for index, score in best.items() if score >= least]
        return [self.ids[index] for index in nlargest(COMPARED, left, rank)]
