/* sipload: SIP Server and the Resource Managers in one process and on one host, to measure what
 * stands between them. Orders come as lines on standard input, results leave as JSON lines:
 *
 *   establish count=N [window=N]             live dialogs, kept until it ends
 *   calls rate=R seconds=S [reinvite=0|1] [ring=MS] [talk=MS]      whole calls
 *   transactions rate=R seconds=S [info=N] [options=N] [reinvites=N]   within live dialogs
 *   (both: [drain=MS] [scrape=PORT] [scrapes=PER-SECOND])
 *
 * Between orders it answers health probes. It ends with its standard input. */
#define _GNU_SOURCE
#include "clock.h"
#include "compose.h"
#include "flows.h"
#include "scrape.h"

#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static char line[1024];
static size_t line_len;
static bool done;
static struct stage stage = {.members = 2, .callers = 1};
static int buffer = 4 << 20;

/* Streams are opened with the first order: by then the system under test is up. */
static void connect_caller(void) {
    for (unsigned i = 0; wording.stream && i < stage.callers; i++)
        if (stage.caller[i] == NULL || stage.caller[i]->closed)
            stage.caller[i] = open_connection(CALLER, i, wording.proxy_port, buffer);
}

static double word(const char *name, double otherwise) {
    size_t len = strlen(name);
    for (const char *at = line; (at = strchr(at, ' ')) != NULL;) {
        at++;
        if (strncmp(at, name, len) == 0 && at[len] == '=')
            return strtod(at + len + 1, NULL);
    }
    return otherwise;
}

static void print(const struct order *o, const struct outcome *r, const struct tallies *before) {
    const struct histogram *h = &r->latency;
    const struct { const char *name; uint64_t value; } counts[] = {
        {"due", r->due}, {"started", r->started}, {"completed", r->completed}, {"lost", r->lost},
        {"failed", r->failed}, {"sent", r->sent}, {"relayed", r->relayed}, {"octets", r->octets},
        {"misrouted", r->misrouted}, {"stray", r->stray}, {"trying", r->trying},
        {"starved", r->starved}, {"probes", r->probes}, {"live", flows_established()},
        {"send_errors", link_tallies.send_errors - before->send_errors},
        {"refusal", r->refusal},
        {"broken", link_tallies.broken - before->broken},
        {"malformed", link_tallies.malformed - before->malformed},
        {"batches", link_tallies.batches - before->batches},
        {"batched", link_tallies.batched - before->batched},
        {"scrapes_asked", scrapes.asked}, {"scrapes_answered", scrapes.answered},
        {"scrapes_late", scrapes.late}, {"scrape_octets", scrapes.octets}};
    printf("{");
    for (size_t i = 0; i < sizeof counts / sizeof *counts; i++)
        printf("\"%s\": %llu, ", counts[i].name, (unsigned long long)counts[i].value);
    printf("\"rate\": %.3f, \"seconds\": %.6f, \"lag_max_us\": %.1f, ", o->rate,
           (double)(r->ended - r->begun) / 1e9, (double)r->lag_max / 1e3);
    printf("\"latency_us\": {\"samples\": %llu, \"mean\": %.2f, \"p50\": %.2f, \"p90\": %.2f, "
           "\"p99\": %.2f, \"p999\": %.2f, \"max\": %.2f}}\n",
           (unsigned long long)h->count, h->count ? (double)h->sum / (double)h->count / 1e3 : 0.0,
           histogram_quantile_us(h, 0.5), histogram_quantile_us(h, 0.9),
           histogram_quantile_us(h, 0.99), histogram_quantile_us(h, 0.999), (double)h->max / 1e3);
    fflush(stdout);
}

static void obey(void) {
    static struct outcome result;
    struct order o = {.rate = word("rate", 1000),
                      .seconds = word("seconds", 1),
                      .count = (uint64_t)word("count", 0),
                      .window = (unsigned)word("window", 64),
                      .ring_ms = (unsigned)word("ring", 10),
                      .talk_ms = (unsigned)word("talk", 20),
                      .reinvite = word("reinvite", 1) != 0,
                      .mix = {(unsigned)word("info", 2), (unsigned)word("options", 1),
                              (unsigned)word("reinvites", 1)},
                      .drain_ms = (unsigned)word("drain", 300),
                      .scrape_port = (unsigned)word("scrape", 0),
                      .scrapes_per_s = (unsigned)word("scrapes", 10)};
    if (strncmp(line, "establish ", 10) == 0)
        o.flow = ESTABLISH;
    else if (strncmp(line, "calls ", 6) == 0)
        o.flow = CALLS;
    else if (strncmp(line, "transactions ", 13) == 0 && flows_established() > 0)
        o.flow = TRANSACTIONS;
    else {
        printf("{\"error\": \"not an order, or no live dialog: %.40s\"}\n", line);
        fflush(stdout);
        return;
    }
    connect_caller();
    struct tallies before = link_tallies;
    flows_run(&o, &result);
    print(&o, &result, &before);
}

static void read_orders(struct endpoint *e) {
    if (e->role != COMMANDS) {
        scrape_ready(e);
        return;
    }
    ssize_t n = read(e->fd, line + line_len, sizeof line - 1 - line_len);
    if (n <= 0) {
        done = true;
        return;
    }
    line_len += (size_t)n;
    line[line_len] = '\0';
    char *end = strchr(line, '\n');
    if (end == NULL)
        return;
    *end = '\0';
    line_len = 0; /* one order at a time: the next is given after the answer */
    obey();
}

int main(int argc, char **argv) {
    static const struct option options[] = {
        {"caller", required_argument, NULL, 'c'},  {"proxy", required_argument, NULL, 'p'},
        {"member", required_argument, NULL, 'm'},  {"members", required_argument, NULL, 'n'},
        {"tcp", no_argument, NULL, 't'},           {"connections", required_argument, NULL, 'k'},
        {"direct", no_argument, NULL, 'd'},        {"size", required_argument, NULL, 's'},
        {"answer-size", required_argument, NULL, 'a'}, {"dialogs", required_argument, NULL, 'D'},
        {"buffer", required_argument, NULL, 'b'},  {"host", required_argument, NULL, 'h'},
        {"proxy-host", required_argument, NULL, 'H'}, {NULL, 0, NULL, 0}};
    uint32_t dialogs = 65536;
    unsigned connections = 8;
    wording.host = wording.proxy_host = "127.0.0.1";
    wording.request_size = 900;
    wording.answer_size = 600;
    wording.salt = (uint32_t)(now_ns() >> 8) ^ (uint32_t)getpid() << 16;
    for (int letter; (letter = getopt_long(argc, argv, "", options, NULL)) != -1;) {
        unsigned value = optarg ? (unsigned)strtoul(optarg, NULL, 10) : 0;
        switch (letter) {
        case 'c': wording.caller_port = value; break;
        case 'p': wording.proxy_port = value; break;
        case 'm': stage.first_member_port = value; break;
        case 'n': stage.members = value; break;
        case 't': wording.stream = true; break;
        case 'k': connections = value; break;
        case 'd': stage.direct = true; break;
        case 's': wording.request_size = value; break;
        case 'a': wording.answer_size = value; break;
        case 'D': dialogs = value; break;
        case 'h': wording.host = optarg; break;
        case 'H': wording.proxy_host = optarg; break;
        case 'b': buffer = (int)value; break;
        default: return 2;
        }
    }
    if (!wording.caller_port || !wording.proxy_port || !stage.first_member_port || !stage.members ||
        wording.request_size > MAX_MESSAGE / 2 || wording.answer_size > MAX_MESSAGE / 2 ||
        (wording.stream && stage.direct)) {
        fprintf(stderr, "usage: sipload --caller PORT --proxy PORT --member FIRST-PORT [--members N] "
                        "[--tcp [--connections N]] [--direct] [--size OCTETS] [--answer-size OCTETS] "
                        "[--dialogs MOST] [--buffer OCTETS] [--host OURS] "
                        "[--proxy-host ADDRESS]\n");
        return 2;
    }
    compose_prepare();
    for (unsigned i = 0; i < stage.members; i++) {
        if (wording.stream)
            open_listener(i, stage.first_member_port + i);
        else
            open_datagram(MEMBER, i, stage.first_member_port + i, buffer);
    }
    struct endpoint *commands = watch(STDIN_FILENO, COMMANDS, 0);
    stage.callers = wording.stream ? connections : 1;
    stage.caller = calloc(stage.callers, sizeof(struct endpoint *));
    if (stage.caller == NULL)
        return 1;
    flows_prepare(&stage, dialogs, (uint16_t)(wording.salt >> 4));
    if (!wording.stream)
        stage.caller[0] = open_datagram(CALLER, 0, wording.caller_port, buffer);
    printf("{\"ready\": true}\n");
    fflush(stdout);
    while (!done) {
        poll_links(-1, flows_deliver, read_orders);
        flush_all();
    }
    forget(commands);
    return 0;
}
