"""The training losses: MS-SSIM against a published implementation, the joint loss, finite gradients."""

from __future__ import annotations

import numpy as np
import pytest
from paths import SHARED, needs

torch = pytest.importorskip("torch")

import torch.nn.functional as F  # noqa: E402

from dpc.evaluation.metrics.ms_ssim import WEIGHTS as SCALES  # noqa: E402
from dpc.training.losses.distortion import LETTERS, PARTS, Distortion, Terms  # noqa: E402
from dpc.training.losses.ground import activity, flatness, masked_error  # noqa: E402
from dpc.training.losses.ms_ssim import _window, ms_ssim, smallest  # noqa: E402
from dpc.training.losses.pattern import excess, pattern  # noqa: E402

WEIGHTS = SHARED / "weights" / "lpips"
needs_weights = needs("weights", "lpips", "alexnet-features.pth")


def pair(height: int = 176, width: int = 192, n: int = 2) -> tuple[torch.Tensor, torch.Tensor]:
    """Smooth random pictures and noisy versions of them."""
    g = torch.Generator().manual_seed(height * width)
    x = torch.rand(n, 3, 24, 24, generator=g)
    x = torch.nn.functional.interpolate(x, size=(height, width), mode="bicubic").clamp(0, 1)
    return x, (x + 0.1 * torch.randn(x.shape, generator=g)).clamp(0, 1)


@pytest.mark.parametrize("size", [(161, 161), (176, 192), (163, 250), (200, 321), (161, 162)])
def test_ms_ssim_agrees_with_pytorch_msssim(size: tuple[int, int]) -> None:
    published = pytest.importorskip("pytorch_msssim").ms_ssim
    x, y = pair(*size)
    for other in (y, 1 - x, x.flip(3), torch.zeros_like(x)):
        expected = published(x, other, data_range=1.0, size_average=False)
        torch.testing.assert_close(ms_ssim(x, other), expected, atol=1e-5, rtol=0)


def test_ms_ssim_of_fewer_scales_has_their_weights_alone() -> None:
    published = pytest.importorskip("pytorch_msssim").ms_ssim
    x, y = pair()
    weights = [w / sum(SCALES[:4]) for w in SCALES[:4]]
    expected = published(x, y, data_range=1.0, size_average=False, weights=weights)
    torch.testing.assert_close(ms_ssim(x, y, 4), expected, atol=1e-5, rtol=0)
    small = (x[:, :, :81, :96], y[:, :, :81, :96])
    assert (ms_ssim(*small, 4) < 1).all() and smallest(4) == 81 and smallest() == 161
    with pytest.raises(ValueError, match="at least 81 pixels"):
        ms_ssim(small[0][:, :, :80], small[1][:, :, :80], 4)


def test_a_fitted_window_is_the_published_one_where_there_is_room() -> None:
    x, y = pair()
    assert torch.equal(ms_ssim(x, y, fitted=True), ms_ssim(x, y))
    a, b = x[:, :, :160, :160], y[:, :, :160, :160]
    near = ms_ssim(x[:, :, :161, :161], y[:, :, :161, :161])
    torch.testing.assert_close(ms_ssim(a, b, fitted=True), near, atol=0.01, rtol=0)
    with pytest.raises(ValueError, match="at least 161 pixels"):
        ms_ssim(a, b)
    window = np.array(_window(10))
    assert window.sum() == pytest.approx(1) and np.allclose(window, window[::-1]) and len(window) == 10
    assert np.log(window[4] / window[0]) == pytest.approx((4.5**2 - 0.5**2) / (2 * (1.5 * 10 / 11) ** 2))


def test_ms_ssim_identity_symmetry_and_order() -> None:
    x, y = pair()
    torch.testing.assert_close(ms_ssim(x, x), torch.ones(2), atol=1e-7, rtol=0)
    torch.testing.assert_close(ms_ssim(x, y), ms_ssim(y, x))
    worse = x + 2 * (y - x)
    assert (ms_ssim(x, worse) < ms_ssim(x, y)).all() and (ms_ssim(x, y) < 1).all()


def test_ms_ssim_of_one_sample_does_not_depend_on_the_others() -> None:
    x, y = pair(n=3)
    torch.testing.assert_close(ms_ssim(x, y)[1:2], ms_ssim(x[1:2], y[1:2]))


def test_ms_ssim_gradient_agrees_with_pytorch_msssim() -> None:
    published = pytest.importorskip("pytorch_msssim").ms_ssim
    x, y = pair()
    grads = []
    for f in (ms_ssim, lambda a, b: published(a, b, data_range=1.0, size_average=False)):
        z = y.clone().requires_grad_()
        f(x, z).sum().backward()
        grads.append(z.grad)
    torch.testing.assert_close(grads[0], grads[1], atol=1e-7, rtol=1e-3)


@pytest.mark.parametrize("case", ["identical", "inverted", "black", "flat", "noisy"])
def test_ms_ssim_gradient_is_finite(case: str) -> None:
    x, y = pair()
    other = {
        "identical": x,
        "inverted": 1 - x,  # negative contrast-structure terms
        "black": torch.zeros_like(x),
        "flat": torch.full_like(x, 0.5),
        "noisy": y,
    }[case]
    for a in (x, torch.zeros_like(x)):
        z = other.clone().requires_grad_()
        ms_ssim(a, z).sum().backward()
        assert z.grad is not None and z.grad.isfinite().all()


def test_ms_ssim_takes_channels_last_and_half_precision() -> None:
    x, y = pair()
    value = ms_ssim(x, y)
    nhwc = y.contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(ms_ssim(x, nhwc), value)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        torch.testing.assert_close(ms_ssim(x, y), value)


@pytest.mark.parametrize("size", [(160, 200), (200, 160), (11, 11)])
def test_ms_ssim_refuses_small_pictures(size: tuple[int, int]) -> None:
    x = torch.rand(1, 3, *size)
    with pytest.raises(ValueError, match=f"at least 161 pixels a side, got {size[1]}x{size[0]}"):
        ms_ssim(x, x)


def test_wrong_shapes() -> None:
    x, y = pair()
    for a, b in ((x, y[:, :, :170]), (x[0], y[0]), (x, y[:1])):
        with pytest.raises(ValueError, match="of one shape"):
            ms_ssim(a, b)
        with pytest.raises(ValueError, match="of one shape"):
            Distortion(nets=())(a, b, Terms(mse=1.0))


def test_without_lpips_no_weights_are_needed() -> None:
    x, y = pair()
    loss = Distortion(nets=())
    total, parts = loss(x, y, Terms(mse=2.0, ms_ssim=3.0))
    mse = 255**2 * ((x - y) ** 2).mean((1, 2, 3))
    torch.testing.assert_close(parts["mse"], mse)
    torch.testing.assert_close(total, 2 * mse + 3 * (1 - ms_ssim(x, y)))
    with pytest.raises(ValueError, match="weight is 1 but no net was named"):
        loss(x, y, Terms(lpips=1.0))


def test_a_weight_of_zero_leaves_the_term_out() -> None:
    x, y = pair(64, 64)  # too small for MS-SSIM
    total, parts = Distortion(nets=())(x, y, Terms(mse=1.0))
    torch.testing.assert_close(total, parts["mse"])
    assert (parts["ms_ssim"] == 0).all() and (parts["lpips"] == 0).all()
    assert set(parts) == set(PARTS)
    assert all((parts[k] == 0).all() for k in ("chroma", "grid", "plain", "edges"))


def test_the_guards_add_their_terms() -> None:
    x, y = pair(64, 64)
    total, parts = Distortion(nets=())(x, y, Terms(chroma=2.0, grid=100.0))
    torch.testing.assert_close(parts["grid"], pattern(x, y))
    torch.testing.assert_close(total, 2 * parts["chroma"] + 100 * parts["grid"])


def test_chroma_sees_colour_and_not_grey() -> None:
    x = torch.full((1, 3, 64, 64), 0.5)
    loss, terms = Distortion(nets=()), Terms(chroma=1.0)
    grey, _ = loss(x, x + 0.1, terms)
    red, _ = loss(x, x + torch.tensor([10 / 255, 0, 0])[None, :, None, None], terms)
    torch.testing.assert_close(grey, torch.zeros(1), atol=1e-6, rtol=0)
    torch.testing.assert_close(red, torch.tensor([50.0]))  # R-G off by 10, B-G right: the mean of 100 and 0


def test_pattern_finds_a_mesh_and_nothing_in_noise() -> None:
    generator = torch.Generator().manual_seed(3)
    x = torch.rand(8, 3, 192, 192, generator=generator) * 0.2 + 0.4
    assert (pattern(x, 0.9 * x + 0.02 * torch.randn(x.shape, generator=generator)) < 0.002).all()
    x = x[:2]
    fine = torch.randn(2, 3, 192, 192, generator=generator) * 0.02
    for period, least in ((2, 0.003), (4, 0.01), (8, 0.01)):
        at = (torch.arange(192) % period == 0).float()
        grid = fine * (1 + 2 * at)  # noise that is three times as strong in every n-th column
        along, down = pattern(x * 0 + 0.5, 0.5 + grid), pattern(x * 0 + 0.5, 0.5 + grid.transpose(2, 3))
        assert (along > least).all() and (down > least).all(), period
    board = ((torch.arange(192)[:, None] + torch.arange(192)) % 2 * 2 - 1) / 255  # a checkerboard of one level
    assert (pattern(x, x + board) > 0.003).all()
    tile = torch.randn(3, 16, 16, generator=generator).repeat(1, 12, 12) / 255  # the same in every crop
    assert (pattern(x, x + tile) > 0.015).all()
    blocks = fine[:, :, ::2, ::2].repeat_interleave(2, 2).repeat_interleave(2, 3)  # pixels doubled
    assert (pattern(x * 0 + 0.5, 0.5 + blocks) > 0.1).all()


def test_excess_is_power_that_the_picture_has_not() -> None:
    generator = torch.Generator().manual_seed(5)
    noise = torch.randn(3, 192, 192, generator=generator)
    x = 30 * F.avg_pool2d(noise, 3, 1, 1) + noise
    assert (excess(x, x) == 0).all() and (excess(x, F.avg_pool2d(x, 3, 1, 1)) == 0).all()  # a blur only takes
    assert (excess(x, x + 4) < 1e-9).all()  # brightness is no power
    board = 2.0 * ((torch.arange(192)[:, None] + torch.arange(192)) % 2) - 1
    beside = torch.cos(torch.arange(192) * (2 * torch.pi * 0.47))  # what a guard against single lines leaves open
    fine = F.avg_pool2d(x, 3, 1, 1) + noise * 2
    for signal in (board, 2 * beside, 2 * beside[:, None], fine - x):
        assert (excess(x, x + signal) > 0.02).all()
        assert (excess(x, x + signal) > 2 * excess(x, x + signal / 2)).all()
    flat = torch.zeros(1, 192, 192)
    assert excess(flat, flat + 0.3 * noise[:1]) < 0.5  # what rounding adds costs little, also where there was nothing


def test_pattern_of_identical_flat_pictures_is_zero_and_has_a_gradient() -> None:
    x = torch.full((1, 3, 64, 64), 0.5)
    y = x.clone().requires_grad_()
    value = pattern(x, y)
    value.sum().backward()
    assert value.item() == pytest.approx(0, abs=1e-9)
    assert y.grad is not None and torch.isfinite(y.grad).all()


def test_nothing_hides_an_error_beside_an_edge_on_plain_ground() -> None:
    luma = torch.full((1, 1, 64, 64), 50.0)
    luma[..., 32:] = 200.0  # an edge
    luma[:, :, 40:] += 30 * torch.randn(1, 1, 24, 64, generator=torch.Generator().manual_seed(1))  # and texture
    hidden = activity(luma)
    assert (hidden[:, :, 8:28] < 1e-2).all()  # on both sides of the edge too
    assert (hidden[:, :, 50:58, 8:24] > 100).all()
    assert flatness(hidden).item() == 1 and flatness(hidden[:, :, 46:]).item() == 0


def test_the_same_error_counts_more_on_plain_ground_and_more_when_it_is_coarse() -> None:
    generator = torch.Generator().manual_seed(2)
    x = torch.full((1, 3, 64, 64), 0.5)
    rough = (x + 0.1 * torch.randn(x.shape, generator=generator)).clamp(0, 1)
    fine = 0.01 * torch.randn(x.shape, generator=generator)
    coarse = fine[:, :, ::8, ::8].repeat_interleave(8, 2).repeat_interleave(8, 3)
    coarse = coarse * (fine.square().mean() / coarse.square().mean()).sqrt()

    def error(picture: torch.Tensor, e: torch.Tensor) -> float:
        hidden = activity(255 * picture.mean(1, keepdim=True))
        return float(masked_error(picture, picture + e, hidden))

    assert error(x, fine) > 20 * error(rough, fine) > 0
    assert error(x, coarse) > 5 * error(x, fine)
    assert error(x, fine * 0) == 0


def test_letters_get_absolute_error_in_place_of_lpips() -> None:
    generator = torch.Generator().manual_seed(3)
    x = torch.rand(2, 3, 64, 64, generator=generator)  # no plain ground
    y = x + 0.02
    synthetic = torch.tensor([True, False])
    total, parts = Distortion(nets=())(x, y, Terms(edges=1.0), synthetic=synthetic)
    torch.testing.assert_close(total, torch.tensor([0.02 * 255 / 3, 0.0]))  # of grey shift only luma changes
    assert parts["edges"][1] == 0


@needs_weights
def test_lpips_weighs_less_where_letters_are() -> None:
    x, y = pair()
    loss = Distortion(weights=WEIGHTS)

    def both(terms: Terms) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        seed = torch.Generator().manual_seed(1)
        result: tuple[torch.Tensor, dict[str, torch.Tensor]] = loss(
            x, y, terms, synthetic=torch.tensor([True, False]), generator=seed
        )
        return result

    plain, parts = both(Terms(lpips=5.0))
    total, with_edges = both(Terms(lpips=5.0, edges=1.0))
    assert torch.equal(parts["lpips"], with_edges["lpips"])
    expected = plain[0] - 5 * (1 - LETTERS) * parts["lpips"][0] + with_edges["edges"][0]
    torch.testing.assert_close(total[0], expected)


JOINT = Terms(mse=0.01, ms_ssim=10.0, lpips=5.0)


@pytest.fixture(scope="module")
def joint() -> Distortion:
    return Distortion(weights=WEIGHTS)


@needs_weights
def test_joint_loss_is_the_weighted_sum_per_sample(joint: Distortion) -> None:
    x, y = pair()
    total, parts = joint(x, y, JOINT)
    assert total.shape == (2,) and all(p.shape == (2,) and not p.requires_grad for p in parts.values())
    torch.testing.assert_close(total, 0.01 * parts["mse"] + 10 * (1 - parts["ms_ssim"]) + 5 * parts["lpips"])


@needs_weights
def test_emphasis_weighs_the_lpips_of_each_sample(joint: Distortion) -> None:
    x, y = pair()
    emphasis = torch.tensor([0.5, 2.0])
    plain, parts = joint(x, y, JOINT, generator=torch.Generator().manual_seed(1))
    total, same = joint(x, y, JOINT, generator=torch.Generator().manual_seed(1), emphasis=emphasis)
    assert torch.equal(same["lpips"], parts["lpips"])
    torch.testing.assert_close(total - plain, JOINT.lpips * (emphasis - 1) * parts["lpips"])


@needs_weights
def test_nets_take_turns(joint: Distortion) -> None:
    x, y = pair()

    def at(step: int) -> torch.Tensor:
        return joint(x, y, JOINT, step, generator=torch.Generator().manual_seed(3))[1]["lpips"]

    assert torch.equal(at(0), at(2)) and torch.equal(at(1), at(3))
    assert not torch.equal(at(0), at(1))


@needs_weights
def test_lpips_is_shifted_at_random_and_reproducibly(joint: Distortion) -> None:
    x, y = pair()
    g = torch.Generator().manual_seed(5)
    values = {round(joint(x, y, JOINT, generator=g)[1]["lpips"][0].item(), 7) for _ in range(6)}
    assert len(values) > 2
    same = [joint(x, y, JOINT, generator=torch.Generator().manual_seed(5))[1]["lpips"] for _ in range(2)]
    assert torch.equal(*same)


@needs_weights
@pytest.mark.parametrize("step", [0, 1])
def test_joint_gradient_is_finite_also_at_the_optimum_and_beyond_the_range(joint: Distortion, step: int) -> None:
    x, y = pair()
    for start in (x, y, 1 - x, torch.zeros_like(x), x * 1.5 - 0.2):
        z = start.clone().requires_grad_()
        total, _ = joint(x, z, JOINT, step)
        total.sum().backward()
        assert total.isfinite().all() and z.grad is not None and z.grad.isfinite().all()


@needs_weights
def test_a_step_against_the_gradient_lowers_the_loss(joint: Distortion) -> None:
    x, y = pair()
    z = y.clone().requires_grad_()
    before, _ = joint(x, z, JOINT, generator=torch.Generator().manual_seed(0))
    before.sum().backward()
    assert z.grad is not None
    after, _ = joint(x, y - 0.5 * z.grad / z.grad.abs().max() * 0.1, JOINT, generator=torch.Generator().manual_seed(0))
    assert (after < before).all()
