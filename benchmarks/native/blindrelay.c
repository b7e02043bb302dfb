/* blindrelay: the limit. Passes datagrams between one caller and the members without reading
 * them: batches in, batches out, members in turn. What a balancer costs above this is its own. */
#define _GNU_SOURCE
#include "clock.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

enum { BATCH = 64, MOST = 16384 };

static struct sockaddr_in loopback(unsigned port) {
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    a.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    return a;
}

int main(int argc, char **argv) {
    if (argc != 6) {
        fprintf(stderr, "usage: blindrelay PORT CALLER-PORT FIRST-MEMBER-PORT MEMBERS BUFFER\n");
        return 2;
    }
    unsigned value[5];
    for (int i = 0; i < 5; i++)
        value[i] = (unsigned)strtoul(argv[i + 1], NULL, 10);
    struct sockaddr_in own = loopback(value[0]), caller = loopback(value[1]);
    unsigned first = value[2], members = value[3], turn = 0;
    int buffer = (int)value[4], fd = socket(AF_INET, SOCK_DGRAM, 0);
    setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &buffer, sizeof buffer);
    setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &buffer, sizeof buffer);
    if (fd < 0 || members == 0 || bind(fd, (struct sockaddr *)&own, sizeof own) != 0) {
        perror("blindrelay");
        return 1;
    }
    static char octets[BATCH][MOST];
    static struct sockaddr_in address[BATCH];
    static struct iovec part[BATCH];
    static struct mmsghdr header[BATCH];
    for (unsigned i = 0; i < BATCH; i++)
        header[i].msg_hdr = (struct msghdr){.msg_name = &address[i],
                                            .msg_namelen = sizeof address[i],
                                            .msg_iov = &part[i],
                                            .msg_iovlen = 1};
    for (;;) {
        for (unsigned i = 0; i < BATCH; i++)
            part[i] = (struct iovec){octets[i], MOST};
        int n = recvmmsg(fd, header, BATCH, MSG_WAITFORONE, NULL);
        if (n < 0 && errno != EINTR && errno != ECONNREFUSED)
            return 1;
        for (int i = 0; i < n; i++) {
            part[i].iov_len = header[i].msg_len;
            if (address[i].sin_port == caller.sin_port)
                address[i].sin_port = htons((uint16_t)(first + turn++ % members));
            else
                address[i].sin_port = caller.sin_port;
        }
        for (int done = 0; done < n;) {
            int sent = sendmmsg(fd, header + done, (unsigned)(n - done), 0);
            done += sent > 0 ? sent : 1;
        }
    }
}
