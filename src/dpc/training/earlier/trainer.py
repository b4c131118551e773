"""The training of an earlier codec at one rate. A killed run goes on from its checkpoint, bit for bit on one CPU.

last.pt       all that a training needs to go on; previous.pt: the one before
weights.pt    the averaged weights in half precision, which dpc.networks.earlier.checkpoint reads
"""

from __future__ import annotations

import copy
import json
import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from dpc.errors import DPCError, OptionError
from dpc.networks.earlier import checkpoint as weights_file
from dpc.networks.earlier.protocol import EarlierCodec, make
from dpc.training.checkpoint import WARMING, CheckpointError, Keeper, check_finite, holds_another, load_checkpoint
from dpc.training.data.photos import Batches, Photos
from dpc.training.data.stream import step_seed, stream
from dpc.training.devices import precision, start
from dpc.training.earlier.rate import bits_per_pixel, entropy, objective
from dpc.training.earlier.recipe import Recipe
from dpc.training.interrupt import Interrupt
from dpc.training.log import Log, lasting, page
from dpc.training.losses.distortion import Distortion
from dpc.training.losses.ms_ssim import ms_ssim
from dpc.training.schedule import learning_rate
from dpc.training.trainer import HOPELESS, Run, closed
from dpc.training.validate import CROPS, validators

LOGGED = ("loss", "bpp", "entropy", "mse", "ms_ssim", "lpips", "norm")  # means over the steps of a row


SHARE = 20  # a validation waits for so many times what the last one took: a busy machine is there to train


class Trainer:
    """A training, prepared: train() runs it. Raises DPCError for what cannot work, before any time is spent.

    resume: a last.pt to go on from, or a weights.pt: then the optimiser is warmed anew. begin: weights of the same
    codec to start from (a weights.pt of another rate).
    """

    def __init__(self, recipe: Recipe, run: Run, resume: Path | None, begin: Path | None, say: Callable[[str], None]):
        if run.devices != 1:
            raise OptionError(f"--devices {run.devices}: the codecs with a [codec] table are trained on one device")
        if run.precision not in ("auto", "fp32", "bf16"):
            raise OptionError(f"--precision {run.precision} is unknown; use auto, fp32 or bf16")
        self.recipe, self.run, self.say = recipe, run, lasting(say)
        self.device = start(run.device, 1).device
        state = _resumed(resume, recipe, self.say) if resume else None
        if holds_another(run.out / "last.pt", resume):
            raise OptionError(
                f"{run.out} holds a training already; --resume {run.out / 'last.pt'} goes on, or name another --out"
            )
        self.in_all = run.steps * recipe.batch if run.steps else state["in_all"] if state else recipe.crops
        if state and state["crops"] >= self.in_all:
            raise OptionError(
                f"this training goes over {self.in_all} crops and is over; a larger --steps gives it more"
            )
        if recipe.begins_with and not (state or begin):
            self.say(f"{recipe.name} is meant to begin with the weights of {recipe.begins_with}: --from its run")
        torch.manual_seed(recipe.seed)
        self.codec, self.before = codec_of(recipe, begin)
        if state:
            self.before = json.loads(state.get("before", "[]"))
        self.distortion = Distortion(
            recipe.loss.lpips_nets if recipe.loss.lpips else (),
            run.lpips_weights,
            jitter=recipe.loss.lpips_shift,
            scales=recipe.loss.ms_ssim_scales,
            fitted=recipe.loss.ms_ssim_fitted,
        )
        self.photos = Photos(run.data, recipe.crop)
        if state and state["data_sha256"] != self.photos.sha256:
            self.say("the photographs are not those of the checkpoint: other crops, perhaps other held-out pictures")
        self._prepare_model(state)
        self._prepare_data(state)
        self._prepare_logs(resume, state)

    def _prepare_model(self, state: dict[str, Any] | None) -> None:
        """Codec, average, optimiser, and where they stand."""
        self.step, self.crops, self.minutes_before, self.warming = 0, 0, 0.0, 1
        _flat_channels_last(self.codec.to(self.device))
        self.average = copy.deepcopy(self.codec).eval().requires_grad_(False)
        self.optimiser = torch.optim.Adam(self.codec.parameters(), lr=self.recipe.learning_rate, fused=True)
        if state:
            self.codec.load_state_dict(state["model"])
            self.average.load_state_dict(state["ema"])
            if "optimiser" in state:
                self.optimiser.load_state_dict(state["optimiser"])
            else:
                self.warming = WARMING
            self.step, self.crops, self.minutes_before = state["step"], state["crops"], state["minutes"]
        self.first_step = self.step
        now, ema = self.codec.state_dict(), self.average.state_dict()  # they share the memory of the modules
        names = [k for k, v in now.items() if v.is_floating_point()]
        self.currents, self.averages = [now[k] for k in names], [ema[k] for k in names]
        self.counters = [(now[k], ema[k]) for k, v in now.items() if not v.is_floating_point()]
        self.distortion.to(self.device)
        self.bf16 = precision(self.run.precision, self.device, state) == "bf16"

    def _prepare_data(self, state: dict[str, Any] | None) -> None:
        """Batches, held-out crops and the networks that look at them."""
        recipe = self.recipe
        source = Batches(self.photos, recipe.seed, recipe.batch, recipe.crop, 1, 0, 1)
        self.batches = stream(source, self.step, self.device, 1, self.run.loaders)
        middles = self.photos.middles(self.photos.validation[:CROPS], recipe.crop)
        self.held_out = _pictures(torch.from_numpy(middles), self.device)
        nets = recipe.loss.lpips_nets if recipe.loss.lpips else ()
        self.validators = validators(self.distortion, nets, self.run.lpips_weights, self.device, self.say)

    def _prepare_logs(self, resume: Path | None, state: dict[str, Any] | None) -> None:
        out = self.run.out
        out.mkdir(parents=True, exist_ok=True)
        self.keeper = Keeper(out, found=resume is not None and resume.resolve() == (out / "last.pt").resolve())
        self.log = Log(out / "log.csv", state is not None, self.step)
        self.validation = Log(out / "validation.csv", state is not None, self.step - 1)
        self.window, self.seen, self.skipped, self.hopeless = torch.zeros(len(LOGGED), device=self.device), 0, 0, 0
        self.logged = self.drawn = time.monotonic()
        self.row: dict[str, float] = {}
        count = sum(p.numel() for p in self.codec.parameters())
        self.say(
            f"{self.recipe.codec.kind}, {count / 1e6:.2f} M parameters, {len(self.photos)} pictures, "
            f"{self.device.type}, {'bf16' if self.bf16 else 'fp32'}, from crop {self.crops} to {self.in_all}"
        )

    @property
    def minutes(self) -> float:
        """Minutes of all calls so far."""
        return self.minutes_before + (time.monotonic() - self.run.began) / 60

    def train(self) -> Path:
        """Run to the end of the schedule or of the call; returns the path of the last checkpoint."""
        saved, looked, last_step = time.monotonic(), -math.inf, self.step
        until = math.inf if self.run.minutes is None else self.run.began + 60 * self.run.minutes
        looking = 0.0  # seconds of the last validation
        self.codec.train()
        with Interrupt() as stop, torch.backends.cudnn.flags(enabled=True, benchmark=True, allow_tf32=False):
            while self.crops < self.in_all and not stop.asked and self.hopeless < HOPELESS:
                now = time.monotonic()
                if now + 1.5 * looking + 2 > until:
                    break
                if now - looked > max(self.run.validate_every, SHARE * looking):
                    self.validate()
                    looked, looking = now, time.monotonic() - now
                if now - saved > self.run.save_every:
                    self.save()
                    saved, last_step = now, self.step
                rate = self.one_step(self.crops / self.in_all)
                if self.step % self.run.log_every == 0 and self.seen:
                    self.report(rate)
            if not stop.asked:
                self.validate()
            if self.step > last_step or not (self.run.out / "last.pt").exists():
                self.save()
        return self.close()

    def one_step(self, progress: float) -> float:
        """One step of the optimiser; returns the learning rate."""
        rate = learning_rate(self.recipe, progress) * min(1.0, (self.step - self.first_step + 1) / self.warming)
        for group in self.optimiser.param_groups:
            group["lr"] = rate
        torch.manual_seed(step_seed(self.recipe.seed, self.step, 0))  # noise and shifts follow from seed and step
        loss, means = self.loss()
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()
        norm = nn.utils.clip_grad_norm_(self.codec.parameters(), self.recipe.clip)
        self.step, self.crops = self.step + 1, self.crops + self.recipe.batch
        if torch.isfinite(norm):
            self.optimiser.step()
            blend = min(self.recipe.ema, (1 + self.step) / (10 + self.step))
            torch._foreach_lerp_(self.averages, self.currents, 1 - blend)
            for current, average in self.counters:
                average.copy_(current)
            self.window += torch.stack([v.detach().float() for v in (*means, norm)])
            self.seen, self.hopeless = self.seen + 1, 0
        else:
            self.skipped, self.hopeless = self.skipped + 1, self.hopeless + 1
        return rate

    def loss(self) -> tuple[Tensor, list[Tensor]]:
        """The loss of the next batch, and what is logged of it, in the order of LOGGED."""
        x = _pictures(next(self.batches)[0], self.device)
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.bf16):
            out = self.codec(x)
            d, parts = self.distortion(x, out.x_hat, self.recipe.loss.terms, self.step)
        loss = objective(out, d, self.recipe.rate)
        bpp = bits_per_pixel(out).mean()
        return loss, [loss, bpp, entropy(out), *(parts[k].mean() for k in ("mse", "ms_ssim", "lpips"))]

    @torch.no_grad()
    def validate(self) -> dict[str, float]:
        """A row of held-out crops coded by the averaged weights, rounded to 8 bits; estimated rate, float32."""
        check_finite(self.averages, self.run.out)
        self.average.update()  # finds the medians around which values are rounded
        rows = []
        for x in self.held_out.split(4):
            out = self.average(x)
            decoded = out.x_hat.float().clamp(0, 1).mul(255).round() / 255
            mse = (decoded - x).square().mean((1, 2, 3)).clamp(min=1e-10)
            values = {"bpp": bits_per_pixel(out), "psnr": -10 * mse.log10()}
            if min(x.shape[2:]) >= 161:
                values["ms_ssim"] = ms_ssim(x, decoded)
            rows.append(values | {f"lpips_{name}": net(x, decoded) for name, net in self.validators.items()})
        self.row = {name: torch.cat([row[name] for row in rows]).mean().item() for name in rows[0]}
        self.validation.write({"step": self.step, "minutes": self.minutes, "crops": self.crops, **self.row})
        self.say(f"        step {self.step} held out: " + " ".join(f"{k} {v:.4f}" for k, v in self.row.items()))
        return self.row

    def save(self) -> None:
        """Write last.pt and weights.pt."""
        check_finite(self.averages, self.run.out)
        about = {
            "recipe": json.dumps(self.recipe.plain()),
            "before": json.dumps(self.before),
            "crops": self.crops,
            "in_all": self.in_all,
            "minutes": self.minutes,
            "data_sha256": self.photos.sha256,
        }
        here = {"step": self.step, "precision": "bf16" if self.bf16 else "fp32", "device": self.device.type}
        tensors = {
            "model": self.codec.state_dict(),
            "ema": self.average.state_dict(),
            "optimiser": self.optimiser.state_dict(),
        }
        self.keeper.save_last(about | here | tensors)
        told = about | {"recipe": self.recipe.plain(), "before": self.before, "held_out": self.row}
        weights_file.save(self.run.out / "weights.pt", self.average, told)

    def report(self, rate: float) -> None:
        """A row of the log and a line for people."""
        means = dict(zip(LOGGED, (self.window / self.seen).tolist(), strict=True))
        speed = self.recipe.batch * self.seen / max(time.monotonic() - self.logged, 1e-9)
        row = {"step": self.step, "minutes": self.minutes, "crops": self.crops, **means, "lr": rate}
        self.log.write(row | {"skipped": self.skipped, "crops_per_s": speed})
        if time.monotonic() - self.drawn > self.run.draw_every:
            page(self.run.out)
            self.drawn = time.monotonic()
        skipped = f" skipped {self.skipped}" if self.skipped else ""
        said = " ".join(f"{name.replace('_', '-')} {means[name]:.4g}" for name in LOGGED)
        self.say(f"{self.crops / self.in_all:6.1%} step {self.step} {said} {speed:.1f} crops/s{skipped}")
        self.window, self.seen, self.logged = torch.zeros_like(self.window), 0, time.monotonic()

    def close(self) -> Path:
        """Close the logs; DPCError where the gradients were not finite for long."""
        where = f"step {self.step}, {self.crops} crops of {self.in_all}"
        given_up = self.hopeless if self.hopeless == HOPELESS else 0
        return closed(self.run.out, [self.log, self.validation], where, given_up, self.say)


def codec_of(recipe: Recipe, begin: Path | None) -> tuple[EarlierCodec, list[dict[str, Any]]]:
    """(codec, before): with random weights or those of a file. OptionError where they do not fit the recipe.

    before: recipes those weights were trained by, the last first: the codec has seen the metrics of their losses too.
    """
    before: list[dict[str, Any]] = []
    codec = make(recipe.codec.kind, **recipe.codec.sizes)
    if recipe.crop % codec.stride:
        raise OptionError(f"crop = {recipe.crop}: {codec.kind} needs a multiple of {codec.stride}")
    if begin:
        path = begin / "weights.pt" if begin.is_dir() else begin
        found, about = weights_file.load(path)
        if (found.kind, found.sizes) != (codec.kind, codec.sizes):
            raise OptionError(f"{path} holds {found.kind} {found.sizes}, the recipe wants {codec.kind} {codec.sizes}")
        codec.load_state_dict(found.state_dict())
        before = [about.get("recipe") or {}, *about.get("before", [])]
    return codec, before


def _resumed(path: Path, recipe: Recipe, say: Callable[[str], None]) -> dict[str, Any]:
    """The checkpoint to go on from; says where its recipe differs. CheckpointError where it does not fit."""
    try:
        state = load_checkpoint(path)
    except CheckpointError as error:
        try:
            found = weights_file.load(path)
        except DPCError:
            raise error from None
        state = _of_weights(path, *found)
        say(f"{path} holds the averaged weights alone: the optimiser is warmed anew over {WARMING} steps")
    before, now = json.loads(state["recipe"]), recipe.plain()
    if "in_all" not in state or before.get("codec") != now["codec"]:
        raise CheckpointError(f"{path} was trained with another codec than that of recipe {recipe.name}; use its own")
    if changed := [k for k in now if now[k] != before.get(k)]:
        say(f"the recipe differs from the one in {path} in {', '.join(changed)}; going on with the new values")
    return state


def _of_weights(path: Path, codec: EarlierCodec, about: dict[str, Any]) -> dict[str, Any]:
    """What a weights.pt says of a training that stopped, as a checkpoint without the optimiser's state."""
    recipe = about.get("recipe") or {}
    where = {k: about[k] for k in ("crops", "in_all", "minutes", "data_sha256") if k in about}
    if len(where) < 4 or "batch" not in recipe:
        raise CheckpointError(f"{path} does not say how far its training went; --from {path} begins a new one")
    average = codec.state_dict()
    texts = {"recipe": json.dumps(recipe), "before": json.dumps(about.get("before", []))}
    return where | texts | {"step": where["crops"] // recipe["batch"], "model": average, "ema": average}


def _flat_channels_last(codec: nn.Module) -> None:
    """Kernels of two dimensions in the layout that is fast on CPUs; those of three have no such layout."""
    for p in codec.parameters():
        if p.ndim == 4:
            p.data = p.data.contiguous(memory_format=torch.channels_last)


def _pictures(pixels: Tensor, device: torch.device) -> Tensor:
    """(N, H, W, 3) uint8 -> (N, 3, H, W) float32 in [0, 1], in the memory order of the pixels."""
    return pixels.to(device, non_blocking=True).permute(0, 3, 1, 2).float() / 255
