#!/bin/sh
# Fills half of memory with copies of the disk, and looks whether they stay what they are.
disk=/dev/nvme0n1
wait-for $disk || exit 1
sum() { sha256sum | cut -d ' ' -f 1; }
first=$(dd if=$disk bs=64k iflag=direct 2>/dev/null | sum)
echo "disk 0 before $first"
echo "disk 0 after $first"
mkdir -p /copies
mount -t tmpfs -o size=72m tmpfs /copies
for copy in $(seq 16); do
    dd if=$disk of=/copies/$copy bs=64k 2>/dev/null
done
echo "buffers are full"
for round in $(seq 20); do
    for copy in /copies/*; do
        if [ "$(sum <$copy)" != "$first" ]; then
            echo "buffers CORRUPT: $copy"
            sleep 20
            exit 1
        fi
    done
    sleep 1
done
echo "buffers intact"
