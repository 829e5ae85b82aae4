/* The least that a C program does with a QubesDB: one request, its reply, and so on; as libqubesdb, header and data are
 * read apart. Prints the microseconds of a write, of a read, and of a list of everything below FOLDER.
 *
 *     qubesdb_serial SOCKET KEY FOLDER ROUNDS
 *
 * The form of messages: qubes-core-qubesdb, include/qubesdb.h. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

enum { READ = 0, WRITE = 1, LIST = 3, PATH = 64 };

struct header {
    uint8_t type;
    char path[PATH];
    uint8_t padding[3];
    uint32_t length;
};

static int daemon_fd;

static void transfer(int reads, void *data, size_t size)
{
    for (char *at = data; size;) {
        ssize_t count = reads ? read(daemon_fd, at, size) : write(daemon_fd, at, size);
        if (count <= 0) {
            perror("qubesdb_serial");
            exit(1);
        }
        at += count;
        size -= (size_t)count;
    }
}

static struct header request(int type, const char *path, const char *value)
{
    struct header header = { .type = (uint8_t)type, .length = value ? (uint32_t)strlen(value) : 0 };
    strncpy(header.path, path, PATH - 1);
    transfer(0, &header, sizeof header);
    if (value)
        transfer(0, (void *)value, header.length);
    transfer(1, &header, sizeof header);
    return header;
}

static void once(int type, const char *path)
{
    char value[4096];
    struct header header = request(type, path, type == WRITE ? "1" : NULL);
    if (type == LIST) {
        char **names = NULL;
        size_t count = 0;
        for (; header.path[0]; transfer(1, &header, sizeof header)) {
            names = realloc(names, (count + 1) * sizeof *names);
            names[count++] = strdup(header.path);
        }
        while (count)
            free(names[--count]);
        free(names);
    } else if (header.length)
        transfer(1, value, header.length);
}

static double microseconds(int type, const char *path, int rounds)
{
    struct timespec began, ended;
    clock_gettime(CLOCK_MONOTONIC, &began);
    for (int i = 0; i < rounds; i++)
        once(type, path);
    clock_gettime(CLOCK_MONOTONIC, &ended);
    return ((ended.tv_sec - began.tv_sec) * 1e6 + (ended.tv_nsec - began.tv_nsec) / 1e3) / rounds;
}

int main(int argc, char **argv)
{
    struct sockaddr_un address = { .sun_family = AF_UNIX };
    int rounds = argc == 5 ? atoi(argv[4]) : 0;
    if (rounds < 1)
        return 2;
    strncpy(address.sun_path, argv[1], sizeof address.sun_path - 1);
    daemon_fd = socket(AF_UNIX, SOCK_STREAM, 0);
    if (connect(daemon_fd, (struct sockaddr *)&address, sizeof address)) {
        perror(argv[1]);
        return 1;
    }
    printf("%f %f ", microseconds(WRITE, argv[2], rounds), microseconds(READ, argv[2], rounds));
    printf("%f\n", microseconds(LIST, argv[3], 1 + rounds / 200));
    return 0;
}
