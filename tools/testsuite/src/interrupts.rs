//! Interrupts: timer, other harts, console; and what they must leave alone.

use alloc::{format, string::String, vec::Vec};
use core::{
    arch::asm,
    hint::black_box,
    ptr,
    sync::atomic::{AtomicU64, AtomicUsize, Ordering},
};

use wakeful::{console, machine, println, task};
use wakeful_hal::{irq, layout::LINEAR_BASE, paging, sync, timer, trap};

use crate::{Outcome, ensure, run_on};

static COUNT: AtomicUsize = AtomicUsize::new(0);

/// A hundred deadlines: none early, and each interrupts exactly once.
pub(crate) fn timer() -> Outcome {
    trap::set_timer_handler(|| {
        COUNT.fetch_add(1, Ordering::Relaxed);
    });
    let mut latest = 0;
    for round in 0..100 {
        let deadline = timer::now() + timer::frequency() / 1000;
        timer::set(deadline);
        sync::wait_until(|| COUNT.load(Ordering::Relaxed) > round);
        let now = timer::now();
        ensure(now >= deadline, || format!("{} ticks early", deadline - now))?;
        latest = latest.max(now - deadline);
    }
    // A deadline in the past interrupts at once; one that is cleared never does.
    timer::set(timer::now().saturating_sub(1));
    sync::wait_until(|| COUNT.load(Ordering::Relaxed) > 100);
    timer::set(timer::now() + timer::frequency() / 1000);
    timer::clear();
    let until = timer::now() + timer::frequency() / 100;
    while timer::now() < until {}
    let count = COUNT.load(Ordering::Relaxed);
    println!("{count} interrupts, the latest {latest} ticks after its deadline");
    // Generous: the host may have other things to do.
    ensure(latest < timer::frequency(), || format!("{latest} ticks late"))?;
    ensure(count == 101, || format!("{count} interrupts instead of 101"))
}

/// Interrupted code goes on with its own registers, whatever the handler does to them.
pub(crate) fn registers() -> Outcome {
    trap::set_timer_handler(|| {
        // SAFETY: writes what any function may write.
        unsafe {
            asm!(
                ".irp reg, t0, t1, t2, t3, t4, t5, t6, a0, a1, a2, a3, a4, a5, a6, a7, ra",
                "li \\reg, -1",
                ".endr",
                out("ra") _, out("t0") _, out("t1") _, out("t2") _, out("t3") _, out("t4") _,
                out("t5") _, out("t6") _, out("a0") _, out("a1") _, out("a2") _, out("a3") _,
                out("a4") _, out("a5") _, out("a6") _, out("a7") _,
            );
        }
        COUNT.fetch_add(1, Ordering::Relaxed);
    });
    for round in 0..100 {
        timer::set(timer::now() + 300);
        let wrong = spin_with_registers(&COUNT, round);
        ensure(wrong == 0, || format!("the registers differ in {wrong:#x}"))?;
    }
    Ok(())
}

/// Fills the registers that a call may change, waits in this loop until an interrupt has raised
/// `count` above `seen`, and tells in which bits the registers differ then.
fn spin_with_registers(count: &AtomicUsize, seen: usize) -> usize {
    let wrong: usize;
    // SAFETY: reads `count`, and writes registers that are named.
    unsafe {
        asm!(
            ".set value, 100",
            ".irp reg, t0, t1, t2, t3, t4, t5, t6, a0, a1, a2, a3, a4, a5, a6, a7, ra",
            "li \\reg, value",
            ".set value, value + 1",
            ".endr",
            "2: ld s4, 0(s2)",
            "beq s4, s3, 2b",
            "li s5, 0",
            ".set value, 100",
            ".irp reg, t0, t1, t2, t3, t4, t5, t6, a0, a1, a2, a3, a4, a5, a6, a7, ra",
            "xori s4, \\reg, value",
            "or s5, s5, s4",
            ".set value, value + 1",
            ".endr",
            in("s2") count, in("s3") seen, out("s4") _, out("s5") wrong,
            out("ra") _, out("t0") _, out("t1") _, out("t2") _, out("t3") _, out("t4") _,
            out("t5") _, out("t6") _, out("a0") _, out("a1") _, out("a2") _, out("a3") _,
            out("a4") _, out("a5") _, out("a6") _, out("a7") _,
        );
    }
    wrong
}

/// The same for floating-point registers and `fcsr`; and for a handler that computes, and is
/// interrupted by one that computes.
pub(crate) fn float() -> Outcome {
    static WRONG: AtomicUsize = AtomicUsize::new(0);
    static NESTED: AtomicUsize = AtomicUsize::new(0);
    trap::set_timer_handler(|| {
        let seen = COUNT.load(Ordering::Relaxed);
        if NESTED.load(Ordering::Relaxed) == 0 && seen.is_multiple_of(2) {
            NESTED.store(1, Ordering::Relaxed);
            timer::set(timer::now() + 300);
            sync::interrupts_on();
            WRONG.fetch_or(spin_with_floats(&COUNT, seen), Ordering::Relaxed);
            sync::interrupts_off();
            NESTED.store(0, Ordering::Relaxed);
        } else {
            ruin_floats();
        }
        COUNT.fetch_add(1, Ordering::Relaxed);
    });
    for _ in 0..100 {
        let seen = COUNT.load(Ordering::Relaxed);
        timer::set(timer::now() + 300);
        let wrong = spin_with_floats(&COUNT, seen);
        ensure(wrong == 0, || format!("the registers differ in {wrong:#x}"))?;
        while NESTED.load(Ordering::Relaxed) > 0 {}
    }
    let wrong = WRONG.load(Ordering::Relaxed);
    ensure(wrong == 0, || format!("the registers of the handler differ in {wrong:#x}"))
}

macro_rules! float_asm {
    ($($line:expr),* ; $($operands:tt)*) => {
        // SAFETY: touches the memory and the registers that are named.
        unsafe {
            asm!(
                $($line,)*
                $($operands)*
                out("ft0") _, out("ft1") _, out("ft2") _, out("ft3") _, out("ft4") _, out("ft5") _,
                out("ft6") _, out("ft7") _, out("ft8") _, out("ft9") _, out("ft10") _,
                out("ft11") _, out("fa0") _, out("fa1") _, out("fa2") _, out("fa3") _,
                out("fa4") _, out("fa5") _, out("fa6") _, out("fa7") _,
            )
        }
    };
}

fn ruin_floats() {
    float_asm!(
        ".irp n, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11",
        "fmv.d.x ft\\n, zero",
        ".endr",
        ".irp n, 0, 1, 2, 3, 4, 5, 6, 7",
        "fmv.d.x fa\\n, zero",
        ".endr",
        "fscsr zero";
    );
}

/// As [`spin_with_registers`].
fn spin_with_floats(count: &AtomicUsize, seen: usize) -> usize {
    let wrong: usize;
    float_asm!(
        ".irp n, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11",
        "li {x}, 1000 + \\n",
        "fmv.d.x ft\\n, {x}",
        ".endr",
        ".irp n, 0, 1, 2, 3, 4, 5, 6, 7",
        "li {x}, 1100 + \\n",
        "fmv.d.x fa\\n, {x}",
        ".endr",
        "li {x}, 0x45", // rounding down, two flags
        "fscsr {x}",
        "2: ld {x}, 0({count})",
        "beq {x}, {seen}, 2b",
        "frcsr {x}",
        "xori {wrong}, {x}, 0x45",
        ".irp n, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11",
        "fmv.x.d {x}, ft\\n",
        "xori {x}, {x}, 1000 + \\n",
        "or {wrong}, {wrong}, {x}",
        ".endr",
        ".irp n, 0, 1, 2, 3, 4, 5, 6, 7",
        "fmv.x.d {x}, fa\\n",
        "xori {x}, {x}, 1100 + \\n",
        "or {wrong}, {wrong}, {x}",
        ".endr",
        "fscsr zero";
        x = out(reg) _, count = in(reg) count, seen = in(reg) seen, wrong = out(reg) wrong,
    );
    wrong
}

/// A handler that turns interrupts on is interrupted, and both come back.
pub(crate) fn nested() -> Outcome {
    static DEPTH: AtomicUsize = AtomicUsize::new(0);
    static DEEPEST: AtomicUsize = AtomicUsize::new(0);
    trap::set_timer_handler(|| {
        let depth = DEPTH.fetch_add(1, Ordering::Relaxed) + 1;
        DEEPEST.fetch_max(depth, Ordering::Relaxed);
        let before = COUNT.fetch_add(1, Ordering::Relaxed);
        if depth < 5 {
            timer::set(timer::now());
            sync::interrupts_on();
            while COUNT.load(Ordering::Relaxed) == before + 1 {}
            sync::interrupts_off();
        }
        DEPTH.fetch_sub(1, Ordering::Relaxed);
    });
    let registers = [1_u64, 2, 3, 5, 8, 13, 21, 34];
    timer::set(timer::now());
    while COUNT.load(Ordering::Relaxed) < 5 || DEPTH.load(Ordering::Relaxed) > 0 {
        ensure(black_box(registers).iter().sum::<u64>() == 87, || String::from("registers"))?;
    }
    let deepest = DEEPEST.load(Ordering::Relaxed);
    println!("{deepest} deep");
    ensure(deepest == 5, || format!("{deepest} deep"))
}

/// A device's interrupt comes to the hart that registered for it, with its word, each time once: the
/// alarm of the clock of QEMU's `virt` (hw/rtc/goldfish_rtc.c).
pub(crate) fn device() -> Outcome {
    const CLOCK: usize = 0x10_1000;
    const SOURCE: u32 = 11;
    const TIME_LOW: usize = 0;
    const TIME_HIGH: usize = 4;
    const ALARM_LOW: usize = 8;
    const ALARM_HIGH: usize = 12;
    const ENABLE: usize = 16;
    const CLEAR: usize = 28;
    static HART: AtomicUsize = AtomicUsize::new(usize::MAX);

    fn register(offset: usize) -> *mut u32 {
        ptr::with_exposed_provenance_mut(LINEAR_BASE + CLOCK + offset)
    }
    fn write(offset: usize, value: u32) {
        // SAFETY: a register of the clock, which is mapped below before anybody calls this.
        unsafe { register(offset).write_volatile(value) };
    }
    fn now() -> u64 {
        // SAFETY: as above. Reading the low half holds the high half.
        let [low, high] = [TIME_LOW, TIME_HIGH].map(|at| unsafe { register(at).read_volatile() });
        u64::from(high) << 32 | u64::from(low)
    }
    fn on_alarm(word: usize) {
        assert_eq!(word, 77);
        HART.store(machine::this_hart(), Ordering::Relaxed);
        write(CLEAR, 1);
        COUNT.fetch_add(1, Ordering::Release);
    }

    paging::map_device(CLOCK.into(), 32).map_err(|error| format!("{error:?}"))?;
    let last = task::harts() - 1;
    let register_here = |_| irq::register(SOURCE, on_alarm, 77).expect("nobody uses the clock");
    run_on(last, register_here, 0);
    write(ENABLE, 1);
    for round in 1..=20 {
        let alarm = now() + 2_000_000; // ns
        write(ALARM_HIGH, (alarm >> 32) as u32);
        write(ALARM_LOW, alarm as u32);
        while COUNT.load(Ordering::Acquire) < round {}
        let early = alarm.saturating_sub(now());
        ensure(early == 0, || format!("{early} ns early"))?;
    }
    let hart = HART.load(Ordering::Relaxed);
    ensure(hart == last, || format!("on hart {hart} instead of {last}"))?;
    ensure(COUNT.load(Ordering::Relaxed) == 20, || String::from("an interrupt came twice"))
}

/// Work goes to every hart and each says so; thousands of times.
pub(crate) fn ipi() -> Outcome {
    static SEEN: AtomicU64 = AtomicU64::new(0);
    static RAN: AtomicUsize = AtomicUsize::new(0);
    ensure(task::harts() > 1, || String::from("this case needs several harts"))?;
    let rounds = 2000;
    for _ in 0..rounds {
        for hart in 1..task::harts() {
            let work = |hart: usize| {
                assert_eq!(hart, machine::this_hart());
                SEEN.fetch_or(1 << hart, Ordering::Relaxed);
                RAN.fetch_add(1, Ordering::Release);
            };
            run_on(hart, work, hart);
        }
    }
    let all = rounds * (task::harts() - 1);
    while RAN.load(Ordering::Acquire) < all {}
    println!("{all} pieces of work on {} other harts", task::harts() - 1);
    ensure(SEEN.load(Ordering::Relaxed) == (1 << task::harts()) - 2, || {
        String::from("a hart slept")
    })
}

/// A future that other harts wake, ten thousand times.
pub(crate) async fn wake_from_another_hart() -> Outcome {
    use core::{
        future::poll_fn,
        task::{Poll, Waker},
    };

    static WAKER: sync::IrqLock<Option<Waker>> = sync::IrqLock::new(None);
    static WOKEN: AtomicUsize = AtomicUsize::new(0);

    fn wake(_: usize) {
        WOKEN.fetch_add(1, Ordering::Release);
        if let Some(waker) = WAKER.lock().take() {
            waker.wake();
        }
    }

    for round in 0..10_000 {
        let mut sent = false;
        poll_fn(|context| {
            if WOKEN.load(Ordering::Acquire) > round {
                return Poll::Ready(());
            }
            *WAKER.lock() = Some(context.waker().clone());
            if !sent {
                run_on(1 + round % (task::harts() - 1), wake, 0);
                sent = true;
            }
            Poll::Pending
        })
        .await;
    }
    println!("{} wakes", WOKEN.load(Ordering::Relaxed));
    Ok(())
}

/// Sends back what is typed, in capitals, until a line `end`.
pub(crate) fn uart_echo() -> Outcome {
    wakeful_hal::console::set_input_handler(|| {
        COUNT.fetch_add(1, Ordering::Relaxed);
    });
    // Its source is taken, and stays with whom it was given to.
    if let Some(source) = machine::machine().uart.as_ref().and_then(|uart| uart.irq) {
        let second = irq::register(source, |_| panic!("not ours"), 0);
        ensure(second == Err(irq::Error::Taken(source)), || format!("{second:?}"))?;
    }
    println!("type");
    let mut line = Vec::<u8>::new();
    loop {
        let mut byte = [0];
        sync::wait_until(|| console::read(&mut byte) == 1);
        if byte[0] != b'\r' && byte[0] != b'\n' {
            line.push(byte[0].to_ascii_uppercase());
            continue;
        }
        let text = String::from_utf8_lossy(&line);
        println!("echo {text}");
        if text == "END" {
            return ensure(COUNT.load(Ordering::Relaxed) > 0, || String::from("no interrupt"));
        }
        line.clear();
    }
}

/// More text than any buffer holds, from all harts at once: every line whole.
pub(crate) fn long_output() -> Outcome {
    static DONE: AtomicUsize = AtomicUsize::new(0);
    fn write(_: usize) {
        let me = machine::this_hart();
        for line in 0..200 {
            println!("hart {me} line {line:03} {}", "abcdefghijklmnopqrstuvwxyz".repeat(4));
        }
        DONE.fetch_add(1, Ordering::Release);
    }
    for hart in 1..task::harts() {
        run_on(hart, write, 0);
    }
    write(0);
    while DONE.load(Ordering::Acquire) < task::harts() {}
    Ok(())
}

/// `main` returns while the other harts print: the last line must be whole.
pub(crate) fn return_while_others_print() -> Outcome {
    static STARTED: AtomicUsize = AtomicUsize::new(0);
    fn write_forever(_: usize) {
        STARTED.fetch_add(1, Ordering::Release);
        loop {
            println!("still here");
        }
    }
    for hart in 1..task::harts() {
        run_on(hart, write_forever, 0);
    }
    while STARTED.load(Ordering::Acquire) + 1 < task::harts() {}
    Ok(())
}

/// Reboots: the firmware and this case are seen twice.
pub(crate) fn reboot() -> Outcome {
    println!("rebooting");
    wakeful::reboot()
}
