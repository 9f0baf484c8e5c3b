//! Numbers that look random and are the same each time: equal input gives equal answers.

/// The generator xoshiro256++ of Blackman and Vigna ("Scrambled linear pseudorandom number generators", ACM Transactions on
/// Mathematical Software 47 (2021)), seeded by SplitMix64 as they advise.
#[derive(Clone, Debug)]
pub struct Random {
    state: [u64; 4],
}

impl Random {
    /// A generator; each seed has its own sequence.
    pub fn new(seed: u64) -> Self {
        let mut seed = seed;
        Self { state: [0; 4].map(|_: u64| split_mix(&mut seed)) }
    }

    /// 64 random bits.
    pub fn bits(&mut self) -> u64 {
        let [a, b, c, d] = self.state;
        let answer = a.wrapping_add(d).rotate_left(23).wrapping_add(a);
        let (c, d) = (c ^ a, d ^ b);
        self.state = [a ^ d, b ^ c, c ^ (b << 17), d.rotate_left(45)];
        answer
    }

    /// Above 0 and below 1.
    pub fn uniform(&mut self) -> f64 {
        ((self.bits() >> 12) as f64 + 0.5) / (1_u64 << 52) as f64
    }

    /// A standard normal variable (the polar method of Marsaglia).
    pub fn normal(&mut self) -> f64 {
        loop {
            let (x, y) = (2.0 * self.uniform() - 1.0, 2.0 * self.uniform() - 1.0);
            let square = x.mul_add(x, y * y);
            if square < 1.0 && square > 0.0 {
                return x * (-2.0 * square.ln() / square).sqrt();
            }
        }
    }

    /// A gamma variable of a shape of at least 1 (Marsaglia and Tsang, "A simple method for generating gamma variables", ACM
    /// Transactions on Mathematical Software 26 (2000)). A lesser shape counts as 1.
    pub fn gamma(&mut self, shape: f64) -> f64 {
        let d = shape.max(1.0) - 1.0 / 3.0;
        let c = 1.0 / (9.0 * d).sqrt();
        loop {
            let x = self.normal();
            let v = c.mul_add(x, 1.0).powi(3);
            if v > 0.0 && self.uniform().ln() < 0.5 * x * x + d * (1.0 - v + v.ln()) {
                return d * v;
            }
        }
    }
}

fn split_mix(seed: &mut u64) -> u64 {
    *seed = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mixed = (*seed ^ (*seed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_seed_makes_the_numbers() {
        // The reference implementation of SplitMix64, seed 0.
        let mut seed = 0;
        assert_eq!(split_mix(&mut seed), 0xe220_a839_7b1d_cdaf);
        assert_eq!(split_mix(&mut seed), 0x6e78_9e6a_a1b9_65f4);
        assert_eq!(Random::new(1).bits(), Random::new(1).bits());
        assert_ne!(Random::new(1).bits(), Random::new(2).bits());
        // The reference implementation of xoshiro256++, state 1, 2, 3, 4.
        let mut random = Random { state: [1, 2, 3, 4] };
        assert_eq!([0; 3].map(|_| random.bits()), [41_943_041, 58_720_359, 3_588_806_011_781_223]);
    }

    #[test]
    fn variables_have_their_means_and_variances() {
        fn moments(mut next: impl FnMut() -> f64) -> (f64, f64) {
            let values: Vec<f64> = (0..50_000).map(|_| next()).collect();
            let mean = values.iter().sum::<f64>() / 50_000.0;
            (mean, values.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / 50_000.0)
        }
        let mut random = Random::new(7);
        let (mean, variance) = moments(|| random.uniform());
        assert!((mean - 0.5).abs() < 0.01 && (variance - 1.0 / 12.0).abs() < 0.003);
        let (mean, variance) = moments(|| random.normal());
        assert!(mean.abs() < 0.02 && (variance - 1.0).abs() < 0.03);
        for shape in [1.0, 3.5, 1000.0] {
            let (mean, variance) = moments(|| random.gamma(shape));
            assert!((mean / shape - 1.0).abs() < 0.03 && (variance / shape - 1.0).abs() < 0.05, "{shape}");
        }
    }
}
