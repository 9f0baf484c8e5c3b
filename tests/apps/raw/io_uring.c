// A receive by io_uring that completes inside of a read of a pipe: whoever takes the buffer of the
// running system call for the socket's copies the pipe's memory.
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <linux/io_uring.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

static int server_end, pipe_ends[2];
static char secret[64] = "PRIVATE-KEY-IN-ANOTHER-BUFFER";
static char received[64];

static void wait_ms(long ms) {
  struct timespec time = {ms / 1000, ms % 1000 * 1000000};
  nanosleep(&time, 0);
}

static void *feed(void *unused) {
  wait_ms(200);
  const char *request = "GET /from-the-wire HTTP/1.1\r\n\r\n";
  send(server_end, request, strlen(request), 0);
  wait_ms(200);
  return write(pipe_ends[1], "x", 1) == 1 ? unused : 0;
}

int main(void) {
  struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
  socklen_t length = sizeof address;
  int listener = socket(AF_INET, SOCK_STREAM, 0);
  bind(listener, (void *)&address, sizeof address);
  listen(listener, 1);
  getsockname(listener, (void *)&address, &length);
  int client = socket(AF_INET, SOCK_STREAM, 0);
  connect(client, (void *)&address, sizeof address);
  server_end = accept(listener, 0, 0);
  if (pipe(pipe_ends)) return 2;

  struct io_uring_params params = {0};
  int ring = syscall(SYS_io_uring_setup, 8, &params);
  if (ring < 0) {
    perror("io_uring_setup");
    return 3;
  }
  char *queue = mmap(0, params.sq_off.array + 8 * 4, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, ring,
                     IORING_OFF_SQ_RING);
  struct io_uring_sqe *entry =
      mmap(0, 8 * sizeof *entry, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, ring, IORING_OFF_SQES);
  memset(entry, 0, sizeof *entry);
  entry->opcode = IORING_OP_RECV;
  entry->fd = client;
  entry->addr = (unsigned long)received;
  entry->len = sizeof received;
  *(unsigned *)(queue + params.sq_off.array) = 0;
  __atomic_store_n((unsigned *)(queue + params.sq_off.tail), 1, __ATOMIC_RELEASE);
  if (syscall(SYS_io_uring_enter, ring, 1, 0, 0, 0, 0) != 1) return 4;

  pthread_t thread;
  pthread_create(&thread, 0, feed, 0);
  if (read(pipe_ends[0], secret, 1) != 1) return 5;
  pthread_join(thread, 0);
  return strncmp(received, "GET /from-the-wire", 18) != 0;
}
