/* What the machine can do: a POP3 server that knows its replies by heart.
 *
 *   limit WORKERS TABLE
 *
 * A line of the table is a command and a file with the octets that answer it; a command that is not found with its
 * arguments is looked for without them.  GREETING answers the connection, and QUIT ends it.  So many processes share
 * a port of 127.0.0.1, which is printed.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

enum { INPUT = 4096, OUTPUT = 65536, LONG = 16384, REPLIES = 4096 };

struct reply {
    char *command;
    int file;
    char *octets;
    size_t length;
};

struct peer {
    int socket, quits, watched;
    size_t held;             /* octets of commands that are not answered yet */
    size_t out, sent;        /* octets of short replies that wait together */
    const struct reply *big; /* a long one under way, by sendfile */
    off_t at;
    char in[INPUT], buffer[OUTPUT];
};

static struct reply replies[REPLIES];
static int reply_count, poller;

static void die(const char *what) {
    perror(what);
    exit(1);
}

static void read_table(const char *path) {
    FILE *table = fopen(path, "r");
    char *line = NULL;
    size_t room = 0;
    if (!table) die(path);
    while (getline(&line, &room, table) > 0) {
        char *tab = strchr(line, '\t');
        struct reply *reply = &replies[reply_count++];
        struct stat status;
        if (!tab || reply_count == REPLIES) die("table");
        *tab = 0;
        tab[strcspn(tab + 1, "\n") + 1] = 0;
        reply->command = strdup(line);
        reply->file = open(tab + 1, O_RDONLY);
        if (reply->file < 0 || fstat(reply->file, &status)) die(tab + 1);
        reply->length = status.st_size;
        reply->octets = mmap(NULL, reply->length, PROT_READ, MAP_PRIVATE | MAP_POPULATE, reply->file, 0);
    }
    fclose(table);
}

static const struct reply *find(const char *command, size_t length) {
    for (int i = 0; i < reply_count; i++)
        if (strlen(replies[i].command) == length && !memcmp(replies[i].command, command, length)) return &replies[i];
    const char *space = memchr(command, ' ', length);
    return space ? find(command, space - command) : NULL;
}

static void watch(struct peer *peer, int operation, int events) {
    struct epoll_event event = {.events = events, .data.ptr = peer};
    if (peer->watched == events) return;
    peer->watched = events;
    if (epoll_ctl(poller, operation, peer->socket, &event)) die("epoll_ctl");
}

static int hang_up(struct peer *peer) {
    close(peer->socket);
    free(peer);
    return 0;
}

/* Returns 1 when all is sent, 0 when the peer must read first, or is gone. */
static int flush(struct peer *peer) {
    while (peer->sent < peer->out) {
        ssize_t sent = send(peer->socket, peer->buffer + peer->sent, peer->out - peer->sent, MSG_NOSIGNAL);
        if (sent < 0 && errno == EAGAIN) return watch(peer, EPOLL_CTL_MOD, EPOLLOUT), 0;
        if (sent < 0) return hang_up(peer);
        peer->sent += sent;
    }
    peer->out = peer->sent = 0;
    while (peer->big) {
        ssize_t sent = sendfile(peer->socket, peer->big->file, &peer->at, peer->big->length - peer->at);
        if (sent < 0 && errno == EAGAIN) return watch(peer, EPOLL_CTL_MOD, EPOLLOUT), 0;
        if (sent < 0) return hang_up(peer);
        if ((size_t)peer->at == peer->big->length) peer->big = NULL;
    }
    if (peer->quits) return hang_up(peer);
    watch(peer, EPOLL_CTL_MOD, EPOLLIN);
    return 1;
}

/* Answers what has come, as far as the peer reads; returns whether the peer is still there and waits. */
static int answer(struct peer *peer) {
    size_t done = 0;
    for (char *newline; !peer->big && (newline = memchr(peer->in + done, '\n', peer->held - done));) {
        size_t length = newline - (peer->in + done) - 1;
        const struct reply *reply = find(peer->in + done, length);
        if (!reply) fprintf(stderr, "no reply to %.*s\n", (int)length, peer->in + done), exit(1);
        peer->quits = length == 4 && !memcmp(peer->in + done, "QUIT", 4);
        done += length + 2;
        if (reply->length > LONG) {
            peer->big = reply;
            peer->at = 0;
        } else {
            memcpy(peer->buffer + peer->out, reply->octets, reply->length);
            peer->out += reply->length;
        }
        if (peer->out > OUTPUT - LONG) break;
    }
    peer->held -= done;
    memmove(peer->in, peer->in + done, peer->held);
    return flush(peer);
}

static void serve(struct peer *peer, int events) {
    if (events & EPOLLOUT) {
        if (!flush(peer)) return;
    } else {
        ssize_t got = recv(peer->socket, peer->in + peer->held, INPUT - peer->held, 0);
        if (got < 0 && errno == EAGAIN) return;
        if (got <= 0) {
            hang_up(peer);
            return;
        }
        peer->held += got;
    }
    while (memchr(peer->in, '\n', peer->held))
        if (!answer(peer)) return;
}

static void greet(int listener) {
    const struct reply *greeting = find("GREETING", 8);
    for (int socket; (socket = accept4(listener, NULL, NULL, SOCK_NONBLOCK)) >= 0;) {
        struct peer *peer = malloc(sizeof *peer);
        memset(peer, 0, offsetof(struct peer, in));
        peer->socket = socket;
        watch(peer, EPOLL_CTL_ADD, EPOLLIN);
        memcpy(peer->buffer, greeting->octets, peer->out = greeting->length);
        flush(peer);
    }
}

static int listen_at(int port) {
    int one = 1, listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(port)};
    inet_pton(AF_INET, "127.0.0.1", &address.sin_addr);
    setsockopt(listener, SOL_SOCKET, SO_REUSEPORT, &one, sizeof one);
    setsockopt(listener, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    if (bind(listener, (struct sockaddr *)&address, sizeof address) || listen(listener, 1024)) die("listen");
    return listener;
}

int main(int count, char **words) {
    struct sockaddr_in address;
    socklen_t size = sizeof address;
    if (count != 3) return fputs("limit WORKERS TABLE\n", stderr), 1;
    read_table(words[2]);
    int listener = listen_at(0);
    getsockname(listener, (struct sockaddr *)&address, &size);
    printf("%d\n", ntohs(address.sin_port));
    fflush(stdout);
    for (int worker = 1; worker < atoi(words[1]); worker++)
        if (fork() == 0) {
            prctl(PR_SET_PDEATHSIG, SIGTERM);
            close(listener);
            listener = listen_at(ntohs(address.sin_port));
            break;
        }
    poller = epoll_create1(0);
    struct epoll_event events[256], event = {.events = EPOLLIN, .data.ptr = NULL};
    epoll_ctl(poller, EPOLL_CTL_ADD, listener, &event);
    for (;;) {
        int ready = epoll_wait(poller, events, 256, -1);
        for (int i = 0; i < ready; i++)
            if (events[i].data.ptr)
                serve(events[i].data.ptr, events[i].events);
            else
                greet(listener);
    }
}
