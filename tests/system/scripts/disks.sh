#!/bin/sh
# Two disks: read, written while all CPUs are busy, and read again.
for cpu in $(seq $(nproc)); do
    while :; do :; done &
done
number=0
for disk in /dev/nvme0n1 /dev/vda; do
    wait-for $disk || exit 1
    sum() { dd if=$disk bs=64k iflag=direct 2>/dev/null | sha256sum | cut -d ' ' -f 1; }
    echo "disk $number before $(sum)"
    dd if=/dev/urandom of=/tmp/new bs=64k count=16 2>/dev/null
    dd if=/tmp/new of=$disk bs=64k seek=$((number * 8)) oflag=direct conv=notrunc 2>/dev/null
    echo "disk $number after $(sum)"
    number=$((number + 1))
done
grep -E 'nvme|virtio' /proc/interrupts | sed 's/^/interrupt /'
