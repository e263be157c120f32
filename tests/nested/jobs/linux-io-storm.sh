#!/bin/sh
# A guest reads and writes for 60 s, direct and buffered, disk and network, while every page of it leaves as fast as it
# can: all sums stay right. The pages begin to leave when the workload does; what is in hand when they stop is finished.
# lab: kernels=6.1,6.12 limit=1600 ci=none memory=3G cpus=1
# lab-provide: tests/nested/provide-guest 6.12
. lab-checks
. linux-guest
guest_patience=700
mkdir -p /tmp/www
dd if="$(command -v penumbra)" of=/tmp/www/file bs=256k count=1 2>/dev/null
sum=$(sha256sum </tmp/www/file | cut -d ' ' -f 1)
httpd -p 8080 -h /tmp/www
# storm NAME OPTION...: the guest with somebody who takes its pages.
storm() {
    storm_name=$1
    shift
    dd if=/dev/zero of=/tmp/scratch bs=1M count=0 seek=64 2>/dev/null
    (
        until said "$storm_name" 'io-storm begins'; do usleep 300000; done
        exec "$LAB_BUILD/tests/evict_storm" "/tmp/$storm_name.qmp" 60
    ) >"/tmp/$storm_name.storm" 2>&1 &
    storm_pid=$!
    guest_works "$storm_name" 6.12 "penumbra.disk=/dev/vda penumbra.run=io-storm penumbra.seconds=60 penumbra.mib=2 \
penumbra.url=http://10.0.2.2:8080/file penumbra.sum=$sum" --memory 256M --budget 96M --cpus 2 --swap lz4 --swap file:/tmp/swap \
        --disk /tmp/scratch,direct --net user --qmp "unix:/tmp/$storm_name.qmp" "$@"
    storm_status=$?
    [ $storm_status -eq 0 ] || kill $storm_pid 2>/dev/null
    wait $storm_pid || storm_status=1
    cat "/tmp/$storm_name.storm" | tee "$OUT/$storm_name.storm"
    return $storm_status
}
check sums-are-right storm storm
[ "$LAB_KERNEL" = 6.1 ] || check sums-are-right-without-moving storm storm-copy --no-uffd-move
