//! Interrupts: timer, other harts, console; and what they must leave alone.

use alloc::{format, string::String, vec::Vec};
use core::{
    arch::asm,
    hint::black_box,
    sync::atomic::{AtomicU64, AtomicUsize, Ordering},
};

use wakeful::{console, println, smp};
use wakeful_hal::{sync, timer, trap};

use crate::{Outcome, ensure};

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
    ensure(count == 101, || format!("{count} interrupts instead of 101"))
}

/// Interrupted floating-point code goes on with its own numbers.
pub(crate) fn float() -> Outcome {
    trap::set_timer_handler(|| {
        // Handlers may compute as well.
        let x = black_box(COUNT.fetch_add(1, Ordering::Relaxed)) as f64;
        black_box(x * 1.5 + 0.25);
        // SAFETY: writes registers that the trap entry must have saved.
        unsafe { asm!("fcvt.d.w fa0, zero", "fmv.d ft0, fa0", out("fa0") _, out("ft0") _) };
        timer::set(timer::now() + 500);
    });
    timer::set(timer::now() + 500);
    let mut rounds = 0_u64;
    while COUNT.load(Ordering::Relaxed) < 200 {
        let (mut a, mut b) = (black_box(1.0_f64), black_box(0.0_f64));
        for step in 0..1000 {
            a += 0.5;
            b += a * 2.0 - f64::from(step);
        }
        rounds += 1;
        let expected = (1.0 + 500.0, 3000.0 + 0.0 * 1000.0);
        // b: the sum over steps s of 2 × (1 + (s + 1) / 2) − s = 3.
        ensure((a, b) == expected, || format!("{a} {b} in round {rounds}"))?;
    }
    timer::clear();
    println!("{rounds} rounds, 200 interrupts");
    Ok(())
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

/// Work goes to every hart and each says so; thousands of times.
pub(crate) fn ipi() -> Outcome {
    static SEEN: AtomicU64 = AtomicU64::new(0);
    static RAN: AtomicUsize = AtomicUsize::new(0);
    ensure(smp::harts() > 1, || String::from("this case needs several harts"))?;
    let rounds = 2000;
    for _ in 0..rounds {
        for hart in 1..smp::harts() {
            let work = |hart: usize| {
                assert_eq!(hart, smp::this_hart());
                SEEN.fetch_or(1 << hart, Ordering::Relaxed);
                RAN.fetch_add(1, Ordering::Release);
            };
            while smp::run_on(hart, work, hart).is_err() {}
        }
    }
    let all = rounds * (smp::harts() - 1);
    while RAN.load(Ordering::Acquire) < all {}
    println!("{all} pieces of work on {} other harts", smp::harts() - 1);
    ensure(SEEN.load(Ordering::Relaxed) == (1 << smp::harts()) - 2, || String::from("a hart slept"))
}

/// A future that another hart wakes, ten thousand times.
pub(crate) fn wake_from_another_hart() -> Outcome {
    use core::{
        future::poll_fn,
        task::{Poll, Waker},
    };

    use wakeful::__private::block_on;

    static WAKER: sync::IrqLock<Option<Waker>> = sync::IrqLock::new(None);
    static WOKEN: AtomicUsize = AtomicUsize::new(0);

    fn wake(_: usize) {
        WOKEN.fetch_add(1, Ordering::Release);
        if let Some(waker) = WAKER.lock().take() {
            waker.wake();
        }
    }

    block_on(async {
        for round in 0..10_000 {
            let mut sent = false;
            poll_fn(|context| {
                if WOKEN.load(Ordering::Acquire) > round {
                    return Poll::Ready(());
                }
                *WAKER.lock() = Some(context.waker().clone());
                if !sent {
                    while smp::run_on(1 + round % (smp::harts() - 1), wake, 0).is_err() {}
                    sent = true;
                }
                Poll::Pending
            })
            .await;
        }
    });
    println!("{} wakes", WOKEN.load(Ordering::Relaxed));
    Ok(())
}

/// Sends back what is typed, in capitals, until a line `end`.
pub(crate) fn uart_echo() -> Outcome {
    wakeful_hal::console::set_input_handler(|| {
        COUNT.fetch_add(1, Ordering::Relaxed);
    });
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
        let me = smp::this_hart();
        for line in 0..200 {
            println!("hart {me} line {line:03} {}", "abcdefghijklmnopqrstuvwxyz".repeat(4));
        }
        DONE.fetch_add(1, Ordering::Release);
    }
    for hart in 1..smp::harts() {
        smp::run_on(hart, write, 0).map_err(|_| format!("hart {hart} is busy"))?;
    }
    write(0);
    while DONE.load(Ordering::Acquire) < smp::harts() {}
    Ok(())
}

/// Reboots: the machine must say hello to this case twice. QEMU runs with `-no-reboot`, so the
/// second time is its end.
pub(crate) fn reboot() -> Outcome {
    println!("rebooting");
    wakeful::reboot()
}
