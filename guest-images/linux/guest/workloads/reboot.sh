# Reboots once and powers off the second time; a file on the root disk remembers, so the disk must be writable.
. /penumbra/library.sh
marker=/penumbra/rebooted
if [ -e $marker ]; then
    rm $marker
    say "reboot second boot"
    exit 0
fi
touch $marker 2>/dev/null && [ "$(stat -f -c %T /)" != tmpfs ] || fail "needs a writable root disk (root=/dev/vda) that remembers"
sync
say "reboot first boot"
touch /tmp/reboot
