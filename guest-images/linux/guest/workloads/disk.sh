# Writes, reads back and compares penumbra.disk= (/dev/vdb), whose contents are lost: O_DIRECT and buffered, whole and in small
# pieces, a file system, discard, flush. A read-only disk is only read, and must refuse writes. penumbra.mib= (16) MiB a part.
. /penumbra/library.sh
disk=$(option disk /dev/vdb) mib=$(option mib 16)
wait_for 10 [ -b "$disk" ] || fail "there is no $disk"
queue=/sys/block/${disk#/dev/}
size=$(($(blockdev --getsize64 "$disk") >> 20))
say "disk $disk: $size MiB, block $(cat "$queue/queue/logical_block_size"), cache $(cat "$queue/queue/write_cache"), serial $(cat "$queue/serial")"

if [ "$(cat "$queue/ro")" = 1 ]; then
    dd if="$disk" of=/dev/null bs=1M count="$size" iflag=direct 2>/tmp/dd.log || fail "cannot read: $(tail -n 1 /tmp/dd.log)"
    dd if=/dev/zero of="$disk" bs=4k count=1 2>/dev/null && fail "a read-only disk took a write"
    say "disk read-only: all read, a write refused"
    exit 0
fi
[ "$size" -ge $((3 * mib)) ] || fail "$disk has $size MiB, need $((3 * mib))"

one=$(pattern 1 "$mib" | sum_of) two=$(pattern 2 "$mib" | sum_of)
part() { dd if="$disk" bs=1M skip="$(($1 * mib))" count="$mib" ${2:+iflag=$2} 2>/dev/null | sum_of; }
same() { [ "$2" = "$3" ] || fail "$1: $2 instead of $3"; }

pattern 1 "$mib" | dd of="$disk" bs=1M iflag=fullblock oflag=direct conv=fsync 2>/tmp/dd.log || fail "direct write: $(cat /tmp/dd.log)"
pattern 2 "$mib" | dd of="$disk" bs=64k seek="$((mib * 16))" iflag=fullblock conv=fsync 2>/tmp/dd.log ||
    fail "buffered write: $(cat /tmp/dd.log)"
same "direct write, direct read" "$(part 0 direct)" "$one"
drop_caches
same "buffered write, buffered read" "$(part 1)" "$two"
same "direct write, buffered read" "$(part 0)" "$one"
same "buffered write, direct read" "$(part 1 direct)" "$two"
say "disk: whole parts right"

block=$(cat "$queue/queue/logical_block_size")
dd if="$disk" of=/tmp/small bs="$block" count=512 iflag=direct 2>/dev/null
dd if=/tmp/small of="$disk" bs="$block" count=512 seek="$((mib * 1048576 * 2 / block))" oflag=direct conv=fsync 2>/dev/null ||
    fail "direct write of single blocks"
dd if="$disk" of=/tmp/again bs="$block" count=512 skip="$((mib * 1048576 * 2 / block))" iflag=direct 2>/dev/null
same "single blocks" "$(sum_of /tmp/again)" "$(sum_of /tmp/small)"
say "disk: single blocks right"

if [ "$(cat "$queue/queue/discard_max_bytes")" -gt 0 ]; then
    blkdiscard -o 0 -l $((mib << 20)) "$disk" || fail "discard of the first part"
    same "after discard of its neighbour" "$(part 1 direct)" "$two"
    say "disk: discard done, its neighbour untouched"
else
    say "disk: takes no discard"
fi

mke2fs -F "$disk" >/dev/null 2>&1 || fail "mke2fs"
mkdir -p /tmp/disk
mount -t ext4 "$disk" /tmp/disk || fail "cannot mount the new file system"
for i in 1 2 3; do pattern $i 2 >/tmp/disk/$i || fail "cannot write file $i"; done
umount /tmp/disk && drop_caches && mount -t ext4 -o ro "$disk" /tmp/disk || fail "cannot mount again"
for i in 1 2 3; do pattern $i 2 /tmp/disk/$i >/tmp/told || fail "file $i: $(cat /tmp/told)"; done
umount /tmp/disk
say "disk: files right after mounting again"
