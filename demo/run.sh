#!/usr/bin/env bash
# Train a small convolutional network on digits that the library draws itself, on whatever GPU there is (or on the CPU through
# Mesa's software driver), measure it on held-out images, and draw what it takes them for.
#   demo/run.sh [FOLDER for the results; demo-results if left out]
set -euo pipefail
results=$(realpath -m "${1:-demo-results}")
cd "$(dirname "${BASH_SOURCE[0]}")/.."

toolchain/packages.sh demo
cmake --preset release
cmake --build --preset release
esker=build/release/esker
mkdir -p "$results"

"$esker" info
"$esker" train demo/models/smallconv.json --data digits --epochs 4 --lr 0.003 --seed 1 \
    --out "$results/digits.safetensors" --log "$results/digits.jsonl"
"$esker" eval "$results/digits.safetensors" --data digits
build/release/demo/digits_picture "$results/digits.safetensors" "$results/digits.png"
echo "In $results: the checkpoint digits.safetensors, the log digits.jsonl, and the picture digits.png"
