#!/usr/bin/env bash
# Trains the earlier codecs one after the other, each at its first rate, which begins with no other, and from there at two more:
#
#     results/earlier/train.sh PHOTOS LPIPS_WEIGHTS RUNS [MODEL ...]         MODEL: a folder here; default: all, as below
#
# RUNS/MODEL/RATE holds a run. What is over is skipped, what was interrupted goes on, so call it again at any time. Stop it
# with `kill -TERM -- -PID` (its process group): the training ends after its step, with a checkpoint. On another machine it
# goes on from MODEL/RATE.training.pt in this folder, a copy of the interrupted run's weights.pt, where there is one.
# KEEP=FOLDER   where the weights of a run that is over are copied to, as MODEL/RATE.pt; default: beside the recipes
# KEPT=FOLDER   runs whose weights lie there, as MODEL/RATE.pt, are over; this folder, for what is kept with the project
# DPC=COMMAND   default: dpc
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
data=${1:?"usage: train.sh PHOTOS LPIPS_WEIGHTS RUNS [MODEL ...]"}
lpips=${2:?"the folder of the LPIPS weights"}
runs=${3:?"the folder of the runs"}
shift 3
models=(scale-hyperprior-mse base-2018-msssim base-2018-dpc mean-scale-hyperprior-mse factorised-mse joint-mse)
[ $# -eq 0 ] || models=("$@")
read -ra dpc <<<"${DPC:-dpc}"
keep=${KEEP:-$here}

over() { # whether the run in folder $1 has seen all crops of recipe $2
    [ -f "$1/validation.csv" ] || return 1
    local seen all
    seen=$(tail -n 1 "$1/validation.csv" | cut -d, -f3)
    all=$(sed -n 's/^crops = \([0-9]*\).*/\1/p' "$2")
    [[ $seen =~ ^[0-9]+$ ]] && [ "$seen" -ge "$all" ]
}

for model in "${models[@]}"; do
    first=middle
    grep -q '^begins_with' "$here/$model/middle.toml" && first=high
    for rate in $first $([ $first = high ] && echo middle low || echo low high); do
        recipe=$here/$model/$rate.toml run=$runs/$model/$rate
        [ ! -f "${KEPT:+$KEPT/$model/$rate.pt}" ] || continue
        begin=()
        if [ "$rate" != $first ]; then
            begin=(--from "$runs/$model/$first")
            [ ! -f "${KEPT:+$KEPT/$model/$first.pt}" ] || begin=(--from "$KEPT/$model/$first.pt")
        fi
        [ ! -f "$here/$model/$rate.training.pt" ] || begin=(--resume "$here/$model/$rate.training.pt")
        [ ! -f "$run/last.pt" ] || begin=(--resume "$run")
        if ! over "$run" "$recipe"; then
            mkdir -p "$run"
            "${dpc[@]}" train "$recipe" --data "$data" --lpips-weights "$lpips" --out "$run" \
                ${begin[@]+"${begin[@]}"} 2>&1 | tee -a "$run/train.log"
            over "$run" "$recipe" || exit 1 # interrupted
        fi
        mkdir -p "$keep/$model"
        cp "$run/weights.pt" "$keep/$model/$rate.pt"
    done
done
