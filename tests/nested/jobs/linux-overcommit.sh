#!/bin/sh
# 512 MiB of guest under 160 MiB of RAM: a tmpfs filled to 300 MiB and summed, again and again, then stress-ng --verify.
# lab: kernels=6.1,6.12 limit=1800 ci=none memory=3G cpus=1
# lab-provide: tests/nested/provide-guest 6.1
# lab-provide: tests/nested/provide-guest 6.12
# lab-provide: guest-images/linux/make root-6.12.ext4
. lab-checks
. linux-guest
guest_patience=1700
fresh_root
version=$LAB_KERNEL
check checksum guest_works checksum "$version" "root=/dev/vda penumbra.run=checksum penumbra.mib=300 penumbra.rounds=2 penumbra.seconds=10" \
    --memory 512M --budget 160M --cpus 2 --swap lz4 --swap file:/tmp/swap --disk $root
check nothing-pinned grep -q '"pinned_bytes": 0' "$OUT/checksum.json"
