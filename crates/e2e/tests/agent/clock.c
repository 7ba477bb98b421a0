/* The wall clock of a process, moved by as many seconds as stand in the file that CLOCK_OFFSET_FILE names. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

static volatile long *offset;

int clock_gettime(clockid_t clock, struct timespec *now)
{
	int outcome = syscall(SYS_clock_gettime, clock, now);
	if (outcome != 0 || clock != CLOCK_REALTIME)
		return outcome;
	if (!offset) {
		int file = open(getenv("CLOCK_OFFSET_FILE"), O_RDONLY | O_CLOEXEC);
		offset = mmap(NULL, sizeof *offset, PROT_READ, MAP_SHARED, file, 0);
		close(file);
	}
	now->tv_sec += *offset;
	return 0;
}
