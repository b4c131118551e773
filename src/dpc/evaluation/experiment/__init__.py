"""What every experiment needs: codecs that are there, engines, coding by the clock, resuming, failures.

    tasks (one for each picture) -> engine: serial, processes, ray -> rows, each kept as soon as it is there
                                                                   -> failures.csv

An experiment says what a task is, makes its rows, and leaves out of a task what it has rows of already.
"""

from dpc.evaluation.experiment.coding import Decoded, code, point_label
from dpc.evaluation.experiment.subjects import Subjects, sha256, usable
from dpc.evaluation.experiment.tasks import Failure, alone, attempt, carry_out, write_failures

__all__ = [
    "Decoded",
    "Failure",
    "Subjects",
    "alone",
    "attempt",
    "carry_out",
    "code",
    "point_label",
    "sha256",
    "usable",
    "write_failures",
]
