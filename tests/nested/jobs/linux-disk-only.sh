#!/bin/sh
# A machine given only a disk: the newest kernel on it boots, restarts once, and powers off.
# lab: kernels=6.1,6.12 limit=900 ci=none memory=4G cpus=1
# lab-provide: guest-images/linux/make disk-only.img
# lab-provide: guest-images/linux/make loader
. lab-checks
cp /with/disk-only.img /tmp/disk.img
boot() {
    timeout -s INT 600 penumbra run --disk /tmp/disk.img --loader /with/loader-* --append noxsave --memory 512M --cpus 2 </dev/null >"$OUT/disk.console" 2>"$OUT/disk.errors"
    disk_status=$?
    [ $disk_status -eq 0 ] || { tail -n 60 "$OUT/disk.console"; cat "$OUT/disk.errors"; }
    return $disk_status
}
check boots boot
check newest-kernel grep -q 'penumbra: .*6\.12' "$OUT/disk.console"
check disk-only-ok grep -q 'disk-only ok' "$OUT/disk.console"
