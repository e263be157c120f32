# Fills memory and checks it: penumbra.mib= (300) MiB of known data in a tmpfs, penumbra.rounds= (2) times with different data,
# each summed twice, then stress-ng verifies penumbra.vm= (penumbra.mib=) MiB for penumbra.seconds= (20) seconds; 0 leaves it out.
. /penumbra/library.sh
mib=$(option mib 300) rounds=$(option rounds 2) seconds=$(option seconds 20)
vm=$(option vm "$mib")
mkdir -p /tmp/fill
mount -t tmpfs -o "size=$((mib + 4))m" fill /tmp/fill || fail "cannot mount a tmpfs of $mib MiB"
round=1
while [ "$round" -le "$rounds" ]; do
    known=$(pattern "$round" "$mib" | sum_of)  # summed as it is made: takes no memory
    pattern "$round" "$mib" >/tmp/fill/data || fail "round $round: the tmpfs does not take $mib MiB"
    for pass in 1 2; do
        found=$(sum_of /tmp/fill/data)
        [ "$found" = "$known" ] || fail "round $round pass $pass: $(pattern "$round" "$mib" /tmp/fill/data)"
    done
    rm /tmp/fill/data
    say "checksum round $round: $mib MiB right twice, $known"
    round=$((round + 1))
done
umount /tmp/fill
[ "$seconds" -gt 0 ] || exit 0
command -v stress-ng >/dev/null || fail "stress-ng is on the root disk only; cure: give root=/dev/vda, or penumbra.seconds=0"
stress-ng --vm 1 --vm-bytes "${vm}m" --vm-method all --verify --timeout "${seconds}s" --temp-path /tmp --metrics-brief \
    >/tmp/stress.log 2>&1 || fail "stress-ng: $(grep -i fail /tmp/stress.log | head -n 1)"
grep -i 'fail:' /tmp/stress.log && fail "stress-ng: $(grep -i 'fail:' /tmp/stress.log | head -n 1)"
say "checksum stress-ng: $vm MiB verified for $seconds s"
