/* A link emulator: each link is a pair of TUN interfaces of one name in two network namespaces, with packets carried
 * between them.  Under control while it runs: delay, jitter, rare stalls, silence, carrier; every packet is written to a
 * trace, from which the benches count bytes.
 *
 * Rules of this file: one thread, one poll loop; no packet is changed; packets of one direction never overtake each other.
 *
 * usage: emulator NAMESPACE_A NAMESPACE_B CONTROL_SOCKET TRACE_FILE NAME:DELAY_MS...
 * control (datagrams; each is answered by "ok" or "what?"):
 *   delay NAME MS | jitter NAME MS | stall NAME PER_MILLE MS | silent NAME 0|1 | carrier NAME 0|1 | flush - 0
 * trace: "SECONDS.NANOSECONDS NAME DIRECTION BYTES FATE" a line, DIRECTION 0 = from A, FATE c(arried) or d(ropped).
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#define MOST_LINKS 8
#define LARGEST 65536

typedef struct waiting {
    struct waiting *next;
    long long due;
    int length;
    char data[];
} waiting;

typedef struct {
    char name[IFNAMSIZ];
    int descriptor[2];
    long long delay, jitter, stall;
    int stall_per_mille, silent, no_carrier;
    waiting *first[2], *last[2];
    long long latest[2];
} link_;

static link_ links[MOST_LINKS];
static int count;
static FILE *trace;

static long long now_ns(clockid_t clock) {
    struct timespec t;
    clock_gettime(clock, &t);
    return t.tv_sec * 1000000000LL + t.tv_nsec;
}

static void die(const char *what) {
    perror(what);
    exit(1);
}

static int open_tun(const char *namespace, const char *name) {
    char path[256];
    snprintf(path, sizeof path, "/var/run/netns/%s", namespace);
    int there = open(path, O_RDONLY);
    if (there < 0 || setns(there, CLONE_NEWNET)) die(path);
    close(there);
    int tun = open("/dev/net/tun", O_RDWR | O_NONBLOCK);
    struct ifreq request = {.ifr_flags = IFF_TUN | IFF_NO_PI};
    strncpy(request.ifr_name, name, IFNAMSIZ - 1);
    if (tun < 0 || ioctl(tun, TUNSETIFF, &request)) die("TUNSETIFF");
    return tun;
}

static void note(const link_ *link, int from, int length, char fate) {
    long long t = now_ns(CLOCK_REALTIME);
    fprintf(trace, "%lld.%09lld %s %d %d %c\n", t / 1000000000, t % 1000000000, link->name, from, length, fate);
}

static long long extra(const link_ *link) {
    long long more = link->jitter ? (long long)(drand48() * (double)link->jitter) : 0;
    if (link->stall_per_mille && lrand48() % 1000 < link->stall_per_mille) more += link->stall;
    return more;
}

static void take(link_ *link, int from) {
    static char buffer[LARGEST];
    int length;
    while ((length = (int)read(link->descriptor[from], buffer, sizeof buffer)) > 0) {
        int dropped = link->silent || link->no_carrier;
        note(link, from, length, dropped ? 'd' : 'c');
        if (dropped) continue;
        waiting *packet = malloc(sizeof *packet + (size_t)length);
        if (!packet) die("malloc");
        long long due = now_ns(CLOCK_MONOTONIC) + link->delay + extra(link);
        if (due < link->latest[from]) due = link->latest[from];
        link->latest[from] = due;
        packet->next = NULL;
        packet->due = due;
        packet->length = length;
        memcpy(packet->data, buffer, (size_t)length);
        if (link->last[from]) link->last[from]->next = packet;
        else link->first[from] = packet;
        link->last[from] = packet;
    }
}

static void give(link_ *link, int from, long long now) {
    waiting *packet;
    while ((packet = link->first[from]) && packet->due <= now) {
        link->first[from] = packet->next;
        if (!packet->next) link->last[from] = NULL;
        if (!link->silent && !link->no_carrier)
            if (write(link->descriptor[!from], packet->data, (size_t)packet->length) < 0 && errno != EIO) perror("write");
        free(packet);
    }
}

static const char *obey(const char *text) {
    char what[16] = "", name[IFNAMSIZ] = "";
    double value = 0, more = 0;
    if (sscanf(text, "%15s %15s %lf %lf", what, name, &value, &more) < 3) return "what?";
    if (!strcmp(what, "flush")) return fflush(trace) ? "what?" : "ok";
    for (int i = 0; i < count; i++) {
        link_ *link = &links[i];
        if (strcmp(link->name, name)) continue;
        if (!strcmp(what, "delay")) link->delay = (long long)(value * 1e6);
        else if (!strcmp(what, "jitter")) link->jitter = (long long)(value * 1e6);
        else if (!strcmp(what, "stall")) link->stall_per_mille = (int)value, link->stall = (long long)(more * 1e6);
        else if (!strcmp(what, "silent")) link->silent = value != 0;
        else if (!strcmp(what, "carrier")) {
            int up = value != 0;
            link->no_carrier = !up;
            if (ioctl(link->descriptor[0], TUNSETCARRIER, &up)) return "what?";
        } else return "what?";
        return "ok";
    }
    return "what?";
}

static long long first_due(void) {
    long long due = -1;
    for (int i = 0; i < count; i++)
        for (int d = 0; d < 2; d++)
            if (links[i].first[d] && (due < 0 || links[i].first[d]->due < due)) due = links[i].first[d]->due;
    return due;
}

int main(int argc, char **argv) {
    if (argc < 6 || argc - 5 > MOST_LINKS) return 2;
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    trace = fopen(argv[4], "w");
    if (!trace) die(argv[4]);
    for (int i = 5; i < argc; i++) {
        link_ *link = &links[count++];
        char *colon = strchr(argv[i], ':');
        if (!colon) return 2;
        *colon = 0;
        strncpy(link->name, argv[i], IFNAMSIZ - 1);
        link->delay = (long long)(atof(colon + 1) * 1e6);
        for (int d = 0; d < 2; d++) link->descriptor[d] = open_tun(argv[1 + d], link->name);
    }
    int control = socket(AF_UNIX, SOCK_DGRAM, 0);
    struct sockaddr_un here = {.sun_family = AF_UNIX};
    strncpy(here.sun_path, argv[3], sizeof here.sun_path - 1);
    if (bind(control, (void *)&here, sizeof here)) die(argv[3]);
    puts("ready");
    fflush(stdout);
    for (;;) {
        struct pollfd polled[2 * MOST_LINKS + 1];
        int n = 0;
        for (int i = 0; i < count; i++)
            for (int d = 0; d < 2; d++) polled[n++] = (struct pollfd){links[i].descriptor[d], POLLIN, 0};
        polled[n++] = (struct pollfd){control, POLLIN, 0};
        long long due = first_due(), rest = due - now_ns(CLOCK_MONOTONIC);
        if (rest < 0) rest = 0;
        struct timespec wait = {rest / 1000000000, rest % 1000000000};
        if (ppoll(polled, (nfds_t)n, due < 0 ? NULL : &wait, NULL) < 0 && errno != EINTR) die("ppoll");
        for (int i = 0; i < count; i++)
            for (int d = 0; d < 2; d++)
                if (polled[2 * i + d].revents & POLLIN) take(&links[i], d);
        long long now = now_ns(CLOCK_MONOTONIC);
        for (int i = 0; i < count; i++)
            for (int d = 0; d < 2; d++) give(&links[i], d, now);
        if (polled[2 * count].revents & POLLIN) {
            char text[256];
            struct sockaddr_un who;
            socklen_t size = sizeof who;
            ssize_t got = recvfrom(control, text, sizeof text - 1, 0, (void *)&who, &size);
            if (got < 0) continue;
            text[got] = 0;
            const char *answer = obey(text);
            sendto(control, answer, strlen(answer), 0, (void *)&who, size);
        }
    }
}
