# shellcheck shell=sh
# Says of each instance that is named whether it runs, as LXC has it: NAME STATE
as_root=''
[ "$(id -u)" = 0 ] || as_root='sudo -n'
for name; do
  case $($as_root lxc-info -n "$name" -sH 2>/dev/null) in
    RUNNING | STOPPING | FREEZING | FROZEN | THAWED) echo "$name running" ;;
    STARTING) echo "$name created" ;;
    STOPPED | ABORTING) echo "$name exited" ;;
    *) $as_root lxc-info --version >/dev/null || exit ;;
  esac
done
