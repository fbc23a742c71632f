// What a hostile guest tries, one thing a call. Exit code 0: it worked; 1: it was refused, as errno says on stdout.
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/if_packet.h>
#include <net/ethernet.h>
#include <netinet/in.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/klog.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/ptrace.h>
#include <sys/reboot.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/time.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static int refused(void) {
    printf("%s\n", strerror(errno));
    return 1;
}

static int worked(int result) { return result < 0 ? refused() : 0; }

static int connected(const char *host, const char *port) {
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons((unsigned short)atoi(port))};
    if (inet_pton(AF_INET, host, &to.sin_addr) != 1) return 2;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    if (fd < 0) return refused();
    if (connect(fd, (struct sockaddr *)&to, sizeof to) < 0 && errno != EINPROGRESS) return refused();
    struct pollfd ready = {.fd = fd, .events = POLLOUT};
    int error = ETIMEDOUT;
    socklen_t size = sizeof error;
    if (poll(&ready, 1, 1500) == 1) getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &size);
    errno = error;
    return error ? refused() : 0;
}

static int asked(const char *server) {  // a name, of a server of names
    static const unsigned char query[] = {1, 2, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0, 1, 'a', 4, 't', 'e', 's', 't', 0, 0, 1, 0, 1};
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(53)};
    if (inet_pton(AF_INET, server, &to.sin_addr) != 1) return 2;
    int fd = socket(AF_INET, SOCK_DGRAM, 0);
    if (fd < 0 || sendto(fd, query, sizeof query, 0, (struct sockaddr *)&to, sizeof to) < 0) return refused();
    struct pollfd ready = {.fd = fd, .events = POLLIN};
    unsigned char answer[512];
    if (poll(&ready, 1, 6000) != 1 || recv(fd, answer, sizeof answer, 0) < 8) return refused();
    errno = EHOSTUNREACH;
    return (answer[3] & 15) == 0 && (answer[6] || answer[7]) ? 0 : refused();  // an error is no answer
}

static int socket_of(const char *path) {
    struct sockaddr_un to = {.sun_family = AF_UNIX};
    strncpy(to.sun_path, path, sizeof to.sun_path - 1);
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);
    return fd < 0 ? refused() : worked(connect(fd, (struct sockaddr *)&to, sizeof to));
}

static int forked(int wanted) {
    int made = 0;
    setpgid(0, 0);
    for (; made < wanted; made++) {
        pid_t child = fork();
        if (child < 0) break;
        if (child == 0) {
            pause();
            _exit(0);
        }
    }
    int error = errno;
    signal(SIGTERM, SIG_IGN);
    printf("%d\n", made);
    fflush(stdout);
    kill(0, SIGTERM);
    while (wait(NULL) > 0) {
    }
    errno = error;
    return made == wanted ? 0 : refused();
}

static int eaten(size_t bytes) {
    char *memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED) return refused();
    for (size_t at = 0; at < bytes; at += 4096) memory[at] = 1;
    return 0;
}

static int written(const char *path, size_t bytes) {
    static char block[1 << 16];
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    if (fd < 0) return refused();
    for (size_t done = 0; done < bytes; done += sizeof block)
        if (write(fd, block, sizeof block) < (ssize_t)sizeof block) {
            int error = errno;
            unlink(path);
            errno = error;
            return refused();
        }
    return worked(unlink(path));
}

static int opened(int wanted) {
    for (int n = 0; n < wanted; n++)
        if (dup(0) < 0) return refused();
    return 0;
}

static int burnt(int seconds) {
    for (time_t end = time(NULL) + seconds; time(NULL) < end;) {
        for (volatile int n = 0; n < 1000000; n++) {
        }
    }
    return 0;
}

static void again(int kind, const char *host) {  // one thing, for ever
    char name[32];
    snprintf(name, sizeof name, "/tmp/file%d", (int)getpid());
    for (;;) switch (kind) {
            case 0: {
                char *memory = mmap(NULL, 32 << 20, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
                if (memory == MAP_FAILED) break;
                for (size_t at = 0; at < 32 << 20; at += 4096) memory[at] = 1;
                munmap(memory, 32 << 20);
                break;
            }
            case 1: {
                pid_t child = fork();
                if (child == 0) _exit(0);
                if (child > 0) waitpid(child, NULL, 0);
                break;
            }
            case 2: written(name, 8 << 20); break;
            case 3: {
                int fd = open("/proc/self/status", O_RDONLY);
                if (fd >= 0) close(fd);
                break;
            }
            case 4: connected(host, "80"); break;
            default: burnt(1);
        }
}

static int tilted(int seconds, const char *host) {  // all of it at once
    for (int kind = 0; kind < 9; kind++)
        if (fork() == 0) again(kind, host);
    sleep((unsigned)seconds);
    return 0;
}

int main(int count, char **words) {
    const char *what = count > 1 ? words[1] : "", *first = count > 2 ? words[2] : "", *second = count > 3 ? words[3] : "";
    if (!strcmp(what, "connect")) return connected(first, second);
    if (!strcmp(what, "ask")) return asked(first);
    if (!strcmp(what, "socket")) return socket_of(first);
    if (!strcmp(what, "fork")) return forked(atoi(first));
    if (!strcmp(what, "eat")) return eaten(strtoull(first, NULL, 10));
    if (!strcmp(what, "hold")) return eaten(strtoull(first, NULL, 10)) || (int)sleep((unsigned)atoi(second));
    if (!strcmp(what, "write")) return written(first, strtoull(second, NULL, 10));
    if (!strcmp(what, "open")) return opened(atoi(first));
    if (!strcmp(what, "tilt")) return tilted(atoi(first), second);
    if (!strcmp(what, "burn")) return burnt(atoi(first));
    if (!strcmp(what, "read")) return worked(open(first, O_RDONLY));
    if (!strcmp(what, "change")) return worked(open(first, O_WRONLY));
    if (!strcmp(what, "raw")) return worked(socket(AF_INET, SOCK_RAW, IPPROTO_ICMP));
    if (!strcmp(what, "packet")) return worked(socket(AF_PACKET, SOCK_RAW, htons(ETH_P_ALL)));
    if (!strcmp(what, "mount")) return worked(mount("proc", "/tmp", "proc", 0, NULL));
    if (!strcmp(what, "user")) return worked(unshare(CLONE_NEWUSER));
    if (!strcmp(what, "network")) return worked(unshare(CLONE_NEWNET));
    if (!strcmp(what, "device")) {
        if (mknod("/tmp/device", S_IFBLK | 0600, makedev(8, 0)) < 0 && errno != EEXIST) return refused();
        return worked(open("/tmp/device", O_RDONLY));
    }
    if (!strcmp(what, "reboot")) return worked(reboot(RB_DISABLE_CAD));
    if (!strcmp(what, "name")) return worked(sethostname("mine", 4));
    if (!strcmp(what, "module")) return worked((int)syscall(SYS_init_module, NULL, 0, ""));
    if (!strcmp(what, "bpf")) return worked((int)syscall(SYS_bpf, 0, NULL, 0));
    if (!strcmp(what, "keys")) return worked((int)syscall(SYS_keyctl, 0, -3, 1, 0, 0));
    if (!strcmp(what, "kexec")) return worked((int)syscall(SYS_kexec_load, 0, 0, NULL, 0));
    if (!strcmp(what, "log")) {
        static char text[1 << 14];
        int size = klogctl(3, text, sizeof text - 1);
        if (size > 0) printf("%s\n", text);
        return worked(size);
    }
    if (!strcmp(what, "root")) return worked(chroot("/tmp"));
    if (!strcmp(what, "priority")) return worked(setpriority(PRIO_PROCESS, 0, -20));
    if (!strcmp(what, "clock")) {
        struct timespec now;
        clock_gettime(CLOCK_REALTIME, &now);
        return worked(clock_settime(CLOCK_REALTIME, &now));
    }
    if (!strcmp(what, "limit")) {
        struct rlimit more = {1 << 20, 1 << 20};
        return worked(setrlimit(RLIMIT_NOFILE, &more));
    }
    return 2;
}
