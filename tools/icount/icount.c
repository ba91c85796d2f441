/*
 * A QEMU plugin that counts guest instructions while the guest runs: on all harts together, and between two marks on
 * the hart that passes them.
 *
 *     -plugin icount.so,out=FILE[,from=0xADDR][,to=0xADDR]
 *
 * FILE is mapped shared and starts with three counts, 64 bits each, in the byte order of this
 * computer:
 *
 *     0   instructions so far, on all harts
 *     8   instructions of the first hart that comes to `from`, until then (0: none has)
 *     16  instructions of the first hart that comes to `to`, until then (0: none has)
 *
 * Instructions are counted by translated block, when a block is entered: a block that a trap leaves
 * early counts whole.
 *
 * Only calls that the plugin interfaces of QEMU 7.2 and QEMU 10 have in common are used, so one
 * source serves both; -DAPI=N says which one to ask for. They are declared here: distributions do
 * not package QEMU's header.
 */
#include <fcntl.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define EXPORT __attribute__((visibility("default")))

typedef uint64_t plugin_id;
struct qemu_plugin_tb;
struct qemu_plugin_insn;
enum callback_flags { NO_REGISTERS };
typedef void (*on_execution)(unsigned hart, void *data);

void qemu_plugin_register_vcpu_tb_trans_cb(plugin_id, void (*)(plugin_id, struct qemu_plugin_tb *));
void qemu_plugin_register_vcpu_tb_exec_cb(struct qemu_plugin_tb *, on_execution, enum callback_flags, void *);
void qemu_plugin_register_vcpu_insn_exec_cb(struct qemu_plugin_insn *, on_execution, enum callback_flags, void *);
size_t qemu_plugin_tb_n_insns(const struct qemu_plugin_tb *);
struct qemu_plugin_insn *qemu_plugin_tb_get_insn(const struct qemu_plugin_tb *, size_t);
uint64_t qemu_plugin_insn_vaddr(const struct qemu_plugin_insn *);

EXPORT int qemu_plugin_version = API;

enum { TOTAL, FROM, TO, COUNTS };
static uint64_t *counts;           /* the shared file */
static uint64_t addresses[COUNTS]; /* of the marks; 0: not wanted */

enum { MOST_HARTS = 512 };          /* QEMU's virt takes as many */
static uint64_t of_hart[MOST_HARTS]; /* each written by its own hart only */

static void on_block(unsigned hart, void *instructions)
{
    of_hart[hart % MOST_HARTS] += (uintptr_t)instructions;
    __atomic_fetch_add(&counts[TOTAL], (uintptr_t)instructions, __ATOMIC_RELAXED);
}

/* The whole block has been counted already: `rest` of its instructions have not run yet. */
static void reach(int mark, unsigned hart, void *rest)
{
    uint64_t unset = 0, before = of_hart[hart % MOST_HARTS] - (uintptr_t)rest;
    __atomic_compare_exchange_n(&counts[mark], &unset, before, 0, __ATOMIC_RELAXED, __ATOMIC_RELAXED);
}

static void on_from(unsigned hart, void *rest)
{
    reach(FROM, hart, rest);
}

static void on_to(unsigned hart, void *rest)
{
    reach(TO, hart, rest);
}

static void on_translation(plugin_id id, struct qemu_plugin_tb *block)
{
    (void)id;
    size_t length = qemu_plugin_tb_n_insns(block);
    qemu_plugin_register_vcpu_tb_exec_cb(block, on_block, NO_REGISTERS, (void *)length);
    for (size_t i = 0; i < length; i++) {
        struct qemu_plugin_insn *insn = qemu_plugin_tb_get_insn(block, i);
        uint64_t address = qemu_plugin_insn_vaddr(insn);
        void *rest = (void *)(length - i);
        if (addresses[FROM] && address == addresses[FROM])
            qemu_plugin_register_vcpu_insn_exec_cb(insn, on_from, NO_REGISTERS, rest);
        if (addresses[TO] && address == addresses[TO])
            qemu_plugin_register_vcpu_insn_exec_cb(insn, on_to, NO_REGISTERS, rest);
    }
}

EXPORT int qemu_plugin_install(plugin_id id, const void *info, int argc, char **argv)
{
    const char *path = NULL;
    (void)info;
    for (int i = 0; i < argc; i++) {
        if (!strncmp(argv[i], "out=", 4))
            path = argv[i] + 4;
        else if (!strncmp(argv[i], "from=", 5))
            addresses[FROM] = strtoull(argv[i] + 5, NULL, 0);
        else if (!strncmp(argv[i], "to=", 3))
            addresses[TO] = strtoull(argv[i] + 3, NULL, 0);
        else
            return fprintf(stderr, "icount: unknown argument %s; there are out=, from=, to=\n", argv[i]), -1;
    }
    int file = path ? open(path, O_RDWR | O_CREAT | O_TRUNC, 0644) : -1;
    if (file < 0 || ftruncate(file, COUNTS * sizeof *counts))
        return fprintf(stderr, "icount: cannot write %s\n", path ? path : "without out=FILE"), -1;
    counts = mmap(NULL, COUNTS * sizeof *counts, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    if (counts == MAP_FAILED)
        return perror("icount: mmap"), -1;
    qemu_plugin_register_vcpu_tb_trans_cb(id, on_translation);
    return 0;
}
