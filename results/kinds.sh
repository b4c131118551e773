#!/usr/bin/env bash
# Measures codecs and models on the rendered pages and on every fourth Kodak picture: by independent metrics, with LPIPS
# and PSNR beside them. Makes the tables anew.
#
#     results/kinds.sh DATA WEIGHTS [CODEC ...]
#     results/kinds.sh ../shared/data ../shared/weights dpc:dpc-8 avif
#
# DATA holds the folder kodak; WEIGHTS holds those of LPIPS and DISTS, in itself or in its folders lpips and vgg. CODEC:
# names as in `dpc bench`; without any dpc:dpc-8 and avif. What is in the rows already is not measured again. DPC=... is
# the command, if it is not on the PATH. It takes some ten minutes of one core for two codecs.
set -euo pipefail
[[ $# -ge 2 ]] || { sed -n '2,11s/^# \{0,1\}//p' "$0"; exit 2; }
data=$1 weights=$2
shift 2
here=$(cd "$(dirname "$0")" && pwd)
read -ra dpc <<< "${DPC:-dpc}"
codecs=$(IFS=,; echo "${*:-dpc:dpc-8,avif}")
export OMP_NUM_THREADS=1
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
"${dpc[@]}" pages "$scratch/pages" > /dev/null
mkdir "$scratch/kodak-fourth"
echo image,kind > "$scratch/kodak-fourth/kinds.csv"
for name in kodim01 kodim05 kodim09 kodim13 kodim17 kodim21; do
    cp "$data/kodak/$name.png" "$scratch/kodak-fourth/"
    echo "$name,photographs" >> "$scratch/kodak-fourth/kinds.csv"
done
metrics=dists,plain_2,plain_025,luma_below_8,text_read,text_known,lpips_alex,psnr
for set in pages kodak-fourth; do
    rates=0.15,0.25,0.5
    [[ $set != pages ]] || rates=0.15,0.2,0.25,0.35,0.5,0.7
    "${dpc[@]}" bench "$scratch/$set" --out "$here/$set" --codecs "$codecs" --bpp "$rates" \
        --metrics "$metrics" --lpips-weights "$weights" || echo "$set: not complete" >&2
    "${dpc[@]}" report "$here/$set" --out "$scratch/report-$set"
    cp "$scratch/report-$set/table.md" "$here/$set/"
    rm -f "$here/$set/failures.csv"
done
