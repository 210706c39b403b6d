//! What Mesa's compilers print of a shader.

/// What a compiler made of a kernel.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Figures {
    /// Registers of an invocation.
    pub registers: u32,
    /// Invocations, or groups of them, that a core can hold at once.
    pub resident: u32,
    /// Registers that lie in memory. Not told by every compiler.
    pub spills: Option<u32>,
    /// Multiply-adds among the instructions (AMD: the vector instructions) of the innermost loops that
    /// have any.
    pub share: Option<f64>,
    /// Reads from buffers that an invocation has on their way at once, at most, in a loop. Told by AMD's
    /// instructions, which say what they wait for.
    pub reads: Option<u32>,
}

/// A loop's multiply-adds, and all that it has.
type Counts = [usize; 2];

/// Apple: 16-bit registers of 256, threads of 1024.
pub fn apple(text: &str) -> Option<Figures> {
    let line = text.lines().find(|line| line.starts_with("CS shader"))?;
    let before = |word: &str| number_before(line, word);
    Some(Figures {
        registers: before(" gprs")?,
        resident: before(" threads")?,
        spills: Some(before(":")?),
        share: share(&apple_loops(text)),
        reads: None,
    })
}

/// NVIDIA: registers of 255, warps of 48.
pub fn nvidia(text: &str) -> Option<Figures> {
    let after = |name: &str| number_after(text, name);
    Some(Figures {
        registers: after("Num GPRs: ")?,
        resident: after("Max warps/SM: ")?,
        spills: after("Spills to mem: "),
        share: None,
        reads: None,
    })
}

/// Qualcomm: registers, of which the compiler counts fours, waves of 16.
pub fn qualcomm(text: &str) -> Option<Figures> {
    let line = text.lines().find(|line| line.contains(" full, "))?;
    let waves = text.lines().find(|line| line.contains(" max_waves"))?;
    Some(Figures {
        registers: 4 * number_before(line, " full")?,
        resident: number_before(waves, " max_waves")?,
        spills: None,
        share: None,
        reads: None,
    })
}

/// AMD: vector registers of 256, waves of 32 as the driver counts them.
pub fn amd(text: &str) -> Option<Figures> {
    let after = |name: &str| number_after(text, name);
    let lines: Vec<_> = text.lines().map(str::trim).collect();
    let spans = amd_spans(&lines);
    Some(Figures {
        registers: after("\nVGPRs: ")?,
        resident: after("Subgroups per SIMD: ")?,
        spills: after("Spilled VGPRs: "),
        share: share(&amd_loops(&spans, &lines)),
        reads: spans.iter().map(|span| reads(&lines[span[0]..=span[1]])).max(),
    })
}

fn digits(text: &str) -> &str {
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    &text[..end]
}

fn number_after(text: &str, name: &str) -> Option<u32> {
    digits(text.split_once(name)?.1).parse().ok()
}

/// The first such number.
fn number_before(line: &str, word: &str) -> Option<u32> {
    line.match_indices(word).find_map(|(at, _)| {
        let start = line[..at].rfind(|c: char| !c.is_ascii_digit()).map_or(0, |start| start + 1);
        line[start..at].parse().ok()
    })
}

fn share(loops: &[Counts]) -> Option<f64> {
    let counted = loops.iter().filter(|[multiply_adds, _]| *multiply_adds > 0);
    let [multiply_adds, all] = counted.fold([0, 0], |[a, b], [c, d]| [a + c, b + d]);
    (all > 0).then(|| multiply_adds as f64 / all as f64)
}

/// Of spans of lines, those that hold no other.
fn innermost(spans: &[[usize; 2]]) -> impl Iterator<Item = [usize; 2]> + '_ {
    let holds = |[a, b]: [usize; 2], [c, d]: [usize; 2]| a <= c && d <= b && [a, b] != [c, d];
    spans.iter().copied().filter(move |span| !spans.iter().any(|other| holds(*span, *other)))
}

/// Lines are `offset: bytes operation operands`; a loop ends with a jump back by so many bytes.
fn apple_loops(text: &str) -> Vec<Counts> {
    let instruction = |line: &str| {
        let (offset, rest) = line.trim_start().split_once(": ")?;
        let mut words = rest.split_whitespace();
        let offset = i64::from_str_radix(offset, 16).ok()?;
        i128::from_str_radix(words.next()?.get(..2)?, 16).ok()?;
        let (operation, operand) =
            (words.next()?.to_string(), words.next().unwrap_or("").to_string());
        Some((offset, operation, operand))
    };
    let code: Vec<_> = text.lines().filter_map(instruction).collect();
    let mut spans = Vec::new();
    // Each program starts at 0 again.
    let mut start = 0;
    for (at, (offset, operation, operand)) in code.iter().enumerate() {
        if *offset == 0 {
            start = at;
        }
        let back = operand.trim_end_matches(',').parse::<i64>().ok().filter(|by| *by < 0);
        if let (true, Some(by)) = (operation.starts_with("jmp"), back) {
            let target = code[start..at].iter().position(|(place, ..)| *place == offset + by);
            spans.extend(target.map(|target| [start + target, at]));
        }
    }
    let count = |[from, to]: [usize; 2]| {
        let body = &code[from..=to];
        [body.iter().filter(|(_, operation, _)| operation == "ffma").count(), body.len()]
    };
    innermost(&spans).map(count).collect()
}

/// Blocks begin with `BB1:`; a loop ends with a branch to an earlier one.
fn amd_spans(lines: &[&str]) -> Vec<[usize; 2]> {
    let mut spans = Vec::new();
    for (at, line) in lines.iter().enumerate() {
        let mut words = line.split_whitespace();
        let branch = words.next().is_some_and(|word| word.contains("branch"));
        if let (true, Some(target)) = (branch, words.next()) {
            let label = format!("{target}:");
            let from = lines[..at].iter().rposition(|line| *line == label);
            spans.extend(from.map(|from| [from, at]));
        }
    }
    spans
}

fn amd_loops(spans: &[[usize; 2]], lines: &[&str]) -> Vec<Counts> {
    let count = |[from, to]: [usize; 2]| {
        let vector = lines[from..=to].iter().filter(|line| line.starts_with("v_"));
        let multiply_add = ["v_fma", "v_pk_fma", "v_dual_fma"];
        let is = |line: &&&str| multiply_add.iter().any(|word| line.starts_with(word));
        [vector.clone().filter(is).count(), vector.count()]
    };
    innermost(spans).map(count).collect()
}

/// The most reads on their way at once: each `vmcnt(n)` waits until no more than n are.
fn reads(lines: &[&str]) -> u32 {
    let (mut now, mut most) = (0, 0);
    for line in lines {
        if line.starts_with("buffer_load") || line.starts_with("global_load") {
            now += 1;
            most = most.max(now);
        }
        if let Some(left) = number_after(line, "vmcnt(") {
            now = now.min(left);
        }
    }
    most
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn apples_figures_and_loops_are_read() {
        let text = "   0: 01 mov r0, r1\n   2: 02 ffma r0, r1, r2, r3\n   4: 03 wait a\n\
                    6: 04 jmp_any -4\n   a: 05 ffma r0, r1\n   c: 06 jmp_any -12\n\
                    CS shader: 192 instrs, 159 alu, 29 gprs, 64 uniforms, 0 scratch, 1024 threads, \
                    0 loops, 3:4 spills:fills, 24 preamble inst\n";
        let figures = apple(text).unwrap();
        assert_eq!(apple_loops(text), [[1, 3]]);
        assert_eq!([figures.registers, figures.resident, figures.spills.unwrap()], [29, 1024, 3]);
        assert_eq!(apple("nothing"), None);
    }

    #[test]
    fn amds_figures_and_loops_are_read() {
        let text = "BB0:\n\tv_fma_f32 v0\nBB1:\n\tbuffer_load_dword v3\n\tbuffer_load_dword v4\n\
                    \ts_waitcnt vmcnt(1)\n\tbuffer_load_dword v5\n\ts_waitcnt vmcnt(0)\n\
                    \tv_fmac_f32 v1 ; 1\n\tv_add_f32 v2\n\ts_cbranch_scc0 BB1 ; b\n\
                    SGPRs: 108\nVGPRs: 48\nSpilled SGPRs: 2\nSpilled VGPRs: 1\nSubgroups per SIMD: 20\n";
        let figures = amd(text).unwrap();
        assert_eq!([figures.registers, figures.resident], [48, 20]);
        assert_eq!([figures.spills, figures.reads], [Some(1), Some(2)]);
        assert_eq!(figures.share, Some(0.5));
        assert_eq!(amd("VGPRs: none"), None);
    }

    #[test]
    fn the_others_figures_are_read() {
        let nv = nvidia("Max warps/SM: 20\nSpills to mem: 7\nNum GPRs: 96\n").unwrap();
        assert_eq!([nv.registers, nv.resident, nv.spills.unwrap()], [96, 20, 7]);
        let text = "; 3 half, 24 full, 14 constlen\n; 8 max_waves, 1 double_threadsize\n";
        let adreno = qualcomm(text).unwrap();
        assert_eq!([adreno.registers, adreno.resident], [96, 8]);
    }
}
