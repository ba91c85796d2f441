/*
 * A QEMU plugin that counts guest instructions while the guest runs: on all harts together, until
 * two places are reached for the first time, and each time a mark is passed.
 *
 *     -plugin icount.so,out=FILE[,from=0xADDR][,to=0xADDR][,mark=0xADDR]...[,firmware=0xADDR][,blocks=FILE]
 *
 * FILE is mapped shared and starts with five counts, 64 bits each, in the byte order of this
 * computer:
 *
 *     0   instructions so far, on all harts
 *     8   instructions of the first hart that comes to `from`, until then (0: none has)
 *     16  instructions of the first hart that comes to `to`, until then (0: none has)
 *     24  how often a hart has come to a `mark`
 *     32  instructions so far in blocks below the address `firmware`, on all harts
 *
 * Behind them, if there is a `mark`, follows a record of seven such numbers for each time, for the
 * first MOST_RECORDS times:
 *
 *     0   the hart
 *     8   which `mark`: 0 for the first one of the command line
 *     16  the hart's instructions until then, the one at `mark` not included
 *     24  those of the firmware among them: in blocks below the address `firmware`
 *     32  atomic read-modify-write instructions (AMO), not counting the firmware's
 *     40  load-reserved (LR), likewise
 *     48  store-conditional (SC), likewise, those that failed included
 *
 * The file of `blocks` tells where instructions are executed. It is mapped as well, and is a table of
 * MOST_BLOCKS entries of two numbers, in no order; unused ones are zero:
 *
 *     0   a translated block: the address of its first instruction, times 1024, plus the number of its
 *         instructions. The upper ten bits of the address are lost; they are equal to the next one
 *     8   how often it was entered, on all harts
 *
 * Instructions are counted by translated block, when a block is entered: a block that a trap leaves
 * early counts whole. At `from`, `to` and `mark` what is left of the block is taken off again, so
 * between two of them the count is exact unless there is a trap. Atomic instructions are counted one
 * by one.
 *
 * Only calls that the plugin interfaces of QEMU 7.2 and QEMU 10 have in common are used, so one
 * source serves both; -DAPI=N says which one to ask for. They are declared here: distributions do
 * not package QEMU's header.
 */
#include <fcntl.h>
#include <stdbool.h>
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

/* What QEMU tells about itself; its structure goes on behind this. */
struct qemu_info {
    const char *target;
    struct {
        int oldest, newest;
    } interface;
};

void qemu_plugin_register_vcpu_tb_trans_cb(plugin_id, void (*)(plugin_id, struct qemu_plugin_tb *));
void qemu_plugin_register_vcpu_tb_exec_cb(struct qemu_plugin_tb *, on_execution, enum callback_flags, void *);
void qemu_plugin_register_vcpu_insn_exec_cb(struct qemu_plugin_insn *, on_execution, enum callback_flags, void *);
size_t qemu_plugin_tb_n_insns(const struct qemu_plugin_tb *);
struct qemu_plugin_insn *qemu_plugin_tb_get_insn(const struct qemu_plugin_tb *, size_t);
uint64_t qemu_plugin_insn_vaddr(const struct qemu_plugin_insn *);
size_t qemu_plugin_insn_size(const struct qemu_plugin_insn *);
/* Its type depends on QEMU: see `encoding`. */
void qemu_plugin_insn_data(void);

EXPORT int qemu_plugin_version = API;

enum { TOTAL, FROM, TO, MARKS, BELOW, COUNTS };
enum { MOST_RECORDS = 1 << 18, MOST_MARKS = 8 };
enum kind { INSTRUCTIONS, FIRMWARE, AMO, LR, SC, KINDS };

struct record {
    uint64_t hart, mark, count[KINDS];
};
static struct {
    uint64_t counts[COUNTS];
    struct record records[];
} *shared; /* the file */

enum { MOST_BLOCKS = 1 << 17, LENGTH_BITS = 10 };
static struct block {
    uint64_t key, entered;
} *blocks; /* the other file, if there is one */

static uint64_t addresses[MARKS]; /* of `from` and `to`; 0: not wanted */
static uint64_t marks[MOST_MARKS];
static size_t mark_count;
static uint64_t firmware_end; /* nothing is the firmware's unless it is given */
static int interface; /* the newest one of this QEMU */

enum { MOST_HARTS = 512 };                   /* QEMU's virt takes as many */
static uint64_t of_hart[MOST_HARTS][KINDS]; /* each written by its own hart only */

static void on_block(unsigned hart, void *instructions)
{
    of_hart[hart % MOST_HARTS][INSTRUCTIONS] += (uintptr_t)instructions;
    __atomic_fetch_add(&shared->counts[TOTAL], (uintptr_t)instructions, __ATOMIC_RELAXED);
}

static void on_firmware_block(unsigned hart, void *instructions)
{
    of_hart[hart % MOST_HARTS][FIRMWARE] += (uintptr_t)instructions;
    __atomic_fetch_add(&shared->counts[BELOW], (uintptr_t)instructions, __ATOMIC_RELAXED);
    on_block(hart, instructions);
}

/* The whole block has been counted already: `rest` of its instructions have not run yet. */
static void reach(int mark, unsigned hart, void *rest)
{
    uint64_t unset = 0, before = of_hart[hart % MOST_HARTS][INSTRUCTIONS] - (uintptr_t)rest;
    __atomic_compare_exchange_n(&shared->counts[mark], &unset, before, 0, __ATOMIC_RELAXED, __ATOMIC_RELAXED);
}

static void on_from(unsigned hart, void *rest)
{
    reach(FROM, hart, rest);
}

static void on_to(unsigned hart, void *rest)
{
    reach(TO, hart, rest);
}

/* `data`: what is left of the block, and behind it which mark. */
static void on_mark(unsigned hart, void *data)
{
    uint64_t number = __atomic_fetch_add(&shared->counts[MARKS], 1, __ATOMIC_RELAXED);
    if (number >= MOST_RECORDS)
        return;
    struct record *record = &shared->records[number];
    record->hart = hart;
    record->mark = (uintptr_t)data % MOST_MARKS;
    memcpy(record->count, of_hart[hart % MOST_HARTS], sizeof record->count);
    record->count[INSTRUCTIONS] -= (uintptr_t)data / MOST_MARKS;
}

static void on_atomic(unsigned hart, void *kind)
{
    of_hart[hart % MOST_HARTS][(uintptr_t)kind]++;
}

/* The instruction's bits; 0 for a compressed one. */
static uint32_t encoding(const struct qemu_plugin_insn *insn)
{
    uint32_t bits = 0;
    if (qemu_plugin_insn_size(insn) != sizeof bits)
        return bits;
    if (interface < 3) { /* since interface 3 (QEMU 9.1) it copies */
        const void *(*data)(const struct qemu_plugin_insn *) = (void *)qemu_plugin_insn_data;
        memcpy(&bits, data(insn), sizeof bits);
    } else {
        size_t (*copy)(const struct qemu_plugin_insn *, void *, size_t) = (void *)qemu_plugin_insn_data;
        copy(insn, &bits, sizeof bits);
    }
    return bits;
}

/* Of an instruction of the major opcode AMO (0x2f) the five highest bits tell what it is. Unlike the
 * two others, all that remain read and write memory at once. */
static enum kind kind(uint32_t bits)
{
    if ((bits & 0x7f) != 0x2f)
        return INSTRUCTIONS;
    switch (bits >> 27) {
    case 2:
        return LR;
    case 3:
        return SC;
    default:
        return AMO;
    }
}

static void on_entry(unsigned hart, void *block)
{
    (void)hart;
    __atomic_fetch_add(&((struct block *)block)->entered, 1, __ATOMIC_RELAXED);
}

/* The entry of a block, which may have been translated before; NULL if the table is full. */
static struct block *entry(uint64_t address, size_t length)
{
    uint64_t key = address << LENGTH_BITS | length;
    uint64_t hash = key * 0x9e3779b97f4a7c15; /* 2^64 by the golden ratio */
    for (size_t i = 0; i < MOST_BLOCKS; i++) {
        struct block *block = &blocks[((hash >> 32) + i) % MOST_BLOCKS];
        uint64_t found = 0;
        if (__atomic_compare_exchange_n(&block->key, &found, key, 0, __ATOMIC_RELAXED, __ATOMIC_RELAXED) || found == key)
            return block;
    }
    return NULL;
}

static void on_translation(plugin_id id, struct qemu_plugin_tb *block)
{
    (void)id;
    size_t length = qemu_plugin_tb_n_insns(block);
    bool is_firmware = qemu_plugin_insn_vaddr(qemu_plugin_tb_get_insn(block, 0)) < firmware_end;
    qemu_plugin_register_vcpu_tb_exec_cb(block, is_firmware ? on_firmware_block : on_block, NO_REGISTERS, (void *)length);
    struct block *counted = blocks ? entry(qemu_plugin_insn_vaddr(qemu_plugin_tb_get_insn(block, 0)), length) : NULL;
    if (counted)
        qemu_plugin_register_vcpu_tb_exec_cb(block, on_entry, NO_REGISTERS, counted);
    for (size_t i = 0; i < length; i++) {
        struct qemu_plugin_insn *insn = qemu_plugin_tb_get_insn(block, i);
        uint64_t address = qemu_plugin_insn_vaddr(insn);
        void *rest = (void *)(length - i);
        if (addresses[FROM] && address == addresses[FROM])
            qemu_plugin_register_vcpu_insn_exec_cb(insn, on_from, NO_REGISTERS, rest);
        if (addresses[TO] && address == addresses[TO])
            qemu_plugin_register_vcpu_insn_exec_cb(insn, on_to, NO_REGISTERS, rest);
        if (!mark_count || is_firmware)
            continue;
        for (size_t mark = 0; mark < mark_count; mark++)
            if (address == marks[mark])
                qemu_plugin_register_vcpu_insn_exec_cb(insn, on_mark, NO_REGISTERS, (void *)((length - i) * MOST_MARKS + mark));
        enum kind which = kind(encoding(insn));
        if (which != INSTRUCTIONS)
            qemu_plugin_register_vcpu_insn_exec_cb(insn, on_atomic, NO_REGISTERS, (void *)which);
    }
}

/* A file of zeros, shared with who reads it. */
static void *map(const char *path, size_t size)
{
    int file = path ? open(path, O_RDWR | O_CREAT | O_TRUNC, 0644) : -1;
    if (file < 0 || ftruncate(file, size))
        return fprintf(stderr, "icount: cannot write %s\n", path ? path : "without out=FILE"), NULL;
    void *memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    if (memory == MAP_FAILED)
        return perror("icount: mmap"), NULL;
    return memory;
}

EXPORT int qemu_plugin_install(plugin_id id, const struct qemu_info *info, int argc, char **argv)
{
    const char *path = NULL, *blocks_path = NULL;
    interface = info->interface.newest;
    for (int i = 0; i < argc; i++) {
        if (!strncmp(argv[i], "out=", 4))
            path = argv[i] + 4;
        else if (!strncmp(argv[i], "from=", 5))
            addresses[FROM] = strtoull(argv[i] + 5, NULL, 0);
        else if (!strncmp(argv[i], "to=", 3))
            addresses[TO] = strtoull(argv[i] + 3, NULL, 0);
        else if (!strncmp(argv[i], "mark=", 5) && mark_count < MOST_MARKS)
            marks[mark_count++] = strtoull(argv[i] + 5, NULL, 0);
        else if (!strncmp(argv[i], "firmware=", 9))
            firmware_end = strtoull(argv[i] + 9, NULL, 0);
        else if (!strncmp(argv[i], "blocks=", 7))
            blocks_path = argv[i] + 7;
        else
            return fprintf(stderr, "icount: unknown argument %s; there are out=, from=, to=, firmware=, blocks=, and mark= up to %d times\n", argv[i], MOST_MARKS), -1;
    }
    size_t size = sizeof *shared + (mark_count ? MOST_RECORDS * sizeof(struct record) : 0);
    if (!(shared = map(path, size)) || (blocks_path && !(blocks = map(blocks_path, MOST_BLOCKS * sizeof *blocks))))
        return -1;
    qemu_plugin_register_vcpu_tb_trans_cb(id, on_translation);
    return 0;
}
