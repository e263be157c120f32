#!/bin/sh
# A machine given only a disk: the newest kernel on it boots, restarts once, and powers off.
# lab: kernels=6.12 limit=420 memory=4G cpus=1
# lab-provide: guest-images/linux/make disk-only.img
# lab-provide: guest-images/linux/make loader
. lab-checks
cp /with/disk-only.img /tmp/disk.img
boot() {
    penumbra run --disk /tmp/disk.img --memory 512M --cpus 2 </dev/null >/tmp/disk.console 2>/tmp/disk.errors
    disk_status=$?
    cp /tmp/disk.console /tmp/disk.errors "$OUT/"
    [ $disk_status -eq 0 ] || { tail -n 60 /tmp/disk.console; cat /tmp/disk.errors; }
    return $disk_status
}
check boots boot
check newest-kernel grep -q 'penumbra: .*6\.12' /tmp/disk.console
check rebooted grep -q 'second boot' /tmp/disk.console
