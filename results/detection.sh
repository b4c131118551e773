#!/usr/bin/env bash
# Measures what three detectors still see on compressed pictures at 0.1, 0.15, 0.25 and 0.5 bpp. Makes the tables and
# the page anew.
#
#     results/detection.sh DETECTION [CODEC ...]
#     results/detection.sh ../shared/data/detection dpc:dpc-8 avif jpeg2000 jpeg heic
#
# DETECTION holds instances.json, images, yolox_nano.onnx, nanodet_m.onnx and FastestDet.onnx. CODEC: names as in
# `dpc bench`; without any the five above. The first DPC among them is set against all others, and rates at equal AP are
# told against the first of all. One codec is measured after the other, with tables after each. What is in the rows
# already is not measured again: a run that was stopped goes on, and a new model costs its own rows only:
#
#     results/detection.sh ../shared/data/detection dpc:dpc-9 dpc:dpc-8 avif jpeg2000 jpeg heic
#
# OUT=... is another folder for the results, DPC=... the command, if it is not on the PATH. On 150 pictures it takes some
# 50 minutes of one core for the five.
set -euo pipefail
[[ $# -ge 1 ]] || { sed -n '2,18s/^# \{0,1\}//p' "$0"; exit 2; }
data=$1
shift
out=${OUT:-$(cd "$(dirname "$0")" && pwd)/detection}
read -ra dpc <<< "${DPC:-dpc}"
[[ $# -ge 1 ]] || set -- dpc:dpc-8 avif jpeg2000 jpeg heic
export OMP_NUM_THREADS=1
detectors=()
for name in yolox_nano nanodet_m FastestDet; do detectors+=(--detector "$data/$name.onnx"); done
for ((count = 1; count <= $#; count++)); do
    codecs=$(IFS=,; echo "${*:1:count}")
    "${dpc[@]}" detect "$data/instances.json" "${detectors[@]}" --out "$out" --codecs "$codecs" --anchor "$1" \
        --bpp 0.1,0.15,0.25,0.5 --examples $((count == $# ? 4 : 0)) || echo "$codecs: not complete" >&2
done
