"""The training loop: reads from top to bottom. Checkpoints are atomic; a killed run resumes from the last one."""

from __future__ import annotations

import contextlib
import copy
import math
import os
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader

from dpc.errors import DPCError, OptionError, ToolMissing
from dpc.evaluation.metrics.lpips import LPIPS
from dpc.networks.model import Model
from dpc.training.checkpoint import CheckpointError, Keeper, load_checkpoint, recipe_of
from dpc.training.data.photos import Batches, Photos, find
from dpc.training.devices import precision, start
from dpc.training.log import RATES, Log, at_rate, lasting, page, read
from dpc.training.losses.distortion import Distortion
from dpc.training.optimisers.soap import SOAP
from dpc.training.recipe import Recipe, to_dict
from dpc.training.schedule import lambdas, learning_rate, schedule, steps_of
from dpc.training.validate import CROPS, validate

WAVELET_BATCHES = 60  # of 8 crops, from which the linear start is computed
LOGGED = ("loss", "bpp", "mse", "ms_ssim", "lpips", "chroma", "grid", "z", "norm")  # means over the steps of a row
EVER = 10**12  # steps: a training ends by its schedule, not by its data
HOPELESS = 100  # steps in a row without finite gradients, after which a training gives up


@dataclass
class Run:
    """Where and how long to train.

    minutes: of this call, counted from `began` (time.monotonic()), the last checkpoint included. horizon, steps: of the
    whole training over all calls; the learning rate and the stages follow them (see schedule()). precision: fp32, bf16
    or auto, which keeps that of the checkpoint on a device of the same kind. loaders: processes that prepare batches;
    None: as many as pay.
    """

    out: Path
    data: Sequence[str | Path]
    minutes: float | None = None
    horizon: float | None = None
    steps: int | None = None
    save_every: float = 180.0
    validate_every: float = 300.0
    draw_every: float = 30.0
    log_every: int = 50
    device: str = "auto"
    devices: int = 1
    precision: str = "auto"
    lpips_weights: str | None = None
    loaders: int | None = None
    began: float = field(default_factory=time.monotonic)


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
    Raises DPCError, before any time is spent, for what cannot work; later only where the gradients stay not finite.
    """
    # what may be wrong is found first
    fabric = start(run.device, run.devices)
    if recipe.batch % run.devices:
        raise OptionError(f"--devices {run.devices} does not divide the batch of {recipe.batch} crops")
    if run.precision not in ("auto", "fp32", "bf16"):
        raise OptionError(f"--precision {run.precision} is unknown; use auto, fp32 or bf16")
    state = _resumed(resume, recipe, say) if resume else None
    if _holds_another(run.out / "last.pt", resume):
        raise OptionError(
            f"{run.out} holds a training already; --resume {run.out / 'last.pt'} goes on, or name another --out"
        )
    find(run.data)
    plan = schedule(recipe, run.minutes, run.horizon, run.steps, state)
    nets = sorted({n for s in recipe.stages if s.lpips for n in s.lpips_nets})
    distortion = Distortion(0, 0, 0, nets, run.lpips_weights)
    run.out.mkdir(parents=True, exist_ok=True)
    fabric.launch()
    rank, device = fabric.global_rank, fabric.device
    say = lasting(say) if rank == 0 else _quiet
    with fabric.rank_zero_first():  # the others find the decoded pictures in the cache
        photos = Photos(run.data, recipe.crop)
    if state and state["data_sha256"] != photos.sha256:
        say(
            "the photographs are not those of the checkpoint: other crops from here on, perhaps other held-out pictures"
        )

    # model, average, optimiser
    torch.manual_seed(recipe.seed)
    model = Model(recipe.network)
    if state:
        model.load_state_dict(state["model"])
    elif warm is not None:
        model.load_state_dict(warm)
    else:
        say("starting from the wavelet codec")
        first = np.random.default_rng(recipe.seed)
        sample = (torch.from_numpy(photos.batch(first, 8, recipe.crop)) for _ in range(WAVELET_BATCHES))
        # all terms of D together weigh about two and a half times the plain 255^2 MSE
        model.start_from_wavelet(sample, steps_of([2.5 * v for v in lambdas(recipe)]))
    model.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    average = copy.deepcopy(model).eval().requires_grad_(False)
    optimiser = _optimiser(model, recipe)
    step, crops, minutes_before = 0, 0, 0.0
    if state:
        average.load_state_dict(state["ema"])
        optimiser.load_state_dict(state["optimiser"])
        step, crops, minutes_before = state["step"], state["crops"], state["minutes"]
    first_step, crops_before = step, crops
    ema = average.state_dict()
    names = [k for k in ema if ema[k].is_floating_point()]
    now = model.state_dict()  # shares its memory with the model
    averages, currents = [ema[k] for k in names], [now[k] for k in names]
    parallel = fabric.setup_module(model)
    distortion.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    judges = _judges(distortion, nets, run.lpips_weights, device, say)
    held_out = torch.from_numpy(photos.validation_crops(recipe.crop, CROPS)).to(device)

    # schedule, data, logs
    # the first process decides: one that computes otherwise would hold up the others
    bf16 = fabric.broadcast(precision(run.precision, device, state) == "bf16")
    order = {n: i for i, n in enumerate(nets)}
    lam = torch.tensor(lambdas(recipe), device=device, dtype=torch.float32)
    middle = lam.log().mean().exp()
    last_level = recipe.network.levels - 1
    source = Batches(photos, recipe.seed, recipe.batch, recipe.crop, last_level, rank, fabric.world_size, recipe.drawn)
    batches = _stream(source, step, device, fabric.world_size, run.loaders)
    keeper = Keeper(run.out, found=resume is not None and resume.resolve() == (run.out / "last.pt").resolve())
    log = Log(run.out / "log.csv", state is not None, step) if rank == 0 else None
    validation = Log(run.out / "validation.csv", state is not None, step - 1) if rank == 0 else None
    count = sum(p.numel() for p in model.parameters())
    left_out = f" ({photos.left_out} smaller ones left out)" if photos.left_out else ""
    say(
        f"{count / 1e6:.2f} M parameters, {len(photos)} pictures{left_out}, {fabric.world_size} x {device.type}, "
        f"{'bf16' if bf16 else 'fp32'}, from step {step} {plan}"
    )

    def save() -> float:
        """Write the checkpoint; returns the seconds that it took."""
        begin = time.monotonic()
        minutes = minutes_before + (begin - run.began) / 60
        if rank == 0:
            about = {
                "step": step,
                "minutes": minutes,
                "crops": crops_before + (step - first_step) * recipe.batch,
                "data_sha256": photos.sha256,
                "schedule": plan.stored(),
                "precision": "bf16" if bf16 else "fp32",
                "device": device.type,
            }
            keeper.save(model, ema, optimiser, recipe, about)
        return time.monotonic() - begin

    def look() -> float:
        """Validate, log it and draw the curves; returns the seconds that it took."""
        begin = time.monotonic()
        if validation:
            rows = validate(average, held_out, judges)
            for row in rows:
                validation.write({"step": step, "minutes": minutes_before + (begin - run.began) / 60, **row})
            page(run.out)
            say(f"        step {step} held out: {_summary(read(validation.path)[-len(rows) :])}")
        return time.monotonic() - begin

    # the loop
    window, seen, skipped, hopeless = torch.zeros(len(LOGGED), device=device), 0, 0, 0
    saving = looking = stepping = 0.0  # seconds that each took last time
    saved, looked, logged, drawn = time.monotonic(), -math.inf, time.monotonic(), time.monotonic()
    model.train()
    with _Stop() as stop, torch.backends.cudnn.flags(enabled=True, benchmark=True, allow_tf32=False):
        while True:
            begin = time.monotonic()
            if begin - looked > run.validate_every:
                looking, looked = look(), begin
            if begin - saved > run.save_every:
                saving, saved = save(), begin
            # the first process decides, so that all stop at the same step
            minutes = (time.monotonic() - run.began) / 60
            closing = (2 * stepping + 1.5 * max(saving, 1.0) + 1.5 * looking) / 60
            over = run.minutes is not None and minutes + closing >= run.minutes
            minutes, over = fabric.broadcast((minutes, over or stop.asked))
            progress = plan.progress(step, minutes_before + minutes)
            if over or progress >= 1 or hopeless == HOPELESS:
                break
            stage = recipe.stage_at(progress)
            rate = learning_rate(recipe, progress)
            for group in optimiser.param_groups:
                group["lr"] = rate * group["factor"]

            torch.manual_seed(_seed(recipe.seed, step, rank))  # noise, shifts: functions of seed and step alone
            pixels, level = next(batches)
            x = pixels.to(device, non_blocking=True).permute(0, 3, 1, 2).float() / 255
            level = level.to(device, non_blocking=True)
            weight = torch.exp(model.interpolation(level) @ lam.log())
            distortion.a, distortion.b, distortion.c = stage.mse, stage.ms_ssim, stage.lpips
            distortion.chroma, distortion.grid = stage.chroma, stage.grid
            turn = order[stage.lpips_nets[step % len(stage.lpips_nets)]] if stage.lpips else 0
            with torch.autocast(device.type, torch.bfloat16, enabled=bf16):
                out = parallel(x, level)
                emphasis = (weight / middle) ** -stage.lpips_slope
                d, parts = distortion(x, out.x_hat, turn, emphasis=emphasis)
            bpp = (out.bits_y + out.bits_z) / (x.shape[2] * x.shape[3])
            balance = (weight / middle) ** -recipe.rate_balance
            loss = ((bpp + weight * d) * balance).mean()

            optimiser.zero_grad(set_to_none=True)
            fabric.backward(loss)
            norm = torch.nn.utils.clip_grad_norm_(model.parameters(), recipe.clip)
            step += 1
            if torch.isfinite(norm):
                optimiser.step()
                blend = min(recipe.ema, (1 + step) / (10 + step))
                torch._foreach_lerp_(averages, currents, 1 - blend)
                share = (out.bits_z / out.bits_y.clamp(min=1)).mean()
                means = [loss, bpp.mean(), *(v.mean() for v in parts.values()), share, norm]
                window += torch.stack([v.detach().float() for v in means])
                seen, hopeless = seen + 1, 0
            else:
                skipped, hopeless = skipped + 1, hopeless + 1
            stepping = time.monotonic() - begin

            if step % run.log_every == 0 and seen:
                values = (fabric.all_reduce(window) / seen).tolist()
                row = dict(zip(LOGGED, values, strict=True))
                speed = run.log_every * recipe.batch / (time.monotonic() - logged)
                if log:
                    log.write({"step": step, "minutes": minutes_before + minutes, "lr": rate, **row,
                               "skipped": skipped, "crops_per_s": speed})  # fmt: skip
                    if time.monotonic() - drawn > run.draw_every:
                        page(run.out)
                        drawn = time.monotonic()
                say(
                    f"{progress:6.1%} step {step} loss {row['loss']:.4f} bpp {row['bpp']:.3f} mse {row['mse']:.1f} "
                    f"ms-ssim {row['ms_ssim']:.4f} lpips {row['lpips']:.4f} grid {row['grid']:.4f} z {row['z']:.3f} "
                    f"norm {row['norm']:.2f} {speed:.1f} crops/s{f' skipped {skipped}' if skipped else ''}"
                )
                window, seen, logged = torch.zeros_like(window), 0, time.monotonic()
        if step > first_step or not (run.out / "last.pt").exists():
            save()
        if run.minutes is None or (looking and not stop.asked):
            look()
    if log and validation:
        log.close()
        validation.close()
        page(run.out)
    fabric.barrier()
    crops = crops_before + (step - first_step) * recipe.batch
    say(f"stopped at step {step}, {crops} crops; checkpoint {run.out / 'last.pt'}")
    if hopeless == HOPELESS:
        raise DPCError(
            f"the gradients of {HOPELESS} steps in a row were not finite: lower the recipe's learning_rate or weights, "
            f"or use --precision fp32; {run.out / 'last.pt'} holds what was learned before"
        )
    return run.out / "last.pt"


def _holds_another(last: Path, resume: Path | None) -> bool:
    """Whether a last.pt lies there that is not the one to go on from. A broken one may be replaced when resuming."""
    if not last.exists() or (resume and resume.resolve() == last.resolve()):
        return False
    try:
        return resume is None or bool(load_checkpoint(last))
    except CheckpointError:
        return False


def _resumed(path: Path, recipe: Recipe, say: Callable[[str], None]) -> dict[str, Any]:
    """The checkpoint to go on from; says where its recipe differs."""
    state = load_checkpoint(path)
    if "optimiser" not in state:
        raise CheckpointError(f"{path} holds weights alone; start from it with --from, or resume from last.pt")
    before, now = to_dict(recipe_of(state)), to_dict(recipe)
    if before["network"] != now["network"]:
        raise CheckpointError(
            f"{path} was trained with another [network] than recipe {recipe.name}; use its own recipe"
        )
    if before["optimiser"] != now["optimiser"]:
        raise CheckpointError(
            f"{path} was trained with {before['optimiser']}, recipe {recipe.name} wants {now['optimiser']}; use its "
            f"own recipe, or --from {path} to start anew from its weights"
        )
    if changed := [k for k in now if now[k] != before.get(k)]:
        say(f"the recipe differs from the one in {path} in {', '.join(changed)}; going on with the new values")
    return state


def _optimiser(model: Model, recipe: Recipe) -> torch.optim.Optimizer:
    tables = {"log_gain", "offset", "z_index"}
    # constants of wavelet bands: the noise of full steps here is a fixed pattern in every picture
    steady = {"g_s.mean", "g_s.leave4.bias", "g_s.leave2.bias"}
    groups: dict[str, list[Tensor]] = {"matrix": [], "vector": [], "table": [], "steady": []}
    for name, p in model.named_parameters():
        if p.requires_grad:
            kind = "table" if name in tables else "steady" if name in steady else "matrix" if p.ndim > 1 else "vector"
            groups[kind].append(p)
    factors = {"table": 4.0, "steady": 0.1}
    sets = [{"params": v, "factor": factors.get(k, 1.0)} for k, v in groups.items()]
    if recipe.optimiser == "soap":
        for kind, group in zip(groups, sets, strict=True):
            group["plain"] = kind != "matrix"
        return SOAP(sets, lr=recipe.learning_rate)
    return torch.optim.Adam(sets, lr=recipe.learning_rate, betas=(0.9, 0.98), eps=1e-9)


def _judges(
    distortion: Distortion, nets: Sequence[str], weights: str | None, device: torch.device, say: Callable[[str], None]
) -> dict[str, LPIPS]:
    """The LPIPS networks of the validation: those of the loss, and others whose weights are at hand."""
    judges: dict[str, LPIPS] = {n: m for n, m in zip(nets, distortion.nets, strict=True) if isinstance(m, LPIPS)}
    for name in ("alex", "squeeze"):
        if name not in judges:
            try:
                judges[name] = LPIPS(name, weights, download=False).to(device)
            except ToolMissing as error:
                say(f"the validation goes without lpips_{name}: {error}")
    return dict(sorted(judges.items()))


def _stream(
    source: Batches, step: int, device: torch.device, world: int, loaders: int | None
) -> Iterator[tuple[Tensor, Tensor]]:
    """The batches from a step on. On a GPU other processes prepare them; beside a CPU's networks that gains nothing."""
    if loaders is None:
        loaders = min(12, max(1, (os.cpu_count() or 2) // world - 2)) if device.type == "cuda" else 0
    return iter(
        DataLoader(
            source,  # type: ignore[arg-type]
            batch_size=None,
            sampler=range(step, EVER),
            num_workers=loaders,
            prefetch_factor=4 if loaders else None,
            pin_memory=device.type == "cuda",
        )
    )


def _seed(seed: int, step: int, rank: int) -> int:
    return int(np.random.SeedSequence([seed, step, rank]).generate_state(1, np.uint64)[0] >> np.uint64(1))


def _summary(rows: Sequence[dict[str, str]]) -> str:
    """Validation at RATES in one line."""
    parts = []
    for rate in RATES:
        found = {m: at_rate(rows, rate, m) for m in ("psnr", "ms_ssim", "lpips_alex", "lpips_squeeze")}
        text = [f"{m} {v:.2f}" if m == "psnr" else f"{m} {v:.4f}" for m, v in found.items() if v is not None]
        parts += [f"{rate:g} bpp {' '.join(text)}"] if text else []
    return "; ".join(parts) or "its rates lie outside 0.15 to 0.5 bpp"


def _quiet(_: str) -> None:
    return None


class _Stop:
    """While it is entered, SIGINT and SIGTERM set `asked` instead of ending the process (in the main thread)."""

    def __init__(self) -> None:
        self.asked = False
        self._before: dict[signal.Signals, Any] = {}

    def __enter__(self) -> _Stop:
        with contextlib.suppress(ValueError):  # not the main thread
            for s in (signal.SIGINT, signal.SIGTERM):
                self._before[s] = signal.signal(s, self._ask)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        for s, handler in self._before.items():
            signal.signal(s, handler)

    def _ask(self, *_: Any) -> None:
        self.asked = True
