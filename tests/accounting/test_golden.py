"""Every accounting number of the published systems that was recomputed from (batch, data size, noise, steps, delta).

The references state two or three digits; a table entry must come out within one unit of its last digit. Where a noise
multiplier was calibrated to an epsilon, one unit of its last digit on either side must bracket that epsilon.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from dpaudit.accounting.accountant import event_guarantees, tight_guarantee
from dpaudit.accounting.events import mechanism_event
from dpaudit.accounting.executed import executed_event, noise_unit
from dpaudit.accounting.parts import GaussianPart, gaussian_parts
from dpaudit.accounting.rdp import renyi_epsilon
from dpaudit.mechanism import Mechanism

if TYPE_CHECKING:
    from dpaudit.mechanism import Adjacency

LAION = 233_804_767
IMAGENET = 1_281_167
SMALL = 50_000


def _mechanism(batch: int, size: int, noise: float, steps: int) -> Mechanism:
    return Mechanism(
        sampling="poisson",
        adjacency="add-remove",
        noise_multiplier=noise,
        sampling_rate=batch / size,
        steps=steps,
        clip_norm=1.0,
        batch_size=batch,
        dataset_size=size,
    )


def _renyi(batch: float, size: float, noise: float, steps: int, delta: float) -> float:
    return renyi_epsilon((GaussianPart(batch / size, noise, steps),), "add-remove", delta).epsilon


def test_dp_cap_by_three_accountants() -> None:
    mechanism = _mechanism(1_310_720, LAION, 0.728, 5708)
    pld, rdp, prv = event_guarantees(mechanism_event(mechanism), "add-remove", 4.277e-9)
    assert pld.epsilon == pytest.approx(7.34, abs=0.005)
    assert rdp.epsilon == pytest.approx(8.05, abs=0.005)
    assert prv.epsilon == pytest.approx(7.34, abs=0.02)
    assert "orders 1.1 to 10.9" in rdp.note
    assert "best order 4.3" in rdp.note


@pytest.mark.parametrize(
    ("batch", "noise", "steps", "rdp", "pld"),
    [
        (98_304, 0.48, 6_000, 7.99, 6.83),
        pytest.param(98_304, 0.48, 10_000, 8.43, 7.23, marks=pytest.mark.slow),
        pytest.param(81_920, 0.50, 6_000, 6.70, 5.71, marks=pytest.mark.slow),
        pytest.param(81_920, 0.50, 10_000, 6.99, 5.97, marks=pytest.mark.slow),
        pytest.param(81_920, 0.50, 30_000, 7.88, 6.79, marks=pytest.mark.slow),
    ],
)
def test_vip_at_half_a_reciprocal(batch: int, noise: float, steps: int, rdp: float, pld: float) -> None:
    delta = 0.5 / LAION
    assert _renyi(batch, LAION, noise, steps, delta) == pytest.approx(rdp, abs=0.005)
    tight = tight_guarantee(mechanism_event(_mechanism(batch, LAION, noise, steps)), "add-remove", delta)
    assert tight.epsilon == pytest.approx(pld, abs=0.01)


@pytest.mark.parametrize(
    ("batch", "size", "noise", "steps", "rdp", "pld"),
    [
        (1_310_720, LAION, 1.18, 2_854, 1.99, 1.78),
        (200_000, LAION, 0.513, 5_700, 7.98, 6.85),
        pytest.param(1_310_720, 2_000_000_000, 0.527, 5_000, 7.30, 6.30, marks=pytest.mark.slow),
        pytest.param(1_310_720, 2_170_000_000, 0.527, 5_000, 7.15, 6.16, marks=pytest.mark.slow),
    ],
)
def test_dp_cap_at_the_reciprocal(batch: int, size: int, noise: float, steps: int, rdp: float, pld: float) -> None:
    assert _renyi(batch, size, noise, steps, 1 / size) == pytest.approx(rdp, abs=0.005)
    tight = tight_guarantee(mechanism_event(_mechanism(batch, size, noise, steps)), "add-remove", 1 / size)
    assert tight.epsilon == pytest.approx(pld, abs=0.005)


def test_literal_imagenet_command_is_not_a_dp_setting() -> None:
    assert _renyi(81_920, IMAGENET, 0.5, 10_000, 0.5 / IMAGENET) == pytest.approx(880, rel=0.01)


@pytest.mark.slow
def test_dp_cap_on_a_tenth_of_the_data() -> None:
    assert _renyi(131_072, LAION / 10, 0.728, 5_708, 10 / LAION) == pytest.approx(7.35, abs=0.005)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("epsilon", "batch", "size", "noise", "steps", "delta"),
    [
        (8, 81_920, IMAGENET, 1.93, 1_500, 0.5 / IMAGENET),
        (8, 81_920, IMAGENET, 2.18, 2_000, 0.5 / IMAGENET),
        (8, 81_920, IMAGENET, 2.98, 4_000, 0.5 / IMAGENET),
        (8, 81_920, IMAGENET, 3.61, 6_000, 0.5 / IMAGENET),
        (8, 81_920, 2_000_000, 2.41, 6_000, 0.5 / 2_000_000),
        (8, 81_920, 23_000_000, 0.637, 6_000, 0.5 / 23_000_000),
        (8, 8_192, LAION, 0.393, 6_000, 0.5 / LAION),
        (8, 32_768, LAION, 0.434, 6_000, 0.5 / LAION),
        (8, 81_920, LAION, 0.471, 6_000, 0.5 / LAION),
        (8, 98_304, LAION, 0.480, 6_000, 0.5 / LAION),
        (8, 40_000, LAION, 0.436, 5_708, 1 / LAION),
        (8, 98_304, LAION, 0.473, 5_708, 1 / LAION),
        (8, 200_000, LAION, 0.513, 5_708, 1 / LAION),
        (8, 655_360, LAION, 0.616, 5_708, 1 / LAION),
        (8, 1_310_720, LAION, 0.730, 5_708, 1 / LAION),
        (1, 1_310_720, LAION, 1.52, 1_427, 1 / LAION),
        (1, 1_310_720, LAION, 1.85, 2_854, 1 / LAION),
        (1, 1_310_720, LAION, 2.48, 5_708, 1 / LAION),
        (2, 1_310_720, LAION, 1.43, 5_708, 1 / LAION),
        (16, 1_310_720, LAION, 0.585, 5_708, 1 / LAION),
        (1, 256, SMALL, 1.172, 1_953, 1 / SMALL),
        (3, 256, SMALL, 0.749, 1_953, 1 / SMALL),
        (8, 256, SMALL, 0.554, 1_953, 1 / SMALL),
        (1, 1_024, SMALL, 1.975, 488, 1 / SMALL),
        (3, 1_024, SMALL, 1.007, 488, 1 / SMALL),
        (8, 1_024, SMALL, 0.681, 488, 1 / SMALL),
        (1, 64, SMALL, 0.907, 7_812, 1 / SMALL),
        (3, 64, SMALL, 0.623, 7_812, 1 / SMALL),
        (5, 1_000, SMALL, 0.917, 1_000, 1 / SMALL),
    ],
)
def test_calibrated_noise_multipliers(
    epsilon: float, batch: int, size: int, noise: float, steps: int, delta: float
) -> None:
    unit = 10 ** -len(f"{noise:g}".split(".")[1])
    less, more = (_renyi(batch, size, noise + shift * unit, steps, delta) for shift in (-1, 1))
    assert more < epsilon < less


@pytest.mark.parametrize(
    ("batch", "claimed", "noise", "steps", "sound"),
    [
        (256, 1, 1.172, 1_953, 6.6),
        (256, 3, 0.749, 1_953, 31),
        (256, 8, 0.554, 1_953, 88),
        (1_024, 1, 1.975, 488, 3.1),
        (1_024, 3, 1.007, 488, 19),
        (1_024, 8, 0.681, 488, 63),
        (64, 1, 0.907, 7_812, 9.7),
        (64, 3, 0.623, 7_812, 42),
    ],
)
def test_dp_clip_claimed_and_sound(batch: int, claimed: float, noise: float, steps: int, sound: float) -> None:
    """The noise is `noise` times the norm C to which the whole batch is clipped; its sensitivity is 2 C, not C."""
    assert _clipped(batch, noise, steps, {"add-remove": 1, "zero-out": 1, "replace-one": 2}) == pytest.approx(
        claimed, rel=0.005
    )
    assert _clipped(batch, noise, steps, {"add-remove": 2, "zero-out": 2, "replace-one": 2}) == pytest.approx(
        sound, rel=0.02
    )


def _clipped(batch: int, std: float, steps: int, sensitivity: dict[Adjacency, float]) -> float:
    """Return the RDP epsilon of noise with this std, given what a step's sum can move by."""
    mechanism = _mechanism(batch, SMALL, 1.0, steps)
    unit = noise_unit(sensitivity, "poisson", "add-remove")
    parts = gaussian_parts(executed_event([(batch / SMALL, std)] * steps, unit, mechanism))
    assert not isinstance(parts, str)
    return renyi_epsilon(parts, "add-remove", 1 / SMALL).epsilon


@pytest.mark.parametrize(
    ("batch", "noise", "effective"),
    [
        (40_000, 0.436, 1.1e-5),
        (98_304, 0.473, 4.8e-6),
        (200_000, 0.513, 2.6e-6),
        (655_360, 0.616, 9.4e-7),
        (1_310_720, 0.730, 5.6e-7),
    ],
)
def test_effective_noise_of_dp_cap(batch: int, noise: float, effective: float) -> None:
    assert noise / batch == pytest.approx(effective, rel=0.02)


def test_logit_dp_without_its_temperature_factor() -> None:
    assert _renyi(1_000, SMALL, 0.183, 1_000, 1 / SMALL) == pytest.approx(570, rel=0.02)
