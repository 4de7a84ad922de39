#!/usr/bin/env bash
# The time of a training step: for each model the median over RUNS runs of the median step of an epoch on the embedded digits (188
# steps of 64; the first 8 are left out), from submission to submission, with what a step consists of. A benchmark, not a test.
#   tests/bench/steps.sh [ESKER [MODEL.json ...]]        RUNS=5 BATCH=64
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
esker=${1:-build/release/esker}
[ $# -gt 1 ] && shift && models=("$@") || models=(demo/models/{mlp,smallconv,mnistcnn}.json)
runs=${RUNS:-5} batch=${BATCH:-64}

value() { sed -n "s/.*\"$1\": \([0-9.e+-]*\).*/\1/p" <<<"$2"; }

"$esker" info | sed -n 's/^  renderer */device: /p'
printf '%-12s %12s %12s %12s %11s %9s %7s %12s %12s\n' model 'median us' 'lowest us' 'highest us' dispatches barriers waits predicted allocated
for model in "${models[@]}"; do
    times=() stats=
    for ((i = 0; i < runs; i++)); do
        stats=$("$esker" train "$model" --data digits --epochs 2 --batch "$batch" --seed "$i" --stats 2>/dev/null | tail -1)
        times+=("$(value step_seconds_median "$stats")")
    done
    sorted=$(printf '%s\n' "${times[@]}" | sort -g | awk '{print $1 * 1e6}')
    printf '%-12s %12s %12s %12s %11s %9s %7s %12s %12s\n' "$(basename "$model" .json)" \
        "$(sed -n "$(((runs + 1) / 2))p" <<<"$sorted")" "$(head -1 <<<"$sorted")" "$(tail -1 <<<"$sorted")" \
        "$(value dispatches_per_step "$stats")" "$(value barriers_per_step "$stats")" "$(value waits_per_step "$stats")" \
        "$(value peak_bytes "$stats")" "$(value allocated_bytes "$stats")"
done
