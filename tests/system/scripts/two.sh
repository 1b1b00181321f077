#!/bin/sh
# Two guests: one resets itself again and again, and the other one's disk must not care.
role=$(sed -n 's/.*role=\([a-z]*\).*/\1/p' /proc/cmdline)
disk=/dev/nvme0n1
wait-for $disk || exit 1
sum() { dd if=$disk bs=64k iflag=direct 2>/dev/null | sha256sum | cut -d ' ' -f 1; }
case $role in
steady)
    first=$(sum)
    echo "disk 0 before $first"
    for round in $(seq 30); do
        [ "$(sum)" = "$first" ] || { echo "sum WRONG in round $round"; exit 1; }
        sleep 1
    done
    echo "disk 0 after $(sum)"
    ;;
resets)
    # What it remembers from one life to the next is on its disk.
    life=$(dd if=$disk bs=512 count=1 iflag=direct 2>/dev/null | sed -n '1s/^life \([0-9]*\)$/\1/p')
    [ "$life" ] || echo "disk 1 before $(sum)"
    life=$((${life:-0} + 1))
    { echo "life $life"; cat /dev/zero; } | head -c 512 >/tmp/life
    dd if=/tmp/life of=$disk bs=512 oflag=direct conv=notrunc 2>/dev/null
    echo "this is life $life"
    [ $life -ge 4 ] || reboot -f
    echo "disk 1 after $(sum)"
    ;;
*)
    echo "there is no role $role"
    exit 1
    ;;
esac
