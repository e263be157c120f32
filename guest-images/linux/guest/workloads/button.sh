# Waits for the power button, at most penumbra.seconds= (120) seconds.
. /penumbra/library.sh
buttons=$(grep -l 'Power Button' /sys/class/input/event*/device/name 2>/dev/null | sed 's|.*/\(event[0-9]*\)/.*|/dev/input/\1|' | tr '\n' ' ')
[ -n "$buttons" ] || fail "there is no power button"
mkfifo /tmp/pressed
for button in $buttons; do
    (head -c 24 "$button" >/dev/null && echo "$button" >/tmp/pressed) &  # 24 bytes: one struct input_event
done
(sleep "$(option seconds 120)" && echo nothing >/tmp/pressed) &
say "button waits on $buttons"
read -r which </tmp/pressed
[ "$which" != nothing ] || fail "nobody pressed the power button"
say "button pressed on $which"
