#define _GNU_SOURCE
#include "scrape.h"

#include "clock.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

struct scrapes scrapes;
static struct endpoint *under_way;
static unsigned port;
static uint64_t interval, next;

void scrape_begin(unsigned of_port, unsigned per_second, uint64_t now) {
    memset(&scrapes, 0, sizeof scrapes);
    port = of_port;
    interval = per_second ? SECOND / per_second : SECOND;
    next = now + interval;
}

void scrape_due(uint64_t now) {
    static const char REQUEST[] = "GET /metrics HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n";
    if (port == 0 || now < next)
        return;
    next += interval;
    if (under_way) {
        scrapes.late++;
        return;
    }
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    struct sockaddr_in to = place("127.0.0.1", port);
    if (fd < 0 || connect(fd, (struct sockaddr *)&to, sizeof to) != 0 ||
        send(fd, REQUEST, sizeof REQUEST - 1, MSG_NOSIGNAL) < 0)
        return;
    scrapes.asked++;
    under_way = watch(fd, SCRAPER, 0);
}

void scrape_ready(struct endpoint *e) {
    static char waste[1 << 16];
    if (e != under_way)
        return;
    ssize_t n = recv(e->fd, waste, sizeof waste, MSG_DONTWAIT);
    if (n > 0) {
        scrapes.octets += (uint64_t)n;
    } else if (n == 0 || (errno != EAGAIN && errno != EINTR)) {
        scrapes.answered += n == 0;
        scrape_end();
    }
}

void scrape_end(void) {
    if (under_way == NULL)
        return;
    forget(under_way);
    free(under_way);
    under_way = NULL;
}
