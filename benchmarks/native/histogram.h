/* Latencies in nanoseconds, counted in log-linear buckets: 64 to each power of two, so a
 * quantile is within 1.6 percent of the truth. Fixed memory, no allocation. */
#ifndef HISTOGRAM_H
#define HISTOGRAM_H

#include <stdint.h>

enum { HISTOGRAM_BUCKETS = 64 * 40 };

struct histogram {
    uint64_t count, sum, max;
    uint64_t bucket[HISTOGRAM_BUCKETS];
};

void histogram_clear(struct histogram *h);
void histogram_add(struct histogram *h, uint64_t ns);

/* Microseconds below which `part` (0 to 1) of the values lie; 0 when empty. */
double histogram_quantile_us(const struct histogram *h, double part);

#endif
