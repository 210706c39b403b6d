//! How an adapter's strength is spread over the model's blocks and over the steps of a picture.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::keys::ldm::{UNetLayout, unet_module_to_ldm};

/// The text encoder's name among the blocks.
pub const BASE: &str = "BASE";

/// What the strength is multiplied by, block by block and step by step.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Spread {
    /// By the names of sd-webui-lora-block-weight: `IN00` to `IN11`, `M00`, `OUT00` to `OUT11` of the UNet,
    /// `BASE` of the text encoder. What isn't named has 1.
    pub blocks: BTreeMap<String, f32>,
    /// Points `[part of the steps done, 0 to 1; factor]` in order, of the UNet's strength: straight lines
    /// between them, the first's and the last's factor before and after. Two at one place are a jump.
    /// None: 1 all along.
    pub curve: Vec<[f32; 2]>,
}

/// A block's name, of a UNet's layer by diffusers' path: `IN04`. None: it lies in no block, such as the
/// embedding of time, or ldm has no name for it.
pub fn block(path: &str, layout: &UNetLayout) -> Option<String> {
    let name = unet_module_to_ldm(path, layout)?;
    let (side, rest) = name.split_once('.')?;
    let number = || rest.split('.').next()?.parse::<usize>().ok();
    match side {
        "input_blocks" => Some(format!("IN{:02}", number()?)),
        "middle_block" => Some("M00".into()),
        "output_blocks" => Some(format!("OUT{:02}", number()?)),
        _ => None,
    }
}

/// The blocks that lists of so many numbers are of, and all of them (SD 1 and 2: 17 with attention, 26;
/// SDXL: 12, 20). sd-webui-lora-block-weight, `BLOCKID12` to `BLOCKID26`.
fn listed(count: usize) -> Option<Vec<String>> {
    let names = |inputs: &[usize], outputs: std::ops::Range<usize>| {
        let base = std::iter::once(BASE.to_string());
        let inputs = inputs.iter().map(|at| format!("IN{at:02}"));
        let outputs = outputs.map(|at| format!("OUT{at:02}"));
        base.chain(inputs).chain(["M00".to_string()]).chain(outputs).collect()
    };
    let all: Vec<usize> = (0..12).collect();
    Some(match count {
        12 => names(&[4, 5, 7, 8], 0..6),
        17 => names(&[1, 2, 4, 5, 7, 8], 3..12),
        20 => names(&all[..9], 0..9),
        26 => names(&all, 0..12),
        _ => return None,
    })
}

/// Lists with names, of 17: what is 1 in them. `lbwpresets.txt` of the same extension.
const PRESETS: [(&str, &[usize]); 9] = [
    ("NONE", &[]),
    ("ALL", &[0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16]),
    ("INS", &[0, 1, 2, 3]),
    ("IND", &[0, 4, 5, 6]),
    ("INALL", &[0, 1, 2, 3, 4, 5, 6]),
    ("MIDD", &[0, 4, 5, 6, 7, 8, 9, 10, 11]),
    ("OUTD", &[0, 8, 9, 10, 11]),
    ("OUTS", &[0, 12, 13, 14, 15, 16]),
    ("OUTALL", &[0, 8, 9, 10, 11, 12, 13, 14, 15, 16]),
];

impl Spread {
    /// Factors that are accepted.
    pub const FACTORS: std::ops::RangeInclusive<f32> = -10.0..=10.0;

    /// From a tag's words, as sd-webui-lora-block-weight writes them: `blocks` is a list of 12, 17, 20 or
    /// 26 numbers or a preset's name (blocks that the list leaves out have 0), `start` and `stop` are the
    /// first step that the adapter acts in and the first in which it no longer does, counted from 1.
    ///
    /// # Errors
    /// Names the word that isn't understood.
    pub fn of_tag(
        blocks: Option<&str>,
        start: Option<&str>,
        stop: Option<&str>,
        steps: usize,
    ) -> Result<Self> {
        let mut spread = Self::default();
        if let Some(words) = blocks {
            spread.blocks = of_list(words)?;
        }
        let step = |name: &str, word: Option<&str>| {
            let Some(word) = word else { return Ok(None) };
            let step =
                word.trim().parse::<u32>().ok().filter(|&step| step > 0).ok_or_else(|| {
                    let problem = format!("{} is no step", crate::error::shown(word, 40));
                    Error::setting(name, problem, "Write a number from 1, as in start=3")
                })?;
            Ok(Some((step - 1) as f32 / steps.max(1) as f32))
        };
        let (start, stop) = (step("start", start)?, step("stop", stop)?);
        if let Some(start) = start.filter(|&start| start > 0.0) {
            spread.curve.extend([[start.min(1.0), 0.0], [start.min(1.0), 1.0]]);
        }
        if let Some(stop) = stop.filter(|&stop| stop <= 1.0) {
            match start {
                Some(start) if stop <= start => spread.curve = vec![[0.0, 0.0]],
                _ => spread.curve.extend([[stop, 1.0], [stop, 0.0]]),
            }
        }
        Ok(spread)
    }

    /// Refuses what can't be meant.
    ///
    /// # Errors
    /// When a factor is out of [`Self::FACTORS`], or the curve's points are not in order within 0 to 1.
    pub fn check(&self) -> Result<()> {
        for (name, factor) in &self.blocks {
            if !Self::FACTORS.contains(factor) {
                return Err(Error::setting(
                    name,
                    format!("{factor} is not between -10 and 10"),
                    "Choose a factor from -10 to 10",
                ));
            }
        }
        let places = self.curve.iter().map(|[at, _]| *at);
        let ordered = places.clone().zip(places.clone().skip(1)).all(|(a, b)| a <= b);
        let within = places.clone().all(|at| (0.0..=1.0).contains(&at));
        let factors = self.curve.iter().all(|[_, factor]| Self::FACTORS.contains(factor));
        if ordered && within && factors {
            return Ok(());
        }
        Err(Error::setting(
            "curve",
            "its points are not in order from 0 to 1, or a factor is not between -10 and 10",
            "Move its points",
        ))
    }

    /// A block's factor; none: of what lies in no block.
    pub fn of_block(&self, name: Option<&str>) -> f32 {
        name.and_then(|name| self.blocks.get(name)).copied().unwrap_or(1.0)
    }

    /// The curve's factor where this part of the steps is done.
    pub fn at(&self, done: f32) -> f32 {
        // Of a jump, what comes after it.
        let Some(next) = self.curve.iter().position(|[at, _]| *at > done) else {
            return self.curve.last().map_or(1.0, |[_, factor]| *factor);
        };
        let [to, end] = self.curve[next];
        let Some([from, begin]) = next.checked_sub(1).map(|before| self.curve[before]) else {
            return end;
        };
        begin + (end - begin) * (done - from) / (to - from)
    }
}

fn of_list(words: &str) -> Result<BTreeMap<String, f32>> {
    let words = words.trim();
    let preset = PRESETS.iter().find(|(name, _)| name.eq_ignore_ascii_case(words));
    let numbers: Vec<f32> = match preset {
        Some((_, ones)) => (0..17).map(|at| f32::from(u8::from(ones.contains(&at)))).collect(),
        None => {
            let number = |word: &str| word.trim().parse().ok().filter(|x: &f32| x.is_finite());
            words.split(',').map(number).collect::<Option<_>>().unwrap_or_default()
        }
    };
    let Some(names) = listed(numbers.len()) else {
        let problem = format!("{} is no list of blocks", crate::error::shown(words, 80));
        let remedy = "Write 17 numbers, or 26 (SDXL: 12 or 20), or one of NONE, ALL, INS, IND, INALL, \
                      MIDD, OUTD, OUTS, OUTALL";
        return Err(Error::setting("lbw", problem, remedy));
    };
    let mut blocks: BTreeMap<String, f32> =
        listed(26).into_iter().flatten().map(|name| (name, 0.0)).collect();
    blocks.extend(names.into_iter().zip(numbers));
    Ok(blocks)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn layers_lie_in_the_blocks_of_ldm() {
        let layout = UNetLayout::stable_diffusion();
        let name = |path: &str| block(path, &layout);
        let to_q = "attentions.1.transformer_blocks.0.attn1.to_q";
        assert_eq!(name(&format!("down_blocks.1.{to_q}")).as_deref(), Some("IN05"));
        assert_eq!(name(&format!("up_blocks.3.{to_q}")).as_deref(), Some("OUT10"));
        assert_eq!(name("mid_block.resnets.0.conv1").as_deref(), Some("M00"));
        assert_eq!(name("conv_in").as_deref(), Some("IN00"));
        assert_eq!(name("time_embedding.linear_1"), None);
        assert_eq!(name("conv_out"), None);
    }

    #[test]
    fn lists_name_their_blocks_and_leave_out_the_rest() {
        let spread = |words| Spread::of_tag(Some(words), None, None, 20).map(|it| it.blocks);
        let outs = spread("OUTS").unwrap();
        assert_eq!((outs["BASE"], outs["OUT06"], outs["OUT07"], outs["M00"]), (1.0, 0.0, 1.0, 0.0));
        let full = (0..26).map(|at| at.to_string()).collect::<Vec<_>>().join(",");
        let full = spread(&full).unwrap();
        assert_eq!(
            (full["BASE"], full["IN11"], full["M00"], full["OUT11"]),
            (0.0, 12.0, 13.0, 25.0)
        );
        let few = spread("1,1,1,1,1,1,1,1,1,1,1,0.5").unwrap();
        assert_eq!((few["IN04"], few["OUT05"], few["OUT06"], few["IN00"]), (1.0, 0.5, 0.0, 0.0));
        for wrong in ["", "1,2", "XYZ", "1,1,1,1,1,1,1,1,1,1,1,NaN"] {
            assert!(spread(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn steps_are_counted_from_one() {
        let acts = |start, stop| {
            let spread = Spread::of_tag(None, start, stop, 10).unwrap();
            spread.check().unwrap();
            let acting = (0..10).filter(|&step| spread.at(step as f32 / 10.0) == 1.0);
            let steps: Vec<_> = acting.map(|step| step + 1).collect();
            (steps.first().copied(), steps.last().copied(), steps.len())
        };
        assert_eq!(acts(None, None), (Some(1), Some(10), 10));
        assert_eq!(acts(Some("4"), None), (Some(4), Some(10), 7));
        assert_eq!(acts(None, Some("4")), (Some(1), Some(3), 3));
        assert_eq!(acts(Some("3"), Some("6")), (Some(3), Some(5), 3));
        assert_eq!(acts(Some("1"), Some("99")), (Some(1), Some(10), 10));
        assert_eq!(acts(Some("6"), Some("3")), (None, None, 0));
        assert_eq!(acts(Some("11"), None), (None, None, 0));
        assert!(Spread::of_tag(None, Some("0"), None, 10).is_err());
    }

    #[test]
    fn a_curve_is_straight_between_its_points() {
        let spread = Spread { curve: vec![[0.2, 1.0], [0.6, 0.0]], ..Spread::default() };
        let at = |done| (1e3 * spread.at(done)).round() / 1e3;
        assert_eq!([0.0, 0.2, 0.3, 0.5, 0.6, 1.0].map(at), [1.0, 1.0, 0.75, 0.25, 0.0, 0.0]);
        for curve in [vec![[0.5, 1.0], [0.4, 1.0]], vec![[1.5, 1.0]], vec![[0.0, f32::NAN]]] {
            assert!(Spread { curve, ..Spread::default() }.check().is_err());
        }
        let blocks = BTreeMap::from([("IN00".to_string(), 11.0)]);
        assert!(Spread { blocks, ..Spread::default() }.check().is_err());
    }
}
