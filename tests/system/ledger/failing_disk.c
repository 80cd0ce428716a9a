/* A disk that fails once: the FAIL_AT-th call of FAIL_CALL ends with EIO, and what fdatasync was to
 * make durable is thrown away, as Linux may do with pages that it could not write. Preloaded. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>
#include <unistd.h>

static long calls;
static off_t synced[1024];

static int fails(const char *call) {
  const char *wanted = getenv("FAIL_CALL"), *at = getenv("FAIL_AT");
  if (!wanted || !at || strcmp(wanted, call) != 0) return 0;
  if (++calls != atol(at)) return 0;
  errno = EIO;
  return 1;
}

int fdatasync(int fd) {
  static int (*real)(int);
  if (!real) real = (int (*)(int))dlsym(RTLD_NEXT, "fdatasync");
  if (fails("fdatasync")) {
    if (fd >= 0 && fd < 1024 && synced[fd] && ftruncate(fd, synced[fd]) != 0) abort();
    errno = EIO;
    return -1;
  }
  int done = real(fd);
  if (fd >= 0 && fd < 1024) synced[fd] = lseek(fd, 0, SEEK_END);
  return done;
}

int fsync(int fd) {
  static int (*real)(int);
  if (!real) real = (int (*)(int))dlsym(RTLD_NEXT, "fsync");
  return fails("fsync") ? -1 : real(fd);
}

ssize_t pwrite(int fd, const void *data, size_t count, off_t at) {
  static ssize_t (*real)(int, const void *, size_t, off_t);
  if (!real) real = (ssize_t(*)(int, const void *, size_t, off_t))dlsym(RTLD_NEXT, "pwrite");
  return fails("pwrite") ? -1 : real(fd, data, count, at);
}

ssize_t pwrite64(int fd, const void *data, size_t count, off_t at) { return pwrite(fd, data, count, at); }

int rename(const char *from, const char *to) {
  static int (*real)(const char *, const char *);
  if (!real) real = (int (*)(const char *, const char *))dlsym(RTLD_NEXT, "rename");
  return fails("rename") ? -1 : real(from, to);
}
