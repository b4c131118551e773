"""The training: a Trainer prepares everything, then goes step by step. A killed run goes on from its checkpoint."""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from dpc.errors import DPCError, OptionError
from dpc.networks.model import Model
from dpc.training.checkpoint import WARMING, Keeper, check_finite, holds_another, resumed
from dpc.training.data.photos import Batches, Photos, find
from dpc.training.data.stream import step_seed, stream
from dpc.training.devices import precision, start
from dpc.training.interrupt import Interrupt
from dpc.training.log import RATES, Log, at_rate, lasting, page, read
from dpc.training.losses.distortion import PARTS, Distortion
from dpc.training.optimisers.groups import optimiser_of
from dpc.training.recipe import Recipe, Stage
from dpc.training.schedule import lambdas, learning_rate, schedule, steps_of
from dpc.training.teacher import Teacher
from dpc.training.validate import CROPS, HeldOut, validate, validators
from dpc.training.weights import checkpoint_of

WAVELET_BATCHES = 60  # of 8 crops, from which the linear start is computed
LOGGED = ("loss", "bpp", *PARTS, "z", "teacher", "norm")  # means over the steps of a row
HOPELESS = 100  # steps in a row without finite gradients, after which a training gives up

Say = Callable[[str], None]


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
    say: Say = print,
) -> Path:
    """Train and return the path of the last checkpoint (run.out/last.pt).

    warm: state of a Model to start from (a released artifact or a checkpoint's weights); resume: a checkpoint to go on
    from exactly, or the weights beside one (then the optimiser is warmed anew). Stops after run.minutes, at the end of
    the schedule, or on SIGINT/SIGTERM, always with a checkpoint. Raises DPCError, before any time is spent, for what
    cannot work; later only where the gradients stay not finite.
    """
    return Trainer(recipe, run, resume, warm, say).train()


class Trainer:
    """A training, prepared: train() runs it. Raises DPCError for what cannot work, before any time is spent."""

    def __init__(self, recipe: Recipe, run: Run, resume: Path | None, warm: dict[str, Tensor] | None, say: Say) -> None:
        self.recipe, self.run = recipe, run
        self.fabric = start(run.device, run.devices, resting=any(s.frozen for s in recipe.stages))
        state = self._checked(resume, say)
        find(run.data)
        self.plan = schedule(recipe, run.minutes, run.horizon, run.steps, state)
        self.nets = sorted({n for s in recipe.stages if s.lpips for n in s.lpips_nets})
        self.distortion = Distortion(self.nets, run.lpips_weights)
        run.out.mkdir(parents=True, exist_ok=True)
        self.fabric.launch()
        self.device = self.fabric.device
        self.say = lasting(say) if self.fabric.global_rank == 0 else _quiet
        with self.fabric.rank_zero_first():  # the others find the decoded pictures in the cache
            self.photos = Photos(run.data, recipe.crop)
        if state and state["data_sha256"] != self.photos.sha256:
            self.say("the photographs are not those of the checkpoint: other crops, perhaps other held-out pictures")
        self._prepare_model(state, warm)
        self._prepare_data()
        self._prepare_logs(resume, state)

    def _checked(self, resume: Path | None, say: Say) -> dict[str, Any] | None:
        """The checkpoint to go on from; options that cannot work are refused."""
        run = self.run
        if self.recipe.batch % run.devices:
            raise OptionError(f"--devices {run.devices} does not divide the batch of {self.recipe.batch} crops")
        if run.precision not in ("auto", "fp32", "bf16"):
            raise OptionError(f"--precision {run.precision} is unknown; use auto, fp32 or bf16")
        state = resumed(checkpoint_of(resume), resume, self.recipe, say) if resume else None
        if holds_another(run.out / "last.pt", resume):
            raise OptionError(
                f"{run.out} holds a training already; --resume {run.out / 'last.pt'} goes on, or name another --out"
            )
        return state

    def _prepare_model(self, state: dict[str, Any] | None, warm: dict[str, Tensor] | None) -> None:
        """Model, average, optimiser, and where they stand."""
        recipe = self.recipe
        torch.manual_seed(recipe.seed)
        self.model = Model(recipe.network)
        if state:
            self.model.load_state_dict(state.get("model", state["ema"]))
        elif warm is not None:
            self.model.load_state_dict(warm)
        else:
            self.say("starting from the wavelet codec")
            first = np.random.default_rng(recipe.seed)
            sample = (torch.from_numpy(self.photos.batch(first, 8, recipe.crop)) for _ in range(WAVELET_BATCHES))
            # all terms of D together weigh about two and a half times the plain 255^2 MSE
            self.model.start_from_wavelet(sample, steps_of([2.5 * v for v in lambdas(recipe)]))
        self.model.to(self.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.average = copy.deepcopy(self.model).eval().requires_grad_(False)
        self.optimiser = optimiser_of(self.model, recipe)
        self.teacher: Teacher | None = None
        self.step, self.crops_before, self.minutes_before, self.warming = 0, 0, 0.0, 1
        if state:
            self.average.load_state_dict(state["ema"])
            self.step, self.crops_before, self.minutes_before = state["step"], state["crops"], state["minutes"]
            if "optimiser" in state:
                self.optimiser.load_state_dict(state["optimiser"])
            else:
                self.warming = WARMING
        self.first_step = self.step
        self.ema, now = self.average.state_dict(), self.model.state_dict()  # now shares its memory with the model
        names = [k for k in self.ema if self.ema[k].is_floating_point()]
        self.averages, self.currents = [self.ema[k] for k in names], [now[k] for k in names]
        self.parallel = self.fabric.setup_module(self.model)
        self.distortion.to(self.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        # the first process decides: one that computes otherwise would hold up the others
        self.bf16: bool = self.fabric.broadcast(precision(self.run.precision, self.device, state) == "bf16")

    def _prepare_data(self) -> None:
        """Batches, held-out crops, lambda at every level."""
        recipe, fabric = self.recipe, self.fabric
        self.lam = torch.tensor(lambdas(recipe), device=self.device, dtype=torch.float32)
        self.middle = self.lam.log().mean().exp()
        source = Batches(
            self.photos,
            recipe.seed,
            recipe.batch,
            recipe.crop,
            recipe.network.levels - 1,
            fabric.global_rank,
            fabric.world_size,
            recipe.synthetic,
            recipe.varied,
        )
        self.batches = stream(source, self.step, self.device, fabric.world_size, self.run.loaders)
        self.held_out = HeldOut(self.photos.middles(self.photos.validation[:CROPS], recipe.crop), self.device)
        self.validators = validators(self.distortion, self.nets, self.run.lpips_weights, self.device, self.say)

    def _prepare_logs(self, resume: Path | None, state: dict[str, Any] | None) -> None:
        out, first = self.run.out, self.fabric.global_rank == 0
        self.keeper = Keeper(out, found=resume is not None and resume.resolve() == (out / "last.pt").resolve())
        self.log = Log(out / "log.csv", state is not None, self.step) if first else None
        self.validation = Log(out / "validation.csv", state is not None, self.step - 1) if first else None
        self.window, self.seen, self.skipped, self.hopeless = torch.zeros(len(LOGGED), device=self.device), 0, 0, 0
        self.logged, self.drawn = time.monotonic(), time.monotonic()
        count = sum(p.numel() for p in self.model.parameters())
        left_out = f" ({self.photos.left_out} smaller ones left out)" if self.photos.left_out else ""
        self.say(
            f"{count / 1e6:.2f} M parameters, {len(self.photos)} pictures{left_out}, {self.fabric.world_size} x "
            f"{self.device.type}, {'bf16' if self.bf16 else 'fp32'}, from step {self.step} {self.plan}"
        )

    @property
    def minutes(self) -> float:
        """Minutes of this call so far."""
        return (time.monotonic() - self.run.began) / 60

    @property
    def crops(self) -> int:
        """Crops of the whole training so far."""
        return self.crops_before + (self.step - self.first_step) * self.recipe.batch

    def train(self) -> Path:
        """Run to the end of the schedule or of the call; returns the path of the last checkpoint."""
        saving = looking = stepping = 0.0  # seconds that each took last time
        saved, looked = time.monotonic(), -math.inf
        self.model.train()
        with Interrupt() as stop, torch.backends.cudnn.flags(enabled=True, benchmark=True, allow_tf32=False):
            while True:
                begin = time.monotonic()
                if begin - looked > self.run.validate_every:
                    looking, looked = self.validate(), begin
                if begin - saved > self.run.save_every:
                    saving, saved = self.save(), begin
                # the first process decides, so that all stop at the same step
                closing = (2 * stepping + 1.5 * max(saving, 1.0) + 1.5 * looking) / 60
                over = self.run.minutes is not None and self.minutes + closing >= self.run.minutes
                minutes, over = self.fabric.broadcast((self.minutes, over or stop.asked))
                progress = self.plan.progress(self.crops / self.recipe.batch, self.minutes_before + minutes)
                if over or progress >= 1 or self.hopeless == HOPELESS:
                    break
                begin = time.monotonic()
                rate = self.one_step(progress)
                stepping = time.monotonic() - begin
                if self.step % self.run.log_every == 0 and self.seen:
                    self.report(progress, rate)
            if self.step > self.first_step or not (self.run.out / "last.pt").exists():
                self.save()
            if self.run.minutes is None or (looking and not stop.asked):
                self.validate()
        return self.close()

    def one_step(self, progress: float) -> float:
        """One step of the optimiser; returns the learning rate."""
        recipe = self.recipe
        stage = recipe.stage_at(progress)
        rate = learning_rate(recipe, progress) * min(1.0, (self.step - self.first_step + 1) / self.warming)
        for group in self.optimiser.param_groups:
            group["lr"] = rate * group["factor"]
        # noise, shifts: functions of seed and step alone
        torch.manual_seed(step_seed(recipe.seed, self.step, self.fabric.global_rank))
        loss, means = self.loss(stage)
        self.optimiser.zero_grad(set_to_none=True)
        self.fabric.backward(loss)
        norm = torch.nn.utils.clip_grad_norm_(self.model.parameters(), recipe.clip)
        self.step += 1
        if torch.isfinite(norm):
            self.optimiser.step()
            blend = min(recipe.ema, (1 + self.step) / (10 + self.step))
            torch._foreach_lerp_(self.averages, self.currents, 1 - blend)
            self.window += torch.stack([v.detach().float() for v in (*means, norm)])
            self.seen, self.hopeless = self.seen + 1, 0
        else:
            self.skipped, self.hopeless = self.skipped + 1, self.hopeless + 1
        return rate

    def loss(self, stage: Stage) -> tuple[Tensor, list[Tensor]]:
        """The loss of the next batch: rate + lambda D, and what is logged of it, in the order of LOGGED."""
        pixels, cells, synthetic = (v.to(self.device, non_blocking=True) for v in next(self.batches))
        x = pixels.permute(0, 3, 1, 2).float() / 255
        level = cells.mean((1, 2))[:, None, None, None]
        weight = torch.exp(self.model.interpolation(level)[:, :, 0, 0] @ self.lam.log())
        turn = self.nets.index(stage.lpips_nets[self.step % len(stage.lpips_nets)]) if stage.lpips else 0
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.bf16):
            out = self.parallel(x, cells, frozen=stage.frozen, taught=stage.taught)
            wanted = x
            if stage.teacher or stage.taught:
                self.teacher = self.teacher or Teacher(self.recipe.teacher)
            if stage.taught and self.teacher:
                wanted = self.teacher.target(out, x)
            emphasis = (weight / self.middle) ** -stage.lpips_slope
            d, parts = self.distortion(wanted, out.x_hat, stage, turn, emphasis=emphasis, synthetic=synthetic)
            taught = torch.zeros_like(d)
            if stage.teacher and self.teacher:
                taught = self.teacher.error(out)
                d = d + stage.teacher * taught
        bpp = (out.bits_y + out.bits_z) / (x.shape[2] * x.shape[3])
        balance = (weight / self.middle) ** -self.recipe.rate_balance
        loss = ((bpp + weight * d) * balance).mean()
        share = (out.bits_z / out.bits_y.clamp(min=1)).mean()
        return loss, [loss, bpp.mean(), *(parts[k].mean() for k in PARTS), share, taught.mean()]

    def save(self) -> float:
        """Write the checkpoint; returns the seconds that it took."""
        begin = time.monotonic()
        check_finite(self.averages, self.run.out)
        if self.fabric.global_rank == 0:
            about = {
                "step": self.step,
                "minutes": self.minutes_before + self.minutes,
                "crops": self.crops,
                "data_sha256": self.photos.sha256,
                "schedule": self.plan.stored(),
                "precision": "bf16" if self.bf16 else "fp32",
                "device": self.device.type,
            }
            self.keeper.save(self.model, self.ema, self.optimiser, self.recipe, about)
        return time.monotonic() - begin

    def validate(self) -> float:
        """Validate, log it and draw the curves; returns the seconds that it took."""
        begin = time.monotonic()
        check_finite(self.averages, self.run.out)
        if self.validation:
            rows = validate(self.average, self.held_out, self.validators)
            for row in rows:
                self.validation.write({"step": self.step, "minutes": self.minutes_before + self.minutes, **row})
            page(self.run.out)
            self.say(f"        step {self.step} held out: {_summary(read(self.validation.path)[-len(rows) :])}")
        return time.monotonic() - begin

    def report(self, progress: float, rate: float) -> None:
        """A row of the log and a line for people."""
        means = dict(zip(LOGGED, (self.fabric.all_reduce(self.window) / self.seen).tolist(), strict=True))
        speed = self.run.log_every * self.recipe.batch / (time.monotonic() - self.logged)
        if self.log:
            row = {"step": self.step, "minutes": self.minutes_before + self.minutes, "lr": rate, **means}
            self.log.write(row | {"skipped": self.skipped, "crops_per_s": speed})
            if time.monotonic() - self.drawn > self.run.draw_every:
                page(self.run.out)
                self.drawn = time.monotonic()
        skipped = f" skipped {self.skipped}" if self.skipped else ""
        self.say(
            f"{progress:6.1%} step {self.step} loss {means['loss']:.4f} bpp {means['bpp']:.3f} mse {means['mse']:.1f} "
            f"ms-ssim {means['ms_ssim']:.4f} lpips {means['lpips']:.4f} grid {means['grid']:.4f} "
            f"plain {means['plain']:.2f} z {means['z']:.3f} norm {means['norm']:.2f} {speed:.1f} crops/s{skipped}"
        )
        self.window, self.seen, self.logged = torch.zeros_like(self.window), 0, time.monotonic()

    def close(self) -> Path:
        """Close the logs; DPCError where the gradients were not finite for long."""
        logs = [self.log, self.validation] if self.log and self.validation else []
        given_up = self.hopeless if self.hopeless == HOPELESS else 0
        return closed(
            self.run.out, logs, f"step {self.step}, {self.crops} crops", given_up, self.say, self.fabric.barrier
        )


def closed(
    out: Path, logs: Sequence[Log], where: str, given_up: int, say: Say, all_here: Callable[[], None] | None = None
) -> Path:
    """The end of a call: closes the logs and draws their curves, says where it stopped; returns the last checkpoint.

    given_up: steps in a row without finite gradients, for which a training ended: a DPCError. all_here: waits for other
    processes.
    """
    last = out / "last.pt"
    for log in logs:
        log.close()
    if logs:
        page(out)
    if all_here:
        all_here()
    say(f"stopped at {where}; checkpoint {last}")
    if given_up:
        raise DPCError(
            f"the gradients of {given_up} steps in a row were not finite: lower the recipe's learning_rate or weights, "
            f"or use --precision fp32; {last} holds what was learned before"
        )
    return last


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
