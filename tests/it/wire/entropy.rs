//! Values made from a string of bytes: the same bytes make the same value, fewer or smaller bytes a simpler one, so
//! that proptest shrinks any type by shrinking bytes. Borrowed fields point into the bytes.

/// Hands out the bytes from the front; zeros when they have run out.
pub struct Entropy<'e> {
    rest: &'e [u8],
}

/// A value that can be made from bytes.
pub trait Sample<'e> {
    fn sample(from: &mut Entropy<'e>) -> Self;
}

impl<'e> Entropy<'e> {
    pub fn new(bytes: &'e [u8]) -> Self {
        Self { rest: bytes }
    }

    /// Up to `most` bytes, borrowed. The first byte says how many, with a few long ones.
    pub fn bytes(&mut self, most: usize) -> &'e [u8] {
        let wanted = match self.byte() {
            short @ 0..=0xdf => usize::from(short) / 8,
            long => usize::from(long - 0xdf) * 16,
        };
        let (taken, rest) = self.rest.split_at(wanted.min(most).min(self.rest.len()));
        self.rest = rest;
        taken
    }

    /// The UTF-8 at the front of some bytes.
    pub fn text(&mut self, most: usize) -> &'e str {
        let bytes = self.bytes(most);
        match std::str::from_utf8(bytes) {
            Ok(text) => text,
            Err(error) => std::str::from_utf8(&bytes[..error.valid_up_to()]).expect("valid up to there"),
        }
    }

    pub fn array<const N: usize>(&mut self) -> [u8; N] {
        std::array::from_fn(|_| self.byte())
    }

    pub fn byte(&mut self) -> u8 {
        let Some((first, rest)) = self.rest.split_first() else { return 0 };
        self.rest = rest;
        *first
    }

    /// An integer; every width of CBOR's heads comes up.
    pub fn number(&mut self) -> u64 {
        let width = usize::from(self.byte()) % 9;
        (0..width).fold(0, |number, _| number << 8 | u64::from(self.byte()))
    }

    pub fn one_of<T: Clone>(&mut self, choices: &[T]) -> T {
        choices[usize::from(self.byte()) % choices.len()].clone()
    }

    pub fn maybe<T>(&mut self, make: impl FnOnce(&mut Self) -> T) -> Option<T> {
        (self.byte() & 1 == 1).then(|| make(self))
    }

    pub fn some<T: Sample<'e>>(&mut self) -> Vec<T> {
        self.times(T::sample)
    }

    /// A few, seldom many: 24 and more take a longer CBOR head.
    pub fn times<T>(&mut self, mut make: impl FnMut(&mut Self) -> T) -> Vec<T> {
        let count = match self.byte() {
            few @ 0..=0xef => few / 60,
            _ => 26,
        };
        (0..count).map(|_| make(self)).collect()
    }
}

macro_rules! integers {
    ($($integer:ty)*) => {$(
        impl<'e> Sample<'e> for $integer {
            fn sample(from: &mut Entropy<'e>) -> Self {
                from.number() as $integer
            }
        }
    )*};
}
integers!(u8 u16 u32 u64);

impl<'e> Sample<'e> for bool {
    fn sample(from: &mut Entropy<'e>) -> Self {
        from.byte() & 1 == 1
    }
}
