//! Connections that begin: what is kept between a SYN and the acknowledgement that proves its sender.
//!
//! No socket yet, and no buffers: a record of some 60 bytes, of which there is a bounded number. When all are
//! taken, by a flood of SYNs whose senders do not exist, a SYN is still answered, and nothing is kept at all:
//! the number in the answer is a *cookie* (RFC 4987 §3.6) that only we can have made, and its acknowledgement
//! brings it back. What has no place in it is lost for that connection: the scale of the window, and selective
//! acknowledgements.

use core::hash::{Hash, Hasher};

use siphasher::sip::SipHasher13;
use smoltcp::{
    socket::tcp::Handshake,
    wire::{EthernetAddress, TcpControl, TcpRepr, TcpSeqNumber},
};

use crate::{
    classify::Flow,
    flows::{Flows, Who},
    places::Places,
};

/// How long an answer waits for its acknowledgement until it is repeated, in microseconds.
const REPEAT: u64 = 3_000_000;

/// How often it is repeated. Linux does it five times (`net.ipv4.tcp_synack_retries`).
const REPEATS: u8 = 5;

/// How long a cookie is good: one such time, or two, in microseconds.
const COOKIE: u64 = 64_000_000;

/// The largest segments that a cookie can tell of, in bytes: three bits. What every host takes (RFC 9293
/// §3.7.1), IPv6's least MTU, PPPoE's and Ethernet's, each without headers, and jumbo frames.
const SIZES: [u16; 8] = [536, 1220, 1280, 1412, 1432, 1440, 1460, 8940];

/// A size of segments that is a multiple of eight, unless they are very small. Then what they are copied from and to
/// lies at such places in most cases, where a copy takes half the instructions.
pub(crate) fn aligned(size: u16) -> u16 {
    if size < SIZES[0] { size } else { size & !7 }
}

/// A SYN that was answered.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Begun {
    pub(crate) handshake: Handshake,
    /// Who sent it.
    pub(crate) from: EthernetAddress,
    repeats: u8,
}

/// A place in the order in which they are due.
struct Place {
    flow: Flow,
    begun: Begun,
    due: u64,
    before: Option<u32>,
    behind: Option<u32>,
}

/// All of them. Whose they are is in the [`Flows`].
pub(crate) struct Handshakes {
    places: Places<Place>,
    /// Who is due first, and last. All wait equally long, so that whoever begins to wait is the last.
    first: Option<u32>,
    last: Option<u32>,
    limit: usize,
    /// For numbers and cookies that nobody can guess.
    keys: [u64; 2],
    /// Until when a cookie may come back.
    cookies_until: u64,
}

/// What is to be done with a handshake whose time has come.
pub(crate) enum Due {
    /// Its answer is to be repeated.
    Repeat(Begun),
    /// It was given up.
    GivenUp,
}

impl Handshakes {
    pub(crate) fn new(limit: usize, keys: [u64; 2]) -> Self {
        Self { places: Places::new(), first: None, last: None, limit, keys, cookies_until: 0 }
    }

    /// How many are under way.
    pub(crate) fn len(&self) -> usize {
        self.places.len()
    }

    pub(crate) fn get(&self, number: u32) -> Option<Begun> {
        Some(self.places.get(number)?.begun)
    }

    /// Whether an acknowledgement of nobody's may bring a cookie back.
    #[inline]
    pub(crate) fn has_cookies(&self, now: u64) -> bool {
        now < self.cookies_until
    }

    /// Begins one for a SYN. Says what to answer: with a cookie and without a record if there are too many, or
    /// no memory.
    pub(crate) fn begin(
        &mut self,
        now: u64,
        flows: &mut Flows,
        flow: Flow,
        from: EthernetAddress,
        syn: &TcpRepr<'_>,
        window: u16,
    ) -> Handshake {
        let mut handshake = Handshake {
            local: flow.local,
            remote: flow.remote,
            local_seq: TcpSeqNumber(self.initial_number(now, &flow).cast_signed()),
            remote_seq: syn.seq_number,
            local_window: window,
            remote_window: syn.window_len,
            max_seg_size: syn.max_seg_size.map(aligned),
            window_scale: syn.window_scale,
            sack_permitted: syn.sack_permitted,
        };
        if self.places.len() < self.limit && flows.reserve() {
            let begun = Begun { handshake, from, repeats: 0 };
            let place = Place { flow, begun, due: now + REPEAT, before: None, behind: None };
            if let Some(number) = self.places.insert(place) {
                flows.insert(flow, Who::Handshake(number));
                self.put_last(number);
                return handshake;
            }
        }
        self.cookies_until = now + 2 * COOKIE;
        let size = syn.max_seg_size.unwrap_or(SIZES[0]);
        let index = SIZES.iter().rposition(|&it| it <= size).unwrap_or(0);
        let number = syn.seq_number.0.cast_unsigned();
        let cookie = self.cookie(&flow, number, now / COOKIE, index as u32);
        handshake.local_seq = TcpSeqNumber(cookie.cast_signed());
        handshake.max_seg_size = Some(aligned(SIZES[index]));
        (handshake.window_scale, handshake.sack_permitted) = (None, false);
        handshake
    }

    /// The handshake that this acknowledgement ends, whether it has a record or was all in a cookie. It is kept
    /// until [`end`](Self::end).
    pub(crate) fn acknowledged(
        &self,
        now: u64,
        flow: &Flow,
        number: Option<u32>,
        segment: &TcpRepr<'_>,
    ) -> Option<Handshake> {
        let acknowledged = segment.ack_number?;
        if !matches!(segment.control, TcpControl::None | TcpControl::Psh | TcpControl::Fin) {
            return None;
        }
        if let Some(Begun { handshake, .. }) = number.and_then(|number| self.get(number))
            && acknowledged == handshake.local_seq + 1
        {
            return Some(handshake);
        }
        // A SYN that came twice may have been answered both ways.
        let cookie = (acknowledged - 1).0.cast_unsigned();
        let number = (segment.seq_number - 1).0.cast_unsigned();
        let index = cookie & 7;
        let made = now / COOKIE;
        [made, made.wrapping_sub(1)]
            .into_iter()
            .any(|made| self.cookie(flow, number, made, index) == cookie)
            .then(|| Handshake {
                local: flow.local,
                remote: flow.remote,
                local_seq: acknowledged - 1,
                remote_seq: segment.seq_number - 1,
                local_window: u16::MAX,
                remote_window: segment.window_len,
                max_seg_size: SIZES.get(index as usize).copied().map(aligned),
                window_scale: None,
                sack_permitted: false,
            })
    }

    /// Forgets one, with its ends if it still has them.
    pub(crate) fn end(&mut self, flows: &mut Flows, number: u32) {
        self.take_out(number);
        if let Some(place) = self.places.remove(number) {
            flows.remove(&place.flow, Who::Handshake(number));
        }
    }

    /// Forgets those with a port.
    pub(crate) fn end_port(&mut self, flows: &mut Flows, port: u16) {
        let mut next = self.first;
        while let Some(number) = next
            && let Some(place) = self.places.get(number)
        {
            next = place.behind;
            if place.flow.local.port == port {
                self.end(flows, number);
            }
        }
    }

    /// The next whose time has come.
    pub(crate) fn due(&mut self, now: u64, flows: &mut Flows) -> Option<Due> {
        let number = self.first?;
        let place = self.places.get_mut(number)?;
        if place.due > now {
            return None;
        }
        if place.begun.repeats == REPEATS {
            self.end(flows, number);
            return Some(Due::GivenUp);
        }
        place.begun.repeats += 1;
        place.due = now + REPEAT;
        let begun = place.begun;
        self.take_out(number);
        self.put_last(number);
        Some(Due::Repeat(begun))
    }

    /// When to ask for [`due`](Self::due) next.
    pub(crate) fn next_deadline(&self) -> Option<u64> {
        Some(self.places.get(self.first?)?.due)
    }

    fn put_last(&mut self, number: u32) {
        let last = self.last.replace(number);
        if let Some(place) = self.places.get_mut(number) {
            (place.before, place.behind) = (last, None);
        }
        match last.and_then(|last| self.places.get_mut(last)) {
            Some(place) => place.behind = Some(number),
            None => self.first = Some(number),
        }
    }

    fn take_out(&mut self, number: u32) {
        let Some(place) = self.places.get(number) else { return };
        let (before, behind) = (place.before, place.behind);
        match before.and_then(|before| self.places.get_mut(before)) {
            Some(place) => place.behind = behind,
            None => self.first = behind,
        }
        match behind.and_then(|behind| self.places.get_mut(behind)) {
            Some(place) => place.before = before,
            None => self.last = before,
        }
    }

    /// The first sequence number of a connection: a clock of 4 µs, and what only we know of the connection (RFC
    /// 6528 §3), so that one that is begun again has numbers behind those of the last.
    pub(crate) fn initial_number(&self, now: u64, flow: &Flow) -> u32 {
        (self.keyed(flow, 0) as u32).wrapping_add((now / 4) as u32)
    }

    /// 24 bits that only we can know, 5 of the time, 3 of the size.
    fn cookie(&self, flow: &Flow, number: u32, time: u64, index: u32) -> u32 {
        let time = (time & 31) as u32;
        let word = u64::from(number) << 32 | u64::from(time << 3 | index) << 8 | 1;
        (self.keyed(flow, word) as u32) << 8 | time << 3 | index
    }

    fn keyed(&self, flow: &Flow, word: u64) -> u64 {
        let mut hasher = SipHasher13::new_with_keys(self.keys[0], self.keys[1]);
        flow.hash(&mut hasher);
        hasher.write_u64(word);
        hasher.finish()
    }
}
