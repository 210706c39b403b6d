//! What powers of two are computed with, here and in the modules that `build.rs` writes.

/// From minus this to this is the result a normal number.
pub const LARGEST: f32 = 126.0;

/// 1.5 * 2^23: adding it leaves the nearest whole number in the last bits.
pub const ROUND: f32 = 12_582_912.0;

/// `2^f` on -1/2 to 1/2 as a polynomial, from the fifth power to the zeroth: that of the least
/// relative error (9.2e-8) among those that give 2^0 exactly, found by Lawson's weighted least
/// squares. Taylor's needs a sixth power to come near it.
#[expect(clippy::approx_constant, reason = "ln 2 is Taylor's, not this one's")]
pub const POLYNOMIAL: [f32; 6] =
    [1.326_474_2e-3, 9.671_518e-3, 5.550_733_6e-2, 0.240_222_42, 0.693_147, 1.0];
