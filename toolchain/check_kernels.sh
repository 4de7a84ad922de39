#!/bin/sh
# Give every kernel that plans use to another compiler: one that checks, or a board's that counts instructions and spills.
#   toolchain/check_kernels.sh ESKER COMMAND [ARGUMENT...]
# runs COMMAND ARGUMENT... FILE... over the sources, as drivers get them, of `ESKER selftest` and of training and inference with each
# of demo/models, within what OpenGL ES 3.1 promises. KEEP=DIR keeps them there.
set -eu

esker=${1:?usage: $0 ESKER COMMAND [ARGUMENT...]}
: "${2:?usage: $0 ESKER COMMAND [ARGUMENT...]}"
shift
models=$(dirname "$0")/../demo/models

if [ -n "${KEEP:-}" ]; then
    folder=$KEEP
    mkdir -p "$folder"
else
    folder=$(mktemp -d)
    trap 'rm -rf "$folder"' EXIT
fi

export ESKER_DUMP_KERNELS="$folder" ESKER_CACHE_DIR=
"$esker" selftest --limits es31 >&2 || echo "selftest failed; its kernels are checked all the same" >&2
for model in "$models"/*.json; do
    for batch in 1 32; do
        "$esker" plan "$model" --batch "$batch" --limits es31 >/dev/null
        "$esker" plan "$model" --batch "$batch" --limits es31 --input float32 >/dev/null
        "$esker" plan "$model" --batch "$batch" --limits es31 --infer >/dev/null
    done
done
echo "$(find "$folder" -name '*.comp' | wc -l) kernels" >&2
find "$folder" -name '*.comp' | sort | xargs -n 100 "$@"
