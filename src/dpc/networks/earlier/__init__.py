"""Earlier learned codecs, re-implemented from their papers, behind one protocol: see protocol.py.

    protocol.py     what every codec has; `make` makes one by its kind
    stream.py       the bytes of a coded picture
    checkpoint.py   small files with a codec's weights

They are baselines of experiments. They write plain streams of their own, which the codec DPC neither writes nor reads.
Decoding equals encoding on one machine with one number of threads; unlike DPC they claim no exactness across machines.
"""
