#!/bin/sh
# PID 1 of a lab machine until systemd takes over. $1 is the name of the machine.
# Its root has just been changed; the test machine's root is at /mnt.
set -e
mount -t proc proc /proc
umount -n -l /mnt
mount -t sysfs sysfs /sys
mount -t tmpfs -o mode=755 tmpfs /run
mkdir -p /run/lock /run/sshd
cat /proc/sys/kernel/random/uuid >/run/boot_id # the kernel's own lasts longer than a boot of this host
mount --bind /run/boot_id /proc/sys/kernel/random/boot_id
mount -t tmpfs tmpfs /tmp
chmod 1777 /tmp
hostname "$1"
ip link set lo up
if [ "$(wc -l </proc/self/cgroup)" -gt 1 ]; then # controllers of version 1, alone or beside version 2
  mount -t tmpfs -o mode=755 tmpfs /sys/fs/cgroup
  awk '!/^#/ && $4 == 1 { print $1 }' /proc/cgroups | while read -r controller; do
    mkdir -p "/sys/fs/cgroup/$controller"
    mount -t cgroup -o "$controller" cgroup "/sys/fs/cgroup/$controller" 2>/dev/null || rmdir "/sys/fs/cgroup/$controller"
  done
  mkdir -p /sys/fs/cgroup/systemd /sys/fs/cgroup/unified
  mount -t cgroup -o none,name=systemd cgroup /sys/fs/cgroup/systemd
  mount -t cgroup2 cgroup2 /sys/fs/cgroup/unified
  # In a container systemd reads these from its own command line.
  set -- systemd.unified_cgroup_hierarchy=0 systemd.legacy_systemd_cgroup_controller=1 \
    SYSTEMD_CGROUP_ENABLE_LEGACY_FORCE=1
else
  mount -t cgroup2 cgroup2 /sys/fs/cgroup
  set --
fi
export container=lab
exec /sbin/init "$@"
