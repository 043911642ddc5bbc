//! Chances as lengths: −ln of a chance, so that chances in a row add up.
//!
//! Fixed point throughout, so that every machine gets the same bits: with `m` the chance scaled into [2¹⁵, 2¹⁶),
//! −ln(m / 65,535) = 2·artanh z, z = (65,535 − m) / (65,535 + m) ≤ 1/3, by its series; each halving adds ln 2. It is off by
//! less than a millionth, and neighbouring chances are 15 millionths apart or more.
//!
//! Invariants
//! 1. The better the chance, the shorter: strictly, so that [`success`] undoes [`failures`].
//! 2. A path keeps a least chance by `failures` exactly if it does by `success`.

/// ln 2, times 2³².
const LN_2: u64 = 2_977_044_472;
/// 1/3, 1/5, …, 1/17, times 2³²: what is cut off is below 2·3⁻¹⁹ of a nat.
const ODD: [u64; 8] =
    [1_431_655_765, 858_993_459, 613_566_757, 477_218_588, 390_451_572, 330_382_100, 286_331_153, 252_645_135];

/// Millionths of nats of a chance in parts of 65,535. A chance of 0 counts as half a part: the last thing to try, but one.
pub fn failures(success: u16) -> u32 {
    if success == 0 {
        return failures(1) + nats(LN_2);
    }
    let halvings = success.leading_zeros();
    let scaled = u64::from(success) << halvings;
    let z = ((65_535 - scaled) << 32) / (65_535 + scaled);
    let square = (z * z) >> 32;
    let series = ODD.iter().rev().fold(0, |sum, term| ((sum + term) * square) >> 32);
    let artanh = z + ((z * series) >> 32);
    nats(2 * artanh + u64::from(halvings) * LN_2)
}

/// The chance that is left after so many millionths of nats, in parts of 65,535, rounded down.
pub fn success(millionths: u64) -> u16 {
    let (mut at_least, mut more_than) = (0, 1 << 16);
    while more_than - at_least > 1 {
        let middle: u32 = u32::midpoint(at_least, more_than);
        let chance = u16::try_from(middle).unwrap_or(u16::MAX);
        if u64::from(failures(chance)) >= millionths { at_least = middle } else { more_than = middle }
    }
    u16::try_from(at_least).unwrap_or(u16::MAX)
}

/// Rounds nats times 2³² to millionths.
fn nats(fixed: u64) -> u32 {
    u32::try_from((fixed * 1_000_000 + (1 << 31)) >> 32).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_chance_has_its_logarithm_and_comes_back_from_it() {
        let mut last = u32::MAX;
        for chance in 1..=u16::MAX {
            let exact = -(f64::from(chance) / 65_535.0).ln() * 1e6;
            let length = failures(chance);
            assert!((f64::from(length) - exact).abs() < 1.0, "{chance}: {length} instead of {exact}");
            assert!(length < last, "the better, the shorter");
            last = length;
        }
        for chance in (0..=u16::MAX).step_by(7).chain([u16::MAX]) {
            assert_eq!(success(failures(chance).into()), chance);
        }
        assert_eq!((failures(u16::MAX), success(1), success(u64::MAX)), (0, 65_534, 0));
        assert!(failures(0) > failures(1));
    }
}
