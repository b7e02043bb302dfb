/* Reads what the generator needs of a SIP message: one pass over the header lines, nothing
 * copied. It trusts nobody's length, and knows nothing of flows. */
#ifndef SCAN_H
#define SCAN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum method { INVITE, ACK, BYE, OPTIONS, INFO, OTHER, METHODS };
extern const char *const METHOD_NAME[METHODS];

struct span {
    const char *at;
    size_t len;
};

enum { MAX_LINES = 12 };

struct message {
    enum method method; /* of the request, or from CSeq of the response */
    unsigned status;    /* 0: a request */
    uint32_t cseq;
    bool has_to_tag, has_route;
    unsigned vias, record_routes;
    struct span via[MAX_LINES], record_route[MAX_LINES]; /* header lines with their CRLF */
    struct span from, to, call_id, cseq_line;            /* likewise */
    struct span call_id_value, to_value;
};

/* False: not a SIP message with the headers that every message has. */
bool scan(const char *data, size_t len, struct message *m);

/* Length of the first whole message of a stream: 0 not there yet, -1 not SIP. */
long frame(const char *data, size_t len);

#endif
