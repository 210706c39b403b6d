//! The part of a matrix product that a workgroup computes on a real GPU: 64 x 64 results by 128
//! invocations, 8 rows of 4 columns each, 16 terms of the sums per step.
//!
//! Both factors go through workgroup memory as vectors of four rows (four columns) of one term, so
//! that an invocation reads 3 vectors for 32 multiply-adds. An invocation reads all that it copies in
//! a step before it writes any of it: the reads are on their way together, and not one after the
//! other. It writes whole vectors only: WGSL lets a write to one component touch the others, which
//! belong to other invocations.

use super::text::{Text, VEC4, declare_length, share_length};

/// Rows, and columns, of the results of a workgroup.
pub const SIDE: u32 = 64;

/// Terms of the sums per step.
pub const DEPTH: u32 = 16;

/// Invocations of a workgroup: along the columns, and along the rows.
pub const WORKGROUP: [u32; 3] = [16, 8, 1];

/// Rows of the results of an invocation.
pub const ROWS: u32 = 8;

/// Vectors of one factor in workgroup memory: 16 to a term, and 2 more after every 4 terms, since
/// what neighbouring invocations write is 4 terms apart and would lie in the same bank.
pub const VECTORS: u32 = DEPTH * QUADS + 2 * (DEPTH / 4);

/// Vectors to a term.
const QUADS: u32 = SIDE / 4;

/// Where the first vector of term `4 * fours + more` lies.
pub fn place(fours: u32, more: u32) -> u32 {
    fours * (4 * QUADS + 2) + more * QUADS
}

/// Declares workgroup memory: `s` holds the columns of a, and [`VECTORS`] later the rows of b.
pub fn declare(t: &mut Text) {
    t.line(format!("var<workgroup> s: array<{VEC4}, {}>;", 2 * VECTORS));
    declare_length(t);
}

/// Declares `K`, the length of the sums, and `m0` and `n0`, the first row and column; `wx` and `wy`
/// are the workgroup's place.
pub fn locate(t: &mut Text, length: &str, [wx, wy]: [String; 2]) {
    share_length(t, length);
    t.line(format!("let m0 = {wy} * {SIDE}u;"));
    t.line(format!("let n0 = {wx} * {SIDE}u;"));
    t.lines((0..ROWS).map(|i| format!("var c{i} = {VEC4}();")));
}

/// Adds the terms of a step, which `s` holds once all invocations have written their part.
pub fn multiply(t: &mut Text) {
    t.line("workgroupBarrier();");
    for term in 0..DEPTH {
        let at = place(term / 4, term % 4);
        t.block("", |t| {
            t.line(format!("let a0 = s[{at}u + li.y];"));
            t.line(format!("let a1 = s[{}u + li.y];", at + QUADS / 2));
            t.line(format!("let b = s[{}u + li.x];", at + VECTORS));
            for i in 0..ROWS {
                t.line(format!("c{i} = fma({VEC4}(a{}[{}]), b, c{i});", i / 4, i % 4));
            }
        });
    }
    t.line("workgroupBarrier();");
}

/// Calls `store` with each `i` of `c{i}`, in a block in which `r` is its row, and within `rows` (a
/// variable).
pub fn store(t: &mut Text, rows: &str, mut store: impl FnMut(&mut Text, u32)) {
    for i in 0..ROWS {
        t.block("", |t| {
            let quad = i / 4 * (QUADS / 2);
            t.line(format!("let r = m0 + (li.y + {quad}u) * 4u + {}u;", i % 4));
            t.block(format!("if (r < {rows})"), |t| store(t, i));
        });
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn every_vector_has_a_place_of_its_own() {
        let places: HashSet<_> = (0..DEPTH)
            .flat_map(|term| (0..QUADS).map(move |quad| place(term / 4, term % 4) + quad))
            .collect();
        assert_eq!(places.len() as u32, DEPTH * QUADS);
        assert!(places.iter().all(|place| *place < VECTORS));
        let [x, y, _] = WORKGROUP;
        assert_eq!(4 * x * ROWS * y, SIDE * SIDE);
    }

    /// Eight invocations write at once, and a vector's bank is its place modulo 8.
    #[test]
    fn neighbours_write_to_banks_of_their_own() {
        for first in (0..64).step_by(8) {
            let banks: HashSet<_> =
                (first..first + 8).map(|e| (place(e % 4, 0) + e / 4) % 8).collect();
            assert_eq!(banks.len(), 8);
        }
    }
}
