"""The base network of 2018 (Mentzer et al.), on which DPC's loss was first shown.

transforms.py   encoder and decoder
bottleneck.py   importance map and quantiser
context.py      the context model for training
wavefront.py    the same while coding, in exact numbers
codec.py        all of it behind the protocol of earlier codecs
"""

from dpc.networks.earlier.base2018.codec import Base2018

__all__ = ["Base2018"]
