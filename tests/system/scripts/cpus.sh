#!/bin/sh
# What a guest sees of its CPUs, and whether the second one goes and comes back, which is PSCI's work.
role=$(sed -n 's/.*role=\([a-z]*\).*/\1/p' /proc/cmdline)
cpu=/sys/devices/system/cpu/cpu1/online
echo "$role: $(uname -sr), $(nproc) CPUs, PSCI by $(tr -d '\0' </proc/device-tree/psci/method)"
echo "$role: interrupts by $(sed -n 's/^ *[0-9]*:.* \(GIC[-v][0-9]\) .*/\1/p' /proc/interrupts | head -n 1)"
echo 0 >$cpu && echo "$role: without the second, $(nproc)"
echo 1 >$cpu && echo "$role: with it, $(nproc)"
