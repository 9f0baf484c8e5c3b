//! Trace and span ids.

/// Makes trace and span ids from a seed: xoshiro256++ (Blackman, Vigna: Scrambled Linear Pseudorandom
/// Number Generators, 2021). Ids need to be spread well, not to be secret; the state is wide enough
/// that the streams of many agents do not meet, as those of a 64-bit state would.
#[derive(Clone, Debug)]
pub struct IdGenerator([u64; 4]);

impl IdGenerator {
    /// The same seed gives the same ids. The state is filled by SplitMix64 (Steele, Lea, Flood: Fast
    /// Splittable Pseudorandom Number Generators, 2014), as the authors advise; it is never all zero.
    pub fn new(seed: u64) -> Self {
        let mut counter = seed;
        Self(std::array::from_fn(|_| {
            counter = counter.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let z = (counter ^ counter >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            let z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
            z ^ z >> 31
        }))
    }

    fn next(&mut self) -> u64 {
        let [mut a, mut b, mut c, mut d] = self.0;
        let value = a.wrapping_add(d).rotate_left(23).wrapping_add(a);
        let shifted = b << 17;
        c ^= a;
        d ^= b;
        b ^= c;
        a ^= d;
        c ^= shifted;
        self.0 = [a, b, c, d.rotate_left(45)];
        value
    }

    /// A span id, never zero.
    pub fn span_id(&mut self) -> [u8; 8] {
        loop {
            let id = self.next();
            if id != 0 {
                return id.to_be_bytes();
            }
        }
    }

    /// A trace id, never zero; all its bits are random.
    pub fn trace_id(&mut self) -> [u8; 16] {
        let mut id = [0; 16];
        id[..8].copy_from_slice(&self.span_id());
        id[8..].copy_from_slice(&self.span_id());
        id
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_the_generator_s_published_values() {
        let mut ids = IdGenerator([1, 2, 3, 4]);
        let values: [u64; 4] = std::array::from_fn(|_| ids.next());
        assert_eq!(values, [41_943_041, 58_720_359, 3_588_806_011_781_223, 3_591_011_842_654_386]);
    }

    #[test]
    fn the_same_seed_gives_the_same_ids_and_another_seed_others() {
        let ids = |seed| {
            let mut ids = IdGenerator::new(seed);
            (ids.trace_id(), ids.span_id())
        };
        assert_eq!(ids(7), ids(7));
        assert_ne!(ids(7), ids(8));
        assert_ne!(ids(0).0, [0; 16]);
    }
}
