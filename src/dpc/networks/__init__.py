"""The codec's networks.

    x --Analysis--> y --gain[q]--> y' --HyperAnalysis--> z --round--> z_hat
    z_hat --ScaleBranch (integers)--> scale index per element
    z_hat, coded parts --MeanBranch--> mu
    r = round(y' - mu)    y_hat = (r + mu) / gain[q]    y_hat --Synthesis--> x_hat

Analysis and Synthesis each are a linear wavelet + KLT codec plus a deep branch that starts at zero, so the first step
of a training already is a working transform codec with overlapping basis functions. y is whitened (unit variance per
channel before training), the gains carry the quantisation steps.

Symbols follow Ballé et al. 2018 and Minnen et al. 2018; gains follow Cui et al. 2021; channel groups follow Minnen and
Singh 2020.
"""
