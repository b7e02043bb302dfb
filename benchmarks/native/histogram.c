#include "histogram.h"

#include <string.h>

static unsigned bucket_of(uint64_t ns) {
    if (ns < 64)
        return (unsigned)ns;
    unsigned power = 63 - (unsigned)__builtin_clzll(ns); /* 6 and up */
    unsigned bucket = (power - 5) * 64 + (unsigned)((ns >> (power - 6)) & 63);
    return bucket < HISTOGRAM_BUCKETS ? bucket : HISTOGRAM_BUCKETS - 1;
}

static double middle_of(unsigned bucket) {
    if (bucket < 64)
        return bucket;
    unsigned power = bucket / 64 + 5;
    return (double)((UINT64_C(1) << power) + (((bucket & 63) * 2 + 1) << (power - 6)) / 2);
}

void histogram_clear(struct histogram *h) { memset(h, 0, sizeof *h); }

void histogram_add(struct histogram *h, uint64_t ns) {
    h->count++;
    h->sum += ns;
    if (ns > h->max)
        h->max = ns;
    h->bucket[bucket_of(ns)]++;
}

double histogram_quantile_us(const struct histogram *h, double part) {
    uint64_t wanted = (uint64_t)(part * (double)h->count), seen = 0;
    for (unsigned i = 0; i < HISTOGRAM_BUCKETS; i++) {
        seen += h->bucket[i];
        if (seen > wanted)
            return middle_of(i) / 1000.0;
    }
    return (double)h->max / 1000.0;
}
