//! The one stack, its lock, and the task that serves the card and the deadlines.

use core::{
    fmt,
    future::{Future, poll_fn},
    net::IpAddr,
    pin::{Pin, pin},
    task::{Context, Poll, Waker},
};

use alloc::vec::Vec;

use spin::{Mutex, MutexGuard, Once};
use wakeful_alloc::{FRAME_SIZE, frames};
use wakeful_driver::{net, random_u64};
use wakeful_hal::{console, timer};
use wakeful_stack::{Config, Conflict, IpAddress, Stack, Woken, standard};
use wakeful_task::{Builder, Priority};
use wakeful_time::{Duration, Sleep, timeout};

pub use wakeful_stack::Counters;

use crate::{Error, Settings, card::Card};

/// Taken by tasks alone, so a hart never waits for itself.
static STACK: Once<Mutex<Stack<Card>>> = Once::new();

/// The task that serves the card.
static SERVER: Once<Waker> = Once::new();

/// How many frames are taken in one turn of the task, before others have theirs.
const FRAMES: usize = 64;

/// What a connection at rest is reckoned to take, with what an application has for it, in bytes.
const CONNECTION: usize = 3 << 10;

/// The most connections at a time, and bytes for what they receive and send: a third, and a quarter of the
/// memory that is free at boot. The rest is for what applications do meanwhile.
fn limits() -> (usize, usize) {
    let free = frames::available() * FRAME_SIZE;
    ((free / 3 / CONNECTION).clamp(16, 65_536), free / 4)
}

/// Microseconds since the machine's counter started.
#[inline]
pub(crate) fn now() -> u64 {
    let (ticks, hz) = (timer::now(), timer::frequency());
    if hz == 10_000_000 {
        return ticks / 10; // QEMU's, without two divisions
    }
    ticks / hz * MICROS + ticks % hz * MICROS / hz
}

/// The moment of the machine's counter that is not before so many microseconds.
fn ticks(micros: u64) -> u64 {
    let hz = timer::frequency();
    let rest = (micros % MICROS * hz).div_ceil(MICROS);
    (micros / MICROS).saturating_mul(hz).saturating_add(rest)
}

const MICROS: u64 = 1_000_000;

/// Does something with the stack. Wakers that are due afterwards are called without the lock.
#[inline]
pub(crate) fn with<R>(f: impl FnOnce(&mut Stack<Card>) -> R) -> Result<R, Error> {
    let mut stack = STACK.get().ok_or(Error::NoCard)?.lock();
    let result = f(&mut stack);
    if stack.has_work() || stack.has_woken() {
        follow(stack);
    }
    Ok(result)
}

/// Wakes those who are concerned by what was done. Once, and not wherever something is done.
#[inline(never)]
fn follow(mut stack: MutexGuard<'_, Stack<Card>>) {
    let has_work = stack.has_work();
    if stack.has_woken() {
        let mut woken = Woken::new();
        stack.take_woken(&mut woken);
        drop(stack);
        woken.wake();
    } else {
        drop(stack);
    }
    if has_work && let Some(server) = SERVER.get() {
        server.wake_by_ref();
    }
}

/// [`with`] for who has a socket: then there is a stack.
#[inline]
pub(crate) fn with_existing<R>(f: impl FnOnce(&mut Stack<Card>) -> R) -> R {
    with(f).expect("a socket is made by a stack")
}

/// Whether the caller is not in the middle of something with the stack, which then would not make sense any
/// more: for panic handlers. Others may be, for a moment.
pub fn is_unlocked() -> bool {
    let Some(stack) = STACK.get() else { return true };
    let patience = timer::now() + timer::frequency() / 2;
    loop {
        if stack.try_lock().is_some() {
            return true;
        }
        if timer::now() > patience {
            return false;
        }
    }
}

/// Takes the card into service. At boot, after tasks and timers.
pub fn start(card: Option<net::Card>, settings: &Settings) {
    let Some(card) = card else {
        console::print(format_args!("wakeful: no network card: there is no network\n"));
        return;
    };
    let (connections, buffers) = limits();
    let config = Config {
        seeds: [random_u64(), random_u64(), random_u64(), random_u64()],
        connections,
        buffers,
        autoconfiguration: settings.autoconfiguration(),
    };
    let mut stack = Stack::new(Card(card), config, now());
    for (address, gateway) in settings.addresses() {
        if stack.set_address(address, gateway).is_err() {
            console::print(format_args!("wakeful: {address} is no address for a machine\n"));
        }
    }
    #[cfg(feature = "dns")]
    let servers: Vec<_> = settings.servers.iter().flatten().copied().collect();
    #[cfg(feature = "dns")]
    if !servers.is_empty() {
        stack.set_name_servers(&servers);
    }
    if settings.dhcp() {
        stack.start_dhcp(now());
    }
    STACK.call_once(|| Mutex::new(stack));
    if settings.dhcp()
        && let Ok(task) = Builder::new().name("net: dhcp").spawn_local(miss_address())
    {
        task.detach();
    }
    match Builder::new().name("net").essential().priority(PRIORITY).spawn_local(serve()) {
        Ok(task) => task.detach(),
        Err(error) => console::print(format_args!("wakeful: no network: {error}\n")),
    }
}

/// As other tasks: what a frame wakes comes before the next look at the card.
const PRIORITY: Priority = Priority::NORMAL;

/// Serves the card and the deadlines, for ever.
async fn serve() {
    let mut sleep = pin!(Sleep::until(u64::MAX));
    let mut woken = Woken::new();
    poll_fn(|context| {
        SERVER.call_once(|| context.waker().clone());
        serve_once(context, sleep.as_mut(), &mut woken);
        Poll::<()>::Pending
    })
    .await;
}

fn serve_once(context: &mut Context<'_>, mut sleep: Pin<&mut Sleep>, woken: &mut Woken) {
    let Some(stack) = STACK.get() else { return };
    let mut budget = FRAMES;
    loop {
        let mut guard = stack.lock();
        guard.link().0.register(context.waker());
        guard.link().0.busy();
        let now = now();
        while budget > 0 && guard.receive(now) {
            budget -= 1;
        }
        guard.advance(now);
        let deadline = guard.plan();
        let wants_room = guard.wants_room();
        let rests = budget > 0 && !guard.link().0.rest(wants_room);
        let news = guard.take_news();
        let conflict = guard.take_conflict();
        guard.take_woken(woken);
        drop(guard);
        woken.wake();
        if news {
            tell_address();
        }
        if let Some(conflict) = conflict {
            tell_conflict(conflict);
        }
        if budget == 0 {
            context.waker().wake_by_ref(); // others first
            return;
        }
        if !rests {
            continue;
        }
        let deadline = deadline.map_or(u64::MAX, ticks);
        if sleep.deadline() > deadline || sleep.deadline() <= timer::now() {
            sleep.as_mut().reset(deadline);
        }
        if sleep.as_mut().poll(context).is_pending() {
            return;
        }
    }
}

/// Says that somebody else has our address.
#[cold]
fn tell_conflict(Conflict { address, other: [a, b, c, d, e, f] }: Conflict) {
    console::print(format_args!(
        "wakeful: address {address} is also used by {a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{f:02x}: \
         change one of the two\n"
    ));
}

/// Says which address a server has given, or that it has taken it back.
#[cold]
fn tell_address() {
    let current = with(|stack| (stack.ipv4(), stack.gateway()));
    match current {
        Ok((Some(address), Some(gateway))) => {
            console::print(format_args!("wakeful: address {address} by DHCP, gateway {gateway}\n"))
        }
        Ok((Some(address), None)) => {
            console::print(format_args!("wakeful: address {address} by DHCP\n"));
        }
        Ok((None, _)) => console::print(format_args!("wakeful: no address any more\n")),
        Err(_) => {}
    }
}

/// Says so when nobody gives an address.
async fn miss_address() {
    if timeout(PATIENCE, configured()).await.is_err() {
        console::print(format_args!(
            "wakeful: no DHCP server has answered yet; `ip=ADDRESS/LENGTH gw=ADDRESS` among the boot \
             arguments gives a fixed address\n"
        ));
    }
}

/// How long whoever needs an address waits for it.
const PATIENCE: Duration = Duration::from_secs(10);

/// Waits for an address, for a while: who asks at boot is early.
///
/// # Cancellation
///
/// As that of [`configured`].
pub(crate) async fn ready() -> Result<(), Error> {
    match timeout(PATIENCE, configured()).await {
        Ok(result) => result,
        Err(_) => Err(Error::Stack(wakeful_stack::Error::NetworkUnreachable)),
    }
}

/// Whether there is a network card that this image drives.
pub fn has_card() -> bool {
    STACK.get().is_some()
}

/// Waits until this machine has an address that others know.
///
/// # Errors
///
/// [`Error::NoCard`].
///
/// # Cancellation
///
/// Nothing is left behind but a waker.
pub async fn configured() -> Result<(), Error> {
    poll_fn(|context| match with(|stack| stack.poll_configured(context.waker())) {
        Ok(Poll::Ready(())) => Poll::Ready(Ok(())),
        Ok(Poll::Pending) => Poll::Pending,
        Err(error) => Poll::Ready(Err(error)),
    })
    .await
}

/// The addresses of this machine: IPv4 first, that of the link alone last.
pub fn addresses() -> Vec<IpAddr> {
    let addresses = with(|stack| {
        stack.addresses().iter().map(|cidr| standard(cidr.address())).collect::<Vec<_>>()
    })
    .unwrap_or_default();
    (0..3).flat_map(|kind| addresses.iter().filter(move |it| rank(**it) == kind)).copied().collect()
}

/// Which address to say first.
fn rank(address: IpAddr) -> u8 {
    match address {
        IpAddr::V4(_) => 0,
        IpAddr::V6(address) if !address.is_unicast_link_local() => 1,
        IpAddr::V6(_) => 2,
    }
}

/// An address and a port, as URLs have them.
struct Place {
    address: IpAddress,
    port: u16,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.address {
            IpAddress::Ipv4(address) => write!(f, "{address}:{}", self.port),
            #[cfg(feature = "ipv6")]
            IpAddress::Ipv6(address) => write!(f, "[{address}]:{}", self.port),
        }
    }
}

/// Where others find a port of this machine, to be printed.
pub fn endpoint(port: u16) -> Option<impl fmt::Display> {
    let addresses = |stack: &mut Stack<Card>| {
        let all = stack.addresses().iter().map(|cidr| cidr.address());
        let best = all.min_by_key(|&address| rank(standard(address)));
        best.map(|address| Place { address, port })
    };
    with(addresses).ok().flatten()
}

/// Resets the network card and begins anew with it, in the midst of whatever it is doing. (A card that breaks
/// the rules or asks for a reset has that without being told; here is a way to try it, or to try again with
/// one that was given up.) What was on its way between it and us may be lost, as on any network.
///
/// # Errors
///
/// [`Error::NoCard`]: there is none, or it does not work any more; the console says why.
pub fn reset() -> Result<(), Error> {
    match with(|stack| stack.link().0.restart())? {
        true => Ok(()),
        false => Err(Error::NoCard),
    }
}

/// What has happened so far.
pub fn counters() -> Counters {
    with(|stack| stack.counters()).unwrap_or_default()
}

/// TCP connections that there are.
pub fn connections() -> usize {
    with(|stack| stack.connections()).unwrap_or_default()
}

/// TCP connections that begin, and of which nothing is known but their SYN.
pub fn handshakes() -> usize {
    with(|stack| stack.handshakes()).unwrap_or_default()
}

/// TCP connections that have ended, and are remembered for a minute.
pub fn ended() -> usize {
    with(|stack| stack.ended()).unwrap_or_default()
}

/// Bytes of buffers that TCP connections have.
pub fn buffered() -> usize {
    with(|stack| stack.buffered()).unwrap_or_default()
}

/// A number that nobody outside can guess easily. Not for keys.
pub fn random() -> u64 {
    random_u64()
}
