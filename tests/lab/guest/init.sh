#!/bin/sh
# First process of a guest: its seed, ssh, the test app again and again, and an end by the power button.
PATH=/bin:/sbin:/usr/bin:/usr/sbin
export PATH
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs dev /dev
mkdir -p /dev/pts /run/sshd /seed
mount -t devpts devpts /dev/pts
ip link set lo up
seed=vdb # of lifecycle playbooks `qemu`, a disk that cannot be written; Incus has a drive
[ -e /sys/class/block/vdb ] || seed=sr0
{ [ $seed = sr0 ] || [ "$(cat /sys/class/block/vdb/ro)" = 1 ]; } && mount -t iso9660 -o ro /dev/$seed /seed || echo "no seed can be mounted"
python3 -S -E /sbin/seed.py || echo "the seed cannot be read"
/usr/sbin/sshd -e 2>/dev/console
echo "seed read, up $(cut -d' ' -f1 /proc/uptime)" >/dev/console

serve() {
  trap 'kill -TERM $app; wait $app; exit' TERM
  while :; do
    # What a package brought counts more than what the release was given.
    # shellcheck source=/dev/null
    (set -a && . /etc/deployer/env && { [ ! -e /etc/app.env ] || . /etc/app.env; } && exec /app) >/dev/console 2>&1 &
    app=$!
    echo $app >/run/app.pid
    wait $app
    sleep 0.1
  done
}
[ ! -e /etc/no-app ] || exec sleep 1000000
serve &
server=$!
for device in /sys/class/input/event*; do # the keyboard is one, too
  [ "$(cat "$device/device/name")" = "Power Button" ] && head -c 1 "/dev/input/${device##*/}" >/dev/null
done
echo "power button" >/dev/console
kill -TERM $server
wait $server
sync
poweroff -f
