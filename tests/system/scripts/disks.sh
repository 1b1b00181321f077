#!/bin/sh
# Two disks in hot-plug slots: read, written while all CPUs are busy, and read again.
for cpu in $(seq $(nproc)); do
    while :; do :; done &
done
# The disk behind the slot with that number, once it is there; the order of names is that of arrival.
disk_in() {
    for second in $(seq 60); do
        for block in /sys/block/*; do
            case $(readlink -f $block) in
            */0000:0$1:00.0/*)
                # One of several ways to an NVMe disk, nvme0c0n1, has no file: that of the disk does.
                echo /dev/$(echo ${block##*/} | sed 's/c[0-9]*n/n/')
                return
                ;;
            esac
        done
        sleep 1
    done
}
for number in 0 1; do
    disk=$(disk_in $((number + 1)))
    [ "$disk" ] || exit 1
    sum() { dd if=$disk bs=64k iflag=direct 2>/dev/null | sha256sum | cut -d ' ' -f 1; }
    echo "disk $number before $(sum)"
    dd if=/dev/urandom of=/tmp/new bs=64k count=16 2>/dev/null
    dd if=/tmp/new of=$disk bs=64k seek=$((number * 8)) oflag=direct conv=notrunc 2>/dev/null
    echo "disk $number after $(sum)"
done
grep -E 'nvme|virtio' /proc/interrupts | sed 's/^/interrupt /'
