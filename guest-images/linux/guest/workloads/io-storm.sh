# For penumbra.seconds= (20) seconds at once: direct and buffered writes and reads of two parts of penumbra.disk= (/dev/vdb), whose
# contents are lost, and fetching penumbra.url= (left out when not given). All sums are checked. penumbra.mib= (16) MiB a part.
. /penumbra/library.sh
disk=$(option disk /dev/vdb) mib=$(option mib 16) seconds=$(option seconds 20) url=$(option url '')
wait_for 10 [ -b "$disk" ] || fail "there is no $disk"
[ $(($(blockdev --getsize64 "$disk") >> 20)) -ge $((2 * mib)) ] || fail "$disk is smaller than $((2 * mib)) MiB"
[ -z "$url" ] || network_up
end=$(($(uptime_seconds) + seconds))
going() { [ "$(uptime_seconds)" -lt $end ] && [ ! -e /tmp/storm-failed ]; }
broken() {
    echo "$*" >>/tmp/storm-failed
    exit 1
}

# on_disk NAME PART FLAG: writes a part with new data each time and reads it back.
on_disk() {
    rounds=0
    while going; do
        seed=$((rounds * 2 + $2 + 1))
        wanted=$(pattern $seed "$mib" | sum_of)
        pattern $seed "$mib" | dd of="$disk" bs=256k seek="$(($2 * mib * 4))" iflag=fullblock ${3:+oflag=$3} conv=fsync 2>/dev/null ||
            broken "$1 round $rounds: write"
        [ -n "$3" ] || echo 1 >/proc/sys/vm/drop_caches
        found=$(dd if="$disk" bs=256k skip="$(($2 * mib * 4))" count="$((mib * 4))" ${3:+iflag=$3} 2>/dev/null | sum_of)
        [ "$found" = "$wanted" ] || broken "$1 round $rounds: $found instead of $wanted"
        rounds=$((rounds + 1))
    done
    echo "$1 $rounds" >>/tmp/storm-rounds
}
over_network() {
    rounds=0 wanted=$(option sum '')
    while going; do
        timeout 60 wget -q -O /tmp/fetched "$url" || broken "network round $rounds: cannot fetch $url"
        found=$(sum_of /tmp/fetched)
        wanted=${wanted:-$found}
        [ "$found" = "$wanted" ] || broken "network round $rounds: $found instead of $wanted"
        rounds=$((rounds + 1))
    done
    echo "network $rounds" >>/tmp/storm-rounds
}

say "io-storm begins"
on_disk direct 0 direct &
on_disk buffered 1 '' &
[ -z "$url" ] || over_network &
wait
[ ! -e /tmp/storm-failed ] || fail "$(head -n 1 /tmp/storm-failed)"
while read -r name rounds; do
    say "io-storm $name: $rounds rounds right"
    [ "$rounds" -gt 0 ] || fail "$name: not one round in $seconds s"
done </tmp/storm-rounds
