# What a host does for its guests, as root: one group of all of them with the lowest weight and a limit of memory, one
# in it for each tenant, and rules of nftables for their networks. Every verb may be repeated. POSIX sh.
#   bound DRIVER GROUP_MEMORY GROUP_CPUS TENANT MEMORY CPUS PIDS    make or change the groups (0 CPUS: no limit)
#   raise DRIVER NAME                                              guests have their part of the processors until
#   lower DRIVER NAME                                              this, or for a minute
#   holds DRIVER TENANT PROCESS                                    a process is in the group of a tenant, or an error
#   fence BRIDGE none|out                                          what a network of a tenant reaches
#   weighs DRIVER                                                  the weight of all guests against the owner
#   watch DRIVER SOCKET PROGRAM                                    a unit freezes guests when their owner waits
#   used DRIVER TENANT                                             CPU in µs, bytes of memory, processes; why nothing
#                                                                  watches; since when and why guests are frozen, and
#                                                                  why those of the tenant were stopped
#   room                                                           bytes of memory that the host can give
set -eu
root=${CGROUPS:-/sys/fs/cgroup}
state=${STATE:-/run/deployer-guests}
units=${UNITS:-/run/systemd/system} # gone after a reboot, like all that guests have here
unit=deployer-pressure.service
unified=; [ ! -e "$root/cgroup.controllers" ] || unified=1
tree=$root; [ -n "$unified" ] || tree=$root/unified # v2 beside v1 tells pressure and freezes, too

path_of() { # DRIVER [TENANT]: below the root, or below each controller
    case $1 in
    systemd) echo "deployer.slice/deployer-guests.slice${2:+/$(slice_of "$2")}" ;;
    *) echo "deployer-guests${2:+/$2}" ;;
    esac
}
slice_of() { echo "deployer-guests-$(echo "$1" | tr - _).slice"; } # a dash in a slice's name is a level
must() { # FILE VALUE
    [ -e "$1" ] || { echo "there is no $1" >&2; exit 1; }
    echo "$2" > "$1" || { echo "$1 takes no $2" >&2; exit 1; }
}
may() { # FILE VALUE: not every kernel has it
    [ ! -e "$1" ] || echo "$2" > "$1" 2>/dev/null || :
}
quota() { awk -v cpus="$1" 'BEGIN { printf "%d", cpus * 100000 }'; }

v1() { # GROUP MEMORY CPUS PIDS
    for controller in cpu cpuacct memory pids; do
        [ -e "$root/$controller/cgroup.procs" ] || { echo "there are no cgroups of $controller in $root" >&2; exit 1; }
        mkdir -p "$root/$controller/$1"
    done
    [ ! -e "$root/blkio/cgroup.procs" ] || mkdir -p "$root/blkio/$1"
    quota=-1; [ "$3" = 0 ] || quota=$(quota "$3")
    must "$root/cpu/$1/cpu.cfs_quota_us" "$quota"
    may "$root/memory/$1/memory.memsw.limit_in_bytes" -1 # never below the other
    must "$root/memory/$1/memory.limit_in_bytes" "$2"
    may "$root/memory/$1/memory.memsw.limit_in_bytes" "$2"
    must "$root/pids/$1/pids.max" "$4"
}
v2() { # GROUP MEMORY CPUS PIDS
    mkdir -p "$root/$1"
    above="$root/$1"
    while [ "$above" != "$root" ]; do
        above=${above%/*}
        for controller in cpu memory pids io; do
            echo "+$controller" > "$above/cgroup.subtree_control" 2>/dev/null || :
        done
    done
    quota=max; [ "$3" = 0 ] || quota=$(quota "$3")
    must "$root/$1/cpu.max" "$quota 100000"
    must "$root/$1/memory.max" "$2"
    may "$root/$1/memory.swap.max" 0
    must "$root/$1/pids.max" "$4"
}
slice() { # SLICE MEMORY CPUS PIDS
    quota=; [ "$3" = 0 ] || quota=$(awk -v cpus="$3" 'BEGIN { printf "%d%%", cpus * 100 }')
    systemctl start "$1"
    systemctl set-property "$1" MemoryMax="$2" MemorySwapMax=0 CPUQuota="$quota" TasksMax="$4"
}
limited() { # DRIVER TENANT MEMORY CPUS PIDS
    case $1 in
    systemd) name=deployer-guests.slice; [ -z "$2" ] || name=$(slice_of "$2"); slice "$name" "$3" "$4" "$5" ;;
    *) if [ -n "$unified" ]; then v2 "$(path_of "$1" "$2")" "$3" "$4" "$5"; else v1 "$(path_of "$1" "$2")" "$3" "$4" "$5"; fi ;;
    esac
}
weigh() { # DRIVER low|high: all guests against the owner; low is idle, where the kernel knows that
    group=$(path_of "$1")
    shares=2 weight=1 idle=1 blkio=10
    if [ "$2" = high ]; then
        shares=1024 weight=100 idle=0 blkio=500
        may "$tree/${group%%/*}/cgroup.freeze" 0 # whoever starts or ends a guest goes first
        rm -f "$state/frozen"
    fi
    if [ "$1" = systemd ]; then
        cpu=$weight; [ $idle = 0 ] || cpu=idle
        systemctl set-property --runtime deployer.slice CPUWeight=$cpu IOWeight=$weight 2>/dev/null ||
            systemctl set-property --runtime deployer.slice CPUWeight=$weight IOWeight=$weight # before 252
    elif [ -n "$unified" ]; then
        may "$root/$group/cpu.idle" 0 # what is idle takes no weight
        must "$root/$group/cpu.weight" "$weight"
        may "$root/$group/cpu.idle" $idle
        may "$root/$group/io.weight" "$weight"
    else
        may "$root/cpu/$group/cpu.idle" 0
        must "$root/cpu/$group/cpu.shares" "$shares"
        may "$root/cpu/$group/cpu.idle" $idle
        may "$root/blkio/$group/blkio.weight" "$blkio"
    fi
}
alone() { # one at a time from here on
    mkdir -p "$state"
    exec 9> "$state/lock"
    flock 9
}
there() { # DRIVER: whether the group has been made since the host was started
    [ "$1" = systemd ] || [ -d "$root/$(path_of "$1")" ] || [ -d "$root/cpu/$(path_of "$1")" ]
}
settle() { # DRIVER: high as long as somebody has raised it, and is not dead since
    there "$1" || return 0
    find "$state" -name 'raised.*' -mmin +1 -exec rm -f {} +
    set -- "$1" "$state"/raised.*
    if [ -e "$2" ]; then weigh "$1" high; else weigh "$1" low; fi
}
fence() { # BRIDGE none|out
    command -v nft >/dev/null || { echo "nft is not installed" >&2; exit 3; }
    other=none; [ "$2" = out ] || other=out
    nft -f - <<RULES
add table inet deployer_guests
add set inet deployer_guests out { type ifname; }
add set inet deployer_guests none { type ifname; }
add element inet deployer_guests $2 { "$1" }
add element inet deployer_guests $other { "$1" }
delete element inet deployer_guests $other { "$1" }
add chain inet deployer_guests guest
add chain inet deployer_guests input { type filter hook input priority -10; policy accept; }
add chain inet deployer_guests forward { type filter hook forward priority -10; policy accept; }
flush chain inet deployer_guests guest
flush chain inet deployer_guests input
flush chain inet deployer_guests forward
add rule inet deployer_guests input iifname "dg-*" ct state established,related accept
add rule inet deployer_guests input iifname "dg-*" drop
add rule inet deployer_guests forward iifname "dg-*" goto guest
add rule inet deployer_guests guest ct state established,related accept
add rule inet deployer_guests guest meta nfproto ipv6 drop
add rule inet deployer_guests guest ip daddr { 0.0.0.0/8, 10.0.0.0/8, 100.64.0.0/10, 127.0.0.0/8, 169.254.0.0/16, 172.16.0.0/12, 192.0.0.0/24, 192.168.0.0/16, 198.18.0.0/15, 224.0.0.0/3 } drop
add rule inet deployer_guests guest iifname @out accept
add rule inet deployer_guests guest drop
RULES
}
unwatched() { # why nothing here watches what the owner waits for
    if [ ! -r "${PRESSURE:-/proc/pressure}/memory" ]; then
        echo "its kernel tells no pressure (psi=1 on its command line)"
    elif [ ! -e "$tree/cgroup.procs" ]; then
        echo "it has no cgroup v2"
    elif [ ! -d "$units" ]; then
        echo "it does not run systemd"
    elif ! command -v python3 >/dev/null; then
        echo "it has no python3"
    elif [ ! -e "$state/watch" ] || flock -n "$state/watch" true; then
        echo "$unit does not run"
    fi
}
watch() { # DRIVER SOCKET PROGRAM
    why=$(unwatched)
    case $why in "" | "$unit does not run") ;; *) return 0 ;; esac # said by `used`
    program="$state/pressure_watch.py"
    text="[Unit]
Description=Freeze the guests of this host while its owner waits for processors or memory
[Service]
ExecStart=$(command -v python3) -I $program $root $(path_of "$1") $state $2
Restart=always
RestartSec=1
Nice=-10
OOMScoreAdjust=-900
NoNewPrivileges=true"
    if [ -z "$why" ] && [ "$(cat "$units/$unit" "$program" 2>/dev/null)" = "$text
$3" ]; then
        return 0
    fi
    printf '%s\n' "$text" > "$units/$unit"
    printf '%s\n' "$3" > "$program" # an echo would read its backslashes
    systemctl daemon-reload
    systemctl restart "$unit"
}
allow() { # DRIVER TENANT: to be started
    if [ -e "$state/frozen" ]; then
        echo "its guests are frozen: $(cut -d ' ' -f 2- "$state/frozen")" >&2
        exit 4
    fi
    rm -f "$state/stopped.$(basename "$(path_of "$1" "$2")")"
}
holds() { # DRIVER TENANT PROCESS
    [ -e "/proc/$3/cgroup" ] || return 0 # it has ended
    group=$(path_of "$1" "$2")
    found=$(awk -F: -v v2="$unified" '(v2 ? $1 == "0" : $2 ~ /(^|,)memory(,|$)/) { print $3 }' "/proc/$3/cgroup")
    case $found/ in
    */"$group"/*) ;;
    *) echo "its process is in $found, and not in /$group" >&2; exit 1 ;;
    esac
}
weighs() { # DRIVER
    group=$(path_of "$1")
    for folder in "$root/${group%%/*}" "$root/cpu/${group%%/*}"; do
        if [ "$(cat "$folder/cpu.idle" 2>/dev/null)" = 1 ]; then
            echo idle
        else
            cat "$folder/cpu.weight" 2>/dev/null || cat "$folder/cpu.shares" 2>/dev/null || :
        fi
    done
}
used() { # DRIVER TENANT
    group=$(path_of "$1" "$2")
    if [ ! -d "$root/$group" ] && [ ! -d "$root/cpuacct/$group" ]; then
        printf '0\n0\n0\n' # it has not been made since the host was started
    elif [ -n "$unified" ]; then
        awk '$1 == "usage_usec" { print $2 }' "$root/$group/cpu.stat"
        cat "$root/$group/memory.current" "$root/$group/pids.current"
    else
        awk '{ printf "%d\n", $1 / 1000 }' "$root/cpuacct/$group/cpuacct.usage"
        cat "$root/memory/$group/memory.usage_in_bytes" "$root/pids/$group/pids.current"
    fi
    echo "$(unwatched)"
    echo "$(cat "$state/frozen" 2>/dev/null)"
    echo "$(cat "$state/stopped.$(basename "$group")" 2>/dev/null)"
}

verb=$1; shift
case $verb in
bound)
    alone
    allow "$1" "$4"
    limited "$1" "" "$2" "$3" 100000
    limited "$1" "$4" "$5" "$6" "$7"
    settle "$1"
    ;;
raise)
    alone
    : > "$state/raised.$2"
    settle "$1"
    ;;
lower)
    alone
    rm -f "$state/raised.$2"
    settle "$1"
    ;;
holds) holds "$1" "$2" "$3" ;;
fence) fence "$1" "$2" ;;
watch)
    alone
    watch "$1" "$2" "$3"
    ;;
weighs) weighs "$1" ;;
used) used "$1" "$2" ;;
room) awk '$1 == "MemAvailable:" { printf "%d\n", $2 * 1024 }' /proc/meminfo ;;
*) echo "no verb $verb" >&2; exit 2 ;;
esac
