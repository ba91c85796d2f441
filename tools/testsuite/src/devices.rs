//! Devices: the network card talks to QEMU's own network (`-netdev user`), whose router at 10.0.2.2
//! answers ARP requests.

use alloc::{format, string::String, sync::Arc, task::Wake, vec::Vec};
use core::{
    future::poll_fn,
    sync::atomic::{AtomicUsize, Ordering},
    task::{Poll, Waker},
    time::Duration,
};

use wakeful::{println, time};
use wakeful_driver::net::{Card, Frame, Work};

use crate::{Outcome, ensure};

const ROUTER: [u8; 4] = [10, 0, 2, 2];
const US: [u8; 4] = [10, 0, 2, 15];

/// Bytes of an ARP frame for IPv4 over Ethernet (RFC 826).
const ARP: usize = 14 + 28;

/// More than the card has buffers of either kind.
const MANY: usize = 300;

/// Wakes a task, and counts.
struct Counter {
    woken: AtomicUsize,
    task: Waker,
}

impl Wake for Counter {
    fn wake(self: Arc<Self>) {
        self.woken.fetch_add(1, Ordering::Relaxed);
        self.task.wake_by_ref();
    }
}

struct Network {
    card: Card,
    counter: Arc<Counter>,
    waker: Waker,
}

impl Network {
    async fn start() -> Option<Self> {
        let card = wakeful_driver::start().net?;
        let task = poll_fn(|context| Poll::Ready(context.waker().clone())).await;
        let counter = Arc::new(Counter { woken: AtomicUsize::new(0), task });
        let waker = Waker::from(counter.clone());
        Some(Self { card, counter, waker })
    }

    fn woken(&self) -> usize {
        self.counter.woken.load(Ordering::Relaxed)
    }

    /// Asks the router for its address.
    fn ask(&mut self) {
        let mac = self.card.mac();
        self.card.transmit(ARP, |frame| {
            let (ethernet, arp) = frame.split_at_mut(14);
            ethernet[..6].fill(0xff);
            ethernet[6..12].copy_from_slice(&mac);
            ethernet[12..].copy_from_slice(&[0x08, 0x06]);
            arp[..8].copy_from_slice(&[0, 1, 8, 0, 6, 4, 0, 1]);
            arp[8..14].copy_from_slice(&mac);
            arp[14..18].copy_from_slice(&US);
            arp[18..24].fill(0);
            arp[24..].copy_from_slice(&ROUTER);
            (Work::default(), ())
        });
    }

    /// Asks when there is room: many frames may be on their way.
    async fn ask_in_turn(&mut self) -> Outcome {
        if !self.card.has_room() {
            self.room().await?;
        }
        self.ask();
        Ok(())
    }

    /// Waits for a frame, asleep.
    async fn next(&mut self) -> Option<Frame> {
        let frame = poll_fn(|_| {
            self.card.busy();
            self.card.register(&self.waker);
            loop {
                if let Some(frame) = self.card.receive() {
                    return Poll::Ready(frame);
                }
                if !self.card.rest(false) {
                    return Poll::Pending;
                }
            }
        });
        time::timeout(Duration::from_secs(10), frame).await.ok()
    }

    /// Waits for the router's answer.
    async fn answer(&mut self) -> Outcome {
        loop {
            let frame = self.next().await.ok_or_else(|| String::from("no answer"))?;
            let answer = is_answer(&frame);
            self.card.release(frame);
            if answer {
                return Ok(());
            }
        }
    }

    /// Waits for room, asleep.
    async fn room(&mut self) -> Outcome {
        let room = poll_fn(|_| {
            self.card.register(&self.waker);
            loop {
                if self.card.has_room() {
                    return Poll::Ready(());
                }
                // Frames wait meanwhile.
                if !self.card.rest(true) {
                    return Poll::Pending;
                }
                if let Some(frame) = self.card.receive() {
                    self.card.release(frame);
                }
            }
        });
        time::timeout(Duration::from_secs(10), room).await.map_err(|_| String::from("no room"))
    }
}

fn is_answer(frame: &[u8]) -> bool {
    frame.len() >= ARP
        && frame[12..14] == [0x08, 0x06]
        && frame[20..22] == [0, 2]
        && frame[28..32] == ROUTER
}

/// Sends, receives, sleeps, is masked, runs out of buffers of both kinds.
pub(crate) async fn network_card() -> Outcome {
    let mut network = Network::start().await.ok_or_else(|| String::from("no network card"))?;

    network.ask();
    network.answer().await?;
    println!("the router answers");

    // Nobody looks at the card: the interrupt wakes.
    let before = network.woken();
    network.card.register(&network.waker);
    ensure(!network.card.rest(false), || String::from("a frame that nobody sent"))?;
    network.ask();
    let asked = time::Instant::now();
    let counter = network.counter.clone();
    let woken = poll_fn(|_| match counter.woken.load(Ordering::Relaxed) - before {
        0 => Poll::Pending,
        _ => Poll::Ready(()),
    });
    let woken = time::timeout(Duration::from_secs(10), woken).await;
    ensure(woken.is_ok(), || String::from("nobody was woken"))?;
    println!("woken after {} us", asked.elapsed().as_micros());
    network.answer().await?;

    // Polled: no interrupt, though somebody waits.
    network.card.busy();
    network.card.register(&network.waker);
    let before = network.woken();
    network.ask();
    time::sleep(Duration::from_millis(300)).await;
    let woken = network.woken() - before;
    ensure(woken == 0, || format!("woken {woken} times in spite of the mask"))?;
    // And what came meanwhile is seen before going to sleep.
    ensure(network.card.rest(false), || String::from("the card would rest with a frame in it"))?;
    let frame = network.card.receive().ok_or_else(|| String::from("no frame"))?;
    ensure(is_answer(&frame), || format!("another frame: {:?}", &frame[..]))?;
    network.card.release(frame);
    println!("masked");

    // All buffers in our hands, and more answers to come.
    let mut held = Vec::new();
    for _ in 0..128 {
        network.room().await?;
        network.ask();
        held.push(network.next().await.ok_or_else(|| format!("frame {} is missing", held.len()))?);
    }
    for _ in 0..5 {
        network.ask();
    }
    time::sleep(Duration::from_millis(100)).await;
    ensure(network.card.receive().is_none(), || String::from("a frame without a buffer"))?;
    for frame in held {
        ensure(is_answer(&frame), || String::from("a frame changed"))?;
        network.card.release(frame);
    }
    for _ in 0..5 {
        network.answer().await?;
    }
    println!("out of buffers, and back");

    // More than there are buffers to send.
    for _ in 0..MANY {
        network.ask_in_turn().await?;
    }
    network.answer().await?;
    println!("sent {MANY} frames");

    // Reset, with frames on their way both ways and in our hands, again and again.
    for round in 0..20 {
        network.ask_in_turn().await?;
        let held = network.next().await.ok_or_else(|| format!("no answer in round {round}"))?;
        for _ in 0..10 {
            network.ask_in_turn().await?;
        }
        let before = network.woken();
        network.card.register(&network.waker);
        ensure(network.card.restart(), || format!("no restart in round {round}"))?;
        // Whoever slept looks again, as interrupts are off.
        ensure(network.woken() == before + 1, || String::from("nobody was woken"))?;
        network.ask();
        network.answer().await?;
        ensure(is_answer(&held), || String::from("a frame changed"))?;
        network.card.release(held);
    }
    println!("reset 20 times");
    Ok(())
}
