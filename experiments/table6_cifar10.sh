#!/usr/bin/env bash
# Table 6's CIFAR-10 columns: PGD adversarial training at eps 0.04 and 0.08.
# Resumes; see README.md beside it. Options of `keras-gce reproduce` may follow.
set -euo pipefail
output=${OUTPUT:-keras_gce_output/cifar10}
printf 'writes to %s; the same line continues there\n' "$output"
exec keras-gce reproduce table6 --dataset cifar10 ${DATA_DIR:+--data-dir "$DATA_DIR"} \
    --output "$output" --dtype-policy mixed_bfloat16 --seeds 1 "$@"
