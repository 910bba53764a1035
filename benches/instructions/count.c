/* A plugin of QEMU: counts how often each block of the guest's code runs, between two instructions that the guest marks.
 *
 * The guest begins and ends a section by the program of mark.c. With the second mark, a line "section" and lines of an address
 * (16 hexadecimal digits) and of instructions (decimal) are appended to the file that the argument `out` names. The addresses
 * of processes are one line, 0.
 *
 * Debian ships no header for plugins, so what is used of the interface stands here: QEMU's include/qemu/qemu-plugin.h has it
 * at v7.2 (API 1), v9.0 (API 2) and v9.1 (API 3, where an instruction's bytes are copied). benches/instructions/run says which.
 */
#include <inttypes.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "mark.h"

#define EXPORT __attribute__((visibility("default")))

struct qemu_plugin_tb;
struct qemu_plugin_insn;
typedef void block_runs(unsigned int cpu, void *data);

void qemu_plugin_register_vcpu_tb_trans_cb(uint64_t id, void (*)(uint64_t id, struct qemu_plugin_tb *));
void qemu_plugin_register_vcpu_tb_exec_cb(struct qemu_plugin_tb *, block_runs *, int flags, void *data);
size_t qemu_plugin_tb_n_insns(const struct qemu_plugin_tb *);
uint64_t qemu_plugin_tb_vaddr(const struct qemu_plugin_tb *);
struct qemu_plugin_insn *qemu_plugin_tb_get_insn(const struct qemu_plugin_tb *, size_t index);
size_t qemu_plugin_insn_size(const struct qemu_plugin_insn *);
#if API >= 3
size_t qemu_plugin_insn_data(const struct qemu_plugin_insn *, void *to, size_t size);
#else
const void *qemu_plugin_insn_data(const struct qemu_plugin_insn *);
#endif

EXPORT int qemu_plugin_version = API;
EXPORT int qemu_plugin_install(uint64_t id, const void *info, int argc, char **argv);

/* A block of code, by its address and its length: when the guest's clock is due, a part of one runs as one of its own. */
struct block {
  uint64_t address, instructions, runs;
  struct block *next;
};

static struct block *blocks[1 << 16];
static struct block processes[64];
static bool counts;
static const char *out;

static struct block *find(uint64_t address, uint64_t instructions) {
  struct block **place = &blocks[(address ^ address >> 16) & 0xffff];
  for (; *place; place = &(*place)->next)
    if ((*place)->address == address && (*place)->instructions == instructions) return *place;
  *place = calloc(1, sizeof **place);
  if (!*place) abort();
  **place = (struct block){.address = address, .instructions = instructions};
  return *place;
}

static void block_has_run(unsigned int cpu, void *data) {
  (void)cpu;
  if (counts) ((struct block *)data)->runs++;
}

/* Calls `visit` with each block. */
static void each(FILE *file, void (*visit)(FILE *, struct block *)) {
  for (size_t index = 0; index < sizeof blocks / sizeof *blocks; index++)
    for (struct block *block = blocks[index]; block; block = block->next) visit(file, block);
  for (size_t index = 0; index < sizeof processes / sizeof *processes; index++) visit(file, &processes[index]);
}

static void forget(FILE *file, struct block *block) {
  (void)file;
  block->runs = 0;
}

static void tell(FILE *file, struct block *block) {
  if (block->runs) fprintf(file, "%016" PRIx64 " %" PRIu64 "\n", block->address, block->instructions * block->runs);
}

static void begins(unsigned int cpu, void *data) {
  (void)cpu, (void)data;
  each(NULL, forget);
  counts = true;
}

static void ends(unsigned int cpu, void *data) {
  (void)cpu, (void)data;
  FILE *file = fopen(out, "a");
  counts = false;
  if (!file) {
    perror(out);
    exit(1);
  }
  fputs("section\n", file);
  each(file, tell);
  fclose(file);
}

/* What an instruction marks: BEGIN, END, or nothing. */
static uint32_t marks(const struct qemu_plugin_insn *instruction) {
  unsigned char bytes[8];
  uint32_t mark;
  if (qemu_plugin_insn_size(instruction) != 7) return 0;
#if API >= 3
  if (qemu_plugin_insn_data(instruction, bytes, 7) != 7) return 0;
#else
  memcpy(bytes, qemu_plugin_insn_data(instruction), 7);
#endif
  /* nopl MARK(%rax) */
  if (memcmp(bytes, "\x0f\x1f\x80", 3)) return 0;
  memcpy(&mark, bytes + 3, 4);
  return mark == BEGIN || mark == END ? mark : 0;
}

static void is_translated(uint64_t id, struct qemu_plugin_tb *code) {
  uint64_t address = qemu_plugin_tb_vaddr(code);
  size_t instructions = qemu_plugin_tb_n_insns(code);
  bool is_kernel = address >> 63;
  (void)id;
  if (!is_kernel) {
    for (size_t index = 0; index < instructions; index++) {
      uint32_t mark = marks(qemu_plugin_tb_get_insn(code, index));
      if (mark) qemu_plugin_register_vcpu_tb_exec_cb(code, mark == BEGIN ? begins : ends, 0, NULL);
    }
  }
  struct block *block = is_kernel ? find(address, instructions) : &processes[instructions % 64];
  if (!is_kernel) block->instructions = instructions;
  qemu_plugin_register_vcpu_tb_exec_cb(code, block_has_run, 0, block);
}

EXPORT int qemu_plugin_install(uint64_t id, const void *info, int argc, char **argv) {
  (void)info;
  for (int index = 0; index < argc; index++)
    if (!strncmp(argv[index], "out=", 4)) out = argv[index] + 4;
  if (!out) {
    fputs("count: out=FILE is missing\n", stderr);
    return 1;
  }
  out = strdup(out);
  qemu_plugin_register_vcpu_tb_trans_cb(id, is_translated);
  return out ? 0 : 1;
}
