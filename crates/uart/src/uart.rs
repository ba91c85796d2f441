//! The device: what goes into its FIFO and when, and which interrupts it may make.

use uart_16550::{
    Uart16550,
    backend::Backend,
    spec::{
        FIFO_SIZE,
        registers::{IER, LSR, offsets},
    },
};

use crate::Ring;

/// A 16550 as its firmware left it.
#[derive(Debug)]
pub struct Uart<B: Backend> {
    registers: Uart16550<B>,
    /// Bytes that the transmitter takes at once when it is empty.
    burst: usize,
    /// Whether the output ring is emptied by interrupts.
    interrupts: bool,
}

impl<B: Backend> Uart<B> {
    /// Takes the device over: its interrupts are off, and its FIFO is used if it is on.
    ///
    /// # Safety
    ///
    /// `backend` reaches the registers of a 16550, as long as it lives.
    #[expect(unsafe_code, reason = "only the caller knows what is behind the registers")]
    pub unsafe fn new(backend: B) -> Self {
        // SAFETY: by this function's contract.
        let mut registers = unsafe { Uart16550::new_with_backend(backend) };
        registers.disable_interrupts(IER::all());
        let burst = if registers.isr().fifo_enabled() { FIFO_SIZE } else { 1 };
        Self { registers, burst, interrupts: false }
    }

    /// The way to registers that no 16550 has.
    pub fn backend(&mut self) -> &mut B {
        self.registers.backend_mut()
    }

    /// From now on somebody calls [`on_interrupt`](Self::on_interrupt) for each of its interrupts.
    pub fn use_interrupts(&mut self) {
        self.interrupts = true;
        self.registers.enable_interrupts(IER::DATA_READY);
    }

    /// Puts text into the ring, and on its way; `\n` becomes `\r\n`. Waits only while the ring is
    /// full, or if there are no interrupts.
    pub fn write<const N: usize>(&mut self, text: &[u8], output: &mut Ring<N>) {
        for &byte in text {
            if byte == b'\n' {
                self.push(b'\r', output);
            }
            self.push(byte, output);
        }
        self.send(output);
        if !self.interrupts {
            self.flush(output);
        } else if !output.is_empty() {
            self.registers.enable_interrupts(IER::THR_EMPTY);
        }
    }

    fn push<const N: usize>(&mut self, byte: u8, output: &mut Ring<N>) {
        while !output.push(byte) {
            self.send(output);
        }
    }

    /// Gives the transmitter what it takes now.
    fn send<const N: usize>(&mut self, output: &mut Ring<N>) {
        while !output.is_empty() && self.registers.ready_to_send().is_ok() {
            for byte in (0..self.burst).map_while(|_| output.pop()) {
                #[expect(unsafe_code, reason = "the crate checks the transmitter for every byte")]
                // SAFETY: DATA is a register. The transmitter is empty, so its FIFO takes a burst.
                unsafe {
                    self.registers.backend_mut().write(offsets::DATA as u8, byte);
                }
            }
        }
    }

    /// Waits until the transmitter has taken everything.
    pub fn flush<const N: usize>(&mut self, output: &mut Ring<N>) {
        while !output.is_empty() {
            self.send(output);
        }
    }

    /// Waits until the last bit is out on the line: afterwards the power may go.
    pub fn drain<const N: usize>(&mut self, output: &mut Ring<N>) {
        self.flush(output);
        while !self.registers.lsr().contains(LSR::TRANSMITTER_EMPTY) {}
    }

    /// Moves bytes both ways; returns how many came in. What does not fit into `input` is dropped.
    pub fn on_interrupt<const N: usize, const M: usize>(
        &mut self,
        output: &mut Ring<N>,
        input: &mut Ring<M>,
    ) -> usize {
        let mut received = 0;
        while let Ok(byte) = self.registers.try_receive_byte() {
            input.push(byte);
            received += 1;
        }
        self.send(output);
        if output.is_empty() {
            self.registers.disable_interrupts(IER::THR_EMPTY);
        }
        received
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use proptest::prelude::*;

    use super::*;

    const DATA: u8 = offsets::DATA as u8;
    const ENABLE: u8 = 1;
    const ISR: u8 = 2;
    const LINE_STATUS: u8 = 5;

    /// A 16550 with a FIFO of 16 and a slow line.
    struct Fake {
        fifo: VecDeque<u8>,
        line: Vec<u8>,
        typed: VecDeque<u8>,
        enable: u8,
        /// One byte goes out each time the status has been read this often; 0: never by itself.
        reads_per_byte: usize,
        reads: usize,
    }

    impl Fake {
        fn new(reads_per_byte: usize) -> Self {
            Self {
                fifo: VecDeque::new(),
                line: Vec::new(),
                typed: VecDeque::new(),
                enable: 0xff,
                reads_per_byte,
                reads: 0,
            }
        }

        /// The line takes up to `count` bytes.
        fn transmit(&mut self, count: usize) {
            let count = count.min(self.fifo.len());
            self.line.extend(self.fifo.drain(..count));
        }

        /// Whether its interrupt is pending.
        fn interrupts(&self) -> bool {
            let readable = self.enable & 1 != 0 && !self.typed.is_empty();
            readable || self.enable & 2 != 0 && self.fifo.is_empty()
        }
    }

    #[expect(unsafe_code, reason = "the trait's methods are unsafe")]
    impl Backend for Fake {
        unsafe fn read(&mut self, register: u8) -> u8 {
            match register {
                DATA => self.typed.pop_front().expect("nothing was typed"),
                ENABLE => self.enable,
                ISR => 0b1100_0001, // FIFOs on, no interrupt
                LINE_STATUS => {
                    self.reads += 1;
                    if self.reads_per_byte > 0 && self.reads.is_multiple_of(self.reads_per_byte) {
                        self.transmit(1);
                    }
                    let empty = if self.fifo.is_empty() { 0b0110_0000 } else { 0 };
                    empty | u8::from(!self.typed.is_empty())
                }
                _ => 0,
            }
        }

        unsafe fn write(&mut self, register: u8, value: u8) {
            match register {
                DATA => {
                    assert!(self.fifo.len() < 16, "the FIFO is overrun");
                    self.fifo.push_back(value);
                }
                ENABLE => self.enable = value,
                _ => {}
            }
        }
    }

    fn uart(reads_per_byte: usize) -> Uart<Fake> {
        #[expect(unsafe_code, reason = "the function under test")]
        // SAFETY: behaves as a 16550.
        unsafe {
            Uart::new(Fake::new(reads_per_byte))
        }
    }

    fn on_the_line(text: &[u8]) -> Vec<u8> {
        text.iter()
            .flat_map(|&byte| if byte == b'\n' { vec![b'\r', byte] } else { vec![byte] })
            .collect()
    }

    #[test]
    fn without_interrupts_writing_waits() {
        let (mut uart, mut output) = (uart(3), Ring::<64>::new());
        assert_eq!(uart.backend().enable, 0);
        let text = b"more than the ring holds\n".repeat(20);
        uart.write(&text, &mut output);
        assert!(output.is_empty());
        uart.drain(&mut output);
        assert_eq!(uart.backend().line, on_the_line(&text));
        assert_eq!(uart.backend().enable, 0);
    }

    #[test]
    fn with_interrupts_writing_goes_on() {
        // The line takes nothing while we look.
        let (mut uart, mut output, mut input) = (uart(0), Ring::<64>::new(), Ring::<8>::new());
        uart.use_interrupts();
        uart.write(&[b'x'; 60], &mut output);
        assert_eq!(uart.backend().fifo.len(), 16);
        for on_the_line in [16, 32, 48] {
            assert!(!output.is_empty());
            uart.backend().transmit(16);
            assert!(uart.backend().interrupts());
            uart.on_interrupt(&mut output, &mut input);
            assert_eq!(uart.backend().line.len(), on_the_line);
        }
        // The last twelve are in the FIFO, and nothing else waits.
        assert!(output.is_empty());
        uart.backend().transmit(12);
        assert!(!uart.backend().interrupts());
    }

    #[test]
    fn what_nobody_reads_is_dropped() {
        let (mut uart, mut output, mut input) = (uart(0), Ring::<64>::new(), Ring::<8>::new());
        uart.use_interrupts();
        uart.backend().typed.extend(b"0123456789");
        assert!(uart.backend().interrupts());
        assert_eq!(uart.on_interrupt(&mut output, &mut input), 10);
        assert!(!uart.backend().interrupts());
        assert_eq!(std::iter::from_fn(|| input.pop()).collect::<Vec<_>>(), b"01234567");
        assert_eq!(uart.on_interrupt(&mut output, &mut input), 0);
    }

    proptest! {
        /// Whatever is written and however slowly the line takes it: all comes out, in order, and
        /// while something waits an interrupt will come for it.
        #[test]
        fn nothing_is_lost(
            steps in prop::collection::vec((prop::collection::vec(any::<u8>(), 0..80), 0..24_usize), 1..30),
            reads_per_byte in 1..5_usize,
        ) {
            let (mut uart, mut output, mut input) =
                (uart(reads_per_byte), Ring::<64>::new(), Ring::<8>::new());
            uart.use_interrupts();
            let mut written = Vec::new();
            for (text, transmitted) in steps {
                uart.write(&text, &mut output);
                written.extend(on_the_line(&text));
                prop_assert!(output.is_empty() || uart.backend().enable & 2 != 0);
                uart.backend().transmit(transmitted);
                if uart.backend().interrupts() {
                    uart.on_interrupt(&mut output, &mut input);
                }
            }
            while uart.backend().interrupts() || !uart.backend().fifo.is_empty() {
                uart.backend().transmit(16);
                uart.on_interrupt(&mut output, &mut input);
            }
            prop_assert!(output.is_empty());
            prop_assert_eq!(&uart.backend().line, &written);
        }
    }
}
