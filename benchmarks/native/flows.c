#include "flows.h"

#include "clock.h"
#include "compose.h"
#include "scrape.h"

#include <arpa/inet.h>
#include <stdlib.h>
#include <string.h>

enum { ROUTE_MOST = 440, AGAIN = 200 * 1000 * 1000 /* ns until a refused dialog is tried anew */ };
enum state { FREE, INVITING, TALKING, REINVITING, SETTLED, ENDING, LIVE, BUSY, BUSY_REINVITE };

struct dialog {
    uint64_t sent_request, sent_ack, sent_provisional, sent_final;
    uint32_t cseq;                /* of the caller's latest request */
    uint32_t seen_cseq, seen_ack; /* the latest that a member saw */
    uint16_t epoch, member, route_len;
    bool has_member;
    uint8_t state, method;
    char route[ROUTE_MOST];
};

struct delayed {
    uint64_t due;
    uint32_t index;
    uint16_t epoch;
    struct endpoint *from; /* of an answer held back */
    struct sockaddr_in to;
    size_t len;
    char *text;
};

struct queue { /* constant delay, so first in is first due */
    struct delayed *entry;
    size_t head, count, room;
};

static struct stage stage;
static struct dialog *dialogs;
static uint32_t capacity, established, next_live;
static uint32_t *spare, spares, first_spare; /* free dialogs, longest free first */
static struct queue ringing, talking, settled, refused;
static struct sockaddr_in proxy;
static struct sockaddr_in member; /* but for its port */
static const struct order *order;
static struct outcome *out;
static struct outcome idle_outcome; /* of what arrives between runs */
static uint64_t progress, repeated; /* when something last happened; when INVITEs were sent again */

static struct sockaddr_in member_place(uint32_t index) {
    struct sockaddr_in to = member;
    to.sin_port = htons((uint16_t)(stage.first_member_port + index));
    return to;
}

void flows_prepare(const struct stage *who, uint32_t count, uint16_t first_epoch) {
    stage = *who;
    capacity = count;
    dialogs = calloc(count, sizeof *dialogs);
    spare = calloc(count, sizeof *spare);
    proxy = place(wording.proxy_host, wording.proxy_port);
    member = place(wording.host, 0);
    out = &idle_outcome;
    if (dialogs == NULL || spare == NULL)
        exit(1);
    for (uint32_t i = 0; i < count; i++)
        dialogs[i].epoch = first_epoch;
}

uint32_t flows_established(void) { return established; }

/* ---- delays ---- */

static void delay(struct queue *q, struct delayed d) {
    if (q->count == q->room) {
        size_t room = q->room ? 2 * q->room : 1024;
        struct delayed *grown = malloc(room * sizeof *grown);
        if (grown == NULL)
            exit(1);
        for (size_t i = 0; i < q->count; i++)
            grown[i] = q->entry[(q->head + i) % q->room];
        free(q->entry);
        q->entry = grown;
        q->head = 0;
        q->room = room;
    }
    q->entry[(q->head + q->count++) % q->room] = d;
}

static bool take(struct queue *q, uint64_t now, struct delayed *d) {
    if (q->count == 0 || q->entry[q->head].due > now)
        return false;
    *d = q->entry[q->head];
    q->head = (q->head + 1) % q->room;
    q->count--;
    return true;
}

/* ---- the caller ---- */

static struct names names_for(uint32_t index) {
    const struct dialog *d = &dialogs[index];
    return (struct names){.index = index,
                          .epoch = d->epoch,
                          .member = d->member,
                          .member_port = d->state == INVITING ? 0 : stage.first_member_port + d->member,
                          .route = d->route,
                          .route_len = d->route_len};
}

static void send_request(uint32_t index, enum method method, uint64_t now,
                         const struct span *refused_to) {
    struct dialog *d = &dialogs[index];
    struct names names = names_for(index);
    struct endpoint *e = stage.caller[index % stage.callers];
    size_t len = compose_request(room(e), &names, method, d->cseq, refused_to);
    struct sockaddr_in to = proxy;
    if (stage.direct)
        to = member_place(d->state == INVITING ? index % stage.members : d->member);
    if (method == ACK) {
        d->sent_ack = now;
        out->acks_sent += refused_to == NULL;
    } else {
        d->sent_request = now;
    }
    out->sent++;
    put(e, len, &to);
}

static void next_request(uint32_t index, enum method method, enum state state, uint64_t now) {
    struct dialog *d = &dialogs[index];
    d->cseq++;
    d->method = (uint8_t)method;
    d->state = (uint8_t)state;
    send_request(index, method, now, NULL);
}

static void begin(uint32_t index, uint64_t now) {
    struct dialog *d = &dialogs[index];
    uint16_t epoch = (uint16_t)(d->epoch + 1); /* never the same Call-ID or branch twice */
    memset(d, 0, offsetof(struct dialog, route));
    d->epoch = epoch;
    next_request(index, INVITE, INVITING, now);
}

static void over(uint32_t index) {
    dialogs[index].state = FREE;
    if (order->flow == CALLS)
        spare[(first_spare + spares++) % capacity] = index;
}

static void caller_answered(uint32_t index, const struct message *m, uint64_t now) {
    struct dialog *d = &dialogs[index];
    if (m->status >= 300) {
        out->failed++;
        out->refusal = m->status;
        if (d->method == INVITE)
            send_request(index, ACK, now, &m->to_value);
        if (d->state == BUSY || d->state == BUSY_REINVITE) {
            d->state = LIVE;
        } else {
            over(index);
            if (order->flow == ESTABLISH)
                delay(&refused, (struct delayed){.due = now + AGAIN, .index = index});
        }
        return;
    }
    struct delayed later = {.due = now + order->talk_ms * MILLISECOND, .index = index, .epoch = d->epoch};
    switch (d->state) {
    case INVITING:
        d->route_len = (uint16_t)compose_route(d->route, ROUTE_MOST, m);
        if (d->route_len == 0 && m->record_routes) {
            out->failed++;
            over(index);
            return;
        }
        d->state = TALKING;
        send_request(index, ACK, now, NULL);
        if (order->flow == ESTABLISH) {
            d->state = LIVE;
            out->completed++;
        } else {
            delay(order->reinvite ? &talking : &settled, later);
        }
        return;
    case REINVITING:
        d->state = SETTLED;
        send_request(index, ACK, now, NULL);
        delay(&settled, later);
        return;
    case ENDING:
        out->completed++;
        over(index);
        return;
    case BUSY_REINVITE:
        send_request(index, ACK, now, NULL);
        d->state = LIVE;
        out->completed++;
        return;
    case BUSY:
        d->state = LIVE;
        out->completed++;
        return;
    default:
        out->stray++;
    }
}

static void caller_received(const struct message *m, size_t len, uint64_t now) {
    uint32_t index;
    uint16_t of;
    if (m->status == 100) {
        out->trying++;
        return;
    }
    if (m->status == 0 || !names_of(m->call_id_value, &index, &of) || index >= capacity) {
        out->stray++;
        return;
    }
    struct dialog *d = &dialogs[index];
    if (d->epoch != of || d->cseq != m->cseq || order == NULL || d->state == FREE ||
        d->state == LIVE || d->state == TALKING || d->state == SETTLED) {
        out->stray++;
        return;
    }
    out->relayed++;
    out->octets += len;
    progress = now;
    if (m->status < 200) {
        histogram_add(&out->latency, now - d->sent_provisional);
        return;
    }
    if (d->sent_final) /* an answer of the balancer's own has no sending time of a member's */
        histogram_add(&out->latency, now - d->sent_final);
    d->sent_final = 0;
    caller_answered(index, m, now);
}

/* ---- the members ---- */

static void answer(struct endpoint *e, const struct sockaddr_in *from, const struct message *m,
                   const struct names *n, unsigned status) {
    size_t len = compose_answer(room(e), m, n, status, e->index, stage.first_member_port + e->index);
    out->sent += n != NULL;
    put(e, len, from);
}

static void hold_answer(struct endpoint *e, const struct sockaddr_in *from, const struct message *m,
                        const struct names *n, uint64_t now) {
    struct delayed later = {.due = now + order->ring_ms * MILLISECOND,
                            .index = n->index,
                            .epoch = n->epoch,
                            .from = e,
                            .text = malloc(MAX_MESSAGE)};
    if (later.text == NULL)
        exit(1);
    if (from)
        later.to = *from;
    later.len = compose_answer(later.text, m, n, 200, e->index, stage.first_member_port + e->index);
    delay(&ringing, later);
}

static void member_received(struct endpoint *e, const struct sockaddr_in *from,
                            const struct message *m, size_t len, uint64_t now) {
    uint32_t index;
    uint16_t of;
    if (!names_of(m->call_id_value, &index, &of) || index >= capacity || dialogs[index].epoch != of ||
        dialogs[index].state == FREE) {
        if (m->method == OPTIONS && !m->has_to_tag)
            out->probes++;
        else
            out->stray++;
        if (m->method != ACK && m->status == 0)
            answer(e, from, m, NULL, 200);
        return;
    }
    struct dialog *d = &dialogs[index];
    struct names n = names_for(index);
    if (m->method == ACK) {
        if (m->cseq <= d->seen_ack) {
            out->stray++;
            return;
        }
        d->seen_ack = m->cseq;
        out->acks_seen++;
        histogram_add(&out->latency, now - d->sent_ack);
    } else if (m->cseq <= d->seen_cseq) { /* sent again by the balancer */
        out->stray++;
        answer(e, from, m, &n, 200);
        return;
    } else {
        d->seen_cseq = m->cseq;
        histogram_add(&out->latency, now - d->sent_request);
    }
    out->relayed++;
    out->octets += len;
    progress = now;
    if (!d->has_member) {
        d->has_member = true;
        d->member = (uint16_t)e->index;
    } else if (d->member != e->index) {
        out->misrouted++;
    }
    if (m->method == ACK)
        return;
    if (order && m->method == INVITE && !m->has_to_tag && order->flow == CALLS) {
        d->sent_provisional = now;
        answer(e, from, m, &n, 180);
        if (order->ring_ms) {
            hold_answer(e, from, m, &n, now);
            return;
        }
    }
    d->sent_final = now;
    answer(e, from, m, &n, 200);
}

void flows_deliver(struct endpoint *e, const struct sockaddr_in *from, const char *data, size_t len,
                   uint64_t now) {
    struct message m;
    if (!scan(data, len, &m))
        link_tallies.malformed++;
    else if (e->role == CALLER)
        caller_received(&m, len, now);
    else
        member_received(e, from, &m, len, now);
}

/* ---- the run ---- */

static void run_delays(uint64_t now) {
    struct delayed d;
    while (take(&ringing, now, &d)) {
        if (dialogs[d.index].epoch == d.epoch && !d.from->closed) {
            memcpy(room(d.from), d.text, d.len);
            dialogs[d.index].sent_final = now;
            out->sent++;
            put(d.from, d.len, &d.to);
        }
        free(d.text);
    }
    while (take(&talking, now, &d))
        if (dialogs[d.index].epoch == d.epoch)
            next_request(d.index, INVITE, REINVITING, now);
    while (take(&settled, now, &d))
        if (dialogs[d.index].epoch == d.epoch)
            next_request(d.index, BYE, ENDING, now);
    while (take(&refused, now, &d))
        begin(d.index, now);
}

/* The next live dialog with nothing under way; steps through them all, far apart in memory. */
static bool next_idle(uint32_t *index) {
    for (unsigned tries = 0; tries < 64; tries++) {
        next_live = (uint32_t)(((uint64_t)next_live + 7919) % established);
        if (dialogs[next_live].state == LIVE) {
            *index = next_live;
            return true;
        }
    }
    return false;
}

static void start_transaction(uint32_t index, uint64_t now) {
    unsigned all = order->mix[0] + order->mix[1] + order->mix[2];
    unsigned turn = (unsigned)(out->started % all);
    if (turn < order->mix[0])
        next_request(index, INFO, BUSY, now);
    else if (turn < order->mix[0] + order->mix[1])
        next_request(index, OPTIONS, BUSY, now);
    else
        next_request(index, INVITE, BUSY_REINVITE, now);
}

static uint32_t next_spare(void) {
    uint32_t index = spare[first_spare];
    first_spare = (first_spare + 1) % capacity;
    spares--;
    return index;
}

/* Start what is due by `now`, at most as much as keeps answers from waiting. */
static void start_due(uint64_t now, uint64_t total) {
    uint64_t due = (uint64_t)((double)(now - out->begun) * order->rate / 1e9) + 1;
    if (due > total)
        due = total;
    for (unsigned n = 0; out->due < due && n < BATCH; n++, out->due++) {
        uint64_t at = out->begun + (uint64_t)((double)out->due * 1e9 / order->rate);
        if (now > at && now - at > out->lag_max)
            out->lag_max = now - at;
        uint32_t index;
        if (order->flow == CALLS ? spares == 0 : !next_idle(&index)) {
            out->starved++;
            continue;
        }
        if (order->flow == CALLS)
            begin(next_spare(), now);
        else
            start_transaction(index, now);
        out->started++;
    }
}

static void start_in_window(uint64_t now) {
    while (out->started < order->count && out->started - out->completed < order->window &&
           established + out->started < capacity) {
        begin((uint32_t)(established + out->started), now);
        out->started++;
    }
    if (now - progress > SECOND && now - repeated > SECOND) { /* lost: once more, as it was */
        repeated = now;
        for (uint32_t i = established; i < established + out->started; i++)
            if (dialogs[i].state == INVITING)
                dialogs[i].seen_cseq = 0, send_request(i, INVITE, now, NULL);
    }
}

/* Whatever the last run left unfinished is forgotten. */
static void clear_leftovers(void) {
    struct delayed d;
    while (take(&ringing, UINT64_MAX, &d))
        free(d.text);
    while (take(&talking, UINT64_MAX, &d) || take(&settled, UINT64_MAX, &d) ||
           take(&refused, UINT64_MAX, &d))
        ;
    for (uint32_t i = 0; i < established; i++)
        if (dialogs[i].state != LIVE)
            dialogs[i].state = LIVE;
    first_spare = spares = 0;
    for (uint32_t i = established; i < capacity; i++) {
        dialogs[i].state = FREE;
        spare[spares++] = i;
    }
}

static bool finished(uint64_t now, uint64_t total) {
    bool all_started = order->flow == ESTABLISH ? out->started == order->count : out->due == total;
    bool acks_arrived = out->acks_seen >= out->acks_sent;
    if (order->flow == ESTABLISH) {
        if (out->failed > 2 * order->count + 100)
            return true;
        all_started = all_started && out->completed == order->count;
    }
    if (all_started && out->completed + out->failed >= out->started && acks_arrived)
        return true;
    uint64_t patience = order->flow == ESTABLISH ? 5 * SECOND : order->drain_ms * MILLISECOND;
    return (all_started || order->flow == ESTABLISH) && now > progress && now - progress > patience;
}

void flows_run(const struct order *ordered, struct outcome *outcome) {
    clear_leftovers();
    memset(outcome, 0, sizeof *outcome);
    order = ordered;
    out = outcome;
    next_live = 0;
    uint64_t total = (uint64_t)(order->rate * order->seconds), now = now_ns();
    progress = repeated = out->begun = now;
    scrape_begin(order->scrape_port, order->scrapes_per_s, now);
    do {
        now = now_ns();
        if (order->flow == ESTABLISH)
            start_in_window(now);
        else
            start_due(now, total);
        run_delays(now);
        scrape_due(now);
        flush_all();
        poll_links(0, flows_deliver, scrape_ready);
        flush_all();
    } while (!finished(now, total));
    out->ended = now_ns();
    scrape_end();
    uint64_t acks = out->acks_sent > out->acks_seen ? out->acks_sent - out->acks_seen : 0;
    uint64_t ended = out->completed + out->failed; /* ESTABLISH may fail several times for one */
    out->lost = out->started > ended ? out->started - ended : 0;
    if (acks > out->lost) /* an ACK is of a transaction that was completed, or of a call lost with it */
        out->lost = acks;
    if (order->flow == ESTABLISH)
        established += (uint32_t)out->completed;
    order = NULL;
    out = &idle_outcome;
}
