# Shows the kernel's messages of level warning or worse; fails if one is about a device or driver of the machine's.
. /penumbra/library.sh
ours='virtio|vd[a-z]\b|eth0|hvc|ttyS|serial|pci|ACPI:|ACPI .*(Error|Warning)|acpi PNP|apic|irq|i8042'
bad='BUG:|lockup|Oops|WARNING:|Call Trace|I/O error'
known=$(option known '^$')  # penumbra.known=: an extended regular expression, without spaces, for lines that may be there
dmesg -r | sed -n 's/^<[0-4]>//p' >/tmp/warnings
while read -r line; do say "dmesg $line"; done </tmp/warnings
say "dmesg lines $(wc -l </tmp/warnings)"
grep -E -v "$known" /tmp/warnings | grep -E -i -e "$ours" -e "$bad" >/tmp/ours && fail "$(head -n 1 /tmp/ours)"
exit 0
