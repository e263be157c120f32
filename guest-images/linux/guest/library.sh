# What workloads share. A workload ends with status 0, or through `fail WHY`.

# option NAME DEFAULT: the value of penumbra.NAME= on the kernel's command line.
option() {
    for word in $(cat /proc/cmdline); do
        case $word in penumbra."$1"=*)
            echo "${word#*=}"
            return
            ;;
        esac
    done
    echo "$2"
}

say() { printf 'penumbra: %s\n' "$*"; }

fail() {
    echo "$*" >/tmp/why
    exit 1
}

sum_of() { sha256sum "$@" | cut -d ' ' -f 1; }

# wait_for SECONDS COMMAND...: until the command succeeds.
wait_for() {
    tries=$(($1 * 10))
    shift
    while ! "$@"; do
        tries=$((tries - 1))
        [ $tries -gt 0 ] || return 1
        usleep 100000
    done
}

uptime_seconds() { cut -d . -f 1 /proc/uptime; }

drop_caches() { sync; echo 3 >/proc/sys/vm/drop_caches; }

# Brings eth0 up with an address by DHCP.
network_up() {
    wait_for 10 [ -e /sys/class/net/eth0 ] || fail "there is no network card; interfaces: $(ls /sys/class/net | tr '\n' ' ')"
    ip link set eth0 up || fail "eth0 does not come up"
    udhcpc -i eth0 -n -q -t 10 -T 1 -s /penumbra/dhcp >/tmp/dhcp.log 2>&1 ||
        fail "no address by DHCP: $(tail -n 1 /tmp/dhcp.log)"
    say "address $(ip -4 -o addr show eth0 | sed 's/.*inet \([^ ]*\).*/\1/')"
}
