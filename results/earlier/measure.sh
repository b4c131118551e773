#!/usr/bin/env bash
# Measures the earlier codecs from their weights (MODEL/RATE.pt here, as train.sh leaves them) beside dpc-8, JPEG 2000,
# BPG and AVIF, and makes tables, curves, contact sheets, maps, the folder of a study and detection rows of it.
#
#     results/earlier/measure.sh DATA WEIGHTS [STEP ...]
#     results/earlier/measure.sh ../shared/data ../shared/weights rows tables
#
# DATA holds kodak, set5, set14, urban100 and detection; WEIGHTS the folders lpips and vgg. STEP, default all in this order:
#     rows      OUT/SET/rows.csv: all metrics of all codecs. What is there is not measured again; a stopped run goes on
#     tables    OUT/SET/table.md, bd-rate.csv (from three files of a picture on, against JPEG 2000) and curves
#     sheets    OUT/equal: the two base networks and others at equal bytes, folders and a contact sheet
#     maps      OUT/maps: importance maps of both base networks, and what they spend bits on
#     study     STUDY: base network by MS-SSIM against DPC, against JPEG 2000 and BPG, sizes matched; needs sheets
#     detection OUT/detection: what three detectors still see
# Models without weights are left out. Environment:
#     EARLIER   folder of MODEL/RATE.pt; default: this one           OUT       default: measured, in this one
#     SETS      default: kodak set5 set14 urban100                   METRICS   default: all that are named below
#     MODELS    default: all that have weights                       CODECS    beside them; default: those above
#     LIMIT     the first so many pictures of each set only          STUDY     default: OUT/study
#     RATE      of sheets, maps and study; default middle            DPC, PYTHON   the commands; default dpc, python3
# A row with all metrics takes some 8 s of one core for a Kodak picture, 2,200 rows of the four sets some five hours.
set -euo pipefail
[[ $# -ge 2 ]] || { sed -n '2,25s/^# \{0,1\}//p' "$0"; exit 2; }
data=$1 weights=$2
shift 2
here=$(cd "$(dirname "$0")" && pwd)
scripts=$here/../../scripts
read -ra dpc <<< "${DPC:-dpc}"
python=${PYTHON:-python3}
earlier=${EARLIER:-$here} out=${OUT:-$here/measured} rate=${RATE:-middle}
study=${STUDY:-$out/study}
metrics=${METRICS:-psnr,ms_ssim,lpips_alex,lpips_squeeze,lpips_vgg,dists,ssimulacra2,butteraugli,cvvdp}
read -ra codecs <<< "${CODECS:-dpc:dpc-8 jpeg2000 bpg-like avif}"
read -ra sets <<< "${SETS:-kodak set5 set14 urban100}"
read -ra models <<< "${MODELS:-base-2018-msssim base-2018-dpc scale-hyperprior-mse mean-scale-hyperprior-mse factorised-mse joint-mse}"
[[ $# -gt 0 ]] || set -- rows tables sheets maps study detection
export OMP_NUM_THREADS=1
mkdir -p "$out"
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT

known=() learned=() # models with weights, and their names as codecs
for model in "${models[@]}"; do
    if compgen -G "$earlier/$model/*.pt" > /dev/null; then
        known+=("$model") learned+=("learned:$earlier/$model")
    else
        echo "$model has no weights in $earlier/$model: left out" >&2
    fi
done
[[ ${#known[@]} -gt 0 ]] || { echo "$earlier holds no weights" >&2; exit 1; }
bases=() # NAME=FILE of the models that are compared at equal bytes
for model in base-2018-msssim base-2018-dpc "${known[0]}"; do
    [[ ! -f $earlier/$model/$rate.pt ]] || bases+=(--weights "$model=$earlier/$model/$rate.pt")
    [[ ${#bases[@]} -lt 4 ]] || break
done

pictures() { # the folder of a set, cut to LIMIT
    if [[ -z ${LIMIT:-} ]]; then echo "$data/$1"; return; fi
    mkdir -p "$scratch/$1"
    find "$data/$1" -maxdepth 1 -type f | sort | head -n "$LIMIT" | xargs cp -t "$scratch/$1"
    echo "$scratch/$1"
}

TOLERANCE=0.09 # of the sizes in the study: the quantiser of x265 has whole steps, up to 8.7 % away on these pictures

qualities=(
    jpeg2000=0.05,0.1,0.15,0.25,0.5,1
    bpg-like=50,46,43,40,34,28
    avif=2,5,12,24,40,62,75
)

# the steps

rows() {
    for set in "${sets[@]}"; do
        for codec in "${learned[@]}" "${codecs[@]}"; do
            options=()
            case $codec in
                learned:*) # one quality for each file of weights
                    files=("${codec#learned:}"/*.pt)
                    options=(--qualities "$codec=$(seq -s, ${#files[@]})")
                    ;;
                dpc*) options=(--bpp "0.1,0.15,0.25,0.5,1") ;;
                *) for q in "${qualities[@]}"; do [[ $q != "$codec="* ]] || options+=(--qualities "$q"); done ;;
            esac
            "${dpc[@]}" bench "$(pictures "$set")" --out "$out/$set" --codecs "$codec" --metrics "$metrics" \
                --lpips-weights "$weights" ${options[@]+"${options[@]}"} || echo "$codec on $set: not complete" >&2
        done
        rm -f "$out/$set/failures.csv"
    done
}

tables() {
    for set in "${sets[@]}"; do
        "${dpc[@]}" report "$out/$set" --out "$scratch/page-$set" --least 3 --anchor jpeg2000 --bpp 0.15,0.25,0.4,0.6
        cp "$scratch/page-$set/table.md" "$scratch/page-$set/bd-rate.csv" "$scratch/page-$set"/curve-*.svg "$out/$set/"
    done
}

sheets() {
    "$python" "$scripts/equal_bytes.py" "$out/equal" "$(pictures kodak)"/*.png "${bases[@]}" \
        --codecs "$(IFS=,; echo "${codecs[*]}")"
}

maps() {
    for model in base-2018-msssim base-2018-dpc; do
        [[ -f $earlier/$model/$rate.pt ]] || { echo "no maps of $model: it has no weights" >&2; continue; }
        "$python" "$scripts/importance_maps.py" "$earlier/$model/$rate.pt" "$(pictures kodak)"/*.png --out "$out/maps/$model"
    done
}

study() { # of the pictures of the sheets; the rates are the sizes of the first folder
    [[ -d $out/equal ]] || { echo "no study: $out/equal is missing; run the step sheets first" >&2; exit 1; }
    names=$(cd "$out/equal" && for model in "${known[@]}"; do [[ ! -d $model ]] || echo "$model"; done)
    [[ -n $names ]] || { echo "no study: $out/equal holds none of ${known[*]}; run the step sheets again" >&2; exit 1; }
    [[ ! -e $study/study.toml ]] || { echo "$study exists: left as it is; dpc study prepare $study goes on" >&2; return; }
    kept=$study-originals # the study shows these
    mkdir -p "$kept"
    first=$(head -n 1 <<< "$names")
    for decoded in "$out/equal/$first"/*.png; do cp "$data/kodak/$(basename "$decoded")" "$kept/"; done
    "${dpc[@]}" study new "$study" --images "$kept" --codecs jpeg2000,bpg-like
    {
        sed -e 's/^bpp = [^#]*/bpp = []  /' -e '/^\[sources.folders\]/q' "$study/study.toml"
        for name in $names; do echo "$name = \"$(cd "$out/equal/$name" && pwd)\""; done
        sed -e '1,/^\[sources.folders\]/d' "$study/study.toml"
    } | sed "s/^tolerance = [^#]*/tolerance = $TOLERANCE  /" > "$scratch/study.toml"
    cp "$scratch/study.toml" "$study/study.toml"
    "${dpc[@]}" study prepare "$study"
}

detection() {
    detectors=()
    for name in yolox_nano nanodet_m FastestDet; do detectors+=(--detector "$data/detection/$name.onnx"); done
    "${dpc[@]}" detect "$data/detection/instances.json" "${detectors[@]}" --out "$out/detection" --anchor jpeg2000 \
        --codecs "$(IFS=,; echo "${learned[*]},${codecs[*]}")" --bpp 0.15,0.25,0.4,0.6 --examples 2 \
        ${LIMIT:+--limit "$LIMIT"}
}

for step in "$@"; do
    case $step in
        rows | tables | sheets | maps | study | detection) "$step" ;;
        *) echo "$step is no step; choose from rows, tables, sheets, maps, study, detection" >&2; exit 2 ;;
    esac
done
