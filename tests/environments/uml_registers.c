// Loaded before User Mode Linux 6.1, whose buffer for the floating-point registers of a process is too short on a CPU
// with AMX: the kernel then refuses to set them (EFAULT), and the first program ends. What the buffer does not hold is
// taken from the process itself.
#define _GNU_SOURCE
#include <errno.h>
#include <linux/elf.h>
#include <stdarg.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

static long set_registers(int process, void *set, struct iovec *given) {
    static char bytes[65536] __attribute__((aligned(64)));
    struct iovec all = {bytes, sizeof bytes};
    if (syscall(SYS_ptrace, PTRACE_GETREGSET, process, set, &all) < 0) return -1;
    if (given->iov_len >= all.iov_len) return syscall(SYS_ptrace, PTRACE_SETREGSET, process, set, given);
    memcpy(bytes, given->iov_base, given->iov_len);
    return syscall(SYS_ptrace, PTRACE_SETREGSET, process, set, &all);
}

long ptrace(enum __ptrace_request request, ...) {
    va_list arguments;
    va_start(arguments, request);
    int process = va_arg(arguments, int);
    void *address = va_arg(arguments, void *), *data = va_arg(arguments, void *);
    va_end(arguments);
    if (request == PTRACE_PEEKTEXT || request == PTRACE_PEEKDATA || request == PTRACE_PEEKUSER) {
        long word;  // the system call writes it, the library's function returns it
        if (syscall(SYS_ptrace, request, process, address, &word) < 0) return -1;
        errno = 0;
        return word;
    }
    if (request == PTRACE_SETREGSET && (long)address == NT_X86_XSTATE) return set_registers(process, address, data);
    return syscall(SYS_ptrace, request, process, address, data);
}
