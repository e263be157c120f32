#!/bin/sh
# A guest gets an address and fetches a file, over the user-mode network and over a tap.
# lab: kernels=6.1,6.12 limit=500 memory=3G cpus=1
# lab-provide: tests/nested/provide-guest 6.1
# lab-provide: tests/nested/provide-guest 6.12
# lab-with: /bin/ip
. lab-checks
. linux-guest
mkdir -p /tmp/www
dd if="$(command -v penumbra)" of=/tmp/www/file bs=1M count=3 2>/dev/null
sum=$(sha256sum </tmp/www/file | cut -d ' ' -f 1)
httpd -p 8080 -h /tmp/www
for version in 6.1 6.12; do
    check "user-mode-$version" guest_works "user-$version" $version \
        "penumbra.run=net penumbra.url=http://10.0.2.2:8080/file penumbra.sum=$sum" --memory 256M --cpus 2 --net user
    check "user-mode-address-$version" said "user-$version" 'address 10\.0\.2\.'
done

modprobe tun
/with/ip tuntap add tap0 mode tap && ip address add 10.7.0.1/24 dev tap0 && ip link set tap0 up
cat >/tmp/udhcpd.conf <<END
start 10.7.0.10
end 10.7.0.20
interface tap0
lease_file /tmp/udhcpd.leases
pidfile /tmp/udhcpd.pid
option subnet 255.255.255.0
option router 10.7.0.1
END
: >/tmp/udhcpd.leases
udhcpd /tmp/udhcpd.conf
for version in 6.1 6.12; do
    check "tap-$version" guest_works "tap-$version" $version \
        "penumbra.run=net penumbra.url=http://10.7.0.1:8080/file penumbra.sum=$sum" --memory 256M --cpus 2 --net tap:tap0
    check "tap-address-$version" said "tap-$version" 'address 10\.7\.0\.'
done
penumbra run --kernel /with/guest-6.12/vmlinuz --net tap:nosuch >/tmp/absent 2>&1
status=$?
check absent-tap-is-bad-use test $status -eq 2
check absent-tap-is-one-line test "$(wc -l </tmp/absent)" -eq 1
