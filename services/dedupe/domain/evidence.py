"""What evidence is worth to a tenant, and the weights that matching adds up (F162)."""

from dataclasses import dataclass
from functools import lru_cache

from services.dedupe.matching.products import SPECIFICATION_BITS
from services.dedupe.matching.weights import Weights

PRESET = Weights()


@dataclass(frozen=True)
class Evidence:
    """What evidence is worth, in bits; limits in `EVIDENCE_LIMITS`.

    name: most that a name gives which is like another; an equal one may give a third more, where few have it. address:
    most that one gives. same_score: score from which two customers are the same. specification: what agreeing
    free-text specifications add to a product. site_share: the site's part of a project's likeness, 0 to 1, the scheme
    has the rest.
    """

    name: float = PRESET.name[-1][1]
    region_agrees: float = PRESET.region_agrees
    region_conflicts: float = PRESET.region_conflicts
    phone: float = PRESET.phone
    shared_phone: float = PRESET.shared_phone
    credit_code: float = PRESET.credit_code
    contact: float = PRESET.contact
    address: float = PRESET.address[-1][1]
    same_score: float = PRESET.same
    specification: float = SPECIFICATION_BITS
    site_share: float = 0.5


# Least and most of each number.
EVIDENCE_LIMITS = {
    "name": (1.0, 30.0),
    "region_agrees": (0.0, 30.0),
    "region_conflicts": (-30.0, 0.0),
    "phone": (0.0, 30.0),
    "shared_phone": (0.0, 30.0),
    "credit_code": (0.0, 40.0),
    "contact": (0.0, 30.0),
    "address": (0.0, 30.0),
    "same_score": (1.0, 40.0),
    "specification": (0.0, 20.0),
    "site_share": (0.0, 1.0),
}


@lru_cache
def weights_of(evidence: Evidence, threshold: float) -> Weights:
    """Return the weights that matching adds up. threshold: score from which two customers are near."""
    return Weights(
        name=_stretched(PRESET.name, evidence.name),
        name_ceiling=PRESET.name_ceiling * evidence.name / PRESET.name[-1][1],
        region_agrees=evidence.region_agrees,
        region_conflicts=evidence.region_conflicts,
        phone=evidence.phone,
        shared_phone=evidence.shared_phone,
        credit_code=evidence.credit_code,
        contact=evidence.contact,
        address=_stretched(PRESET.address, evidence.address),
        near=threshold,
        same=max(threshold, evidence.same_score),
    )


def _stretched(points: tuple[tuple[float, float], ...], most: float) -> tuple[tuple[float, float], ...]:
    """Return points whose gains rise to `most`; what speaks against weighs as before."""
    return tuple((at, bits * most / points[-1][1] if bits > 0 else bits) for at, bits in points)
