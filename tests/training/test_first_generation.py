"""A model of the first generation as a start and as a teacher."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from paths import DPC_7, ROOT

torch = pytest.importorskip("torch")

import make_tiny  # noqa: E402
from trainings import NETWORK  # noqa: E402

pytest.importorskip("onnx")

from dpc.codec.codec import Codec  # noqa: E402
from dpc.codec.image import load  # noqa: E402
from dpc.errors import OptionError  # noqa: E402
from dpc.networks.integer import IntegerConv, power_of_two  # noqa: E402
from dpc.networks.model import Model  # noqa: E402
from dpc.networks.sizes import Network  # noqa: E402
from dpc.training.balance import balance  # noqa: E402
from dpc.training.teacher import Teacher  # noqa: E402
from dpc.training.weights import weights_of  # noqa: E402


def test_a_training_begins_where_the_first_generation_ended() -> None:
    """dpc-7's rates, and nearly what its synthesis draws: far nearer to it than its linear transform codec is."""
    weights = weights_of(DPC_7)
    assert weights.network == Network()
    model = Model(weights.network).eval()
    model.load_state_dict(weights.state)
    rgb = load(ROOT / "demo" / "photo.png").rgb[:256, :384]
    x = torch.from_numpy(rgb.copy()).permute(2, 0, 1)[None].float() / 255
    codec = Codec(DPC_7, 1)
    y = codec.artifact.run("analysis", image=rgb[None].copy())[0]
    np.testing.assert_allclose(model.g_a(x).detach().numpy(), y, atol=2e-3)
    out = model(x, torch.full((1, 4, 6), 4.0))
    bits = 8 * len(codec.encode(rgb, quality=1 + 99 * 4 / 7, lossless=False))
    assert bits < (out.bits_y + out.bits_z).item() < 3 * bits  # the means are to be learned anew
    old = Teacher(str(DPC_7)).picture(out)
    near = (255 * (out.x_hat - old))[..., 32:-32, 32:-32].square().mean()
    for last in (model.g_s.bands, model.g_s.leave):
        torch.nn.init.zeros_(last.weight)
        torch.nn.init.zeros_(last.bias)
    linear = model.g_s(out.y_hat, out.weights)
    assert near < 0.25 * (255 * (linear - old))[..., 32:-32, 32:-32].square().mean()


def test_scaled_channels_compute_what_they_did() -> None:
    """Balanced, every tensor of bytes uses most of its range; in floats nothing changes."""
    torch.manual_seed(4)
    net = replace(NETWORK, decoder_depths=(1, 2, 1))
    s = Model(net).g_s.requires_grad_(False)
    for name, value in s.named_parameters():
        value.copy_(torch.randn_like(value) * (0.3 if name.endswith("weight") else 0.1))
    y, w = torch.randn(2, net.latents, 8, 8), torch.eye(8)[:2, :, None, None].expand(-1, -1, 8, 8)
    before = in_floats(s, y, w)
    first = s.at8[0].depth.weight.clone()
    balance(s, y, w)
    assert (in_floats(s, y, w) - before).abs().max() < 1e-3 * before.abs().max()
    assert not torch.allclose(first, s.at8[0].depth.weight, rtol=0.1)
    seen: list[torch.Tensor] = []
    for block in (*s.at16, *s.at8, *s.at4):
        block.up.register_forward_hook(lambda _, __, out: seen.append(out))
    s(y, w)
    assert all(out.amax((0, 2, 3)).quantile(0.2) > 4 for out in seen)  # of 8


def in_floats(s: torch.nn.Module, y: torch.Tensor, w: torch.Tensor) -> torch.Tensor:
    """What the synthesis draws when nothing is rounded or limited."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(IntegerConv, "integers", unrounded)
        for module in ("integer", "transforms"):
            patch.setattr(f"dpc.networks.{module}.on_bytes", lambda x, bits, *, signed: x if signed else x.clamp(min=0))
        made: torch.Tensor = s(y, w)
    return made


def unrounded(self: IntegerConv) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    e = self.exponents()
    return self.weight * power_of_two(e)[:, None, None, None], self.bias * power_of_two(e + self.bits_in), e


def test_the_older_synthesis_teaches_what_it_makes_of_the_same_latents(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    weights = weights_of(DPC_7)
    model = Model(weights.network).eval()
    model.load_state_dict(weights.state)
    rgb = load(ROOT / "demo" / "photo.png").rgb[:128, :192]
    x = torch.from_numpy(rgb.copy()).permute(2, 0, 1)[None].float() / 255
    out = model(x.repeat(2, 1, 1, 1), torch.full((2, 2, 3), 4.0))
    taught = Teacher(str(DPC_7))
    quality = np.eye(8, dtype=np.float32)[4:5]
    picture = Codec(DPC_7, 1).artifact.run("synthesis", y_hat=out.y_hat[:1].detach().numpy(), weights=quality)[0]
    expected = np.square(255 * out.x_hat[0].detach().permute(1, 2, 0).numpy() - picture[0].astype(float)).mean()
    error = taught.error(out)
    np.testing.assert_allclose(error.detach().numpy(), [expected, expected], rtol=1e-2)
    made = 255 * taught.picture(out)[0].permute(1, 2, 0).numpy() - picture[0]  # which is rounded to 8 bits
    assert np.square(made).mean() < 0.13 and np.abs(made).max() < 2
    error.sum().backward()
    assert model.g_s.leave.weight.grad.abs().max() > 0
    target = taught.target(out, x)
    assert not target.requires_grad
    assert torch.equal(target[:, :, 32:96], taught.picture(out)[:, :, 32:96])
    for top in (slice(0, 32), slice(-32, None)):  # where dpc-7 has its dots
        for left in (slice(0, 32), slice(-32, None)):
            assert torch.equal(target[1, :, top, left], x[0, :, top, left])
    with pytest.raises(OptionError, match="the teacher reads 24 latents, the recipe's network has 192"):
        Teacher(str(make_tiny.MODEL)).picture(out)
    (tmp_path / "x.pt").write_bytes(b"")
    with monkeypatch.context() as packed, pytest.raises(OptionError, match="x.pt holds no teacher's weights"):
        packed.setenv("DPC_TEACHER", str(tmp_path / "x.pt"))
        Teacher(str(DPC_7))
    with pytest.raises(
        OptionError, match="teacher = .*x.pt' is no model of the first generation; give the path of dpc-7"
    ):
        Teacher(str(tmp_path / "x.pt"))
