//! Connections that peers begin.

use smoltcp::{
    socket::tcp::{Handshake, Socket, State},
    wire::{EthernetAddress, TcpControl, TcpRepr},
};

use crate::{
    Link, Stack,
    address::header_len,
    classify::{Flow, Segment},
    endpoint::Owner,
    flows::Who,
    handshakes::{Begun, Due, aligned},
    segment::{self, acknowledgement},
    tcp::{Connection, buffer_sizes},
    time_wait::Answer,
};

/// What a SYN's answer can say of the window (RFC 9293 §3.1): it is never scaled.
fn window(receive: u32) -> u16 {
    u16::try_from(receive).unwrap_or(u16::MAX)
}

/// By how many bits later windows are shifted (RFC 7323 §2.2), as smoltcp has it.
fn window_scale(receive: u32) -> u8 {
    (u32::BITS - receive.leading_zeros()).saturating_sub(16) as u8
}

impl<L: Link> Stack<L> {
    /// Does what a segment asks for that is of no connection. Not whether it asks for nothing: then it is to be
    /// refused.
    #[inline(never)]
    pub(crate) fn open(
        &mut self,
        now: u64,
        flow: Flow,
        who: Option<Who>,
        frame: &[u8],
        segment: Segment,
    ) -> bool {
        let begun = match who {
            Some(Who::Handshake(number)) => Some(number),
            Some(Who::Ended(number)) => match self.time_wait.receive(number, segment) {
                Answer::Open => {
                    self.time_wait.forget(&mut self.flows, &flow, number);
                    None
                }
                Answer::Nothing => return true,
                Answer::Acknowledge(number, expected) => {
                    if segment::read(frame, self.link.mac(), flow).is_some() {
                        let last_word = acknowledgement(&flow, number, expected);
                        let to = segment::sender(frame);
                        segment::send(&mut self.link, now, to, &flow, &last_word);
                    }
                    return true;
                }
            },
            _ => None,
        };
        if segment.opens() {
            self.begin(now, flow, begun, frame)
        } else if begun.is_some() || self.handshakes.has_cookies(now) {
            self.establish(now, flow, begun, frame, segment)
        } else {
            false
        }
    }

    /// Answers a SYN. Whether somebody listens there.
    fn begin(&mut self, now: u64, flow: Flow, begun: Option<u32>, frame: &[u8]) -> bool {
        let connections = self.connections();
        let Some((options, is_full)) = self.listener_for(&flow) else { return false };
        let Some(syn) = segment::read(frame, self.link.mac(), flow) else { return true };
        let (receive, _) = buffer_sizes(&options);
        let from = segment::sender(frame);
        // Perhaps it has not heard the answer.
        if let Some(begun) = begun.and_then(|number| self.handshakes.get(number)) {
            self.answer(now, from, &begun.handshake, receive);
            return true;
        }
        if is_full || connections >= self.limit {
            self.counters.refused += 1;
            return true;
        }
        let before = self.handshakes.len();
        let window = window(receive);
        let handshake = self.handshakes.begin(now, &mut self.flows, flow, from, &syn, window);
        self.counters.cookies += u64::from(self.handshakes.len() == before);
        self.answer(now, from, &handshake, receive);
        true
    }

    /// Sends the answer to a SYN.
    fn answer(&mut self, now: u64, to: EthernetAddress, handshake: &Handshake, receive: u32) {
        let flow = Flow { local: handshake.local, remote: handshake.remote };
        let headers = header_len(flow.local.addr) + 20;
        let answer = TcpRepr {
            control: TcpControl::Syn,
            window_len: handshake.local_window,
            window_scale: handshake.window_scale.map(|_| window_scale(receive)),
            max_seg_size: u16::try_from(self.link.mtu().saturating_sub(headers)).ok().map(aligned),
            sack_permitted: handshake.sack_permitted,
            ..acknowledgement(&flow, 0, 0)
        };
        let answer = TcpRepr {
            seq_number: handshake.local_seq,
            ack_number: Some(handshake.remote_seq + 1),
            ..answer
        };
        segment::send(&mut self.link, now, to, &flow, &answer);
    }

    /// Makes a connection of a handshake that has ended with this segment. Not if there was none.
    fn establish(
        &mut self,
        now: u64,
        flow: Flow,
        begun: Option<u32>,
        frame: &[u8],
        segment: Segment,
    ) -> bool {
        let Some(last) = segment::read(frame, self.link.mac(), flow) else { return true };
        if segment.resets() {
            // The peer takes its SYN back.
            let is_next = |begun: Begun| last.seq_number == begun.handshake.remote_seq + 1;
            if let Some(number) = begun
                && self.handshakes.get(number).is_some_and(is_next)
            {
                self.handshakes.end(&mut self.flows, number);
            }
            return true;
        }
        let handshake = self.handshakes.acknowledged(now, &flow, begun, &last);
        let connections = self.connections();
        let Some((options, is_full)) = self.listener_for(&flow) else { return false };
        let Some(handshake) = handshake else {
            // What brings no cookie may come in front of what does, or that was lost: the peer says it again.
            return self.handshakes.has_cookies(now);
        };
        // The peer believes that it is connected, and will ask again: by data, or when it hears our answer again.
        let port = flow.local.port;
        if is_full || connections >= self.limit || !self.has_queue(port) {
            self.counters.refused += 1;
            return true;
        }
        let before = begun.map(Who::Handshake);
        let Some(number) = self.add_connection(flow, before, Owner::Queue(port), &options) else {
            self.counters.refused += 1;
            return true;
        };
        let Some(endpoint) = self.endpoints.get_mut(number) else { return true };
        let socket = endpoint.single.socket::<Socket<'_>>();
        // A new socket, and a port at which somebody listens: this cannot fail.
        let _ = socket.accept(self.interface.context(), &handshake);
        self.feed_tcp(now, number, frame, segment);
        let Some(endpoint) = self.endpoints.get_mut(number) else { return true };
        match endpoint.single.socket::<Socket<'_>>().state() {
            // There was no buffer for its data, or it was no good: as if nothing had come.
            State::SynReceived | State::Closed => {
                if let Some(before) = before {
                    self.flows.pass(&flow, Who::Connection(number), before);
                }
                self.remove_connection(number);
            }
            _ => {
                if let Some(begun) = begun {
                    self.handshakes.end(&mut self.flows, begun);
                }
                self.enqueue(port, Connection::new(number));
            }
        }
        true
    }

    /// Repeats answers that nobody has acknowledged.
    #[inline]
    pub(crate) fn advance_handshakes(&mut self, now: u64) {
        while let Some(due) = self.handshakes.due(now, &mut self.flows) {
            if let Due::Repeat(Begun { handshake, from, .. }) = due {
                let flow = Flow { local: handshake.local, remote: handshake.remote };
                if let Some((options, _)) = self.listener_for(&flow) {
                    let (receive, _) = buffer_sizes(&options);
                    self.answer(now, from, &handshake, receive);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scale_of_a_window() {
        for (receive, scale) in [(2048, 0), (65_535, 0), (65_536, 1), (1 << 20, 5)] {
            assert_eq!(window_scale(receive), scale);
            assert!(receive >> scale <= 0xffff);
        }
        assert_eq!(window(70_000), 65_535);
    }
}
