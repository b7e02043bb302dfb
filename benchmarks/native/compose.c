#include "compose.h"

#include <string.h>

enum { FILLER = 16384, MODEST = 700 /* octets: below, optional headers and one Via stay out */ };

struct wording wording;
static char session[FILLER], script[FILLER], filler[FILLER];

static const char SDP[] = "v=0\r\no=PhoneSimulator 1 1 IN IP4 10.61.4.20\r\ns=incoming\r\n"
                          "c=IN IP4 10.61.4.20\r\nt=0 0\r\nm=audio 49170 RTP/AVP 0 8 101\r\n"
                          "a=rtpmap:0 PCMU/8000\r\na=rtpmap:8 PCMA/8000\r\n"
                          "a=rtpmap:101 telephone-event/8000\r\na=fmtp:101 0-15\r\na=ptime:20\r\n"
                          "a=sendrecv\r\n";
static const char MSML[] = "<?xml version=\"1.0\"?>\r\n<msml version=\"1.1\">\r\n"
                           "<dialogstart target=\"conn:1\" name=\"announcement\">\r\n"
                           "<play><audio uri=\"file:///announcements/1001.wav\"/></play>\r\n"
                           "</dialogstart>\r\n</msml>\r\n";
static const char OPTIONAL[] =
    "User-Agent: SIP Server 8.1.103\r\n"
    "Allow: INVITE, ACK, CANCEL, BYE, OPTIONS, INFO, UPDATE, NOTIFY, REFER\r\n"
    "Supported: timer, uui\r\n"
    "X-Genesys-RM-Application-dbid: 105\r\n"
    "X-Genesys-CallUUID: ";

static void fill(char *to, const char *first, const char *line) {
    size_t used = strlen(first), len = strlen(line);
    memcpy(to, first, used);
    while (used + len <= FILLER) {
        memcpy(to + used, line, len);
        used += len;
    }
    memset(to + used, ' ', FILLER - used);
}

void compose_prepare(void) {
    fill(session, SDP, "a=x-note:0123456789abcdefghijklmnopqrstuvwxyz0123456789\r\n");
    fill(script, MSML, "<!-- 0123456789 abcdefghijklmnopqrstuvwxyz 0123456789 -->\r\n");
    fill(filler, "", "campaign=4711;agent=1002;reason=transfer;");
}

/* ---- pieces ---- */

static char *add(char *at, const void *what, size_t len) {
    memcpy(at, what, len);
    return at + len;
}
#define TEXT(at, literal) add(at, literal, sizeof literal - 1)
#define SPAN(at, span) add(at, (span).at, (span).len)

static char *hex(char *at, uint32_t value, int digits) {
    for (int i = digits - 1; i >= 0; i--, value >>= 4)
        at[i] = "0123456789ABCDEF"[value & 15];
    return at + digits;
}

static char *number(char *at, uint32_t value) {
    char digits[10];
    int n = 0;
    do
        digits[n++] = (char)('0' + value % 10);
    while ((value /= 10) != 0);
    while (n)
        *at++ = digits[--n];
    return at;
}

static char *transport(char *at) { return wording.stream ? TEXT(at, "TCP") : TEXT(at, "UDP"); }

static char *uri(char *at, const char *user, const char *host, unsigned port) {
    at = TEXT(at, "sip:");
    at = add(at, user, strlen(user));
    *at++ = '@';
    at = add(at, host, strlen(host));
    *at++ = ':';
    at = number(at, port);
    return wording.stream ? TEXT(at, ";transport=tcp") : at;
}

static char *uuid(char *at, const struct names *n) { /* 32 characters, as SIP Server makes them */
    at = hex(at, wording.salt, 8);
    at = TEXT(at, "0A3D0407AC12");
    at = hex(at, n->epoch, 4);
    return hex(at, n->index, 8);
}

static char *tag(char *at, const struct names *n, const char *prefix) {
    at = TEXT(at, ";tag=");
    at = add(at, prefix, strlen(prefix));
    at = hex(at, n->epoch, 4);
    return hex(at, n->index, 8);
}

static char *gvp_session(char *at, const struct names *n, unsigned member) {
    at = TEXT(at, "X-Genesys-GVP-Session-ID: ");
    at = uuid(at, n);
    at = TEXT(at, ";gvp.rm.datanodes=");
    at = number(at, member + 1);
    return TEXT(at, ";gvp.rm.tenant-id=1.102_MSML\r\n");
}

/* Content-Length, the blank line and a body that brings the message to `size` octets. */
static char *body(char *at, const char *start, unsigned size, const char *kind, const char *text,
                  size_t least) {
    if (text == NULL)
        return TEXT(at, "Content-Length: 0\r\n\r\n");
    at = TEXT(at, "Content-Type: ");
    at = add(at, kind, strlen(kind));
    at = TEXT(at, "\r\nContent-Length: ");
    size_t used = (size_t)(at - start) + 4, len = least;
    for (unsigned digits = 1, limit = 10; digits < 6; digits++, limit *= 10)
        if (used + digits + least < size && size - used - digits < limit) {
            len = size - used - digits;
            break;
        }
    at = number(at, (uint32_t)len);
    at = TEXT(at, "\r\n\r\n");
    at = add(at, text, len);
    if (len > 2)
        memcpy(at - 2, "\r\n", 2);
    return at;
}

/* ---- messages ---- */

static char *call_id(char *at, const struct names *n) {
    at = hex(at, n->index, 8);
    *at++ = '-';
    at = hex(at, n->epoch, 4);
    at = TEXT(at, "-11F0-8C2A-");
    at = hex(at, wording.salt, 8);
    return TEXT(at, "@10.61.4.7");
}

bool names_of(struct span id, uint32_t *index, uint16_t *epoch) {
    if (id.len < 13 || id.at[8] != '-')
        return false;
    uint32_t value[2] = {0, 0};
    for (int i = 0; i < 13; i++) {
        if (i == 8)
            continue;
        char c = id.at[i];
        uint32_t digit = c >= '0' && c <= '9' ? (uint32_t)(c - '0') : (uint32_t)(c - 'A' + 10);
        if (digit > 15)
            return false;
        value[i > 8] = value[i > 8] << 4 | digit;
    }
    *index = value[0];
    *epoch = (uint16_t)value[1];
    return true;
}

size_t compose_request(char *start, const struct names *n, enum method method, uint32_t cseq,
                       const struct span *refused_to) {
    bool modest = wording.request_size < MODEST, initial = n->member_port == 0;
    char *at = add(start, METHOD_NAME[method], strlen(METHOD_NAME[method]));
    *at++ = ' ';
    at = initial ? uri(at, "msml", wording.proxy_host, wording.proxy_port)
                 : uri(at, "rm", wording.host, n->member_port);
    at = TEXT(at, " SIP/2.0\r\nVia: SIP/2.0/");
    at = transport(at);
    *at++ = ' ';
    at = add(at, wording.host, strlen(wording.host));
    *at++ = ':';
    at = number(at, wording.caller_port);
    at = TEXT(at, ";branch=z9hG4bK");
    at = hex(at, n->epoch, 4);
    at = hex(at, n->index, 8);
    at = hex(at, cseq, 6);
    *at++ = method == ACK && refused_to == NULL ? 'A' : 'R'; /* ACK to non-2xx: the INVITE's */
    if (!modest) {
        at = TEXT(at, ", SIP/2.0/UDP 10.61.4.20:5060;received=10.61.4.20;branch=z9hG4bK-gw-");
        at = hex(at, n->index, 8);
    }
    at = TEXT(at, "\r\nFrom: <sip:4021@10.61.4.7>");
    at = tag(at, n, "C");
    at = TEXT(at, "\r\nTo: ");
    if (refused_to) {
        at = SPAN(at, *refused_to);
    } else {
        at = TEXT(at, "<sip:msml@127.0.0.1>");
        if (!initial)
            at = tag(at, n, "RM");
    }
    at = TEXT(at, "\r\nCall-ID: ");
    at = call_id(at, n);
    at = TEXT(at, "\r\nCSeq: ");
    at = number(at, cseq);
    *at++ = ' ';
    at = add(at, METHOD_NAME[method], strlen(METHOD_NAME[method]));
    at = TEXT(at, "\r\nMax-Forwards: 70\r\n");
    at = add(at, n->route, n->route_len);
    if (method == INVITE || method == INFO || !modest) {
        at = TEXT(at, "Contact: <");
        at = uri(at, "4021", wording.host, wording.caller_port);
        at = TEXT(at, ">\r\n");
    }
    if (!modest) {
        at = TEXT(at, OPTIONAL);
        at = uuid(at, n);
        at = TEXT(at, "\r\n");
        if (!initial)
            at = gvp_session(at, n, n->member);
    }
    if (method == INVITE) {
        at = body(at, start, wording.request_size, "application/sdp", session,
                  modest ? 0 : sizeof SDP - 1);
    } else if (method == INFO) {
        at = body(at, start, wording.request_size, "application/vnd.radisys.msml+xml", script,
                  modest ? 0 : sizeof MSML - 1);
    } else {
        static const char NAME[] = "X-Genesys-User-Data: ";
        size_t used = (size_t)(at - start) + 21 + sizeof NAME + 1; /* with the end of it all */
        if (method == OPTIONS && used < wording.request_size) {
            at = TEXT(at, NAME);
            at = add(at, filler, wording.request_size - used);
            at = TEXT(at, "\r\n");
        }
        at = body(at, start, 0, NULL, NULL, 0);
    }
    return (size_t)(at - start);
}

size_t compose_answer(char *start, const struct message *m, const struct names *n, unsigned status,
                      unsigned member, unsigned port) {
    char *at = status == 180 ? TEXT(start, "SIP/2.0 180 Ringing\r\n")
                             : TEXT(start, "SIP/2.0 200 OK\r\n");
    for (unsigned i = 0; i < m->vias; i++)
        at = SPAN(at, m->via[i]);
    for (unsigned i = 0; i < m->record_routes; i++)
        at = SPAN(at, m->record_route[i]);
    at = SPAN(at, m->from);
    at = TEXT(at, "To: ");
    at = SPAN(at, m->to_value);
    if (!m->has_to_tag)
        at = n ? tag(at, n, "RM") : TEXT(at, ";tag=RM");
    at = TEXT(at, "\r\n");
    at = SPAN(at, m->call_id);
    at = SPAN(at, m->cseq_line);
    at = TEXT(at, "Contact: <");
    at = uri(at, "rm", wording.host, port);
    at = TEXT(at, ">\r\n");
    bool modest = wording.answer_size < MODEST / 2;
    if (!modest) {
        at = TEXT(at, "Server: Resource Manager 9.0\r\n"
                      "Allow: INVITE, ACK, CANCEL, BYE, OPTIONS, INFO, UPDATE, NOTIFY, REFER\r\n");
        if (n)
            at = gvp_session(at, n, member);
    }
    if (status == 200 && m->method == INVITE)
        at = body(at, start, wording.answer_size, "application/sdp", session,
                  modest ? 0 : sizeof SDP - 1);
    else if (status == 200 && m->method == INFO)
        at = body(at, start, wording.answer_size, "application/vnd.radisys.msml+xml", script, 0);
    else
        at = body(at, start, 0, NULL, NULL, 0);
    return (size_t)(at - start);
}

size_t compose_route(char *start, size_t most, const struct message *m) {
    struct span value[2 * MAX_LINES];
    unsigned count = 0;
    size_t total = 16;
    for (unsigned i = 0; i < m->record_routes; i++) {
        const char *at = m->record_route[i].at + sizeof "Record-Route:" - 1;
        const char *end = m->record_route[i].at + m->record_route[i].len, *start_of = at;
        for (bool inside = false; at < end && count < 2 * MAX_LINES; at++) {
            if (*at == '<')
                inside = true;
            else if (*at == '>')
                inside = false;
            if ((*at == ',' && !inside) || *at == '\r' || *at == '\n') {
                while (start_of < at && *start_of == ' ')
                    start_of++;
                value[count++] = (struct span){start_of, (size_t)(at - start_of)};
                total += (size_t)(at - start_of) + 2;
                start_of = at + 1;
                if (*at != ',')
                    break;
            }
        }
    }
    if (count == 0 || total > most)
        return 0;
    char *at = TEXT(start, "Route: ");
    while (count--) {
        at = SPAN(at, value[count]);
        if (count)
            at = TEXT(at, ", ");
    }
    at = TEXT(at, "\r\n");
    return (size_t)(at - start);
}
