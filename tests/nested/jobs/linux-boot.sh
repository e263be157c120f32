#!/bin/sh
# Debian's stock cloud kernels as guests: two vCPUs and a root on a virtio disk, over PCI and MMIO, compressed and not.
# lab: kernels=6.1,6.12 limit=420 memory=3G cpus=1
# lab-provide: tests/nested/provide-guest 6.1
# lab-provide: tests/nested/provide-guest 6.12
# lab-provide: guest-images/linux/make root-6.12.ext4
. lab-checks
. linux-guest
fresh_root
for version in 6.1 6.12; do
    check "boots-$version" guest_works "pci-$version" $version "root=/dev/vda penumbra.run=hello" --memory 512M --cpus 2 --disk $root
    check "two-cpus-$version" said "pci-$version" 'cpus 2 online 0-1'
    check "kvmclock-$version" said "pci-$version" 'clocksource kvm-clock'
done
check disk-over-mmio guest_works mmio 6.12 "root=/dev/vda penumbra.run=dmesg-clean" --memory 256M --disk $root,mmio --net user,mmio
check elf-kernel timeout -s INT $guest_patience penumbra run --kernel /with/guest-6.12/vmlinux \
    --initrd /with/guest-6.12/initrd --memory 256M --no-reboot --append "$guest_words root=/dev/vda penumbra.run=hello" \
    --disk $root
