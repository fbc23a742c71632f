#!/bin/busybox sh
# First process of the initial memory of a guest: its modules, then the root on its disk.
b=/bin/busybox
$b mkdir -p /proc /sys /dev /root
$b mount -t proc proc /proc
$b mount -t sysfs sysfs /sys
$b mount -t devtmpfs dev /dev
for module in evdev failover net_failover virtio_net virtio_blk button cdrom isofs scsi_common scsi_mod virtio_scsi sr_mod; do
  $b insmod "/modules/$module.ko" || echo "module $module cannot be loaded"
done
$b mount -t ext4 -o rw /dev/vda /root || { echo "no disk can be mounted"; $b poweroff -f; }
exec $b switch_root /root /sbin/init
