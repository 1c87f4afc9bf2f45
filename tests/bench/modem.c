/* A modem of three commands on a pseudo terminal, faster than any client: what is measured is the client.
 *
 * Rules of this file: prints the terminal's path, then serves until its standard input ends.
 * AT+CSQ: a reply.  AT+BULK=n: n lines and OK.  AT+PACE=n: n times 16 bytes every 1.389 ms, as the FIFO of a UART at
 * 115,200 baud delivers them, and OK.  Everything else: OK.  No echo.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <poll.h>
#include <pty.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <signal.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>

static const char OK[] = "\r\nOK\r\n";
static int terminal;

static void put(const char *data, size_t length) {
    while (length) {
        ssize_t done = write(terminal, data, length);
        if (done < 0) {
            struct pollfd wait = {terminal, POLLOUT, 0};
            poll(&wait, 1, 1000);
            continue;
        }
        data += done;
        length -= (size_t)done;
    }
}

static void bulk(long count) {
    char block[64 * 32];
    long i = 0;
    while (i < count) {
        int length = 0;
        for (int k = 0; k < 32 && i < count; k++, i++)
            length += sprintf(block + length, "+QSCAN: %ld,20,\"24001\",-%ld\r\n", i, i % 113);
        put(block, (size_t)length);
    }
    put(OK, sizeof OK - 1);
}

static void pace(long count) {
    struct timespec next;
    clock_gettime(CLOCK_MONOTONIC, &next);
    for (long i = 0; i < count; i++) {
        put("+QSC: 1234,567\r\n", 16);
        next.tv_nsec += 1388889;
        if (next.tv_nsec >= 1000000000) next.tv_nsec -= 1000000000, next.tv_sec++;
        clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &next, NULL);
    }
    put(OK, sizeof OK - 1);
}

static void obey(const char *line) {
    if (!strcmp(line, "AT+CSQ")) put("\r\n+CSQ: 20,99\r\n\r\nOK\r\n", 21);
    else if (!strncmp(line, "AT+BULK=", 8)) bulk(atol(line + 8));
    else if (!strncmp(line, "AT+PACE=", 8)) pace(atol(line + 8));
    else if (*line) put(OK, sizeof OK - 1);
}

int main(void) {
    int other;
    char path[128], line[1024], data[1024];
    size_t length = 0;
    struct termios raw;
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (openpty(&terminal, &other, path, NULL, NULL)) return 1;
    tcgetattr(other, &raw);
    cfmakeraw(&raw);
    tcsetattr(other, TCSANOW, &raw);
    printf("{\"path\": \"%s\"}\n", path);
    fflush(stdout);
    for (;;) {
        struct pollfd polled[] = {{terminal, POLLIN, 0}, {0, POLLIN, 0}};
        poll(polled, 2, -1);
        if (polled[1].revents && read(0, data, sizeof data) <= 0) return 0;
        if (!(polled[0].revents & POLLIN)) continue;
        ssize_t got = read(terminal, data, sizeof data);
        for (ssize_t i = 0; i < got; i++) {
            if (data[i] == '\r') {
                line[length] = 0;
                obey(line);
                length = 0;
            } else if (data[i] != '\n' && data[i] != 27 && length < sizeof line - 1) line[length++] = data[i];
        }
    }
}
