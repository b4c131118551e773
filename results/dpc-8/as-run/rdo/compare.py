"""compare.py BPP[,BPP...] PICTURE...: bytes, squared error in RGB and seconds of what encode makes; with --avif of AVIF too."""
import io
import sys
import time

import numpy as np
from PIL import Image

import dpc

avif = "--avif" in sys.argv
rates, *files = [word for word in sys.argv[1:] if word != "--avif"]
for name in files:
    rgb = np.asarray(Image.open(name).convert("RGB"))
    for bpp in map(float, rates.split(",")):
        start = time.time()
        data = dpc.encode(rgb, bpp=bpp)
        seconds = time.time() - start
        shown = np.asarray(dpc.decode(data, as_array=True))[..., :3]
        line = f"{name.split('/')[-1][:-4]} {bpp} {len(data)} {np.square(shown.astype(float) - rgb).mean():.2f} {seconds:.1f}"
        if avif:  # 4:4:4, speed 4, the best quality of no more bytes than the rate
            low, high, best = 1, 99, None
            while low <= high:
                quality = (low + high) // 2
                out = io.BytesIO()
                Image.fromarray(rgb).save(out, "AVIF", quality=quality, speed=4, subsampling="4:4:4")
                if out.tell() <= bpp * rgb[..., 0].size / 8:
                    best, low = out.getvalue(), quality + 1
                else:
                    high = quality - 1
            if best:
                other = np.asarray(Image.open(io.BytesIO(best)).convert("RGB"))
                line += f" avif {len(best)} {np.square(other.astype(float) - rgb).mean():.2f}"
        print(line, flush=True)
