"""steps.py STRENGTH[,STRENGTH...] PICTURE...: bytes and squared error by numbers of joined colours, tolerances and prices."""
import sys

import numpy as np
from PIL import Image

from dpc.codec import denoising, indexed, merging, rdo


def err(a, b):
    return float(np.square(a.astype(float) - b).mean())


strs=list(map(int,sys.argv[1].split(',')))
for f in sys.argv[2:]:
    rgb=np.asarray(Image.open(f).convert('RGB'))
    for s in strs:
        c=denoising.cleaned(rgb,s) if s>=0 else rgb; C=merging.Colours(c)
        print(f.split('/')[-1],s,C.few,'clean err %.2f'%err(rgb,c))
        if not C.few: continue
        for k in (255,128,64,48,32,24,16):
            if k>=len(C._order): continue
            m=C.joined(k); line=f'   joined {k} {err(rgb,m):.2f}:'
            for p in (16,32,64,128):
                y=rdo.optimised(m,c,p); line+=' | %d %.2f'%(len(indexed.to_bytes(y))+14,err(rgb,y))
            print(line,flush=True)
        for t in (32,64,80):
            m=C.merged(t); line=f'   merged {t}, {len(np.unique(merging.packed(m)))} {err(rgb,m):.2f}:'
            for p in (16,32,64,128):
                y=rdo.optimised(m,c,p); line+=' | %d %.2f'%(len(indexed.to_bytes(y))+14,err(rgb,y))
            print(line,flush=True)
