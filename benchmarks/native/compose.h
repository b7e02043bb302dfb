/* Writes the messages of SIP Server and of a Resource Manager: realistic headers, padded to the
 * size asked for. It keeps no state; what differs between messages comes in `struct words`. */
#ifndef COMPOSE_H
#define COMPOSE_H

#include "scan.h"

struct wording { /* fixed for one generator */
    const char *host, *proxy_host; /* IPv4; ours is the caller's and every member's */
    unsigned caller_port, proxy_port;
    bool stream;
    unsigned request_size, answer_size; /* octets: at least what the headers need */
    uint32_t salt;                      /* makes Call-IDs differ between generators */
};
extern struct wording wording;

struct names { /* what names one dialog */
    uint32_t index;
    uint16_t epoch;
    unsigned member, member_port; /* 0: not yet known */
    const char *route;            /* the whole Route header line, or nothing */
    size_t route_len;
};

void compose_prepare(void);

/* A request of the caller; an initial one while `member_port` is 0. Returns its octets.
 * `refused_to` is the To value of the answer that an ACK to non-2xx acknowledges, else NULL. */
size_t compose_request(char *at, const struct names *n, enum method method, uint32_t cseq,
                       const struct span *refused_to);

/* A member's answer to `m`; `n` NULL: to a request outside every dialog of ours. */
size_t compose_answer(char *at, const struct message *m, const struct names *n, unsigned status,
                      unsigned member, unsigned port);

/* The Route header line that follows from a response's Record-Route; 0: longer than `most`. */
size_t compose_route(char *at, size_t most, const struct message *m);

/* Index and epoch of the dialog out of its Call-ID; false: not one of ours. */
bool names_of(struct span call_id, uint32_t *index, uint16_t *epoch);

#endif
