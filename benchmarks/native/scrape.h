/* Reads /metrics of the system under test at a steady pace, from within the generator: a process
 * beside it would disturb the pacing more than what is measured. */
#ifndef SCRAPE_H
#define SCRAPE_H

#include "link.h"

struct scrapes {
    uint64_t asked, answered, octets, late; /* late: the one before was still under way */
};
extern struct scrapes scrapes;

void scrape_begin(unsigned port, unsigned per_second, uint64_t now); /* port 0: none */
void scrape_due(uint64_t now);
void scrape_ready(struct endpoint *e);
void scrape_end(void);

#endif
