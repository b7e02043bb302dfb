#define _GNU_SOURCE
#include "scan.h"

#include <string.h>
#include <strings.h>

const char *const METHOD_NAME[METHODS] = {"INVITE", "ACK", "BYE", "OPTIONS", "INFO", "OTHER"};

static enum method method_of(const char *at, size_t len) {
    for (unsigned i = 0; i < OTHER; i++)
        if (strlen(METHOD_NAME[i]) == len && memcmp(METHOD_NAME[i], at, len) == 0)
            return (enum method)i;
    return OTHER;
}

static bool is_name(const char *line, const char *colon, const char *name, size_t len) {
    return (size_t)(colon - line) == len && strncasecmp(line, name, len) == 0;
}

static struct span value_of(const char *colon, const char *end) {
    const char *at = colon + 1;
    while (at < end && (*at == ' ' || *at == '\t'))
        at++;
    while (end > at && (end[-1] == '\n' || end[-1] == '\r'))
        end--;
    return (struct span){at, (size_t)(end - at)};
}

static void read_cseq(struct span value, struct message *m) {
    size_t i = 0;
    while (i < value.len && value.at[i] >= '0' && value.at[i] <= '9')
        m->cseq = m->cseq * 10 + (uint32_t)(value.at[i++] - '0');
    while (i < value.len && value.at[i] == ' ')
        i++;
    if (m->status)
        m->method = method_of(value.at + i, value.len - i);
}

static void add_line(struct span *lines, unsigned *count, const char *line, const char *end) {
    if (*count < MAX_LINES)
        lines[(*count)++] = (struct span){line, (size_t)(end - line)};
}

bool scan(const char *data, size_t len, struct message *m) {
    const char *end = data + len, *line = data;
    m->status = m->vias = m->record_routes = 0;
    m->cseq = 0;
    m->has_to_tag = m->has_route = false;
    m->from.at = m->to.at = m->call_id.at = m->cseq_line.at = NULL;
    const char *next = memchr(line, '\n', len);
    if (next == NULL || len < 12)
        return false;
    if (memcmp(data, "SIP/2.0 ", 8) == 0) {
        for (int i = 8; i < 11; i++)
            m->status = m->status * 10 + (unsigned)(data[i] - '0');
    } else {
        const char *space = memchr(line, ' ', (size_t)(next - line));
        if (space == NULL)
            return false;
        m->method = method_of(line, (size_t)(space - line));
    }
    for (line = next + 1; line < end && *line != '\r' && *line != '\n'; line = next) {
        next = memchr(line, '\n', (size_t)(end - line));
        if (next == NULL)
            return false;
        next++;
        const char *colon = memchr(line, ':', (size_t)(next - line));
        if (colon == NULL)
            continue;
        struct span whole = {line, (size_t)(next - line)};
        switch (line[0] | 0x20) {
        case 'v':
            if (is_name(line, colon, "via", 3))
                add_line(m->via, &m->vias, line, next);
            break;
        case 'r':
            if (is_name(line, colon, "record-route", 12))
                add_line(m->record_route, &m->record_routes, line, next);
            else if (is_name(line, colon, "route", 5))
                m->has_route = true;
            break;
        case 'f':
            if (is_name(line, colon, "from", 4))
                m->from = whole;
            break;
        case 't':
            if (is_name(line, colon, "to", 2)) {
                m->to = whole;
                m->to_value = value_of(colon, next);
                m->has_to_tag = memmem(m->to_value.at, m->to_value.len, ";tag=", 5) != NULL;
            }
            break;
        case 'c':
            if (is_name(line, colon, "call-id", 7)) {
                m->call_id = whole;
                m->call_id_value = value_of(colon, next);
            } else if (is_name(line, colon, "cseq", 4)) {
                m->cseq_line = whole;
                read_cseq(value_of(colon, next), m);
            }
            break;
        default:
            break;
        }
    }
    return m->vias && m->from.at && m->to.at && m->call_id.at && m->cseq_line.at;
}

long frame(const char *data, size_t len) {
    const char *blank = memmem(data, len, "\r\n\r\n", 4);
    if (blank == NULL)
        return len > 65536 ? -1 : 0;
    const char *length = data;
    size_t body = 0, head = (size_t)(blank + 4 - data);
    bool found = false;
    while (!found && (length = memmem(length, (size_t)(blank - length), "\r\n", 2)) != NULL) {
        length += 2;
        if (blank - length > 15 && strncasecmp(length, "content-length:", 15) == 0) {
            length += 15;
            while (*length == ' ')
                length++;
            while (*length >= '0' && *length <= '9' && body < 65536)
                body = body * 10 + (size_t)(*length++ - '0');
            found = true;
        }
    }
    if (!found)
        return -1;
    return len >= head + body ? (long)(head + body) : 0;
}
