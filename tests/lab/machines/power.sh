#!/bin/sh
# The power supply of a lab machine: boots it, and boots it again after a reboot, until it is powered off or killed.
# Environment: NAME NETNS CGROUPS (folders, to be made part of) LAB (folder of the machine).
set -u
for cgroup in $CGROUPS; do
  echo $$ >"$cgroup/cgroup.procs"
done
status=129 # killed by SIGHUP, which is how the kernel ends the first process of a namespace that reboots
while [ "$status" = 129 ]; do
  status=0
  # pivot_root, not chroot: under a chroot `docker exec` enters the test machine's root.
  # shellcheck disable=SC2016
  setpriv --pdeathsig KILL unshare --mount --propagation private --uts --ipc --cgroup -- sh -euc '
    mount -t overlay overlay -o "lowerdir=/,upperdir=$LAB/upper,workdir=$LAB/work" "$LAB/root"
    mkdir -p "$LAB/root/var/lib/docker"
    mount --bind "$LAB/docker" "$LAB/root/var/lib/docker"
    mount --bind "$LAB/home" "$LAB/root/root"
    mount --rbind /dev "$LAB/root/dev"
    cd "$LAB/root"
    exec nsenter "--net=/run/netns/$NETNS" unshare --pid --fork --kill-child=KILL sh -euc "
      pivot_root . mnt
      cd /
      exec /bin/sh /etc/lab-boot.sh $NAME"' || status=$?
done
exit "$status"
