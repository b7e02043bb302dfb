/* Sockets of the generator: batches of datagrams (recvmmsg, sendmmsg with UDP segmentation, so
 * that the generator costs less than what it measures) and framed streams. It knows no SIP but
 * where a message of a stream ends. */
#ifndef LINK_H
#define LINK_H

#include <netinet/in.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { MAX_MESSAGE = 16384, BATCH = 64 };
enum role { CALLER, MEMBER, LISTENER, SCRAPER, COMMANDS };

struct endpoint {
    int fd;
    enum role role;
    unsigned index; /* which member, or which connection of the caller */
    bool stream, closed, dirty;
    char *out; /* messages not yet handed to the kernel, one after the other */
    size_t out_len, out_room;
    unsigned out_count; /* datagrams in `out` */
    struct {
        struct sockaddr_in to;
        size_t len;
    } datagram[BATCH];
    char *in; /* a stream's octets that are no whole message yet */
    size_t in_len;
};

struct tallies {
    uint64_t send_errors, broken; /* datagrams the kernel refused; connections lost */
    uint64_t batches, batched;    /* receive calls that gave something, and what they gave */
    uint64_t malformed;
};
extern struct tallies link_tallies;

/* Called with each whole message. */
typedef void deliver_fn(struct endpoint *e, const struct sockaddr_in *from, const char *data,
                        size_t len, uint64_t now);

struct sockaddr_in place(const char *host, unsigned port);
struct endpoint *open_datagram(enum role role, unsigned index, unsigned port, int buffer);
struct endpoint *open_connection(enum role role, unsigned index, unsigned port, int buffer);
struct endpoint *open_listener(unsigned index, unsigned port);
struct endpoint *watch(int fd, enum role role, unsigned index);
void forget(struct endpoint *e);

/* MAX_MESSAGE octets to compose the next message in; `put` takes `len` of them. */
char *room(struct endpoint *e);
void put(struct endpoint *e, size_t len, const struct sockaddr_in *to);

/* Hand everything composed to the kernel. */
void flush_all(void);

/* Receive once from each socket that has something; waits up to `timeout_ms` (-1: for ever).
 * Endpoints of role SCRAPER and COMMANDS are given to `ready` instead. */
void poll_links(int timeout_ms, deliver_fn *deliver, void (*ready)(struct endpoint *e));

#endif
