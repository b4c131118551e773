#!/usr/bin/env bash
# Measures codecs and models on the four test sets, and makes the tables anew.
#
#     results/measure.sh DATA LPIPS [CODEC ...]
#     results/measure.sh ../shared/data ../shared/weights/lpips dpc:dpc-8
#
# DATA holds the folders kodak, kodak-bpg444, set5, set14 and urban100; LPIPS the weights of LPIPS. CODEC: names as in
# `dpc bench`, such as dpc:dpc-8 for a released model or dpc:PATH for an artifact; without any dpc:dpc-8 and all classical ones.
# What is in the rows already is not measured again, so a run that was stopped goes on, and a new model costs its own
# rows only. DPC=... is the command, if it is not on the PATH.
set -euo pipefail
[[ $# -ge 2 ]] || { sed -n '2,11s/^# \{0,1\}//p' "$0"; exit 2; }
data=$1 weights=$2
shift 2
here=$(cd "$(dirname "$0")" && pwd)
read -ra dpc <<< "${DPC:-dpc}"
classical="jpeg jpeg2000 webp jpegxl avif bpg-like heic"
qualities=(
    jpeg=1,2,5,10,25,60
    jpeg2000=0.05,0.1,0.15,0.25,0.5,1
    webp=0,2,8,30,65,85
    jpegxl=25,20,10,5,2.5,1.3
    avif=2,5,12,24,40,62,75
    bpg-like=50,46,43,40,34,28
    heic=5,10,22,36,52,65
)
export OMP_NUM_THREADS=1
for set in kodak set5 set14 urban100; do
    for codec in "${@:-dpc:dpc-8}" $([[ $# -gt 0 ]] || echo "$classical"); do
        options=(--codecs "$codec" --lpips-weights "$weights")
        # genuine BPG files of Kodak: models are brought to their sizes as well
        [[ $set != kodak ]] || options+=(--folder "bpg=$data/kodak-bpg444")
        if [[ $codec == dpc* ]]; then
            options+=(--bpp 0.1,0.15,0.25,0.5,1)
            [[ $set != kodak ]] || options+=(--match)
        else
            for q in "${qualities[@]}"; do options+=(--qualities "$q"); done
        fi
        "${dpc[@]}" bench "$data/$set" --out "$here/$set" "${options[@]}" || echo "$codec on $set: not complete" >&2
    done
    page=$(mktemp -d)
    "${dpc[@]}" report "$here/$set" --out "$page"
    cp "$page/table.md" "$page/bd-rate.csv" "$here/$set/"
    rm -rf "$page" "$here/$set/failures.csv"
done
