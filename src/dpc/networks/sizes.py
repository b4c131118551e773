"""The sizes of the networks."""

from __future__ import annotations

from dataclasses import dataclass, fields

from dpc.networks import wavelet

STRIDE = 16  # picture pixels per latent position
HYPER_STRIDE = 4  # latent positions per hyper-latent position
CELL = STRIDE * HYPER_STRIDE  # picture pixels per value of the quality map


@dataclass(frozen=True)
class Network:
    """Sizes of the networks. Every field is stored in checkpoints and artifacts."""

    latents: int = 192
    hyper_latents: int = 64
    groups: tuple[int, ...] = (32, 64, 96)
    levels: int = 8
    widths: tuple[int, int, int] = (64, 128, 256)  # at 1/4, 1/8, 1/16
    encoder_depths: tuple[int, int, int] = (1, 2, 3)  # depthwise blocks of the analysis
    encoder_dense: tuple[int, int, int] = (0, 1, 1)  # dense blocks of the analysis
    decoder_depths: tuple[int, int, int] = (2, 3, 4)  # integer blocks of the synthesis
    hyper_width: int = 128  # h_a
    scale_width: int = 96  # integer network of the scales
    mean_width: int = 128  # features of the means
    pass_widths: tuple[int, ...] = (96, 96, 128)  # hidden layers of the mean passes, one per channel group

    def __post_init__(self) -> None:
        for name in ("widths", "encoder_depths", "encoder_dense", "decoder_depths"):
            if len(getattr(self, name)) != 3:
                raise ValueError(f"{name} {getattr(self, name)} must have three entries, for 1/4, 1/8 and 1/16")
        for field in fields(self):
            value = getattr(self, field.name)
            least = 0 if field.name.endswith(("depths", "dense")) else 1
            for v in value if isinstance(value, tuple) else (value,):
                if type(v) is not int or v < least:
                    raise ValueError(f"{field.name} = {value}: whole numbers of at least {least} are needed")
        if self.levels < 2:
            raise ValueError(f"levels = {self.levels}: at least 2 are needed, a lowest and a highest rate")
        if self.latents > wavelet.COEFFICIENTS:
            raise ValueError(
                f"latents = {self.latents}: at most {wavelet.COEFFICIENTS}, the coefficients of a position"
            )
        if sum(self.groups) != self.latents:
            raise ValueError(f"groups {self.groups} sum to {sum(self.groups)}, not to latents = {self.latents}")
        if len(self.pass_widths) != len(self.groups):
            raise ValueError(
                f"pass_widths {self.pass_widths} must have one entry for each of the {len(self.groups)} groups"
            )
