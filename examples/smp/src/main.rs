//! Work spread over all harts, and what each of them did: `make run APP=smp SMP=4`.
//!
//! Counts prime numbers in ranges. Each range is a task that `spawn` gives to the hart with the fewest;
//! there it stays. Results come back through the handles.

#![no_std]
#![no_main]

extern crate alloc;

use alloc::vec::Vec;

use wakeful::{machine, println, task, time::Instant};

const RANGES: u32 = 64;
const LENGTH: u32 = 20_000;

/// The primes in a range, and the hart that counted them.
async fn count_primes(first: u32) -> (usize, usize) {
    let mut primes = 0;
    for number in first..first + LENGTH {
        let is_prime = |&n: &u32| n > 1 && (2..).take_while(|d| d * d <= n).all(|d| n % d != 0);
        primes += usize::from(is_prime(&number));
        // Long work gives way now and then.
        if number % 256 == 0 {
            task::yield_now().await;
        }
    }
    (primes, machine::this_hart())
}

#[wakeful::main]
async fn main() {
    let begin = Instant::now();
    let tasks: Vec<_> =
        (0..RANGES).map(|range| task::spawn(count_primes(range * LENGTH))).collect();

    let mut ranges = Vec::from_iter((0..task::harts()).map(|_| 0));
    let mut primes = 0;
    for task in tasks {
        let (count, hart) = task.await.expect("nobody aborts it");
        primes += count;
        ranges[hart] += 1;
    }
    println!("{primes} primes below {} in {} ms", RANGES * LENGTH, begin.elapsed().as_millis());

    for (hart, ranges) in ranges.iter().enumerate() {
        let usage = task::usage(hart);
        let busy = Instant::from_ticks(usage.time) - Instant::from_ticks(0);
        println!(
            "hart {hart}: {ranges} ranges in {} turns, busy for {} ms, fell asleep {} times",
            usage.turns,
            busy.as_millis(),
            usage.sleeps,
        );
    }
}
