/* Many requests at once in every way of sending, and a server that says what it received. With and without an
   agent beside, the client prints the same, but for `headers`.

     flood serve PORT
     flood ask PORT CONNECTIONS REQUESTS [FILE MICROSECONDS]

   Each connection's thread sends so many requests, or goes on until FILE exists, with pauses. The server's digest of a stream
   leaves out the `traceparent` lines that an agent pushed into it. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { BUFFER = 1 << 17, HEAD = 8192, LARGE = 200000, LARGEST_ANSWER = 20000, PUSHED = 70 };

/* FNV-1a. */
static uint64_t digest(uint64_t hash, const char *bytes, size_t count) {
    for (size_t at = 0; at < count; at++) hash = (hash ^ (unsigned char)bytes[at]) * 0x100000001b3;
    return hash;
}
#define EMPTY 0xcbf29ce484222325

static uint64_t dice(uint64_t *state) {
    *state ^= *state << 13;
    *state ^= *state >> 7;
    return *state ^= *state << 17;
}

static void fill(char *bytes, size_t count, uint64_t seed) {
    uint64_t state = seed | 1;
    for (size_t at = 0; at < count; at += 8) {
        uint64_t word = dice(&state);
        memcpy(bytes + at, &word, count - at < 8 ? count - at : 8);
    }
}

static struct sockaddr_in address(int port) {
    return (struct sockaddr_in){
        .sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
}

static void fail(const char *what) {
    perror(what);
    exit(1);
}

/* -- server -- */

struct stream {
    int fd;
    size_t have, at;
    uint64_t hash;
    unsigned long length, requests, headers, twice;
    char bytes[BUFFER];
};

/* More bytes behind those that are there; 0 at the end. */
static int more(struct stream *stream) {
    if (stream->at) {
        memmove(stream->bytes, stream->bytes + stream->at, stream->have - stream->at);
        stream->have -= stream->at;
        stream->at = 0;
    }
    if (stream->have == BUFFER) return 0;
    ssize_t got = recv(stream->fd, stream->bytes + stream->have, BUFFER - stream->have, 0);
    if (got <= 0) return 0;
    stream->have += got;
    return 1;
}

static void note(struct stream *stream, size_t count) {
    stream->hash = digest(stream->hash, stream->bytes + stream->at, count);
    stream->length += count;
    stream->at += count;
}

static int send_all(int fd, const char *bytes, size_t count) {
    while (count) {
        ssize_t sent = send(fd, bytes, count, MSG_NOSIGNAL);
        if (sent < 0) return 0;
        bytes += sent;
        count -= sent;
    }
    return 1;
}

static int one(struct stream *stream) {
    char *end;
    while (!(end = memmem(stream->bytes + stream->at, stream->have - stream->at, "\r\n\r\n", 4)))
        if (!more(stream)) return 0;
    end += 4;
    size_t left = 0;
    unsigned long answer = 0, number = 0, headers = 0;
    sscanf(stream->bytes + stream->at, "%*s /r/%lu/%lu", &answer, &number);
    while (stream->bytes + stream->at < end) {
        char *line = stream->bytes + stream->at;
        size_t length = (char *)memchr(line, '\n', end - line) + 1 - line;
        if (length == PUSHED && !memcmp(line, "traceparent: 00-", 16)) {
            headers++;
            stream->at += length;
            continue;
        }
        if (!strncasecmp(line, "content-length:", 15)) left = strtoul(line + 15, NULL, 10);
        note(stream, length);
    }
    stream->requests++;
    stream->headers += headers;
    stream->twice += headers > 1;
    while (left) {
        if (stream->at == stream->have && !more(stream)) return 0;
        size_t part = stream->have - stream->at < left ? stream->have - stream->at : left;
        note(stream, part);
        left -= part;
    }
    static __thread char out[HEAD + LARGEST_ANSWER];
    if (answer > LARGEST_ANSWER) return 0;
    int head = sprintf(out, "HTTP/1.1 200 OK\r\nContent-Length: %lu\r\n\r\n", answer);
    fill(out + head, answer, number);
    return send_all(stream->fd, out, head + answer);
}

static void *serve_one(void *argument) {
    struct stream *stream = argument;
    int on = 1;
    setsockopt(stream->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    while (one(stream));
    char report[200];
    note(stream, stream->have - stream->at);
    int length = sprintf(report, "%016lx %lu %lu %lu %lu\n", stream->hash, stream->length, stream->requests,
                         stream->headers, stream->twice);
    send_all(stream->fd, report, length);
    close(stream->fd);
    free(stream);
    return NULL;
}

static void serve(int port) {
    int listener = socket(AF_INET, SOCK_STREAM, 0), on = 1;
    struct sockaddr_in here = address(port);
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (bind(listener, (void *)&here, sizeof here) || listen(listener, 128)) fail("listen");
    for (;;) {
        struct stream *stream = calloc(1, sizeof *stream);
        pthread_t thread;
        stream->fd = accept(listener, NULL, NULL);
        if (stream->fd < 0) fail("accept");
        stream->hash = EMPTY;
        if (pthread_create(&thread, NULL, serve_one, stream)) fail("thread");
        pthread_detach(thread);
    }
}

/* -- client -- */

static int port;
static unsigned long wanted;
static const char *until;
static useconds_t pause_us;

struct client {
    int kind, fd;
    uint64_t state, hash, answers;
    unsigned long length, requests, of_connection, connections, wrong, headers, twice;
    unsigned long errors[256];
    char bytes[LARGE + HEAD], in[LARGEST_ANSWER + HEAD];
    size_t have;
    unsigned long sizes[8], numbers[8];
};

/* How a connection sends: `kind` modulo the number of these. */
static const struct way {
    int waits, sndbuf, nodelay, at_once, requests, largest;
} WAYS[] = {
    {.at_once = 1, .requests = 1000000},
    {.at_once = 1, .waits = 1, .requests = 1000000},
    {.at_once = 1, .sndbuf = 4608, .nodelay = 1, .requests = 1000000},
    {.at_once = 1, .sndbuf = 16384, .nodelay = 1, .requests = 500},
    {.at_once = 1, .waits = 1, .nodelay = 1, .requests = 3},
    {.at_once = 8, .nodelay = 1, .requests = 64, .largest = 400},
    {.at_once = 1, .waits = 1, .sndbuf = 4608, .nodelay = 1, .requests = 50},
    {.at_once = 1, .nodelay = 1, .requests = 1},
    /* More at once than an agent follows. */
    {.at_once = 8, .nodelay = 1, .requests = 64},
};
static const int COUNT = sizeof WAYS / sizeof *WAYS;

/* What an application may see: returns whether it goes on. A socket that waits in its calls is never told to try
   again. */
static int may_go_on(struct client *client, short what) {
    struct pollfd which = {.fd = client->fd, .events = what};
    if (errno == EAGAIN && !WAYS[client->kind % COUNT].waits) return poll(&which, 1, -1) == 1;
    client->errors[errno & 255]++;
    return 0;
}

static void send_part(struct client *client, const char *bytes, size_t count) {
    while (count) {
        ssize_t sent = send(client->fd, bytes, count, 0);
        if (sent < 0) {
            if (may_go_on(client, POLLOUT)) continue;
            return;
        }
        client->hash = digest(client->hash, bytes, sent);
        client->length += sent;
        bytes += sent;
        count -= sent;
    }
}

static int receive(struct client *client) {
    for (;;) {
        ssize_t got = recv(client->fd, client->in + client->have, sizeof client->in - client->have, 0);
        if (got > 0) {
            client->have += got;
            return 1;
        }
        if (got == 0) return 0;
        if (!may_go_on(client, POLLIN)) return 0;
    }
}

static void open_one(struct client *client) {
    const struct way *way = &WAYS[client->kind % COUNT];
    struct sockaddr_in there = address(port);
    client->fd = socket(AF_INET, SOCK_STREAM, 0);
    if (way->sndbuf) setsockopt(client->fd, SOL_SOCKET, SO_SNDBUF, &way->sndbuf, sizeof way->sndbuf);
    if (way->nodelay) setsockopt(client->fd, IPPROTO_TCP, TCP_NODELAY, &way->nodelay, sizeof way->nodelay);
    if (!way->waits) fcntl(client->fd, F_SETFL, O_NONBLOCK);
    if (connect(client->fd, (void *)&there, sizeof there)) {
        struct pollfd out = {.fd = client->fd, .events = POLLOUT};
        int result;
        socklen_t size = sizeof result;
        if (errno != EINPROGRESS || poll(&out, 1, -1) != 1) fail("connect");
        getsockopt(client->fd, SOL_SOCKET, SO_ERROR, &result, &size);
        if (result) errno = result, fail("connect");
    }
    client->hash = EMPTY;
    client->length = client->of_connection = client->have = 0;
    client->connections++;
}

static void close_one(struct client *client) {
    unsigned long length, requests, headers, twice;
    uint64_t hash;
    shutdown(client->fd, SHUT_WR);
    while (receive(client));
    client->in[client->have < sizeof client->in ? client->have : sizeof client->in - 1] = 0;
    int is_read = sscanf(client->in, "%lx %lu %lu %lu %lu", &hash, &length, &requests, &headers, &twice) == 5;
    client->wrong += !is_read || hash != client->hash || length != client->length;
    if (is_read) {
        client->wrong += requests != client->of_connection;
        client->headers += headers;
        client->twice += twice;
    }
    close(client->fd);
}

static void ask(struct client *client, int which) {
    const struct way *way = &WAYS[client->kind % COUNT];
    unsigned long number = dice(&client->state) >> 8, answer = dice(&client->state) % 8;
    answer = answer || way->largest ? dice(&client->state) % 300 : dice(&client->state) % LARGEST_ANSWER;
    size_t size = 120 + dice(&client->state) % 4880, body = dice(&client->state) % 3 ? size / 3 : 0;
    if (way->largest) body = 0, size = size % way->largest;
    else if (dice(&client->state) % 200 == 0) body = LARGE - dice(&client->state) % 1000;
    int head = sprintf(client->bytes,
                       "%s /r/%lu/%lu HTTP/1.1\r\nHost: flood\r\nContent-Length: %zu\r\nX-Pad: ",
                       body ? "POST" : "GET", answer, number, body);
    while ((size_t)head + 4 + (body < size ? body : 0) < size) client->bytes[head++] = 'p';
    memcpy(client->bytes + head, "\r\n\r\n", 4);
    head += 4;
    fill(client->bytes + head, body, number + 1);
    client->sizes[which] = answer;
    client->numbers[which] = number;
    /* In one send, or head and body, or in pieces of any size: seldom where each piece waits for the last one's
       acknowledgement. A head in pieces leaves an agent in doubt for the rest of a busy connection. */
    size_t all = head + body, at = 0;
    int how = dice(&client->state) % (way->nodelay ? 4 : 64);
    while (at < all) {
        size_t part = all - at;
        int in_head = at < (size_t)head, is_whole = how == 1 || (how == 2 && way->requests > 1000);
        if (in_head && is_whole)
            part = head;
        else if (how == 2)
            part = 1 + dice(&client->state) % part;
        send_part(client, client->bytes + at, part);
        at += part;
    }
    client->requests++;
    client->of_connection++;
}

static void take(struct client *client, int which) {
    char *end;
    while (!(end = memmem(client->in, client->have, "\r\n\r\n", 4)))
        if (!receive(client)) {
            client->wrong++;
            return;
        }
    size_t head = end + 4 - client->in, length = 0, expected = client->sizes[which];
    char *field = memmem(client->in, head, "Content-Length: ", 16);
    if (field) length = strtoul(field + 16, NULL, 10);
    if (length != expected) {
        client->wrong++;
        return;
    }
    while (client->have < head + length)
        if (!receive(client)) {
            client->wrong++;
            return;
        }
    static __thread char right[LARGEST_ANSWER];
    fill(right, length, client->numbers[which]);
    client->wrong += memcmp(right, client->in + head, length) != 0;
    client->answers = digest(client->answers, client->in + head, length);
    client->have -= head + length;
    memmove(client->in, client->in + head + length, client->have);
}

static int is_done(const struct client *client) {
    if (until) return !access(until, F_OK);
    return client->requests >= wanted;
}

static void *run(void *argument) {
    struct client *client = argument;
    const struct way *way = &WAYS[client->kind % COUNT];
    client->answers = EMPTY;
    client->state = 0x9e3779b97f4a7c15 * (client->kind + 1);
    while (!is_done(client)) {
        open_one(client);
        while (!is_done(client) && client->of_connection < (unsigned long)way->requests && !client->wrong) {
            int count = 0;
            while (count < way->at_once && (!count || !is_done(client))) ask(client, count++);
            for (int which = 0; which < count && !client->wrong; which++) take(client, which);
            if (pause_us) usleep(pause_us);
        }
        close_one(client);
        if (client->wrong) break;
    }
    return NULL;
}

int main(int count, char **arguments) {
    signal(SIGPIPE, SIG_IGN);
    if (count < 3) return 2;
    port = atoi(arguments[2]);
    if (!strcmp(arguments[1], "serve")) serve(port);
    if (count < 5) return 2;
    int threads = atoi(arguments[3]);
    wanted = strtoul(arguments[4], NULL, 10);
    if (count > 6) {
        until = arguments[5];
        pause_us = atoi(arguments[6]);
    }
    struct client *clients = calloc(threads, sizeof *clients);
    pthread_t *ids = calloc(threads, sizeof *ids);
    for (int n = 0; n < threads; n++) {
        clients[n].kind = n;
        if (pthread_create(&ids[n], NULL, run, &clients[n])) fail("thread");
    }
    struct client sum = {0};
    for (int n = 0; n < threads; n++) {
        pthread_join(ids[n], NULL);
        sum.requests += clients[n].requests;
        sum.connections += clients[n].connections;
        sum.wrong += clients[n].wrong;
        sum.headers += clients[n].headers;
        sum.twice += clients[n].twice;
        sum.answers ^= clients[n].answers * (2 * n + 1);
        for (int e = 0; e < 256; e++) sum.errors[e] += clients[n].errors[e];
    }
    printf("{\"requests\": %lu, \"connections\": %lu, \"wrong\": %lu, \"headers\": %lu, \"twice\": %lu, "
           "\"answers\": \"%016lx\", \"errors\": {",
           sum.requests, sum.connections, sum.wrong, sum.headers, sum.twice, sum.answers);
    const char *comma = "";
    for (int e = 0; e < 256; e++)
        if (sum.errors[e]) {
            printf("%s\"%d\": %lu", comma, e, sum.errors[e]);
            comma = ", ";
        }
    printf("}}\n");
    return 0;
}
