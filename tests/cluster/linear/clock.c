// Gives one process a wall clock of its own: the machine's, plus what the file KARST_CLOCK says, in nanoseconds.
//
// Loaded by LD_PRELOAD. The kernel lends every process a page of code, the vDSO, that tells the time; the C library
// calls it, and so does rustix, past the C library. So it is the page that is changed: the entry of clock_gettime
// becomes a jump to `told` below, which asks the kernel itself. Other clocks stay as they are.

#include <elf.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#if defined(__x86_64__)
#define ENTRY "__vdso_clock_gettime"
// mov rax, address; jmp rax
static const unsigned char JUMP[] = {0x48, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xe0};
#define ADDRESS_AT 2
#elif defined(__aarch64__)
#define ENTRY "__kernel_clock_gettime"
// ldr x16, #8; br x16; address
static const unsigned char JUMP[] = {0x50, 0, 0, 0x58, 0, 2, 0x1f, 0xd6, 0, 0, 0, 0, 0, 0, 0, 0};
#define ADDRESS_AT 8
#else
#error "no jump is known for this processor"
#endif

#define SECOND 1000000000LL

static const volatile int64_t *offset_ns;

static int told(clockid_t clock, struct timespec *time) {
    long failed = syscall(SYS_clock_gettime, clock, time);
    if (failed == 0 && (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE)) {
        int64_t ns = time->tv_sec * SECOND + time->tv_nsec + *offset_ns;
        time->tv_sec = ns / SECOND;
        time->tv_nsec = ns % SECOND;
    }
    return (int)failed;
}

// Says by its exit code which step failed: a test without the clock it asked for must not pass.
static void demand(int holds, int code) {
    if (!holds) _exit(code);
}

static char *entry(char *vdso) {
    const Elf64_Ehdr *head = (const Elf64_Ehdr *)vdso;
    const Elf64_Phdr *part = (const Elf64_Phdr *)(vdso + head->e_phoff);
    const Elf64_Shdr *section = (const Elf64_Shdr *)(vdso + head->e_shoff);
    char *base = vdso;
    for (int at = 0; at < head->e_phnum; at++)
        if (part[at].p_type == PT_LOAD) base = vdso + part[at].p_offset - part[at].p_vaddr;
    for (int at = 0; at < head->e_shnum; at++) {
        if (section[at].sh_type != SHT_DYNSYM) continue;
        const Elf64_Sym *symbol = (const Elf64_Sym *)(vdso + section[at].sh_offset);
        const char *names = vdso + section[section[at].sh_link].sh_offset;
        size_t symbols = section[at].sh_size / sizeof *symbol;
        for (size_t number = 0; number < symbols; number++)
            if (!strcmp(names + symbol[number].st_name, ENTRY)) return base + symbol[number].st_value;
    }
    return NULL;
}

__attribute__((constructor)) static void take_over(void) {
    const char *path = getenv("KARST_CLOCK");
    if (!path) return;
    int file = open(path, O_RDONLY | O_CLOEXEC);
    demand(file >= 0, 121);
    void *shared = mmap(NULL, sizeof *offset_ns, PROT_READ, MAP_SHARED, file, 0);
    demand(shared != MAP_FAILED, 122);
    close(file);
    offset_ns = shared;
    char *vdso = (char *)getauxval(AT_SYSINFO_EHDR);
    demand(vdso != NULL, 123);
    char *code = entry(vdso);
    demand(code != NULL, 124);
    // The mapping is changed as a whole: the kernel does not let it be split. Its section headers come last.
    const Elf64_Ehdr *head = (const Elf64_Ehdr *)vdso;
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    size_t bytes = head->e_shoff + (size_t)head->e_shnum * head->e_shentsize;
    bytes = (bytes + page - 1) / page * page;
    demand(mprotect(vdso, bytes, PROT_READ | PROT_WRITE | PROT_EXEC) == 0, 125);
    memcpy(code, JUMP, sizeof JUMP);
    int (*replacement)(clockid_t, struct timespec *) = told;
    memcpy(code + ADDRESS_AT, &replacement, sizeof replacement);
    __builtin___clear_cache(code, code + sizeof JUMP);
    demand(mprotect(vdso, bytes, PROT_READ | PROT_EXEC) == 0, 126);
}
