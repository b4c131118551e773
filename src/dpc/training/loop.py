"""The training loop: reads from top to bottom. Checkpoints are atomic; a killed run resumes from the last one."""

from __future__ import annotations

import contextlib
import csv
import json
import math
import os
import signal
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from dpc.errors import DPCError
from dpc.training.data import Photos
from dpc.training.losses import Distortion
from dpc.training.model import Model
from dpc.training.recipe import Recipe, from_dict, to_dict

CHECKPOINT = 1  # version of the checkpoint's layout


class CheckpointError(DPCError):
    """A checkpoint that cannot be read or does not fit."""


@dataclass
class Run:
    """Where and how long to train. minutes: of this call; horizon: minutes of the whole training over all calls (the
    learning rate and the stages follow it), None: follow steps."""

    out: Path
    data: Sequence[str | Path]
    minutes: float | None = None
    horizon: float | None = None
    steps: int | None = None
    save_every: float = 180.0
    log_every: int = 50
    device: str = "auto"
    precision: str = "auto"
    lpips_weights: str | None = None


def train(
    recipe: Recipe,
    run: Run,
    resume: Path | None = None,
    warm: dict[str, Tensor] | None = None,
    say: Callable[[str], None] = print,
) -> Path:
    """Train and return the path of the last checkpoint (run.out/last.pt).

    warm: state of a Model to start from (a released artifact or a checkpoint's weights); resume: a checkpoint to go on
    from exactly. Stops after run.minutes, at the end of the schedule, or on SIGINT/SIGTERM, always with a checkpoint.
    """
    started = time.monotonic()
    device = torch.device(("cuda" if torch.cuda.is_available() else "cpu") if run.device == "auto" else run.device)
    bf16 = run.precision == "bf16" or (run.precision == "auto" and bf16_pays(device))
    photos = Photos(run.data, recipe.crop)
    run.out.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(recipe.seed)

    state = load_checkpoint(resume) if resume else None
    model = Model(recipe.network)
    if state:
        model.load_state_dict(state["model"])
    elif warm is not None:
        model.load_state_dict(warm)
    else:
        rng = np.random.default_rng(recipe.seed)
        say("starting from the wavelet codec")
        batches = (torch.from_numpy(photos.batch(rng, 8, recipe.crop)) for _ in range(60))
        # all terms of D together weigh about two and a half times the plain 255^2 MSE
        model.start_from_wavelet(batches, steps_of([2.5 * v for v in lambdas(recipe)]))
    model.to(device, memory_format=torch.channels_last)
    ema = {k: v.detach().clone() for k, v in model.state_dict().items()}
    decay, plain = [], []
    for name, p in model.named_parameters():
        if p.requires_grad:
            (decay if p.ndim > 1 and not name.startswith(("log_gain", "offset", "z_index")) else plain).append(p)
    tables = [model.log_gain, model.offset, model.z_index]
    plain = [p for p in plain if all(p is not t for t in tables)]
    optimiser = torch.optim.Adam(
        [{"params": decay, "factor": 1.0}, {"params": plain, "factor": 1.0}, {"params": tables, "factor": 4.0}],
        lr=recipe.learning_rate,
        betas=(0.9, 0.98),
        eps=1e-9,
    )
    step, minutes_before = 0, 0.0
    rng = np.random.default_rng(recipe.seed + 1)
    if state:
        optimiser.load_state_dict(state["optimiser"])
        ema = {k: v.to(device) for k, v in state["ema"].items()}
        step, minutes_before = state["step"], state["minutes"]
        rng.bit_generator.state = state["numpy"]
        torch.set_rng_state(state["torch"])
    nets = sorted({n for s in recipe.stages if s.lpips for n in s.lpips_nets})
    distortion = Distortion(0, 0, 0, nets, run.lpips_weights).to(device)
    distortion.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    order = {n: i for i, n in enumerate(nets)}
    lam = torch.tensor(lambdas(recipe), device=device, dtype=torch.float32)
    total = run.steps or recipe.steps
    horizon = run.horizon or (minutes_before + run.minutes if run.minutes and not run.steps else None)
    count = sum(p.numel() for p in model.parameters())
    say(f"{count / 1e6:.2f} M parameters, {len(photos)} pictures, {device}, {'bf16' if bf16 else 'fp32'}, step {step}")

    stop = _Stop()
    log = Log(run.out / "log.csv", resume is not None, step)
    saved = time.monotonic()
    bad = 0
    window: list[dict[str, float]] = []
    model.train()
    while not stop.asked:
        minutes = (time.monotonic() - started) / 60
        progress = (minutes_before + minutes) / horizon if horizon else step / total
        if progress >= 1 or (run.minutes and minutes >= run.minutes):
            break
        stage = recipe.stage_at(progress)
        rate = learning_rate(recipe, progress)
        for group in optimiser.param_groups:
            group["lr"] = rate * group["factor"]

        x = torch.from_numpy(photos.batch(rng, recipe.batch, recipe.crop)).to(device)
        x = x.contiguous(memory_format=torch.channels_last)
        last = recipe.network.levels - 1
        # a little beyond both ends, so that the extreme levels are seen as often as the others
        level = (torch.rand(recipe.batch, device=device) * (last + 0.6) - 0.3).clamp(0, last)
        weight = torch.exp(model.interpolation(level) @ lam.log())
        distortion.a, distortion.b, distortion.c = stage.mse, stage.ms_ssim, stage.lpips
        turn = order[stage.lpips_nets[step % len(stage.lpips_nets)]] if stage.lpips else 0
        with torch.autocast(device.type, torch.bfloat16, enabled=bf16):
            out = model(x, level)
            d, parts = distortion(x, out.x_hat, turn)
        bpp = (out.bits_y + out.bits_z) / (x.shape[2] * x.shape[3])
        balance = (weight / lam.log().mean().exp()) ** -recipe.rate_balance
        loss = ((bpp + weight * d) * balance).mean()

        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        norm = torch.nn.utils.clip_grad_norm_(model.parameters(), recipe.clip)
        step += 1
        if torch.isfinite(norm):
            optimiser.step()
            blend = min(recipe.ema, (1 + step) / (10 + step))
            with torch.no_grad():
                values = model.state_dict()
                floats = [k for k in ema if ema[k].is_floating_point()]
                torch._foreach_lerp_([ema[k] for k in floats], [values[k] for k in floats], 1 - blend)
        else:
            bad += 1
        window.append(
            {
                "loss": loss.item(),
                "norm": norm.item(),
                "bpp": bpp.mean().item(),
                "z": (out.bits_z / out.bits_y.clamp(min=1)).mean().item(),
            }
        )
        window[-1] |= {k: v.mean().item() for k, v in parts.items()}
        if step % run.log_every == 0:
            row = {k: float(np.mean([w[k] for w in window])) for k in window[0]}
            speed = run.log_every * recipe.batch / (time.monotonic() - log.time)
            row = {
                "step": step,
                "minutes": minutes_before + minutes,
                "lr": rate,
                **row,
                "skipped": bad,
                "crops_per_s": speed,
            }
            log.write(row)
            say(
                f"{progress:6.1%} step {step} loss {row['loss']:.4f} bpp {row['bpp']:.3f} mse {row['mse']:.1f} "
                f"ms-ssim {row['ms_ssim']:.4f} lpips {row['lpips']:.4f} z {row['z']:.3f} norm {row['norm']:.2f} {speed:.1f} crops/s"
            )
            window = []
        if time.monotonic() - saved > run.save_every:
            save(
                run.out / "last.pt",
                model,
                ema,
                optimiser,
                recipe,
                step,
                minutes_before + (time.monotonic() - started) / 60,
                rng,
                photos,
            )
            saved = time.monotonic()
    save(
        run.out / "last.pt",
        model,
        ema,
        optimiser,
        recipe,
        step,
        minutes_before + (time.monotonic() - started) / 60,
        rng,
        photos,
    )
    say(f"stopped at step {step}, {step * recipe.batch} crops; checkpoint {run.out / 'last.pt'}")
    return run.out / "last.pt"


def lambdas(recipe: Recipe) -> list[float]:
    """lambda at every level, exponentially from lambda_min to lambda_max."""
    n = recipe.network.levels
    ratio = recipe.lambda_max / recipe.lambda_min
    return [recipe.lambda_min * ratio ** (i / (n - 1)) for i in range(n)]


def steps_of(lam: Sequence[float]) -> Tensor:
    """The uniform quantisation step, in [0, 1] units, at which bpp + lambda 255^2 MSE is stationary at high rate."""
    return torch.tensor([math.sqrt(18 / (math.log(2) * v)) / 255 for v in lam])


def learning_rate(recipe: Recipe, progress: float) -> float:
    """Linear warm-up, constant, cosine decay from decay_from to the end."""
    if progress < recipe.warmup:
        return recipe.learning_rate * (0.02 + 0.98 * progress / recipe.warmup)
    if progress < recipe.decay_from:
        return recipe.learning_rate
    t = (progress - recipe.decay_from) / max(1 - recipe.decay_from, 1e-9)
    low = recipe.final_learning_rate
    return low + (recipe.learning_rate - low) * 0.5 * (1 + math.cos(math.pi * min(t, 1)))


def bf16_pays(device: torch.device) -> bool:
    """Whether bf16 autocast is worth it: yes on a GPU; on a CPU a short timing decides (some run it 95 times slower)."""
    if device.type == "cuda":
        return True
    conv = torch.nn.Conv2d(64, 64, 3, padding=1).to(memory_format=torch.channels_last)
    x = torch.randn(4, 64, 32, 32).contiguous(memory_format=torch.channels_last)
    times = []
    with torch.no_grad():
        for enabled in (False, True):
            with torch.autocast("cpu", torch.bfloat16, enabled=enabled):
                conv(x)
                begin = time.perf_counter()
                for _ in range(3):
                    conv(x)
            times.append(time.perf_counter() - begin)
    return times[1] < 0.8 * times[0]


class _Stop:
    """Asks the loop to end after the step on SIGINT or SIGTERM (in the main thread)."""

    def __init__(self) -> None:
        self.asked = False
        with contextlib.suppress(ValueError):
            for s in (signal.SIGINT, signal.SIGTERM):
                signal.signal(s, self._ask)

    def _ask(self, *_: Any) -> None:
        self.asked = True


class Log:
    """log.csv: one row every log_every steps. On resume rows after the checkpoint's step are dropped."""

    def __init__(self, path: Path, resumed: bool, step: int) -> None:
        self.path, self.time = path, time.monotonic()
        rows = []
        if resumed and path.exists():
            with open(path, newline="") as f:
                rows = [r for r in csv.DictReader(f) if int(r["step"]) <= step]
        self._file = open(path, "w", newline="", buffering=1)
        self._writer: csv.DictWriter[str] | None = None
        for row in rows:
            self.write(row)

    def write(self, row: dict[str, Any]) -> None:
        """Add a row and restart the speed clock."""
        if self._writer is None:
            self._writer = csv.DictWriter(self._file, list(row))
            self._writer.writeheader()
        self._writer.writerow({k: f"{v:.6g}" if isinstance(v, float) else v for k, v in row.items()})
        self.time = time.monotonic()


def save(
    path: Path,
    model: Model,
    ema: dict[str, Tensor],
    optimiser: torch.optim.Optimizer,
    recipe: Recipe,
    step: int,
    minutes: float,
    rng: np.random.Generator,
    photos: Photos,
) -> None:
    """Write a checkpoint to a temporary file beside path, then rename it."""
    temporary = path.with_suffix(".part")
    with open(temporary, "wb") as f:
        torch.save(
            {
                "checkpoint": CHECKPOINT,
                "recipe": json.dumps(to_dict(recipe)),
                "step": step,
                "minutes": minutes,
                "crops": step * recipe.batch,
                "data_sha256": photos.sha256,
                "model": model.state_dict(),
                "ema": ema,
                "optimiser": optimiser.state_dict(),
                "numpy": rng.bit_generator.state,
                "torch": torch.get_rng_state(),
            },
            f,
        )
        f.flush()
        os.fsync(f.fileno())
    os.replace(temporary, path)


def load_checkpoint(path: Path) -> dict[str, Any]:
    """Read a checkpoint; CheckpointError with one line when it is missing, broken or of another kind."""
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError as error:
        raise CheckpointError(f"there is no checkpoint {path}") from error
    except Exception as error:  # torch raises many kinds on damaged files
        raise CheckpointError(
            f"{path} is not a readable checkpoint ({type(error).__name__}); use an older one"
        ) from error
    if not isinstance(state, dict) or state.get("checkpoint") != CHECKPOINT:
        raise CheckpointError(f"{path} is not a checkpoint of this version ({CHECKPOINT})")
    return state


def recipe_of(state: dict[str, Any]) -> Recipe:
    """The recipe stored in a checkpoint."""
    return from_dict(json.loads(state["recipe"]))
