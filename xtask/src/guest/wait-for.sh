#!/bin/busybox sh
# Waits until a file is there, such as a disk that waits for its SMMU's driver: wait-for FILE [SECONDS]
left=${2:-60}
while [ ! -e "$1" ]; do
    if [ $left -le 0 ]; then
        echo "wait-for: $1 did not come"
        exit 1
    fi
    left=$((left - 1))
    sleep 1
done
