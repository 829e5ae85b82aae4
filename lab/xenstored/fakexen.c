/*
 * Stands for the hypervisor under the real xenstored (Xen 4.17 to 4.20), which is started with this library preloaded.
 *
 * The folder named by $FAKEXEN is the machine:
 *   domN/         domain N exists as long as this folder does
 *   domN/ring     its XenStore page (struct xenstore_domain_interface)
 *   domN/evtchn   fifo: event channel towards the domain
 *   evtchn        fifo: event channels towards xenstored, one 4-byte local port for each event
 * Local ports: 1 says that some domain came or went (VIRQ_DOM_EXC), N + 2 belongs to domain N.
 *
 * Only the functions of libxenctrl, libxengnttab and libxenevtchn that xenstored calls are here.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>

enum { VIRQ_PORT = 1, FIRST_DOMAIN_PORT = 2, PAGE = 4096 };

struct place { char name[PAGE]; };

static int a_handle;
static int events = -1;

static struct place in_machine(const char *rest)
{
	const char *machine = getenv("FAKEXEN");
	struct place p;

	snprintf(p.name, sizeof(p.name), "%s/%s", machine ? machine : ".", rest);
	return p;
}

static struct place in_domain(uint32_t domid, const char *rest)
{
	char within[64];

	snprintf(within, sizeof(within), "dom%u/%s", domid, rest);
	return in_machine(within);
}

/* xenstored learns of domain 0's page and port from these two files. */
int open(const char *name, int flags, ...)
{
	static int (*libc_open)(const char *, int, ...);
	struct place p;
	mode_t mode = 0;

	if (flags & (O_CREAT | O_TMPFILE)) {
		va_list rest;
		va_start(rest, flags);
		mode = va_arg(rest, mode_t);
		va_end(rest);
	}
	if (!libc_open)
		libc_open = dlsym(RTLD_NEXT, "open");
	if (strcmp(name, "/proc/xen/xsd_port") == 0)
		return libc_open("/dev/null", flags, mode);
	if (strcmp(name, "/proc/xen/xsd_kva") == 0) {
		p = in_domain(0, "ring");
		name = p.name;
	}
	return libc_open(name, flags, mode);
}

/* oxenstored ends where it may not have more open files, as in a container; few are enough here. */
int setrlimit(__rlimit_resource_t resource, const struct rlimit *limit)
{
	static int (*libc_setrlimit)(__rlimit_resource_t, const struct rlimit *);

	if (!libc_setrlimit)
		libc_setrlimit = dlsym(RTLD_NEXT, "setrlimit");
	libc_setrlimit(resource, limit);
	return 0;
}

/* libxenctrl: which domains there are. */
void *xc_interface_open(void *logger, void *dombuild_logger, unsigned flags) { return &a_handle; }
int xc_interface_close(void *xch) { return 0; }

int xc_domain_getinfo(void *xch, uint32_t domid, unsigned max, void *info)
{
	/* xc_dominfo_t begins with: domid, ssidref, a word of flags (none of them: neither dying nor shut down). */
	uint32_t start[3] = { domid, 0, 0 };

	if (access(in_domain(domid, "").name, F_OK) != 0)
		return 0;
	memcpy(info, start, sizeof(start));
	return 1;
}

/* The same from Xen 4.18 on. */
int xc_domain_getinfo_single(void *xch, uint32_t domid, void *info)
{
	/* xc_domaininfo_t begins with: domid, padding to a word, a word of flags (none of them). */
	uint32_t start[2] = { domid, 0 };

	if (access(in_domain(domid, "").name, F_OK) != 0) {
		errno = ESRCH;
		return -1;
	}
	if (info)
		memcpy(info, start, sizeof(start));
	return 0;
}

/* libxengnttab: a domain's page. */
void *xengnttab_open(void *logger, unsigned flags) { return &a_handle; }
int xengnttab_close(void *gnttab) { return 0; }
int xengnttab_set_max_grants(void *gnttab, uint32_t count) { return 0; }
int xengnttab_unmap(void *gnttab, void *start, uint32_t pages) { return munmap(start, (size_t)pages * PAGE); }

void *xengnttab_map_grant_ref(void *gnttab, uint32_t domid, uint32_t ref, int protection)
{
	int fd = open(in_domain(domid, "ring").name, O_RDWR | O_CLOEXEC);
	void *page = MAP_FAILED;

	if (fd >= 0) {
		page = mmap(NULL, PAGE, protection, MAP_SHARED, fd, 0);
		close(fd);
	}
	return page == MAP_FAILED ? NULL : page;
}

/* libxenevtchn: fifos. */
void *xenevtchn_open(void *logger, unsigned flags)
{
	/* At a live update the daemon's next program goes on with it: XENEVTCHN_NO_CLOEXEC. */
	int inherited = flags & 1;

	events = open(in_machine("evtchn").name, O_RDWR | O_NONBLOCK | (inherited ? 0 : O_CLOEXEC));
	return events < 0 ? NULL : &a_handle;
}

void *xenevtchn_fdopen(void *logger, int fd, unsigned flags)
{
	events = fd;
	return &a_handle;
}

int xenevtchn_close(void *xce) { return close(events); }
int xenevtchn_fd(void *xce) { return events; }
int xenevtchn_bind_virq(void *xce, unsigned virq) { return VIRQ_PORT; }
int xenevtchn_bind_interdomain(void *xce, uint32_t domid, uint32_t port) { return (int)(domid + FIRST_DOMAIN_PORT); }
int xenevtchn_unbind(void *xce, uint32_t port) { return 0; }
int xenevtchn_unmask(void *xce, uint32_t port) { return 0; }

int xenevtchn_pending(void *xce)
{
	uint32_t port;

	return read(events, &port, sizeof(port)) == (ssize_t)sizeof(port) ? (int)port : -1;
}

int xenevtchn_notify(void *xce, uint32_t port)
{
	int fd = open(in_domain(port - FIRST_DOMAIN_PORT, "evtchn").name, O_WRONLY | O_NONBLOCK | O_CLOEXEC);

	/* An event that nobody waits for is lost on real hardware too: what counts is in the ring. */
	if (fd >= 0) {
		if (write(fd, &port, sizeof(port)) < 0)
			errno = 0;
		close(fd);
	}
	return 0;
}
