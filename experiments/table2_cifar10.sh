#!/usr/bin/env bash
# Table 2's CIFAR-10 column: the error with cross-entropy and with GCE for each alpha.
# Resumes; see README.md beside it. Options of `keras-gce reproduce` may follow.
set -euo pipefail
output=${OUTPUT:-keras_gce_output/cifar10}
printf 'writes to %s; the same line continues there\n' "$output"
exec keras-gce reproduce table2 --dataset cifar10 ${DATA_DIR:+--data-dir "$DATA_DIR"} \
    --output "$output" --dtype-policy mixed_bfloat16 --seeds 1 "$@"
