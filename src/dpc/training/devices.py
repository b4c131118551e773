"""One process on one device with torch alone, or several with Lightning Fabric: the loop is the same for both."""

from __future__ import annotations

import contextlib
import importlib.util
import time
from collections.abc import Iterator, Mapping
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from dpc.errors import OptionError, ToolMissing

T = TypeVar("T")


class Alone:
    """A single process, with the few methods of lightning_fabric.Fabric that the loop uses."""

    global_rank = 0
    world_size = 1

    def __init__(self, device: torch.device) -> None:
        self.device = device

    def launch(self) -> None:
        """Nothing to start."""

    def setup_module(self, module: nn.Module) -> nn.Module:
        """The module itself, on the device."""
        return module.to(self.device)

    def backward(self, loss: Tensor) -> None:
        """Gradients."""
        loss.backward()

    def all_reduce(self, data: Tensor) -> Tensor:
        """The mean over all processes."""
        return data

    def broadcast(self, obj: T) -> T:
        """What the first process gave."""
        return obj

    def barrier(self) -> None:
        """Nobody to wait for."""

    @contextlib.contextmanager
    def rank_zero_first(self) -> Iterator[None]:
        """The first process runs the block before the others do."""
        yield


def start(device: str, count: int, *, resting: bool = False) -> Any:
    """Alone, or a Fabric of `count` processes (DistributedDataParallel, gradients averaged), not yet launched.

    device: "auto", "cpu", "cuda", "cuda:1", ... resting: some parameters may get no gradient in a step. Raises
    OptionError when there is no such device, ToolMissing when several are asked for and Lightning Fabric is not
    installed.
    """
    try:
        chosen = torch.device(("cuda" if torch.cuda.is_available() else "cpu") if device == "auto" else device)
    except RuntimeError as error:
        raise OptionError(f"--device {device} is none that torch knows; use auto, cpu or cuda") from error
    if chosen.type not in ("cpu", "cuda") or (chosen.type == "cuda" and not torch.cuda.is_available()):
        raise OptionError(f"--device {device}: torch sees no such device here; use auto or cpu")
    if count < 1:
        raise OptionError(f"--devices {count}: give at least 1")
    if chosen.type == "cuda" and count > torch.cuda.device_count():
        raise OptionError(f"--devices {count}: there are {torch.cuda.device_count()}")
    if count == 1:
        return Alone(chosen)
    if importlib.util.find_spec("lightning_fabric") is None:
        raise ToolMissing(f"--devices {count} needs lightning-fabric; pip install '.[train]', or use one device")
    from lightning_fabric import Fabric

    return Fabric(
        accelerator=chosen.type, devices=count, strategy="ddp_find_unused_parameters_true" if resting else "ddp"
    )


def precision(wanted: str, device: torch.device, state: Mapping[str, Any] | None) -> str:
    """fp32 or bf16: what was said, else that of the checkpoint on a device of the same kind, else what pays."""
    if wanted != "auto":
        return wanted
    if state and state.get("device") == device.type:
        return str(state["precision"])
    return "bf16" if _bf16_pays(device) else "fp32"


def _bf16_pays(device: torch.device) -> bool:
    """Whether bf16 autocast is worth it: on a GPU yes; on a CPU a short timing decides (some are 95 times slower)."""
    if device.type == "cuda":
        return True
    conv = torch.nn.Conv2d(64, 64, 3, padding=1).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    x = torch.randn(4, 64, 32, 32).contiguous(memory_format=torch.channels_last)
    times: dict[bool, list[float]] = {False: [], True: []}
    with torch.no_grad():
        for _ in range(8):  # in turns, and the best of each, as other programs may run
            for enabled, own in times.items():
                with torch.autocast("cpu", torch.bfloat16, enabled=enabled):
                    begin = time.perf_counter()
                    conv(x)
                    own.append(time.perf_counter() - begin)
    return min(times[True]) < 0.8 * min(times[False])
