//! `memcpy`, `memmove`, `memset`, `memcmp`, `bcmp`: what the compiler calls to copy, fill and compare.
//!
//! Without a C library they come from `compiler_builtins`, made for any processor: 5 to 8 instructions
//! for 8 bytes, 6 for each byte at the ends and below 16. Those symbols are weak, so these win; a
//! linker drops what nobody calls, function by function. They are assembly because a compiler may
//! turn the loop of a `memcpy` into a call of `memcpy`.
//!
//! Plain RV64IC, and no misaligned access: on many processors the firmware emulates each. Where source
//! and destination differ modulo 8, a word of the destination is put together from two aligned words
//! of the source, so what shares an aligned word with the first or last byte of the source is read
//! too, and ignored. That is never in another page. No address is absolute: they work in any map.
//!
//! Small counts are not counted down: a jump enters a row of loads and stores as far from its end as
//! there is to do. `auipc` stands 12 bytes before the row, and the row is not compressed where each
//! step must take as much code as the next.
//!
//! ABI: RISC-V calling convention (psABI specification, "Integer Calling Convention"): arguments in
//! `a0` to `a2`, result in `a0`; a function may change `a0` to `a7` and `t0` to `t6`, and these change
//! nothing else: no stack, no other register. Their meaning is ISO C's (C11, 7.24), except that a null
//! pointer with count 0 is fine, and that memcpy from a place to itself is, as the compiler expects.

use core::arch::global_asm;

// a1 and a3 go through source and destination, a2 counts; a0 is the result already. Always upwards, and
// what is read later is never written before if the destination is below the source: memmove leans on
// both.
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
4:  slli    t0, a2, 3
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
    j       4b

.Lcopy_long:                    // at least 25, so 3 words or more are left when a3 is aligned
    mv      a3, a0
    neg     t0, a0
    andi    t0, t0, 7
    beqz    t0, 6f
    sub     a2, a2, t0
    add     t0, t0, a3
5:  lb      t1, 0(a1)
    addi    a1, a1, 1
    sb      t1, 0(a3)
    addi    a3, a3, 1
    bne     a3, t0, 5b
6:  andi    t5, a1, 7
    bnez    t5, 7f
    andi    t0, a2, 56
    add     a1, a1, t0
    add     a3, a3, t0
    j       .Lcopy_words

// Each word is the upper part of one and the lower part of the next. a4 and a5 take turns in being
// the one that is there already: at the start both are, wherever the row is entered.
7:  slli    t3, a1, 3           // shifts take the lower 6 bits: 8 * t5 ...
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
8:  .irp    n, 0, 16, 32, 48
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
    bne     a3, a6, 8b
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
    .option norelax
    .balign 4
    .globl  memmove
    .type   memmove, @function
memmove:
    sub     t0, a0, a1
    bgeu    t0, a2, 12f
    add     a1, a1, a2
    add     a3, a0, a2
    li      t0, 16
    bltu    a2, t0, 9f
1:  andi    t0, a3, 7
    beqz    t0, 2f
    addi    a1, a1, -1
    lb      t1, 0(a1)
    addi    a3, a3, -1
    sb      t1, 0(a3)
    j       1b
2:  sub     a2, a3, a0          // at least 9
    andi    t5, a1, 7
    bnez    t5, 6f

    andi    t0, a2, 24          // first what there is beyond a multiple of 32, in words
    andi    a2, a2, -32
    sub     t6, a1, t0
    beq     a1, t6, 4f
3:  addi    a1, a1, -8
    ld      a4, 0(a1)
    addi    a3, a3, -8
    sd      a4, 0(a3)
    bne     a1, t6, 3b
4:  sub     t6, a1, a2
    beq     a1, t6, 9f
5:  ld      a4, -8(a1)
    ld      a5, -16(a1)
    ld      t1, -24(a1)
    ld      t2, -32(a1)
    addi    a1, a1, -32
    sd      a4, -8(a3)
    sd      a5, -16(a3)
    sd      t1, -24(a3)
    sd      t2, -32(a3)
    addi    a3, a3, -32
    bne     a1, t6, 5b
    j       9f

// As in memcpy, downwards and two words at a time.
6:  slli    t3, a1, 3
    neg     t4, t3
    andi    a1, a1, -8
    ld      a4, 0(a1)
    andi    t0, a2, -16
    sub     t6, a3, t0
    beq     a3, t6, 8f
7:  addi    a1, a1, -16
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
    bne     a3, t6, 7b
8:  add     a1, a1, t5

9:  beq     a3, a0, 11f
10: addi    a1, a1, -1
    lb      t1, 0(a1)
    addi    a3, a3, -1
    sb      t1, 0(a3)
    bne     a3, a0, 10b
11: ret
12: .option push
    .option relax               // to one jump where the linker finds memcpy near
    tail    memcpy
    .option pop
    .size   memmove, . - memmove
    .option pop
    .popsection
    "#
);

// a3 goes through the destination. Ends and small counts by the byte, whole words from a row that is
// entered where the first turn has as many as there are beyond a multiple of 64 bytes.
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

// The result has the sign of the first difference, of bytes without a sign; bcmp promises less. A word
// only tells that there is a difference: the bytes from there on tell which.
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
    bltu    a2, t0, 6f
    xor     t0, a0, a1
    andi    t0, t0, 7
    bnez    t0, 6f
1:  andi    t0, a0, 7
    beqz    t0, 3f
    lbu     a4, 0(a0)
    lbu     a5, 0(a1)
    addi    a0, a0, 1
    addi    a1, a1, 1
    addi    a2, a2, -1
    beq     a4, a5, 1b
2:  sub     a0, a4, a5
    ret
3:  addi    a2, a2, -16         // from 9 on
    bltz    a2, 5f
4:  ld      a4, 0(a0)
    ld      a5, 0(a1)
    ld      t0, 8(a0)
    ld      t1, 8(a1)
    bne     a4, a5, 5f
    bne     t0, t1, 5f
    addi    a0, a0, 16
    addi    a1, a1, 16
    addi    a2, a2, -16
    bgez    a2, 4b
5:  addi    a2, a2, 16

6:  addi    a2, a2, -4
    bltz    a2, 8f
7:  .irp    n, 0, 1, 2, 3
    lbu     a4, \n(a0)
    lbu     a5, \n(a1)
    bne     a4, a5, 2b
    .endr
    addi    a0, a0, 4
    addi    a1, a1, 4
    addi    a2, a2, -4
    bgez    a2, 7b
8:  addi    a2, a2, 3           // 1 to 3 are left, and it is one less; or none
    bltz    a2, 9f
    lbu     a4, 0(a0)
    lbu     a5, 0(a1)
    bne     a4, a5, 2b
    beqz    a2, 9f
    lbu     a4, 1(a0)
    lbu     a5, 1(a1)
    bne     a4, a5, 2b
    addi    a2, a2, -1
    beqz    a2, 9f
    lbu     a4, 2(a0)
    lbu     a5, 2(a1)
    bne     a4, a5, 2b
9:  li      a0, 0
    ret
    .size   memcmp, . - memcmp
    .size   bcmp, . - bcmp
    .option pop
    .popsection
    "#
);
