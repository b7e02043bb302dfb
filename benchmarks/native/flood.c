/* flood: one source that sends far more than it should. Batches by sendmmsg to one place, at a
 * rate or as fast as it goes, for some seconds; says how many left. */
#define _GNU_SOURCE
#include "clock.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

enum { BATCH = 64, MOST = 1400 };

static const char REQUEST[] = "%s sip:%s%s SIP/2.0\r\n"
                              "Via: SIP/2.0/UDP %s:5060;branch=z9hG4bK%llx\r\n"
                              "Max-Forwards: 70\r\n"
                              "From: <sip:flood@%s>;tag=%llx\r\n"
                              "To: <sip:%s%s>\r\n"
                              "Call-ID: flood-%llx@%s\r\n"
                              "CSeq: 1 %s\r\n"
                              "Contact: <sip:flood@%s:5060>\r\n"
                              "Content-Length: 0\r\n\r\n";

int main(int argc, char **argv) {
    if (argc != 6) {
        fprintf(stderr, "usage: flood junk|options|invite OWN-IP IP PER-SECOND(0: most) SECONDS\n");
        return 2;
    }
    const char *kind = argv[1], *own = argv[2], *to = argv[3];
    unsigned long long per_second = strtoull(argv[4], NULL, 10), sent = 0;
    double seconds = strtod(argv[5], NULL);
    struct sockaddr_in from = {.sin_family = AF_INET, .sin_port = htons(5060)}, place = from;
    int junk = strcmp(kind, "junk") == 0;
    if (junk)
        from.sin_port = 0; /* nobody answers it */
    inet_pton(AF_INET, own, &from.sin_addr);
    inet_pton(AF_INET, to, &place.sin_addr);
    int fd = socket(AF_INET, SOCK_DGRAM, 0), buffer = 4 << 20;
    setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &buffer, sizeof buffer);
    if (bind(fd, (struct sockaddr *)&from, sizeof from) != 0 ||
        connect(fd, (struct sockaddr *)&place, sizeof place) != 0) {
        perror("flood");
        return 1;
    }
    static char octets[BATCH][MOST];
    static struct iovec part[BATCH];
    static struct mmsghdr header[BATCH];
    const char *method = strcmp(kind, "invite") == 0 ? "INVITE" : "OPTIONS";
    const char *user = strcmp(kind, "invite") == 0 ? "ivr@" : "";
    for (int i = 0; i < BATCH; i++) {
        memset(octets[i], 'x', 600);
        part[i] = (struct iovec){octets[i], 600};
        header[i].msg_hdr = (struct msghdr){.msg_iov = &part[i], .msg_iovlen = 1};
    }
    uint64_t begun = now_ns();
    for (;;) {
        double passed = (double)(now_ns() - begun) / (double)SECOND;
        if (passed >= seconds)
            break;
        if (per_second && (double)sent > passed * (double)per_second) {
            nanosleep(&(struct timespec){.tv_nsec = MILLISECOND / 5}, NULL);
            continue;
        }
        for (int i = 0; !junk && i < BATCH; i++) {
            unsigned long long n = sent + (unsigned)i;
            int size = snprintf(octets[i], MOST, REQUEST, method, user, to, own, n, own, n, user,
                                to, n, own, method, own);
            part[i].iov_len = (size_t)size;
        }
        int done = sendmmsg(fd, header, BATCH, 0);
        if (done > 0)
            sent += (unsigned)done;
    }
    printf("%llu\n", sent);
    return 0;
}
