"""What evidence is worth to a tenant (F162)."""

from services.dedupe.domain.evidence import EVIDENCE_LIMITS, Evidence, weights_of
from services.dedupe.domain.suspects import Dimension, Suspicion, check_suspicion, suspicion_from
from services.dedupe.matching.weights import Weights


def test_the_preset_weighs_as_matching_does_by_itself() -> None:
    assert weights_of(Evidence(), Weights.near) == Weights()


def test_a_name_that_is_worth_less_still_speaks_against_as_much() -> None:
    weights = weights_of(Evidence(name=4.5), 3.0)
    assert (weights.name[0], weights.name[-1]) == (Weights.name[0], (1.0, 4.5))
    assert (weights.name_ceiling, weights.near, weights.same) == (6.0, 3.0, 10.0)


def test_a_threshold_above_the_score_of_the_same_moves_that_along() -> None:
    assert weights_of(Evidence(same_score=8.0), 12.0).same == 12.0


def test_settings_from_before_there_were_weights_are_read_with_the_presets() -> None:
    assert suspicion_from({"window_days": 7}) == Suspicion(window_days=7)
    assert suspicion_from({"off": ["project"], "evidence": {"phone": 1.0}}) == Suspicion(
        off=(Dimension.PROJECT,), evidence=Evidence(phone=1.0)
    )


def test_every_weight_has_limits_and_the_preset_lies_within_them() -> None:
    assert EVIDENCE_LIMITS.keys() == vars(Evidence()).keys()
    assert check_suspicion(Suspicion()) == Suspicion()
