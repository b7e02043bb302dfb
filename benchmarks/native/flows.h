/* The flows: what SIP Server and the members do next, when, and what became of it. Open loop:
 * nothing is sent again, so what is lost is counted. Every message knows its dialog by the index
 * in its Call-ID; caller and members share the dialog, so a misrouted request is seen at once. */
#ifndef FLOWS_H
#define FLOWS_H

#include "histogram.h"
#include "link.h"

#include <stdio.h>

enum flow { CALLS, TRANSACTIONS, ESTABLISH };

struct order { /* one run */
    enum flow flow;
    double rate;     /* calls or transactions a second */
    uint64_t count;  /* of ESTABLISH */
    unsigned window; /* of ESTABLISH: INVITEs under way at once */
    double seconds;
    unsigned ring_ms, talk_ms; /* 180 to 200; ACK to re-INVITE, and that to BYE */
    bool reinvite;
    unsigned mix[3]; /* of TRANSACTIONS: shares of INFO, OPTIONS, re-INVITE */
    unsigned drain_ms; /* how long nothing may happen before the rest counts as lost */
    unsigned scrape_port; /* of an HTTP server whose /metrics is read; 0: none */
    unsigned scrapes_per_s;
};

struct outcome {
    uint64_t due, started, completed, lost, failed; /* calls or transactions */
    uint64_t sent, relayed, octets; /* messages sent; arrived at the other side, and their octets */
    uint64_t misrouted, stray, trying, starved;
    uint64_t acks_sent, acks_seen, probes;
    unsigned refusal; /* status of the latest failure */
    uint64_t begun, ended, lag_max; /* clock; the most a start came after its time */
    struct histogram latency;
};

struct stage { /* who plays */
    bool direct; /* no balancer: the caller picks the member itself */
    unsigned members, first_member_port;
    struct endpoint **caller; /* one socket, or several connections */
    unsigned callers;
};

void flows_prepare(const struct stage *stage, uint32_t dialogs, uint16_t first_epoch);
void flows_run(const struct order *order, struct outcome *outcome);
uint32_t flows_established(void);
deliver_fn flows_deliver;

#endif
