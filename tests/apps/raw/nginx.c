// Loaded into nginx. While an upstream request is written, nginx's own record of the request that it works for is
// nonsense: the connection's request, the request's signature, or its client's connection.
#define _GNU_SOURCE
#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/uio.h>
#include <unistd.h>

#ifdef __x86_64__

static uint64_t *changed, kept;

// The two words at an address that may be none.
static int words(uint64_t address, uint64_t *into) {
    struct iovec local = {into, 16}, remote = {(void *)address, 16};
    return process_vm_readv(getpid(), &local, 1, &remote, 1, 0) == 16;
}

static void change(uint64_t address) {
    uint64_t nonsense[] = {0, 1, -1, address + 8, (uint64_t)random() << 16};
    changed = (uint64_t *)address;
    kept = *changed;
    *changed = nonsense[random() % 5];
}

// `place`: a register that calls preserve.
void before_writev(int fd, uint64_t *places) {
    changed = NULL;
    for (int n = 0; n < 6; n++) {
        uint64_t connection[2], request[2], end[2];
        if (!words(places[n] + 24, end) || (int)end[0] != fd || !words(places[n], connection) ||
            !words(connection[0], request) || (uint32_t)request[0] != 0x50545448)
            continue;
        uint64_t addresses[] = {places[n], connection[0], connection[0] + 8};
        change(addresses[random() % 3]);
        return;
    }
}

long after_writev(long result) {
    if (changed)
        *changed = kept;
    if (result >= 0)
        return result;
    errno = -result;
    return -1;
}

// At the system call the registers that calls preserve are nginx's.
__asm__(".globl writev\n"
        ".type writev, @function\n"
        "writev:\n"
        "push %rdi\n push %rsi\n push %rdx\n"
        "push %r15\n push %r14\n push %r13\n push %r12\n push %rbp\n push %rbx\n"
        "mov %rsp, %rsi\n"
        "call before_writev@PLT\n"
        "add $48, %rsp\n"
        "pop %rdx\n pop %rsi\n pop %rdi\n"
        "mov $20, %eax\n"
        "syscall\n"
        "mov %rax, %rdi\n"
        "sub $8, %rsp\n"
        "call after_writev@PLT\n"
        "add $8, %rsp\n"
        "ret\n");

#endif
