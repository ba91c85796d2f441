//! Writes flattened trees, right or wrong ones.

/// A tree under construction: the root is open from the start.
pub(crate) struct Tree {
    reservations: Vec<u8>,
    structure: Vec<u8>,
    strings: Vec<u8>,
}

impl Tree {
    pub(crate) fn new() -> Self {
        let mut tree =
            Self { reservations: Vec::new(), structure: Vec::new(), strings: Vec::new() };
        tree.begin("");
        tree
    }

    /// The least that is accepted: memory at 2 GiB, hart 0; cells as in the root of real trees.
    pub(crate) fn minimal() -> Self {
        let mut tree = Self::new();
        tree.words("#address-cells", &[2]).words("#size-cells", &[2]);
        tree.begin("memory@80000000")
            .text("device_type", "memory")
            .words("reg", &[0, 0x8000_0000, 0, 0x800_0000])
            .end();
        tree.begin("cpus")
            .words("#address-cells", &[1])
            .words("#size-cells", &[0])
            .words("timebase-frequency", &[10_000_000]);
        tree.hart(0).end().end();
        tree
    }

    /// Opens a usable hart.
    pub(crate) fn hart(&mut self, id: u32) -> &mut Self {
        self.begin(&format!("cpu@{id:x}"))
            .words("reg", &[id])
            .text("mmu-type", "riscv,sv39")
            .text("riscv,isa", "rv64gc")
    }

    pub(crate) fn reserve(&mut self, address: u64, size: u64) -> &mut Self {
        self.reservations.extend(address.to_be_bytes());
        self.reservations.extend(size.to_be_bytes());
        self
    }

    pub(crate) fn word(&mut self, word: u32) -> &mut Self {
        self.structure.extend(word.to_be_bytes());
        self
    }

    pub(crate) fn begin(&mut self, name: &str) -> &mut Self {
        self.word(1);
        self.structure.extend(name.bytes());
        self.structure.push(0);
        self.pad()
    }

    pub(crate) fn end(&mut self) -> &mut Self {
        self.word(2)
    }

    pub(crate) fn bytes(&mut self, name: &str, value: &[u8]) -> &mut Self {
        let name = [name.as_bytes(), b"\0"].concat();
        let known = self.strings.windows(name.len()).position(|s| s == name);
        let at = known.unwrap_or_else(|| {
            self.strings.extend(&name);
            self.strings.len() - name.len()
        });
        self.word(3).word(value.len() as u32).word(at as u32);
        self.structure.extend(value);
        self.pad()
    }

    pub(crate) fn words(&mut self, name: &str, words: &[u32]) -> &mut Self {
        let value: Vec<u8> = words.iter().flat_map(|word| word.to_be_bytes()).collect();
        self.bytes(name, &value)
    }

    /// A string, or several with NULs between them.
    pub(crate) fn text(&mut self, name: &str, text: &str) -> &mut Self {
        self.bytes(name, &[text.as_bytes(), b"\0"].concat())
    }

    fn pad(&mut self) -> &mut Self {
        while !self.structure.len().is_multiple_of(4) {
            self.structure.push(0);
        }
        self
    }

    /// How long the blob would be.
    pub(crate) fn len(&self) -> usize {
        40 + self.reservations.len() + 16 + self.structure.len() + 8 + self.strings.len()
    }

    /// Closes the root and puts the blob together.
    pub(crate) fn blob(&self) -> Vec<u8> {
        let structure = [&self.structure[..], &[0, 0, 0, 2, 0, 0, 0, 9]].concat();
        self.blob_of(&structure)
    }

    /// Puts a blob together with this structure block.
    pub(crate) fn blob_of(&self, structure: &[u8]) -> Vec<u8> {
        let reservations = [&self.reservations[..], &[0; 16]].concat();
        let at_structure = 40 + reservations.len();
        let at_strings = at_structure + structure.len();
        let total = at_strings + self.strings.len();
        let mut blob = Vec::new();
        let sizes = [total, at_structure, at_strings, 40];
        let header = sizes.map(|size| size as u32);
        for word in [&[0xd00d_feed][..], &header, &[17, 16, 0]].concat() {
            blob.extend(u32::to_be_bytes(word));
        }
        blob.extend((self.strings.len() as u32).to_be_bytes());
        blob.extend((structure.len() as u32).to_be_bytes());
        blob.extend(reservations);
        blob.extend(structure);
        blob.extend(&self.strings);
        blob
    }
}
