#!/bin/busybox sh
# The first program of a guest that `cargo xtask run --guest linux` started.
/bin/busybox mkdir -p /proc /sys /dev /tmp
/bin/busybox --install -s /bin
# This is not busybox' init, which its own commands would ask.
mkdir -p /etc
for command in reboot poweroff halt; do
    echo "alias $command='$command -f'" >>/etc/aliases
done
export ENV=/etc/aliases
export PATH=/bin HOME=/ TERM=${TERM:-linux} PS1='\h:\w# '
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs devtmpfs /dev
hostname linux

# Each module comes behind those that it needs.
for module in $(cat /lib/modules/order); do
    insmod /lib/modules/$module.ko || echo "init: $module.ko cannot be loaded"
done

if [ -e /script ]; then
    /script
    status=$?
    # From here on the kernel keeps silent, so that the line stays whole; `stty` waits until all is written.
    dmesg -n 1
    stty echo
    echo "@MARKER@$status"
    stty echo
else
    echo '@READY@'
    setsid cttyhack sh
fi
poweroff -f
