#define _GNU_SOURCE
#include "link.h"

#include "clock.h"
#include "compose.h"
#include "scan.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <netinet/udp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

enum {
    MAX_DIRTY = 4096,
    OUT_UDP = BATCH * MAX_MESSAGE,
    OUT_TCP_MOST = 64 << 20, /* beyond this the far side has stalled for good */
    IN_TCP = 1 << 20,
    SEGMENTS_MOST = 64,         /* UDP_MAX_SEGMENTS of older kernels */
    SEGMENTED_OCTETS_MOST = 60000 /* of one send; a datagram ends at 65,507 */
};

struct tallies link_tallies;
static int epoll_fd = -1;
static struct endpoint *dirty[MAX_DIRTY];
static unsigned dirty_count;

static void must(bool ok, const char *what) {
    if (!ok) {
        perror(what);
        exit(1);
    }
}

struct sockaddr_in place(const char *host, unsigned port) {
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    must(inet_pton(AF_INET, host, &a.sin_addr) == 1, host);
    return a;
}

struct endpoint *watch(int fd, enum role role, unsigned index) {
    if (epoll_fd < 0)
        must((epoll_fd = epoll_create1(0)) >= 0, "epoll");
    struct endpoint *e = calloc(1, sizeof *e);
    must(e != NULL, "memory");
    e->fd = fd;
    e->role = role;
    e->index = index;
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = e};
    must(epoll_ctl(epoll_fd, EPOLL_CTL_ADD, fd, &event) == 0, "epoll_ctl");
    return e;
}

void forget(struct endpoint *e) {
    if (e->closed)
        return;
    epoll_ctl(epoll_fd, EPOLL_CTL_DEL, e->fd, NULL);
    close(e->fd);
    e->closed = true; /* kept: queued answers may still name it */
    e->out_len = 0;
}

static void set_buffers(int fd, int buffer) {
    setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &buffer, sizeof buffer);
    setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &buffer, sizeof buffer);
}

static void bind_to(int fd, unsigned port) {
    struct sockaddr_in a = place(wording.host, port);
    int on = 1;
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    must(bind(fd, (struct sockaddr *)&a, sizeof a) == 0, "bind");
}

struct endpoint *open_datagram(enum role role, unsigned index, unsigned port, int buffer) {
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK, 0);
    must(fd >= 0, "socket");
    set_buffers(fd, buffer);
    struct sockaddr_in a = place(wording.host, port);
    must(bind(fd, (struct sockaddr *)&a, sizeof a) == 0, "bind");
    struct endpoint *e = watch(fd, role, index);
    e->out = malloc(e->out_room = OUT_UDP);
    must(e->out != NULL, "memory");
    return e;
}

static struct endpoint *adopt_stream(int fd, enum role role, unsigned index) {
    int on = 1;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    struct endpoint *e = watch(fd, role, index);
    e->stream = true;
    e->out = malloc(e->out_room = 4 * MAX_MESSAGE);
    e->in = malloc(IN_TCP);
    must(e->out != NULL && e->in != NULL, "memory");
    return e;
}

struct endpoint *open_connection(enum role role, unsigned index, unsigned port, int buffer) {
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    must(fd >= 0, "socket");
    set_buffers(fd, buffer);
    struct sockaddr_in a = place(wording.proxy_host, port);
    must(connect(fd, (struct sockaddr *)&a, sizeof a) == 0, "connect");
    return adopt_stream(fd, role, index);
}

struct endpoint *open_listener(unsigned index, unsigned port) {
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    must(fd >= 0, "socket");
    bind_to(fd, port);
    must(listen(fd, 64) == 0, "listen");
    return watch(fd, LISTENER, index);
}

/* ---- out ---- */

static void flush_datagrams(struct endpoint *e) {
    static struct mmsghdr header[BATCH];
    static struct iovec part[BATCH];
    static union {
        char octets[CMSG_SPACE(sizeof(uint16_t))];
        struct cmsghdr aligned;
    } control[BATCH];
    unsigned groups = 0;
    char *at = e->out;
    for (unsigned i = 0; i < e->out_count;) {
        size_t len = e->datagram[i].len;
        struct sockaddr_in *to = &e->datagram[i].to;
        unsigned n = 1;
        while (i + n < e->out_count && e->datagram[i + n].len == len && n < SEGMENTS_MOST &&
               (n + 1) * len <= SEGMENTED_OCTETS_MOST &&
               e->datagram[i + n].to.sin_port == to->sin_port)
            n++;
        struct msghdr *h = &header[groups].msg_hdr;
        memset(h, 0, sizeof *h);
        part[groups] = (struct iovec){at, n * len};
        h->msg_name = to;
        h->msg_namelen = sizeof *to;
        h->msg_iov = &part[groups];
        h->msg_iovlen = 1;
        if (n > 1) {
            h->msg_control = control[groups].octets;
            h->msg_controllen = sizeof control[groups].octets;
            struct cmsghdr *c = CMSG_FIRSTHDR(h);
            c->cmsg_level = SOL_UDP;
            c->cmsg_type = UDP_SEGMENT;
            c->cmsg_len = CMSG_LEN(sizeof(uint16_t));
            uint16_t segment = (uint16_t)len;
            memcpy(CMSG_DATA(c), &segment, sizeof segment);
        }
        at += n * len;
        i += n;
        groups++;
    }
    for (unsigned done = 0; done < groups;) {
        int sent = sendmmsg(e->fd, header + done, groups - done, 0);
        if (sent > 0) {
            done += (unsigned)sent;
        } else if (errno != EINTR) { /* also an ICMP error for an earlier datagram */
            link_tallies.send_errors++;
            done++;
        }
    }
    e->out_count = 0;
    e->out_len = 0;
}

static void flush_stream(struct endpoint *e) {
    size_t done = 0;
    while (done < e->out_len) {
        ssize_t n = send(e->fd, e->out + done, e->out_len - done, MSG_DONTWAIT | MSG_NOSIGNAL);
        if (n <= 0) {
            if (n < 0 && errno == EINTR)
                continue;
            if (n < 0 && errno != EAGAIN) {
                link_tallies.broken++;
                forget(e);
                return;
            }
            break;
        }
        done += (size_t)n;
    }
    memmove(e->out, e->out + done, e->out_len - done);
    e->out_len -= done;
}

char *room(struct endpoint *e) {
    if (e->out_len + MAX_MESSAGE > e->out_room) {
        if (!e->stream) {
            flush_datagrams(e);
        } else {
            must(e->out_room < OUT_TCP_MOST, "a stalled connection");
            e->out = realloc(e->out, e->out_room *= 2);
            must(e->out != NULL, "memory");
        }
    }
    return e->out + e->out_len;
}

void put(struct endpoint *e, size_t len, const struct sockaddr_in *to) {
    if (e->closed)
        return;
    if (!e->dirty && dirty_count < MAX_DIRTY) {
        e->dirty = true;
        dirty[dirty_count++] = e;
    }
    e->out_len += len;
    if (e->stream)
        return;
    e->datagram[e->out_count].to = *to;
    e->datagram[e->out_count].len = len;
    if (++e->out_count == BATCH)
        flush_datagrams(e);
}

void flush_all(void) {
    unsigned kept = 0;
    for (unsigned i = 0; i < dirty_count; i++) {
        struct endpoint *e = dirty[i];
        if (!e->closed) {
            if (e->stream)
                flush_stream(e);
            else if (e->out_count)
                flush_datagrams(e);
        }
        e->dirty = !e->closed && e->out_len > 0;
        if (e->dirty)
            dirty[kept++] = e;
    }
    dirty_count = kept;
}

/* ---- in ---- */

static void receive_datagrams(struct endpoint *e, deliver_fn *deliver) {
    static char buffer[BATCH][MAX_MESSAGE];
    static struct sockaddr_in from[BATCH];
    static struct mmsghdr header[BATCH];
    static struct iovec part[BATCH];
    for (unsigned i = 0; i < BATCH && part[i].iov_len == 0; i++) { /* the first time */
        part[i] = (struct iovec){buffer[i], MAX_MESSAGE};
        header[i].msg_hdr = (struct msghdr){.msg_name = &from[i],
                                            .msg_namelen = sizeof from[i],
                                            .msg_iov = &part[i],
                                            .msg_iovlen = 1};
    }
    int n = recvmmsg(e->fd, header, BATCH, MSG_DONTWAIT, NULL);
    if (n <= 0)
        return;
    uint64_t now = now_ns();
    link_tallies.batches++;
    link_tallies.batched += (uint64_t)n;
    for (int i = 0; i < n; i++)
        deliver(e, &from[i], buffer[i], header[i].msg_len, now);
}

static void receive_stream(struct endpoint *e, deliver_fn *deliver) {
    ssize_t n = recv(e->fd, e->in + e->in_len, IN_TCP - e->in_len, MSG_DONTWAIT);
    if (n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR)) {
        if (e->role == CALLER)
            link_tallies.broken++;
        forget(e);
    }
    if (n <= 0)
        return;
    uint64_t now = now_ns();
    link_tallies.batches++;
    e->in_len += (size_t)n;
    size_t at = 0;
    while (at < e->in_len) {
        while (at < e->in_len && (e->in[at] == '\r' || e->in[at] == '\n'))
            at++; /* keep-alives */
        long len = frame(e->in + at, e->in_len - at);
        if (len < 0) {
            link_tallies.malformed++;
            at = e->in_len;
        }
        if (len <= 0)
            break;
        link_tallies.batched++;
        deliver(e, NULL, e->in + at, (size_t)len, now);
        at += (size_t)len;
    }
    memmove(e->in, e->in + at, e->in_len - at);
    e->in_len -= at;
}

static void accept_stream(struct endpoint *listener) {
    int fd = accept4(listener->fd, NULL, NULL, 0);
    if (fd >= 0)
        adopt_stream(fd, MEMBER, listener->index);
}

void poll_links(int timeout_ms, deliver_fn *deliver, void (*ready)(struct endpoint *e)) {
    struct epoll_event event[64];
    int n = epoll_wait(epoll_fd, event, 64, timeout_ms);
    for (int i = 0; i < n; i++) {
        struct endpoint *e = event[i].data.ptr;
        if (e->closed)
            continue;
        if (e->role == LISTENER)
            accept_stream(e);
        else if (e->role == SCRAPER || e->role == COMMANDS)
            ready(e);
        else if (e->stream)
            receive_stream(e, deliver);
        else
            receive_datagrams(e, deliver);
    }
}
