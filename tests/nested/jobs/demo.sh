#!/bin/sh
# The command that users run: churn over four times its budget, two vCPUs, both tiers, the accelerator.
# lab: kernels=6.1,6.12 limit=400
. lab-checks
check run penumbra run --image "$LAB_BUILD/guest-images/churn" --memory 64M --budget 16M --cpus 2 \
    --swap lz4 --swap "file:/tmp/swap" --accel --json "$OUT/demo.json"
check outcome grep -q '"outcome": "ok"' "$OUT/demo.json"
check hardware-page-tables grep -q '"kvm_flavour": "npt"' "$OUT/demo.json"
case $LAB_KERNEL in
    6.1) check pages-copied-out grep -q '"take_out": "copy"' "$OUT/demo.json" ;;
    *) check pages-moved-out grep -q '"take_out": "move"' "$OUT/demo.json" ;;
esac
