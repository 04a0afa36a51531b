/* A load generator for POP3 that checks every reply.
 *
 *   load HOST PORT CONNECTIONS SESSIONS FIRST SCRIPT [tls | resume | offer]
 *
 * Keeps CONNECTIONS connections going, each of which runs the script again and again, until SESSIONS sessions have
 * ended.  Connection i is the user FIRST + i, which stands for %u in the script.  A line of the script is one of
 *
 *   S text          send the text and CRLF; those that follow each other go out together
 *   1 prefix        expect a line that begins so
 *   M octets crc    expect +OK and lines up to the one with a dot; so many octets with their ends, and their
 *                   CRC-32C, as `load crc` tells it of standard input (0: not looked at)
 *   A path          make a file with that content in the Maildir, which is a message that arrives
 *   H               wait until all connections are here, print "held", and end with standard input
 *   P rate block    not a step: begin so many sessions a second, whatever becomes of those before, with CONNECTIONS
 *                   as the most at a time.  Block by block, so many users come once and then once more.
 *
 * A session begins with the greeting (one that has its time begins with that) and ends when the server has closed.
 * Prints one line: sessions, seconds,
 * then microseconds of the fastest, the median, the 99th percentile and the slowest session.  Whatever is not as
 * expected ends the program with status 1.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <openssl/ssl.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum { BUFFER = 1 << 18, LONGEST = 1 << 17 };
enum { DONE, AGAIN };

struct step {
    char kind;
    char *text;
    size_t length;
    size_t octets;
    uint32_t crc;
};

struct connection {
    int socket;
    SSL *ssl;
    unsigned number;
    size_t step;             /* the one that is next */
    int greeted, connected, inside, closing;
    char line[1024];         /* the beginning of the line under way */
    size_t line_length;
    size_t octets;           /* of the lines so far */
    uint32_t crc;
    char *out;
    size_t out_length, out_sent;
    double began;
};

static struct step *steps;
static size_t step_count;
static struct sockaddr_in address;
static SSL_CTX *context;
static SSL_SESSION *ticket;
static int resume, must_resume, poller;
static unsigned first, connections;
static long to_begin, begun, ended, holding;
static double interval, beginning; /* of sessions that have their time; 0: they follow each other */
static unsigned block;
static struct connection **idle;
static unsigned idle_count;
static double *latencies;
static uint32_t crc_table[256];
static char *incoming;

static void fail(const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    vfprintf(stderr, format, arguments);
    va_end(arguments);
    fputc('\n', stderr);
    exit(1);
}

static double now(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return time.tv_sec + time.tv_nsec * 1e-9;
}

static void make_crc_table(void) {
    for (uint32_t n = 0; n < 256; n++) {
        uint32_t c = n;
        for (int k = 0; k < 8; k++) c = c & 1 ? 0x82F63B78u ^ (c >> 1) : c >> 1;
        crc_table[n] = c;
    }
}

#ifdef __x86_64__
__attribute__((target("sse4.2"))) static uint32_t crc_by_machine(uint64_t crc, const char *p, size_t length) {
    for (; length >= 8; p += 8, length -= 8) {
        uint64_t word;
        memcpy(&word, p, 8);
        crc = __builtin_ia32_crc32di(crc, word);
    }
    for (; length; length--) crc = __builtin_ia32_crc32qi(crc, *p++);
    return crc;
}
#endif

/* CRC-32C, for which there is an instruction. */
static uint32_t crc32c(uint32_t crc, const char *p, size_t length) {
    crc = ~crc;
#ifdef __x86_64__
    if (__builtin_cpu_supports("sse4.2")) return ~crc_by_machine(crc, p, length);
#endif
    for (; length; length--) crc = crc_table[(crc ^ (unsigned char)*p++) & 255] ^ (crc >> 8);
    return ~crc;
}

static int print_crc(void) {
    size_t length, octets = 0;
    uint32_t crc = 0;
    for (incoming = malloc(BUFFER); (length = fread(incoming, 1, BUFFER, stdin)); octets += length)
        crc = crc32c(crc, incoming, length);
    printf("%zu %u\n", octets, crc);
    return 0;
}

static void read_script(const char *path) {
    FILE *file = fopen(path, "r");
    char *line = NULL;
    size_t room = 0;
    ssize_t length;
    if (!file) fail("%s: %s", path, strerror(errno));
    while ((length = getline(&line, &room, file)) > 0) {
        if (line[length - 1] == '\n') line[--length] = 0;
        steps = realloc(steps, (step_count + 1) * sizeof *steps);
        if (line[0] == 'P') {
            double rate;
            if (sscanf(line, "P %lf %u", &rate, &block) != 2 || rate <= 0 || !block) fail("%s: P rate block", path);
            interval = 1 / rate;
            continue;
        }
        struct step *step = &steps[step_count++];
        memset(step, 0, sizeof *step);
        step->kind = line[0];
        step->text = strdup(length > 2 ? line + 2 : "");
        step->length = strlen(step->text);
        if (step->kind == 'M' && sscanf(step->text, "%zu %u", &step->octets, &step->crc) != 2)
            fail("%s: M octets crc", path);
        if (!strchr("S1MAH", step->kind)) fail("%s: no such step: %s", path, line);
    }
    fclose(file);
    free(line);
}

/* Writes text into out, with the user's number for %u. */
static size_t expand(char *out, const struct connection *it, const char *text) {
    char *end = out;
    for (; *text; text++)
        if (text[0] == '%' && text[1] == 'u') {
            end += sprintf(end, "%u", first + it->number);
            text++;
        } else
            *end++ = *text;
    *end = 0;
    return end - out;
}

static void arrive(const struct connection *it, const char *maildir) {
    static unsigned long count;
    static const char message[] =
        "From: a@example.org\nTo: b@example.org\nSubject: arrives\nMessage-ID: <%010lu@example.org>\n\n";
    char folder[512], name[128], from[800], to[800], head[256];
    struct timespec time;
    expand(folder, it, maildir);
    clock_gettime(CLOCK_REALTIME, &time);
    snprintf(name, sizeof name, "%010ld.M%06ldP%07dQ%08lu.host", (long)time.tv_sec, time.tv_nsec / 1000, getpid(),
             ++count);
    snprintf(from, sizeof from, "%s/tmp/%s", folder, name);
    snprintf(to, sizeof to, "%s/new/%s", folder, name);
    int file = open(from, O_WRONLY | O_CREAT | O_EXCL, 0666);
    if (file < 0) fail("%s: %s", from, strerror(errno));
    int length = snprintf(head, sizeof head, message, count);
    if (write(file, head, length) != length) fail("%s: short write", from);
    for (int line = 0; line < 27; line++)
        if (dprintf(file, "%071d\n", line) != 72) fail("%s: short write", from);
    fchmod(file, 0666);
    close(file);
    if (rename(from, to)) fail("%s: %s", to, strerror(errno));
}

static void watch(struct connection *it, int operation, uint32_t events) {
    struct epoll_event event = {.events = events, .data.ptr = it};
    if (epoll_ctl(poller, operation, it->socket, &event)) fail("epoll_ctl: %s", strerror(errno));
}

static int remember(SSL *ssl, SSL_SESSION *session) {
    (void)ssl;
    if (ticket) SSL_SESSION_free(ticket);
    ticket = SSL_SESSION_dup(session);
    return 0;
}

static int begin(struct connection *it) {
    int one = 1;
    if (to_begin == 0) return 0;
    to_begin--;
    it->began = now();
    if (interval) {
        it->began = beginning + begun * interval;
        it->number = begun / (2 * block) * block + begun % block;
    }
    begun++;
    it->socket = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    if (it->socket < 0) fail("socket: %s", strerror(errno));
    setsockopt(it->socket, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    it->step = it->greeted = it->connected = it->inside = it->closing = 0;
    it->line_length = it->octets = it->crc = it->out_length = it->out_sent = 0;
    if (connect(it->socket, (struct sockaddr *)&address, sizeof address) && errno != EINPROGRESS)
        fail("connect: %s", strerror(errno));
    if (context) {
        it->ssl = SSL_new(context);
        if (resume && ticket) {
            /* A copy: OpenSSL spoils a session that has brought a new ticket, or whose connection ends without an alert. */
            SSL_SESSION *own = SSL_SESSION_dup(ticket);
            SSL_set_session(it->ssl, own);
            SSL_SESSION_free(own);
        }
        SSL_set_fd(it->ssl, it->socket);
        SSL_set_connect_state(it->ssl);
    }
    watch(it, EPOLL_CTL_ADD, EPOLLIN | (context ? EPOLLOUT : 0));
    return 1;
}

static void end(struct connection *it) {
    if (it->ssl) {
        /* Or OpenSSL takes the connection for one that broke, and resumes its session no more. */
        SSL_set_shutdown(it->ssl, SSL_SENT_SHUTDOWN | SSL_RECEIVED_SHUTDOWN);
        SSL_free(it->ssl);
        it->ssl = NULL;
    }
    close(it->socket);
    latencies[ended++] = now() - it->began;
    if (interval)
        idle[idle_count++] = it;
    else
        begin(it);
}

/* Begins the sessions whose time has come; returns the milliseconds until the next one, or a minute. */
static int begin_those_due(void) {
    while (interval && to_begin && idle_count) {
        double left = beginning + begun * interval - now();
        if (left > 0) return left * 1000 + 1;
        begin(idle[--idle_count]);
    }
    return 60000;
}

/* Sends what there is; returns AGAIN when the socket is full. */
static int flush(struct connection *it) {
    while (it->out_sent < it->out_length) {
        ssize_t sent;
        if (it->ssl) {
            sent = SSL_write(it->ssl, it->out + it->out_sent, it->out_length - it->out_sent);
            if (sent <= 0) {
                int error = SSL_get_error(it->ssl, sent);
                if (error == SSL_ERROR_WANT_READ || error == SSL_ERROR_WANT_WRITE) return AGAIN;
                fail("user %u: TLS error %d while sending", first + it->number, error);
            }
        } else {
            sent = send(it->socket, it->out + it->out_sent, it->out_length - it->out_sent, MSG_NOSIGNAL);
            if (sent < 0 && errno == EAGAIN) return AGAIN;
            if (sent < 0) fail("user %u: send: %s", first + it->number, strerror(errno));
        }
        it->out_sent += sent;
    }
    it->out_length = it->out_sent = 0;
    return DONE;
}

/* Takes the steps that wait for nothing, and sends. */
static void act(struct connection *it) {
    for (; it->step < step_count; it->step++) {
        struct step *step = &steps[it->step];
        if (step->kind == 'S') {
            it->out_length += expand(it->out + it->out_length, it, step->text);
            memcpy(it->out + it->out_length, "\r\n", 2);
            it->out_length += 2;
            if (it->out_length > LONGEST / 2) fail("too much is sent at once");
        } else if (step->kind == 'A') {
            arrive(it, step->text);
        } else
            break;
    }
    if (it->step == step_count) it->closing = 1;
    if (it->step < step_count && steps[it->step].kind == 'H' && ++holding == connections) {
        puts("held");
        fflush(stdout);
        while (getchar() != EOF) continue;
        exit(0);
    }
    if (it->out_length) watch(it, EPOLL_CTL_MOD, EPOLLIN | (flush(it) == AGAIN ? EPOLLOUT : 0));
}

static void wrong(struct connection *it, const char *what) {
    fail("user %u, step %zu (%c %s): %s; the line begins %.*s", first + it->number, it->step,
         it->step < step_count ? steps[it->step].kind : '-', it->step < step_count ? steps[it->step].text : "", what,
         (int)(it->line_length < 80 ? it->line_length : 80), it->line);
}

/* A line has come as a whole; its beginning is in it->line. */
static void take_line(struct connection *it) {
    if (!it->greeted) {
        if (strncmp(it->line, "+OK", 3)) wrong(it, "no greeting");
        it->greeted = 1;
        act(it);
        return;
    }
    if (it->step >= step_count) wrong(it, "nothing was asked");
    struct step *step = &steps[it->step];
    if (step->kind == '1') {
        if (it->line_length < step->length || memcmp(it->line, step->text, step->length)) wrong(it, "another reply");
    } else if (!it->inside) {
        if (strncmp(it->line, "+OK", 3)) wrong(it, "refused");
        it->inside = 1;
        it->octets = it->crc = 0;
        return;
    } else if (it->line_length == 3 && !memcmp(it->line, ".\r\n", 3)) {
        if (step->crc && it->crc != step->crc) wrong(it, "other octets");
        it->inside = 0;
    } else {
        if (step->octets) wrong(it, "another number of octets");
        return;
    }
    it->step++;
    if (it->step == step_count || (steps[it->step].kind != '1' && steps[it->step].kind != 'M')) act(it);
}

static void take(struct connection *it, const char *at, size_t length) {
    for (const char *stop = at + length; at < stop;) {
        size_t part = stop - at, wanted = it->inside ? steps[it->step].octets - it->octets : 0;
        if (it->inside && steps[it->step].octets && wanted) { /* as many octets as the message has */
            if (part > wanted) part = wanted;
            if (steps[it->step].crc) it->crc = crc32c(it->crc, at, part);
            it->octets += part;
            at += part;
            continue;
        }
        const char *newline = memchr(at, '\n', part);
        if (newline) part = newline + 1 - at;
        if (it->line_length < sizeof it->line) {
            size_t room = sizeof it->line - it->line_length;
            memcpy(it->line + it->line_length, at, part < room ? part : room);
        }
        it->line_length += part;
        at += part;
        if (newline) {
            take_line(it);
            it->line_length = 0;
        }
    }
}

static void receive(struct connection *it) {
    for (;;) {
        ssize_t got;
        if (it->ssl) {
            got = SSL_read(it->ssl, incoming, BUFFER);
            int error = got > 0 ? 0 : SSL_get_error(it->ssl, got);
            if (error == SSL_ERROR_WANT_READ || error == SSL_ERROR_WANT_WRITE) return;
        } else {
            got = recv(it->socket, incoming, BUFFER, 0);
            if (got < 0 && errno == EAGAIN) return;
        }
        if (got <= 0) {
            if (!it->closing) fail("user %u, step %zu: the server has closed", first + it->number, it->step);
            end(it);
            return;
        }
        take(it, incoming, got);
        if (!it->ssl && got < BUFFER) return;
    }
}

static int by_time(const void *one, const void *two) {
    double a = *(const double *)one, b = *(const double *)two;
    return (a > b) - (a < b);
}

int main(int count, char **words) {
    make_crc_table();
    if (count == 2 && !strcmp(words[1], "crc")) return print_crc();
    if (count < 7) fail("load HOST PORT CONNECTIONS SESSIONS FIRST SCRIPT [tls | resume | offer]");
    address = (struct sockaddr_in){.sin_family = AF_INET, .sin_port = htons(atoi(words[2]))};
    inet_pton(AF_INET, words[1], &address.sin_addr);
    connections = atoi(words[3]);
    long sessions = to_begin = atol(words[4]);
    if (connections > sessions) connections = sessions;
    first = atoi(words[5]);
    read_script(words[6]);
    if (count > 7) {
        must_resume = !strcmp(words[7], "resume");
        resume = must_resume || !strcmp(words[7], "offer");
        context = SSL_CTX_new(TLS_client_method());
        SSL_CTX_set_mode(context, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
        SSL_CTX_set_session_cache_mode(context, SSL_SESS_CACHE_CLIENT | SSL_SESS_CACHE_NO_INTERNAL);
        if (resume) SSL_CTX_sess_set_new_cb(context, remember);
    }
    latencies = calloc(sessions, sizeof *latencies);
    incoming = malloc(BUFFER);
    poller = epoll_create1(0);
    struct connection *all = calloc(connections, sizeof *all);
    idle = calloc(connections, sizeof *idle);
    beginning = now();
    for (unsigned i = 0; i < connections; i++) {
        all[i].number = i;
        all[i].out = malloc(LONGEST);
        if (interval)
            idle[idle_count++] = &all[i];
        else
            begin(&all[i]);
    }
    struct epoll_event events[256];
    while (ended < sessions) {
        int patience = begin_those_due();
        int ready = epoll_wait(poller, events, 256, patience);
        if (ready == 0 && patience == 60000) fail("nothing has happened for a minute; %ld of %ld sessions", ended, sessions);
        for (int i = 0; i < ready; i++) {
            struct connection *it = events[i].data.ptr;
            if (it->ssl && !it->connected) {
                int done = SSL_do_handshake(it->ssl);
                if (done != 1) {
                    int error = SSL_get_error(it->ssl, done);
                    if (error != SSL_ERROR_WANT_READ && error != SSL_ERROR_WANT_WRITE) fail("no TLS (%d)", error);
                    watch(it, EPOLL_CTL_MOD, EPOLLIN | (error == SSL_ERROR_WANT_WRITE ? EPOLLOUT : 0));
                    continue;
                }
                it->connected = 1;
                if (must_resume && ticket && ended > (long)connections * 2 && !SSL_session_reused(it->ssl))
                    fail("a session was not resumed");
                watch(it, EPOLL_CTL_MOD, EPOLLIN);
            }
            if (events[i].events & EPOLLOUT && it->out_length && flush(it) == DONE) watch(it, EPOLL_CTL_MOD, EPOLLIN);
            receive(it);
        }
    }
    double seconds = now() - beginning;
    qsort(latencies, sessions, sizeof *latencies, by_time);
    printf("%ld %.6f %.1f %.1f %.1f %.1f\n", sessions, seconds, latencies[0] * 1e6, latencies[sessions / 2] * 1e6,
           latencies[sessions * 99 / 100] * 1e6, latencies[sessions - 1] * 1e6);
    return 0;
}
