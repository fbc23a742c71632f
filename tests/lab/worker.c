/* A worker for tests: takes jobs from a folder, one after the other, and finishes the one it has when it is told to end.
 *
 * JOBS/new/NAME is renamed to JOBS/taken/NAME, worked on for as many ms as it says inside, or until there is JOBS/go if it
 * says `hold`, and renamed to JOBS/done/NAME; JOBS/log gets a line "NAME VERSION". With LOCK=1 it holds JOBS/lock while it
 * runs, and makes JOBS/twice if another one has it. EXIT=n ends at once with that code; with FAIL=1 the line that it
 * prints for each job begins with ERROR.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <time.h>
#include <unistd.h>

static volatile sig_atomic_t ending;

static void end(int number) {
  (void)number;
  ending = 1;
}

static const char *env(const char *name, const char *otherwise) {
  const char *value = getenv(name);
  return value && *value ? value : otherwise;
}

static void work(long ms) {
  struct timespec left = {ms / 1000, ms % 1000 * 1000000};
  while (nanosleep(&left, &left) == -1 && errno == EINTR) {
  }
}

static int take(const char *jobs, const char *name) {
  char from[4096], taken[4096], done[4096], log[4096], line[512], text[32] = "";
  snprintf(from, sizeof from, "%s/new/%s", jobs, name);
  snprintf(taken, sizeof taken, "%s/taken/%s", jobs, name);
  snprintf(done, sizeof done, "%s/done/%s", jobs, name);
  snprintf(log, sizeof log, "%s/log", jobs);
  if (rename(from, taken) == -1) return 0; /* another worker was faster */
  int file = open(taken, O_RDONLY);
  if (file != -1) {
    if (read(file, text, sizeof text - 1) < 0) text[0] = 0;
    close(file);
  }
  if (!strncmp(text, "hold", 4)) {
    char go[4096];
    snprintf(go, sizeof go, "%s/go", jobs);
    while (access(go, F_OK) == -1) work(20);
  }
  work(atol(text));
  if (rename(taken, done) == -1) return 0;
  int size = snprintf(line, sizeof line, "%s %s\n", name, env("VERSION", "?"));
  file = open(log, O_WRONLY | O_CREAT | O_APPEND, 0666);
  if (file == -1 || write(file, line, (size_t)size) != size) return 0;
  close(file);
  printf("%s%s done\n", atoi(env("FAIL", "0")) ? "ERROR: " : "", name);
  fflush(stdout);
  return 1;
}

static int look(const char *jobs) {
  char folder[4096];
  snprintf(folder, sizeof folder, "%s/new", jobs);
  DIR *new = opendir(folder);
  if (!new) return 0;
  int took = 0;
  for (struct dirent *one; !took && (one = readdir(new));)
    if (one->d_name[0] != '.') took = take(jobs, one->d_name);
  closedir(new);
  return took;
}

int main(void) {
  const char *jobs = env("JOBS", "/jobs");
  char path[4096];
  int code = atoi(env("EXIT", "0"));
  if (code) {
    fprintf(stderr, "no broker at amqp://queue: connection refused\n");
    return code;
  }
  struct sigaction action = {.sa_handler = end};
  sigaction(SIGTERM, &action, NULL);
  sigaction(SIGINT, &action, NULL);
  if (atoi(env("LOCK", "0"))) {
    snprintf(path, sizeof path, "%s/lock", jobs);
    int lock = open(path, O_RDWR | O_CREAT, 0666);
    if (lock == -1 || flock(lock, LOCK_EX | LOCK_NB) == -1) {
      snprintf(path, sizeof path, "%s/twice", jobs);
      close(open(path, O_WRONLY | O_CREAT, 0666));
    }
  }
  printf("worker %s began\n", env("VERSION", "?"));
  fflush(stdout);
  while (!ending)
    if (!look(jobs)) work(20);
  printf("worker %s ended\n", env("VERSION", "?"));
  return 0;
}
