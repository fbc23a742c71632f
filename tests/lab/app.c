/* The test app: an HTTP/1.1 and WebSocket server that misbehaves on request. One thread, epoll, no dependency.
 *
 *   GET  /up, /health    200, or 503 when HEALTH=0 or while it drains
 *   GET  /version        the VERSION
 *   GET  /slow?ms=3000   answers after that time
 *   GET  /status?code=N  answers with that status
 *   GET  /stats          {"n":requests,"err":injected,"inflight":waiting,"websockets":open}
 *   GET  /admin?err=0.5&lat=20&jit=5&health=0&drain=0   changes behaviour while it runs
 *   GET  /exit           ends at once with code 3
 *   GET  /ws             WebSocket: echoes text and binary frames, answers pings and close
 *   POST, PUT (any path) echoes the body, up to 1 MiB
 *   any other            "v=VERSION host=HOSTNAME"
 * Every answer carries X-Version and X-Instance. Failing and slowness (below) meet the last two, /slow and /status.
 *
 * Environment: PORT (8080), HOST (bind address, default all), VERSION, START (ms before it listens), HEALTH (0: never
 * healthy), EXIT (ends at once with this code), LIFE (ms that it listens; then it ends with code 9), DRAIN (ms that running
 * requests get after SIGTERM; 0 ends at once and cuts them).
 * Failing: ERR (fraction of 500s, 0-1), of one method only (ERR_METHOD=POST) and while a file is there (ERR_WHILE=PATH) if
 * these are given; CAPACITY (requests a second; those beyond it are 500s).
 * Wrong: WRONG (status of what is answered instead of a 200; 200: one with an empty body; 3xx: a redirect to /), HANG (never
 * answered): fractions are WRONG_PART (1) and HANG itself.
 * Slowness: LAT and JIT (ms added, fixed and random), TAIL and TAIL_MS (a fraction of requests and the ms added to them),
 * COLD and COLD_MS (the first so many requests and the ms added to them).
 *
 * As a command: `app health` (for HEALTHCHECK), `app cat FILE`, `app env NAME`, `app sleep SECONDS`: an
 * image with nothing else has no shell.
 *
 * cc -O2 -static app.c -o app
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { MAX_FDS = 65536, MAX_REQUEST = 1 << 20, HEADROOM = 16384, LINGER_MS = 3000 };

typedef struct {
  char *data;
  size_t used, size;
} Buffer;

typedef struct {
  Buffer in, out;
  unsigned generation; /* tells a reused descriptor from the one that a timer was set for */
  char *echo; /* body of a request that waits for its answer */
  size_t echo_size;
  int waiting, websocket, closing, head, watched_for_write;
  int said_all; /* and waits for the other side to hang up */
} Connection;

typedef struct {
  long long at;
  int fd, status;
  unsigned generation;
} Timer;

static Connection *connections[MAX_FDS];
static Timer *timers;
static int timer_count, timer_space, poll_fd, websockets, lingering;
static long long linger_until;
static unsigned generations;
static unsigned long requests, errors;
static double error_rate, wrong_part, hang, tail, capacity, room; /* room: requests that may still come in this second */
static int wrong, latency, jitter, tail_ms, cold, cold_ms, healthy = 1, drain, life;
static const char *error_method, *error_while;
static volatile sig_atomic_t ending;
static const char *version;
static char hostname[64];

static const char *setting(const char *name, const char *fallback) {
  const char *value = getenv(name);
  return value && *value ? value : fallback;
}

static long long now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return t.tv_sec * 1000LL + t.tv_nsec / 1000000;
}

static double random_unit(void) {
  static uint64_t state;
  if (!state) state = ((uint64_t)time(0) * 2654435761u) ^ ((uint64_t)getpid() << 32) ^ 1;
  state ^= state << 13, state ^= state >> 7, state ^= state << 17;
  return (state >> 11) / 9007199254740992.0;
}

static void *checked(void *memory) {
  if (!memory) abort();
  return memory;
}

static void append(Buffer *b, const void *data, size_t size) {
  if (b->used + size > b->size) b->data = checked(realloc(b->data, b->size = (b->used + size) * 2 + 256));
  memcpy(b->data + b->used, data, size);
  b->used += size;
}

static void consume(Buffer *b, size_t size) { memmove(b->data, b->data + size, b->used -= size); }

/* ---- timers: a heap ordered by time ---- */

static void timer_add(Timer timer) {
  if (timer_count == timer_space)
    timers = checked(realloc(timers, (timer_space = timer_space * 2 + 64) * sizeof *timers));
  int i = timer_count++;
  for (; i && timers[(i - 1) / 2].at > timer.at; i = (i - 1) / 2) timers[i] = timers[(i - 1) / 2];
  timers[i] = timer;
}

static Timer timer_take(void) {
  Timer first = timers[0], last = timers[--timer_count];
  int i = 0;
  for (int child; (child = 2 * i + 1) < timer_count; i = child) {
    if (child + 1 < timer_count && timers[child + 1].at < timers[child].at) child++;
    if (timers[child].at >= last.at) break;
    timers[i] = timers[child];
  }
  timers[i] = last;
  return first;
}

/* ---- connections ---- */

static void drop(int fd) {
  Connection *c = connections[fd];
  if (c->websocket) websockets--;
  if (c->said_all) lingering--;
  free(c->in.data), free(c->out.data), free(c->echo), free(c);
  connections[fd] = 0;
  close(fd);
}

/* Send what is pending; gives 0 when the connection is gone. */
static int flush(int fd) {
  Connection *c = connections[fd];
  while (c->out.used) {
    ssize_t sent = send(fd, c->out.data, c->out.used, MSG_NOSIGNAL);
    if (sent < 0 && (errno == EAGAIN || errno == EINTR)) break;
    if (sent <= 0) return drop(fd), 0;
    consume(&c->out, sent);
  }
  int watch = c->out.used > 0;
  if (watch != c->watched_for_write) {
    struct epoll_event event = {.events = EPOLLIN | (watch ? EPOLLOUT : 0), .data.fd = fd};
    epoll_ctl(poll_fd, EPOLL_CTL_MOD, fd, &event);
    c->watched_for_write = watch;
  }
  if (watch || !c->closing) return 1;
  if (!ending || c->websocket) return drop(fd), 0;
  /* Docker's proxy is killed with the container, and may not have passed the response on yet: wait until it hangs up. */
  if (!c->said_all) c->said_all = 1, lingering++, linger_until = now() + LINGER_MS, shutdown(fd, SHUT_WR);
  return 0;
}

/* ---- HTTP ---- */

static const char *reason(int status) {
  switch (status) {
    case 200: return "OK";
    case 400: return "Bad Request";
    case 404: return "Not Found";
    case 411: return "Length Required";
    case 413: return "Content Too Large";
    case 500: return "Internal Server Error";
    case 503: return "Service Unavailable";
    default: return "Status";
  }
}

static int reply(int fd, int status, const char *body, size_t size) {
  Connection *c = connections[fd];
  char head[512];
  if (ending) c->closing = 1;
  int length = snprintf(head, sizeof head,
                        "HTTP/1.1 %d %s\r\nContent-Type: text/html\r\nContent-Length: %zu\r\n"
                        "X-Version: %s\r\nX-Instance: %s\r\n%s%s\r\n",
                        status, reason(status), size, version, hostname, status / 100 == 3 ? "Location: /\r\n" : "",
                        c->closing ? "Connection: close\r\n" : "");
  append(&c->out, head, length);
  if (!c->head) append(&c->out, body, size);
  return flush(fd);
}

static int reply_text(int fd, int status, const char *text) { return reply(fd, status, text, strlen(text)); }

static int answer(int fd, int status) {
  Connection *c = connections[fd];
  char text[256], *echo = c->echo;
  c->echo = 0;
  if (status == 500) errors++;
  if (status == 200 && wrong && random_unit() < wrong_part) {
    free(echo);
    return wrong == 200 ? reply_text(fd, 200, "") : reply_text(fd, wrong, "injected\n");
  }
  if (status == 200 && echo) {
    int alive = reply(fd, 200, echo, c->echo_size);
    return free(echo), alive;
  }
  free(echo);
  if (status != 200) return reply_text(fd, status, "injected\n");
  snprintf(text, sizeof text, "v=%s host=%s\n", version, hostname);
  return reply_text(fd, 200, text);
}

static double query(const char *target, const char *name, double fallback) {
  const char *found = strchr(target, '?');
  size_t length = strlen(name);
  while (found && *++found) {
    if (!strncmp(found, name, length) && found[length] == '=') return atof(found + length + 1);
    found = strchr(found, '&');
  }
  return fallback;
}

static int starts(const char *target, const char *path) {
  size_t length = strlen(path);
  return !strncmp(target, path, length) && (!target[length] || target[length] == '?');
}

/* Find a header in the head of a request (NUL-terminated); gives its length, -1 when it is not there. */
static int header(const char *head, const char *name, const char **value) {
  size_t length = strlen(name);
  for (const char *line = strstr(head, "\r\n"); line; line = strstr(line, "\r\n")) {
    line += 2;
    if (strncasecmp(line, name, length) || line[length] != ':') continue;
    *value = line + length + 1 + strspn(line + length + 1, " \t");
    return strcspn(*value, "\r");
  }
  return -1;
}

/* ---- WebSocket: RFC 6455 ---- */

static uint32_t rotate(uint32_t x, int n) { return x << n | x >> (32 - n); }

/* SHA-1 (FIPS 180-4) of a text of at most 119 bytes, which is enough for a handshake. */
static void sha1(const char *text, uint8_t digest[20]) {
  uint8_t message[128] = {0};
  size_t length = strlen(text), size = length < 56 ? 64 : 128;
  memcpy(message, text, length);
  message[length] = 0x80;
  message[size - 2] = length * 8 >> 8, message[size - 1] = length * 8;
  uint32_t h[5] = {0x67452301, 0xEFCDAB89, 0x98BADCFE, 0x10325476, 0xC3D2E1F0}, w[80];
  for (size_t block = 0; block < size; block += 64) {
    for (int i = 0; i < 16; i++) {
      const uint8_t *b = message + block + i * 4;
      w[i] = (uint32_t)b[0] << 24 | b[1] << 16 | b[2] << 8 | b[3];
    }
    for (int i = 16; i < 80; i++) w[i] = rotate(w[i - 3] ^ w[i - 8] ^ w[i - 14] ^ w[i - 16], 1);
    uint32_t a = h[0], b = h[1], c = h[2], d = h[3], e = h[4];
    for (int i = 0; i < 80; i++) {
      uint32_t f = i < 20   ? ((b & c) | (~b & d)) + 0x5A827999
                   : i < 40 ? (b ^ c ^ d) + 0x6ED9EBA1
                   : i < 60 ? ((b & c) | (b & d) | (c & d)) + 0x8F1BBCDC
                            : (b ^ c ^ d) + 0xCA62C1D6;
      uint32_t next = rotate(a, 5) + f + e + w[i];
      e = d, d = c, c = rotate(b, 30), b = a, a = next;
    }
    h[0] += a, h[1] += b, h[2] += c, h[3] += d, h[4] += e;
  }
  for (int i = 0; i < 20; i++) digest[i] = h[i / 4] >> (24 - i % 4 * 8);
}

static void base64(const uint8_t *data, int size, char *text) {
  static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  for (int i = 0; i < size; i += 3) {
    uint32_t bits = data[i] << 16 | (i + 1 < size ? data[i + 1] << 8 : 0) | (i + 2 < size ? data[i + 2] : 0);
    for (int k = 0; k < 4; k++) *text++ = i + k > size ? '=' : digits[bits >> (18 - 6 * k) & 63];
  }
  *text = 0;
}

static int upgrade(int fd, const char *head) {
  Connection *c = connections[fd];
  char text[128], accept[32], answer[512];
  uint8_t digest[20];
  const char *key;
  int length = header(head, "Sec-WebSocket-Key", &key);
  if (length < 0 || length > 64) return reply_text(fd, 400, "not a WebSocket handshake\n");
  snprintf(text, sizeof text, "%.*s258EAFA5-E914-47DA-95CA-C5AB0DC85B11", length, key);
  sha1(text, digest);
  base64(digest, sizeof digest, accept);
  int size = snprintf(answer, sizeof answer,
                      "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                      "Sec-WebSocket-Accept: %s\r\nX-Version: %s\r\nX-Instance: %s\r\n\r\n",
                      accept, version, hostname);
  append(&c->out, answer, size);
  c->websocket = 1;
  websockets++;
  return flush(fd);
}

static void frame(Connection *c, uint8_t first, const void *data, size_t size) {
  uint8_t head[10] = {first};
  int length = 2;
  if (size < 126) {
    head[1] = size;
  } else if (size < 65536) {
    head[1] = 126, head[2] = size >> 8, head[3] = size, length = 4;
  } else {
    head[1] = 127, length = 10;
    for (int i = 0; i < 8; i++) head[2 + i] = (uint64_t)size >> (56 - 8 * i);
  }
  append(&c->out, head, length);
  append(&c->out, data, size);
}

static void feed_websocket(int fd) {
  Connection *c;
  while ((c = connections[fd]) && c->in.used >= 6) {
    uint8_t *in = (uint8_t *)c->in.data;
    uint64_t size = in[1] & 127;
    size_t at = 2;
    if (size == 126) size = in[2] << 8 | in[3], at = 4;
    if (size == 127) {
      if (c->in.used < 14) return;
      for (size = 0, at = 2; at < 10; at++) size = size << 8 | in[at];
    }
    if (!(in[1] & 128) || size > MAX_REQUEST) return drop(fd); /* clients must mask */
    if (c->in.used < at + 4 + size) return;
    uint8_t *mask = in + at, *data = mask + 4;
    for (uint64_t i = 0; i < size; i++) data[i] ^= mask[i % 4];
    int opcode = in[0] & 15;
    if (opcode == 8) c->closing = 1;
    if (opcode != 10) frame(c, opcode == 9 ? 0x8A : in[0], data, size); /* a ping becomes a pong */
    consume(&c->in, at + 4 + size);
    if (!flush(fd)) return;
  }
}

/* ---- requests ---- */

/* Tell whether one more request a second is too many: a bucket that holds a second's worth. */
static int beyond_capacity(void) {
  static long long filled;
  if (!capacity) return 0;
  long long at = now();
  room = filled ? room + capacity * (at - filled) / 1000 : capacity;
  if (room > capacity) room = capacity;
  filled = at;
  return room < 1 || (room--, 0);
}

static int fails(const char *method) {
  if (beyond_capacity()) return 1;
  if (*error_method && strcmp(method, error_method)) return 0;
  if (*error_while && access(error_while, F_OK)) return 0;
  return error_rate > 0 && random_unit() < error_rate;
}

static double delay(void) {
  double wait = latency + jitter * random_unit();
  if (tail > 0 && random_unit() < tail) wait += tail_ms;
  if (requests <= (unsigned long)cold) wait += cold_ms;
  return wait;
}

/* Answer a request now or after its time; gives 0 when the connection is gone. */
static int respond(int fd, const char *method, int status, double wait) {
  requests++;
  if (fails(method)) status = 500;
  wait += delay();
  if (hang > 0 && random_unit() < hang) wait = 1e9;
  if (wait < 1) return answer(fd, status);
  connections[fd]->waiting = 1;
  timer_add((Timer){now() + (long long)wait, fd, status, connections[fd]->generation});
  return 1;
}

static int serve(int fd, const char *method, const char *target, const char *head, const char *body, size_t size) {
  char text[256];
  if (!strcmp(method, "POST") || !strcmp(method, "PUT")) {
    Connection *c = connections[fd];
    c->echo = checked(malloc(size + 1)), c->echo_size = size;
    memcpy(c->echo, body, size);
    return respond(fd, method, 200, 0);
  }
  if (starts(target, "/up") || starts(target, "/health")) {
    int up = healthy && !ending;
    return reply_text(fd, up ? 200 : 503, up ? "ok\n" : "down\n");
  }
  if (starts(target, "/version")) {
    snprintf(text, sizeof text, "%s\n", version);
    return reply_text(fd, 200, text);
  }
  if (starts(target, "/stats")) {
    snprintf(text, sizeof text, "{\"n\":%lu,\"err\":%lu,\"inflight\":%d,\"websockets\":%d}\n", requests, errors,
             timer_count, websockets);
    return reply_text(fd, 200, text);
  }
  if (starts(target, "/admin")) {
    error_rate = query(target, "err", error_rate), latency = query(target, "lat", latency);
    jitter = query(target, "jit", jitter), healthy = query(target, "health", healthy);
    drain = query(target, "drain", drain);
    return reply_text(fd, 200, "ok\n");
  }
  if (starts(target, "/exit")) exit(3);
  if (starts(target, "/ws")) return upgrade(fd, head);
  int status = starts(target, "/status") ? (int)query(target, "code", 200) : 200;
  return respond(fd, method, status, starts(target, "/slow") ? query(target, "ms", 1000) : 0);
}

/* Answer one whole request of the buffer; gives 0 when there is none or the connection is gone. */
static int feed_http(int fd) {
  Connection *c = connections[fd];
  char *end = c->in.used ? memmem(c->in.data, c->in.used, "\r\n\r\n", 4) : 0;
  if (!end) return c->in.used > HEADROOM ? (drop(fd), 0) : 0;
  size_t head_size = end + 4 - c->in.data;
  char head[HEADROOM + 8], method[16] = "", target[2048] = "/", protocol[16] = "";
  const char *value;
  if (head_size > HEADROOM) return drop(fd), 0;
  memcpy(head, c->in.data, head_size - 2), head[head_size - 2] = 0;
  if (sscanf(head, "%15s %2047s %15s", method, target, protocol) != 3) return drop(fd), 0;
  int length = header(head, "Content-Length", &value);
  long size = length > 0 ? atol(value) : 0;
  c->head = !strcmp(method, "HEAD");
  if (!strcmp(protocol, "HTTP/1.0")) c->closing = 1;
  if ((length = header(head, "Connection", &value)) == 5 && !strncasecmp(value, "close", 5)) c->closing = 1;
  if (header(head, "Transfer-Encoding", &value) >= 0) return c->closing = 1, reply_text(fd, 411, "no chunks\n"), 0;
  if (size < 0 || size > MAX_REQUEST) return c->closing = 1, reply_text(fd, 413, "too large\n"), 0;
  if (c->in.used < head_size + size) {
    if (header(head, "Expect", &value) >= 0 && c->in.used == head_size) {
      append(&c->out, "HTTP/1.1 100 Continue\r\n\r\n", 25);
      flush(fd);
    }
    return 0;
  }
  char *body = checked(malloc(size + 1));
  memcpy(body, c->in.data + head_size, size);
  consume(&c->in, head_size + size);
  int alive = serve(fd, method, target, head, body, size);
  free(body);
  return alive;
}

static void feed(int fd) {
  Connection *c;
  while ((c = connections[fd]) && !c->waiting && !c->websocket)
    if (!feed_http(fd)) break;
  if (connections[fd] && connections[fd]->websocket) feed_websocket(fd);
}

static void receive(int fd) {
  char data[65536];
  ssize_t size = recv(fd, data, sizeof data, 0);
  if (size < 0 && (errno == EAGAIN || errno == EINTR)) return;
  if (size <= 0 || connections[fd]->in.used > 2 * MAX_REQUEST) return drop(fd);
  if (connections[fd]->said_all) return;
  append(&connections[fd]->in, data, size);
  feed(fd);
}

/* ---- the server ---- */

static int listener(void) {
  int one = 1, zero = 0, port = atoi(setting("PORT", "8080"));
  const char *host = setting("HOST", "");
  struct sockaddr_in v4 = {.sin_family = AF_INET, .sin_port = htons(port)};
  struct sockaddr_in6 v6 = {.sin6_family = AF_INET6, .sin6_port = htons(port)};
  int is_v4 = *host && inet_pton(AF_INET, host, &v4.sin_addr) == 1;
  if (!is_v4 && *host && inet_pton(AF_INET6, host, &v6.sin6_addr) != 1) return fprintf(stderr, "HOST=%s?\n", host), -1;
  int fd = socket(is_v4 ? AF_INET : AF_INET6, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  if (fd < 0 && !*host) /* no IPv6 on this host */
    fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0), is_v4 = 1;
  setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
  if (!is_v4) setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &zero, sizeof zero);
  int refused = is_v4 ? bind(fd, (void *)&v4, sizeof v4) : bind(fd, (void *)&v6, sizeof v6);
  if (refused || listen(fd, 4096)) return perror("cannot listen"), -1;
  fprintf(stderr, "v=%s listening on %d\n", version, port);
  return fd;
}

static void accept_all(int listening) {
  int one = 1, fd;
  while ((fd = accept4(listening, 0, 0, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0) {
    if (fd >= MAX_FDS) {
      close(fd);
      continue;
    }
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    connections[fd] = checked(calloc(1, sizeof(Connection)));
    connections[fd]->generation = ++generations;
    struct epoll_event event = {.events = EPOLLIN, .data.fd = fd};
    epoll_ctl(poll_fd, EPOLL_CTL_ADD, fd, &event);
  }
}

static void answer_due(void) {
  while (timer_count && timers[0].at <= now()) {
    Timer due = timer_take();
    Connection *c = connections[due.fd];
    if (!c || c->generation != due.generation) continue;
    c->waiting = 0;
    if (answer(due.fd, due.status)) feed(due.fd);
  }
}

/* Tell every WebSocket that we are going away (1001); gives how many connections still have something to send. */
static int say_goodbye(int first) {
  int busy = 0;
  for (int fd = 0; fd < MAX_FDS; fd++) {
    Connection *c = connections[fd];
    if (c && first && c->websocket && !c->closing) {
      frame(c, 0x88, "\x03\xe9", 2);
      c->closing = 1;
      if (!flush(fd)) continue;
    }
    busy += c && c->out.used > 0;
  }
  return busy;
}

static int run(int listening) {
  struct epoll_event event = {.events = EPOLLIN, .data.fd = listening}, events[256];
  poll_fd = epoll_create1(EPOLL_CLOEXEC);
  epoll_ctl(poll_fd, EPOLL_CTL_ADD, listening, &event);
  long long death = life ? now() + life : 0;
  for (long long end_at = 0;;) {
    if (death && now() >= death) return fprintf(stderr, "v=%s dies\n", version), 9;
    if (ending) {
      int first = !end_at;
      if (first) end_at = now() + drain, fprintf(stderr, "v=%s ending, %d requests wait\n", version, timer_count);
      if (!drain || now() >= end_at || (!say_goodbye(first) && !timer_count && (!lingering || now() >= linger_until))) return 0;
    }
    long long wait = timer_count ? timers[0].at - now() : 1000;
    if (ending && wait > 10) wait = 10;
    if (death && wait > death - now()) wait = death - now();
    int count = epoll_wait(poll_fd, events, 256, wait < 0 ? 0 : (int)wait);
    for (int i = 0; i < count; i++) {
      int fd = events[i].data.fd;
      if (fd == listening) accept_all(fd);
      else if (connections[fd] && (!(events[i].events & EPOLLOUT) || flush(fd))) receive(fd);
    }
    answer_due();
  }
}

static void on_end(int number) { (void)number, ending = 1; }

/* ---- commands ---- */

static int probe(void) {
  const char *question = "GET /health HTTP/1.1\r\nConnection: close\r\n\r\n";
  struct sockaddr_in address = {.sin_family = AF_INET,
                                .sin_port = htons(atoi(setting("PORT", "8080"))),
                                .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
  char text[64] = "";
  int fd = socket(AF_INET, SOCK_STREAM, 0);
  alarm(2);
  if (connect(fd, (void *)&address, sizeof address) || write(fd, question, strlen(question)) < 0) return 1;
  return read(fd, text, sizeof text - 1) < 0 || !strstr(text, " 200 ");
}

static int cat(const char *path) {
  char data[4096];
  size_t size;
  FILE *file = fopen(path, "r");
  if (!file) return perror(path), 1;
  while ((size = fread(data, 1, sizeof data, file))) fwrite(data, 1, size, stdout);
  return 0;
}

int main(int count, char **arguments) {
  if (count > 1 && !strcmp(arguments[1], "health")) return probe();
  if (count > 2 && !strcmp(arguments[1], "cat")) return cat(arguments[2]);
  if (count > 2 && !strcmp(arguments[1], "env")) return puts(setting(arguments[2], "")), 0;
  if (count > 2 && !strcmp(arguments[1], "sleep")) return sleep(atoi(arguments[2]));
  version = setting("VERSION", "0");
  if (getenv("EXIT")) return fprintf(stderr, "v=%s told to end\n", version), atoi(getenv("EXIT"));
  error_rate = atof(setting("ERR", "0")), latency = atoi(setting("LAT", "0")), jitter = atoi(setting("JIT", "0"));
  wrong = atoi(setting("WRONG", "0")), wrong_part = atof(setting("WRONG_PART", "1")), hang = atof(setting("HANG", "0"));
  tail = atof(setting("TAIL", "0")), tail_ms = atoi(setting("TAIL_MS", "0"));
  cold = atoi(setting("COLD", "0")), cold_ms = atoi(setting("COLD_MS", "0"));
  error_method = setting("ERR_METHOD", ""), error_while = setting("ERR_WHILE", "");
  capacity = atof(setting("CAPACITY", "0")), life = atoi(setting("LIFE", "0"));
  healthy = atoi(setting("HEALTH", "1")), drain = atoi(setting("DRAIN", "0"));
  gethostname(hostname, sizeof hostname - 1);
  struct sigaction end = {.sa_handler = on_end};
  sigaction(SIGTERM, &end, 0), sigaction(SIGINT, &end, 0);
  for (long long begin = now() + atoi(setting("START", "0")); now() < begin && !ending;) usleep(5000);
  if (ending) return 0;
  int listening = listener();
  return listening < 0 ? 1 : run(listening);
}
