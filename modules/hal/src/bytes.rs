//! `memcpy`, `memmove`, `memset`, `memcmp`, `bcmp`: what the compiler calls where it copies, fills and
//! compares bytes.
//!
//! A target without a C library gets them from `compiler_builtins`, as weak symbols. Those are made
//! for every processor: 5 to 8 instructions for 8 bytes, and 6 for each byte at the ends and below 16
//! bytes. The ones below win because they are not weak, and because this crate comes before
//! `compiler_builtins` in the link. They are assembly because a compiler may turn a loop in
//! `memcpy` into a call of `memcpy`.
//!
//! They use RV64I and the compressed instructions only, and no misaligned access, which many
//! processors leave to the firmware to emulate. Where source and destination differ modulo 8, each
//! aligned word of the destination is put together from two aligned words of the source; so the up to
//! 7 bytes around the source that share a word with it are read as well, and ignored. Nothing is read
//! or written through an address of the linker's: they work under any map.
//!
//! Short and odd amounts jump into a row of loads and stores, as far from its end as there is to do:
//! no counting. The rows stand without compression where the distance of two bytes must be one
//! power of two. Each goes on behind `auipc` (12 bytes with the two instructions that follow).
//!
//! The ABI is the RISC-V calling convention (RISC-V ELF psABI specification, "Integer Calling
//! Convention"): arguments in `a0` to `a2`, the result in `a0`; `a1` to `a7` and `t0` to `t6` may be
//! changed; the stack is not used. What each does is ISO C's (7.26), and for no bytes at all too.

use core::arch::global_asm;

// a1 and a3 go through source and destination, always upwards and never writing what is yet to be
// read if the destination is below the source: memmove relies on it. a2 = how many bytes; a0 is the
// result already.
global_asm!(
    r#"
    .pushsection .text.memcpy, "ax", @progbits
    .option push
    .option arch, +c            // global assembly knows nothing of the target's features
    .option norelax
    .balign 4
    .globl  memcpy
    .type   memcpy, @function
memcpy:
    li      t6, 16
    bltu    a2, t6, .Lcopy_bytes
    or      t0, a0, a1
    andi    t0, t0, 7
    bnez    t0, .Lcopy_misaligned
    beq     a2, t6, .Lcopy_16
    andi    t0, a2, 56          // first what there is beyond a multiple of 64, in words
    add     a1, a1, t0
    add     a3, a0, t0
.Lcopy_words:                   // t0: bytes of whole words before a1 and a3
    .option push
    .option norvc
    auipc   t1, 0
    sub     t1, t1, t0
    jr      12 + 56(t1)
    .irp    n, 56, 48, 40, 32, 24, 16, 8
    ld      t2, -\n(a1)
    sd      t2, -\n(a3)
    .endr
    .option pop
    bne     t0, a2, 1f
    ret
1:  andi    t0, a2, -64
    beqz    t0, 3f
    add     t0, t0, a1
2:  ld      a4, 0(a1)
    ld      a5, 8(a1)
    ld      a6, 16(a1)
    ld      a7, 24(a1)
    ld      t1, 32(a1)
    ld      t2, 40(a1)
    ld      t3, 48(a1)
    ld      t4, 56(a1)
    addi    a1, a1, 64
    sd      a4, 0(a3)
    sd      a5, 8(a3)
    sd      a6, 16(a3)
    sd      a7, 24(a3)
    sd      t1, 32(a3)
    sd      t2, 40(a3)
    sd      t3, 48(a3)
    sd      t4, 56(a3)
    addi    a3, a3, 64
    bne     a1, t0, 2b
3:  andi    a2, a2, 7
    bnez    a2, .Lcopy_rest
    ret

.Lcopy_16:
    ld      a4, 0(a1)
    ld      a5, 8(a1)
    sd      a4, 0(a0)
    sd      a5, 8(a0)
    ret

.Lcopy_misaligned:
    li      t6, 25              // up to here bytes are as quick
    bgeu    a2, t6, .Lcopy_long
.Lcopy_bytes:                   // up to 24
    add     a1, a1, a2
    add     a3, a0, a2
6:  slli    t0, a2, 3
    .option push
    .option norvc
    auipc   t1, 0
    sub     t1, t1, t0
    jr      12 + 8 * 24(t1)
    .irp    n, 24, 23, 22, 21, 20, 19, 18, 17, 16, 15, 14, 13, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1
    lb      t2, -\n(a1)
    sb      t2, -\n(a3)
    .endr
    .option pop
    ret
.Lcopy_rest:
    add     a1, a1, a2
    add     a3, a3, a2
    j       6b

.Lcopy_long:                    // at least 25, so 3 words or more are left when a3 is aligned
    mv      a3, a0
    neg     t0, a0
    andi    t0, t0, 7
    beqz    t0, 8f
    sub     a2, a2, t0
    add     t0, t0, a3
7:  lb      t1, 0(a1)
    addi    a1, a1, 1
    sb      t1, 0(a3)
    addi    a3, a3, 1
    bne     a3, t0, 7b
8:  andi    t5, a1, 7
    bnez    t5, 4f
    andi    t0, a2, 56
    add     a1, a1, t0
    add     a3, a3, t0
    j       .Lcopy_words

// Each word is the upper part of one and the lower part of the next. a4 and a5 take turns in being
// the one that is there already: at the start both are, wherever the row is entered.
4:  slli    t3, a1, 3           // shifts take the lower 6 bits: 8 * t5 ...
    neg     t4, t3              // ... and 64 - 8 * t5
    andi    a1, a1, -8
    ld      a4, 0(a1)
    mv      a5, a4
    andi    t0, a2, -8
    add     a6, a3, t0          // the end of whole words
    andi    t0, a2, 56
    addi    t1, t0, -64
    add     a1, a1, t1
    add     a3, a3, t1
    slli    t0, t0, 1           // 16 bytes of code for each word
    .option push
    .option norvc
    auipc   t1, 0
    sub     t1, t1, t0
    jr      12 + 16 * 8(t1)
    .option pop
5:  .irp    n, 0, 16, 32, 48
    c.ld    a5, \n + 8(a1)
    srl     a4, a4, t3
    sll     t2, a5, t4
    or      a4, a4, t2
    c.sd    a4, \n(a3)
    c.ld    a4, \n + 16(a1)
    srl     a5, a5, t3
    sll     t2, a4, t4
    or      a5, a5, t2
    c.sd    a5, \n + 8(a3)
    .endr
    addi    a1, a1, 64
    addi    a3, a3, 64
    bne     a3, a6, 5b
    add     a1, a1, t5
    andi    a2, a2, 7
    bnez    a2, .Lcopy_rest
    ret
    .size   memcpy, . - memcpy
    .option pop
    .popsection
    "#
);

// Upwards as memcpy; downwards only if the destination begins within the source. Then a1 and a3 go
// through both from their ends.
global_asm!(
    r#"
    .pushsection .text.memmove, "ax", @progbits
    .option push
    .option arch, +c
    .balign 4
    .globl  memmove
    .type   memmove, @function
memmove:
    sub     t0, a0, a1
    bltu    t0, a2, 1f
    tail    memcpy
1:  add     a1, a1, a2
    add     a3, a0, a2
    li      t0, 16
    bltu    a2, t0, 9f
2:  andi    t0, a3, 7
    beqz    t0, 3f
    addi    a1, a1, -1
    lb      t1, 0(a1)
    addi    a3, a3, -1
    sb      t1, 0(a3)
    j       2b
3:  sub     a2, a3, a0          // at least 9
    andi    t5, a1, 7
    bnez    t5, 6f

    andi    t0, a2, 24
    andi    a2, a2, -32
    sub     t6, a1, t0          // first the words beyond a multiple of 32
    beq     a1, t6, 5f
4:  addi    a1, a1, -8
    ld      a4, 0(a1)
    addi    a3, a3, -8
    sd      a4, 0(a3)
    bne     a1, t6, 4b
5:  sub     t6, a1, a2
    beq     a1, t6, 8f
7:  ld      a4, -8(a1)
    ld      a5, -16(a1)
    ld      t1, -24(a1)
    ld      t2, -32(a1)
    addi    a1, a1, -32
    sd      a4, -8(a3)
    sd      a5, -16(a3)
    sd      t1, -24(a3)
    sd      t2, -32(a3)
    addi    a3, a3, -32
    bne     a1, t6, 7b
    j       8f

// As in memcpy, downwards and two words at a time.
6:  slli    t3, a1, 3
    neg     t4, t3
    andi    a1, a1, -8
    ld      a4, 0(a1)
    andi    t0, a2, -8
    sub     t6, a3, t0
    beq     a3, t6, 10f
11: addi    a1, a1, -16
    ld      a5, 8(a1)
    sll     a4, a4, t4
    addi    a3, a3, -16
    srl     t2, a5, t3
    or      a2, a4, t2
    ld      a4, 0(a1)
    sd      a2, 8(a3)
    sll     a5, a5, t4
    srl     t2, a4, t3
    or      a5, a5, t2
    sd      a5, 0(a3)
    bne     a3, t6, 11b
10: add     a1, a1, t5
8:
9:  beq     a3, a0, 13f
12: addi    a1, a1, -1
    lb      t1, 0(a1)
    addi    a3, a3, -1
    sb      t1, 0(a3)
    bne     a3, a0, 12b
13: ret
    .size   memmove, . - memmove
    .option pop
    .popsection
    "#
);

global_asm!(
    r#"
    .pushsection .text.memset, "ax", @progbits
    .option push
    .option arch, +c
    .option norelax
    .balign 4
    .globl  memset
    .type   memset, @function
memset:
    mv      a3, a0
    li      t0, 16
    bltu    a2, t0, .Lset_bytes
    andi    a1, a1, 255
    beqz    a1, 1f
    slli    a4, a1, 8
    or      a1, a1, a4
    slli    a4, a1, 16
    or      a1, a1, a4
    slli    a4, a1, 32
    or      a1, a1, a4
1:  andi    t0, a3, 7
    beqz    t0, 2f
    sb      a1, 0(a3)
    addi    a3, a3, 1
    addi    a2, a2, -1
    j       1b
2:  andi    t0, a2, -8          // one word or more
    add     a4, a3, t0
    andi    t0, a2, 56
    addi    t1, t0, -64
    add     a3, a3, t1
    srli    t0, t0, 2           // 2 bytes of code for each word
    .option push
    .option norvc
    auipc   t1, 0
    sub     t1, t1, t0
    jr      12 + 2 * 8(t1)
    .option pop
3:  .irp    n, 0, 8, 16, 24, 32, 40, 48, 56
    c.sd    a1, \n(a3)
    .endr
    addi    a3, a3, 64
    bne     a3, a4, 3b
    andi    a2, a2, 7
    bnez    a2, .Lset_bytes
    ret
.Lset_bytes:                    // up to 15
    add     a3, a3, a2
    slli    t0, a2, 2
    .option push
    .option norvc
    auipc   t1, 0
    sub     t1, t1, t0
    jr      12 + 4 * 15(t1)
    .irp    n, 15, 14, 13, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1
    sb      a1, -\n(a3)
    .endr
    .option pop
    ret
    .size   memset, . - memset
    .option pop
    .popsection
    "#
);

// The sign for the first difference, of bytes without a sign: also what bcmp may return. Words only
// tell that there is a difference; which byte it is, the bytes tell.
global_asm!(
    r#"
    .pushsection .text.memcmp, "ax", @progbits
    .option push
    .option arch, +c
    .option norelax
    .balign 4
    .globl  memcmp
    .type   memcmp, @function
    .globl  bcmp
    .type   bcmp, @function
bcmp:
memcmp:
    li      t0, 16
    bltu    a2, t0, 5f
    xor     t0, a0, a1
    andi    t0, t0, 7
    bnez    t0, 5f
1:  andi    t0, a0, 7
    beqz    t0, 2f
    lbu     a4, 0(a0)
    lbu     a5, 0(a1)
    addi    a0, a0, 1
    addi    a1, a1, 1
    addi    a2, a2, -1
    beq     a4, a5, 1b
9:  sub     a0, a4, a5
    ret
2:  addi    a2, a2, -16         // from 9 on
    bltz    a2, 4f
3:  ld      a4, 0(a0)
    ld      a5, 0(a1)
    ld      t0, 8(a0)
    ld      t1, 8(a1)
    bne     a4, a5, 4f
    bne     t0, t1, 4f
    addi    a0, a0, 16
    addi    a1, a1, 16
    addi    a2, a2, -16
    bgez    a2, 3b
4:  addi    a2, a2, 16

5:  addi    a2, a2, -4
    bltz    a2, 7f
6:  .irp    n, 0, 1, 2, 3
    lbu     a4, \n(a0)
    lbu     a5, \n(a1)
    bne     a4, a5, 9b
    .endr
    addi    a0, a0, 4
    addi    a1, a1, 4
    addi    a2, a2, -4
    bgez    a2, 6b
7:  addi    a2, a2, 4
    beqz    a2, 10f
8:  lbu     a4, 0(a0)
    lbu     a5, 0(a1)
    addi    a0, a0, 1
    bne     a4, a5, 9b
    addi    a1, a1, 1
    addi    a2, a2, -1
    bnez    a2, 8b
10: li      a0, 0
    ret
    .size   memcmp, . - memcmp
    .size   bcmp, . - bcmp
    .option pop
    .popsection
    "#
);
