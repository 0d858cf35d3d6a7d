#!/usr/bin/env bash
# Table 3's CIFAR-10 column: six attacks on models trained with cross-entropy and GCE 1/3.
# Resumes; see README.md beside it. Options of `keras-gce reproduce` may follow.
set -euo pipefail
output=${OUTPUT:-keras_gce_output/cifar10}
printf 'writes to %s; the same line continues there\n' "$output"
exec keras-gce reproduce table3 --dataset cifar10 ${DATA_DIR:+--data-dir "$DATA_DIR"} \
    --output "$output" --dtype-policy mixed_bfloat16 --seeds 1 "$@"
