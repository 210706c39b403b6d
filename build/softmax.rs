//! What attention does to its scores, in powers of two; `src/kernels/cpu/softmax.rs` says what each
//! function computes.

use wasm_encoder::{BlockType, Function, InstructionSink, ValType};

use super::at;
use super::exponent::{LARGEST, POLYNOMIAL, ROUND};

/// A value for all four lanes.
fn spread(value: f32) -> i128 {
    let bits = i128::from(value.to_bits());
    bits | bits << 32 | bits << 64 | bits << 96
}

/// `a * b + c` of a and b on the stack and c, which `push` puts there.
fn multiply_add(
    code: &mut InstructionSink<'_>,
    relaxed: bool,
    push: impl FnOnce(&mut InstructionSink<'_>),
) {
    if !relaxed {
        code.f32x4_mul();
    }
    push(code);
    if relaxed {
        code.f32x4_relaxed_madd();
    } else {
        code.f32x4_add();
    }
}

/// `2^x` as `math::exp2` of `src/kernels/cpu` computes it. What it computes with stands in locals
/// before the loop: V8 makes a constant anew wherever it is named, out of three instructions.
pub struct Exponential {
    relaxed: bool,
    least: u32,
    most: u32,
    round: u32,
    polynomial: u32,
    /// Two more locals.
    whole: u32,
    p: u32,
}

impl Exponential {
    /// How many vectors it takes, from its first local on.
    pub const LOCALS: u32 = 5 + POLYNOMIAL.len() as u32;

    pub fn new(code: &mut InstructionSink<'_>, relaxed: bool, first: u32) -> Self {
        let numbers = [-LARGEST, LARGEST, ROUND].into_iter().chain(POLYNOMIAL);
        for (local, number) in (first..).zip(numbers) {
            code.v128_const(spread(number)).local_set(local);
        }
        let polynomial = first + 3;
        let whole = polynomial + POLYNOMIAL.len() as u32;
        Self {
            relaxed,
            least: first,
            most: first + 1,
            round: first + 2,
            polynomial,
            whole,
            p: whole + 1,
        }
    }

    /// The local x to `2^x`, for any x.
    pub fn bounded(&self, code: &mut InstructionSink<'_>, x: u32) {
        code.local_get(x).local_get(self.most).f32x4_pmin().local_set(x);
        self.apply(code, x);
    }

    /// The same where x is at most about zero, or its power isn't looked at.
    pub fn apply(&self, code: &mut InstructionSink<'_>, x: u32) {
        let Self { relaxed, least, round, polynomial, whole, p, .. } = *self;
        code.local_get(x).local_get(least).f32x4_pmax().local_tee(x);
        code.local_get(round).f32x4_add().local_set(whole);
        code.local_get(x).local_get(whole).local_get(round).f32x4_sub().f32x4_sub().local_set(x);
        code.local_get(polynomial).local_set(p);
        for coefficient in 1..POLYNOMIAL.len() as u32 {
            code.local_get(p).local_get(x);
            multiply_add(code, relaxed, |code| {
                code.local_get(polynomial + coefficient);
            });
            code.local_set(p);
        }
        code.local_get(p).local_get(whole).i32_const(23).i32x4_shl().i32x4_add().local_set(x);
    }
}

/// `(line, vectors, most) -> sum`.
pub const POWERS: ([ValType; 3], [ValType; 1]) =
    ([ValType::I32, ValType::I32, ValType::F32], [ValType::F32]);

/// A vector at a time.
pub fn powers(relaxed: bool) -> Function {
    const LINE: u32 = 0;
    const VECTORS: u32 = 1;
    const MOST: u32 = 2;
    const FIRST: u32 = 3;
    let [most, sum, x] = [FIRST, FIRST + 1, FIRST + 2];
    let mut function = Function::new([(3 + Exponential::LOCALS, ValType::V128)]);
    let mut code = function.instructions();
    let exponential = Exponential::new(&mut code, relaxed, FIRST + 3);
    code.local_get(MOST).f32x4_splat().local_set(most);
    code.block(BlockType::Empty).local_get(VECTORS).i32_eqz().br_if(0).loop_(BlockType::Empty);
    code.local_get(LINE).v128_load(at(0)).local_get(most).f32x4_sub().local_set(x);
    exponential.apply(&mut code, x);
    code.local_get(LINE).local_get(x).v128_store(at(0));
    code.local_get(sum).local_get(x).f32x4_add().local_set(sum);
    code.local_get(LINE).i32_const(16).i32_add().local_set(LINE);
    code.local_get(VECTORS).i32_const(1).i32_sub().local_tee(VECTORS).br_if(0).end().end();
    for lane in 0..4 {
        code.local_get(sum).f32x4_extract_lane(lane);
        if lane > 0 {
            code.f32_add();
        }
    }
    code.end();
    function
}
