//! Dispatches that are bounded: a GPU is reset by the system when one takes seconds, and WebGPU allows
//! 65535 workgroups in each direction of a grid.

/// The most work of a dispatch, in multiplications and additions: a fifth of a second on a GPU that
/// does a tenth of what an integrated one of today can, 0.15 TFLOP/s.
const MOST_WORK: u64 = 32_000_000_000;

/// The most workgroups in one direction.
const MOST_GROUPS: u32 = 65535;

/// A part of a grid.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Part {
    /// The place in the whole grid of its first workgroup, along x and y.
    pub first: [u32; 2],
    /// Its own grid.
    pub grid: [u32; 3],
}

/// The parts, one dispatch each, of a grid whose workgroups do so much work together.
pub fn parts(grid: [u32; 3], work: u64) -> Vec<Part> {
    let [x, y, z] = grid;
    let count = u32::try_from(work.div_ceil(MOST_WORK)).unwrap_or(u32::MAX).max(1);
    // By rows of the longer direction; a row is never split.
    let [mut step_x, mut step_y] = [x, y].map(|groups| groups.min(MOST_GROUPS));
    let longer = if x > y { &mut step_x } else { &mut step_y };
    *longer = x.max(y).div_ceil(count).clamp(1, MOST_GROUPS);
    let starts = |groups: u32, step: u32| (0..groups).step_by(step.max(1) as usize);
    let along_y = |first_x: u32| {
        starts(y, step_y).map(move |first_y| Part {
            first: [first_x, first_y],
            grid: [step_x.min(x - first_x), step_y.min(y - first_y), z],
        })
    };
    starts(x, step_x).flat_map(along_y).collect()
}

/// A workgroup's place in the whole grid, along x and y, in WGSL. The part's first is in `info`, after
/// so many numbers of the kernel's own.
pub fn place(own: usize) -> [String; 2] {
    [format!("(wg.x + info[{own}])"), format!("(wg.y + info[{}])", own + 1)]
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn parts_cover_the_grid_once_and_are_bounded() {
        let grids =
            [[1, 1, 1], [64, 5, 2], [5, 128, 2], [65536, 4, 1], [20, 131_072, 1], [3, 7, 9]];
        for grid in grids {
            for work in [0, MOST_WORK, 3 * MOST_WORK + 1, 40 * MOST_WORK, u64::MAX] {
                let parts = parts(grid, work);
                let groups = |[x, y, z]: [u32; 3]| u64::from(x) * u64::from(y) * u64::from(z);
                assert_eq!(parts.iter().map(|part| groups(part.grid)).sum::<u64>(), groups(grid));
                let places: HashSet<_> = parts.iter().map(|part| part.first).collect();
                assert_eq!(places.len(), parts.len());
                for part in parts {
                    let [x, y, z] = part.grid;
                    assert!(x.max(y) <= MOST_GROUPS && z == grid[2] && groups(part.grid) > 0);
                    assert!(part.first[0] + x <= grid[0] && part.first[1] + y <= grid[1]);
                    // No more than the budget, but for one row that is more on its own.
                    let share =
                        u128::from(work) * u128::from(groups(part.grid)) / u128::from(groups(grid));
                    let [along, rows] = if grid[0] > grid[1] { [x, grid[0]] } else { [y, grid[1]] };
                    assert!(
                        share <= u128::from(MOST_WORK) + u128::from(work / u64::from(rows))
                            || along == 1
                    );
                }
            }
        }
        assert_eq!(parts([64, 5, 2], MOST_WORK), [Part { first: [0, 0], grid: [64, 5, 2] }]);
    }
}
