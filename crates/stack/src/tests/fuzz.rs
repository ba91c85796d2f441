//! A peer that says anything, while an application does anything.

use std::{task::Waker, time::Duration};

use proptest::prelude::*;
use smoltcp::wire::{TcpControl, TcpRepr, TcpSeqNumber};

use super::{
    Random, SECOND, at_port,
    peer::{Machine, PEER, Peer, Segment, tcp},
};
use crate::{Connection, IpEndpoint, Listener, TcpOptions};

impl Random {
    fn pick<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.below(of.len())]
    }
}

fn any_options(random: &mut Random) -> TcpOptions {
    TcpOptions {
        // Not more than a window has without being scaled: see `bytes_behind_a_large_window_do_no_harm`.
        receive_buffer: random.pick(&[1, 2048, 4000, 8192, 65535, 200_000]),
        transmit_buffer: random.pick(&[1, 100, 8192, 100_000]),
        no_delay: random.percent(50),
        keep_alive: random.percent(25).then_some(Duration::from_secs(5)),
        timeout: random.percent(25).then_some(Duration::from_secs(9)),
    }
}

struct Fuzzed {
    machine: Machine,
    random: Random,
    options: TcpOptions,
    listener: Option<Listener>,
    connections: Vec<Connection>,
    connecting: Vec<Connection>,
    /// What the machine has said last.
    heard: Option<Segment>,
    /// Of what the peer says next, if it is honest.
    number: TcpSeqNumber,
}

impl Fuzzed {
    fn new(seed: u64) -> Self {
        let mut random = Random(seed);
        let options = any_options(&mut random);
        let mut machine = Machine::new();
        let listener = Some(machine.stack.listen(at_port(80), 2, options).unwrap());
        // One good connection for a beginning.
        let peer = Peer::connected(&mut machine, 5000);
        let connections = Vec::from_iter(machine.accept(listener.as_ref().unwrap()));
        let heard = Some(Segment {
            at: 0,
            from: 80,
            to: 5000,
            control: TcpControl::None,
            number: peer.expects,
            acknowledges: Some(peer.number),
            data: Vec::new(),
        });
        let (connecting, number) = (Vec::new(), peer.number);
        Self { machine, random, options, listener, connections, connecting, heard, number }
    }

    /// Mostly something that could follow.
    fn receive_segment(&mut self) {
        use TcpControl::{Fin, None as Plain, Psh, Rst, Syn};
        let random = &mut self.random;
        let control = random.pick(&[Plain, Psh, Fin, Syn, Plain, Psh, Plain, Fin, Psh]);
        let control = if random.percent(2) { Rst } else { control };
        let window = self.options.receive_buffer as i32;
        let far = [0, 0, 0, 0, 1, -1, 100, -100, window, i32::MAX, i32::MAX, i32::MIN];
        // It goes on where it was, or where the machine wants it to.
        let wanted = self.heard.as_ref().and_then(|heard| heard.acknowledges);
        let number = wanted.filter(|_| random.percent(50)).unwrap_or(self.number);
        let number = number.0.wrapping_add(random.pick(&far));
        let expected = self.heard.as_ref().map_or(0, |heard| heard.end().0);
        let expected =
            expected.wrapping_add(random.pick(&[0, 0, 0, 0, 0, 1, -1, -5, 50, i32::MAX]));
        let acknowledges = random.percent(if control == Syn { 25 } else { 88 });
        let lengths = [0, 0, 1, 10, 536, 537, 1460, self.options.receive_buffer.min(1460)];
        let data = vec![3; random.pick(&lengths)];
        let opens = control == Syn;
        let segment = TcpRepr {
            src_port: random.pick(&[5000, 5000, 5000, 5001]),
            dst_port: 80,
            control,
            seq_number: TcpSeqNumber(number),
            ack_number: acknowledges.then_some(TcpSeqNumber(expected)),
            window_len: random.pick(&[0, 0, 1, 100, 1000, 64000]),
            window_scale: (opens && random.percent(50)).then(|| random.pick(&[0, 7, 14, 200])),
            max_seg_size: opens.then(|| random.pick(&[0, 1, 48, 536, 1460, 65535])),
            sack_permitted: opens && random.percent(50),
            sack_ranges: [None; 3],
            timestamp: None,
            payload: &data,
        };
        if random.percent(50) {
            self.number = TcpSeqNumber(number.wrapping_add((data.len() + control.len()) as i32));
        }
        self.machine.receive(tcp(&segment));
    }

    fn step(&mut self) {
        let now = self.machine.now;
        match self.random.below(14) {
            0..6 => self.receive_segment(),
            6 => self.machine.turn(),
            7 => {
                let accepted = self.listener.as_ref().and_then(|it| self.machine.accept(it));
                self.connections.extend(accepted);
            }
            8 if let Some(connection) = self.connections.first() => {
                let _ = self.machine.stack.poll_read(now, connection, Waker::noop(), |bytes| {
                    let most = bytes.len().min(self.random.pick(&[1, 100, usize::MAX]));
                    (most, ())
                });
            }
            9 if let Some(connection) = self.connections.first() => {
                let length = self.random.pick(&[1, 6, 536, 537, 5000]);
                let send = self.random.percent(50);
                let put = |room: &mut [u8]| (room.len().min(length), ());
                let _ = self.machine.stack.poll_write(now, connection, Waker::noop(), send, put);
            }
            10 if let Some(connection) = self.connections.first() => {
                self.machine.stack.flush(now, connection);
            }
            11 if !self.connections.is_empty() && self.random.percent(17) => {
                let connection = self.connections.swap_remove(0);
                match self.random.below(4) {
                    0 => self.machine.stack.abort(now, connection),
                    1 => self.machine.close(connection),
                    2 => {
                        self.machine.stack.shut(now, &connection);
                        self.connections.push(connection);
                    }
                    _ => {
                        let options = any_options(&mut self.random);
                        self.machine.stack.set_options(now, &connection, &options);
                        self.connections.push(connection);
                    }
                }
            }
            12 if self.random.percent(5) => self.unlisten(),
            13 if self.connecting.len() < 3 && self.random.percent(25) => {
                let to = IpEndpoint::new(PEER.into(), 9);
                let begun = self.machine.stack.connect(now, to, TcpOptions::default());
                self.connecting.extend(begun);
            }
            _ => {}
        }
        if let Some(last) = self.machine.segments().pop() {
            self.heard = Some(last);
        }
    }

    fn unlisten(&mut self) {
        if let Some(listener) = self.listener.take() {
            self.machine.stack.unlisten(self.machine.now, listener);
        }
    }

    fn run(mut self) {
        for _ in 0..200 {
            let passed = [0, 0, 0, 1, 100, 5000, 10_000, 200_000, 1_100_000, 20_000_000];
            // Some deadlines are met, and others are overslept.
            match self.random.pick(&passed) {
                passed if self.random.percent(50) => self.machine.pass(passed),
                passed => self.machine.now += passed,
            }
            self.machine.stack.link().room = !self.random.percent(10);
            self.step();
        }
        self.unlisten();
        for connection in self.connections.drain(..).chain(self.connecting.drain(..)) {
            self.machine.stack.close(self.machine.now, connection);
        }
        self.machine.stack.link().room = true;
        self.machine.turn();
        self.machine.pass(140 * SECOND);
        assert_eq!(self.machine.stack.connections(), 0, "some connections are left");
        assert_eq!(self.machine.stack.endpoints.len(), 0, "something is left");
        assert_eq!(self.machine.stack.buffered(), 0, "some buffers are left");
        assert_eq!(self.machine.stack.handshakes(), 0, "some handshakes are left");
        // A deadline that nothing needs any more may still pass.
        self.machine.pass(3600 * SECOND);
        assert_eq!(self.machine.stack.next_deadline(), None);
        let frames = self.machine.frames().len();
        assert!(frames < 1000, "it has said goodbye in {frames} frames");
    }
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 1000,
        failure_persistence: None,
        max_shrink_iters: 0,
        ..Default::default()
    })]

    #[test]
    fn nothing_is_left_of_random_connections(seed: u64) {
        Fuzzed::new(seed).run();
    }
}
