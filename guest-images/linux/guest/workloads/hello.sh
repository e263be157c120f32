# Says what machine this is.
. /penumbra/library.sh
say "$(uname -srvm)"
say "cpus $(grep -c ^processor /proc/cpuinfo) online $(cat /sys/devices/system/cpu/online)"
say "memory $(sed -n 's/^MemTotal: *//p' /proc/meminfo)"
say "clocksource $(cat /sys/devices/system/clocksource/clocksource0/current_clocksource)"
say "disks $(ls /sys/block | grep -v -e ^loop -e ^ram | tr '\n' ' ')networks $(ls /sys/class/net | tr '\n' ' ')"
