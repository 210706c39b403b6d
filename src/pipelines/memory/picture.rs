//! What drawing a picture takes on top of the weights.

use super::{Offer, gigabytes};
use crate::error::{Error, Result};
use crate::models::UNet2DConditionConfig;

/// Latents of pictures: how many, height, width.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pixels {
    /// Pictures at once: two where guidance asks twice.
    pub batch: u64,
    /// Of the latents.
    pub height: u64,
    /// Of the latents.
    pub width: u64,
}

impl Pixels {
    /// One of so many pixels, an eighth of which each way are latents.
    pub fn of(width: usize, height: usize, guided: bool) -> Self {
        Self { batch: 1 + u64::from(guided), height: height as u64 / 8, width: width as u64 / 8 }
    }

    /// At a level of the UNet, each half as large as the one before.
    fn at(&self, level: usize) -> u64 {
        self.batch * self.height.div_ceil(1 << level) * self.width.div_ceil(1 << level)
    }
}

/// Bytes that one forward pass of the UNet takes at most, without a graph: what the way down leaves
/// for the way up, and what the layer in hand works on. Counted along `models::unet_2d_blocks` and
/// held against the allocator (`tests/memory_policy.rs`). `kernels`: whether ours run, which make GEGLU
/// in one go.
pub fn unet_peak(unet: &UNet2DConditionConfig, pixels: Pixels, kernels: bool) -> u64 {
    let mut pass = Pass { unet, pixels, kernels, skips: Vec::new(), peak: 0 };
    pass.run();
    4 * (pass.peak + pass.scratch())
}

/// A pass of numbers of elements in place of tensors.
struct Pass<'a> {
    unet: &'a UNet2DConditionConfig,
    pixels: Pixels,
    kernels: bool,
    skips: Vec<u64>,
    peak: u64,
}

impl Pass<'_> {
    fn run(&mut self) {
        let channels: Vec<u64> =
            self.unet.block_out_channels.iter().map(|&channels| channels as u64).collect();
        let levels = channels.len();
        self.skips.push(channels[0] * self.pixels.at(0));
        let mut input = channels[0];
        for (level, &channels) in channels.iter().enumerate() {
            let n = self.pixels.at(level);
            let crossed = is_crossed(&self.unet.down_block_types[level]);
            for _ in 0..self.unet.layers(level) {
                // What comes in is the last of the skips.
                self.layer(level, 0, input, channels, crossed);
                input = channels;
                self.skips.push(input * n);
            }
            if level + 1 < levels {
                let out = input * self.pixels.at(level + 1);
                self.see(out + self.padded(level, input));
                self.skips.push(out);
            }
        }
        if let Some(name) = &self.unet.mid_block_type {
            let crossed = name == "UNetMidBlock2DCrossAttn";
            for _ in 0..=self.unet.layers(levels - 1) {
                let n = self.pixels.at(levels - 1);
                self.layer(levels - 1, input * n, input, input, crossed);
            }
        }
        for level in (0..levels).rev() {
            let n = self.pixels.at(level);
            let crossed = is_crossed(&self.unet.up_block_types[levels - 1 - level]);
            for layer in 0..=self.unet.layers(level) {
                let last = layer == self.unet.layers(level);
                let skip = channels[if last { level.saturating_sub(1) } else { level }];
                self.skips.pop();
                // Both and the two in one.
                self.see(2 * (input + skip) * n);
                self.layer(level, (input + skip) * n, input + skip, channels[level], crossed);
                input = channels[level];
            }
            if level > 0 {
                let above = self.pixels.at(level - 1);
                self.see(input * (n + 2 * above) + self.padded(level - 1, input));
            }
        }
    }

    /// A residual block and the transformer after it. `held`: what comes in, where no skip holds it.
    fn layer(&mut self, level: usize, held: u64, input: u64, output: u64, crossed: bool) {
        let n = self.pixels.at(level);
        // Norm and first convolution; norm and second; shortcut and sum.
        let first = (input + output) * n + self.padded(level, input);
        let second = 2 * output * n + self.padded(level, output);
        self.see(held + first.max(second).max(3 * output * n));
        if crossed {
            self.see(output * n + self.transformer(level, output));
        }
    }

    /// On top of what comes in: the sum so far, and what GEGLU halves, 8 wide before and 4 after.
    /// burn's operations make it of pieces. Attention goes in blocks, in either's case.
    fn transformer(&self, level: usize, channels: u64) -> u64 {
        let wide = if self.kernels { 1 + 8 + 4 } else { 1 + 8 + 4 + 5 };
        wide * channels * self.pixels.at(level)
    }

    /// What kernels work in besides, one picture at a time: measured, in tensors of the outermost
    /// level.
    fn scratch(&self) -> u64 {
        4 * self.unet.block_out_channels[0] as u64 * self.pixels.height * self.pixels.width
    }

    /// One picture with a border, which a convolution of size 3 reads.
    fn padded(&self, level: usize, channels: u64) -> u64 {
        let side = |pixels: u64| pixels.div_ceil(1 << level) + 2;
        channels * side(self.pixels.height) * side(self.pixels.width)
    }

    fn see(&mut self, more: u64) {
        self.peak = self.peak.max(self.skips.iter().sum::<u64>() + more);
    }
}

fn is_crossed(name: &str) -> bool {
    name.starts_with("CrossAttn")
}

/// A picture's size, and whether it is guided.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Wanted {
    /// Pixels.
    pub width: usize,
    /// Pixels.
    pub height: usize,
    /// Whether the UNet is asked twice at once.
    pub guided: bool,
    /// Width and height of a first pass, of which this one is made.
    pub first: Option<[usize; 2]>,
}

impl Wanted {
    /// The same shape, no side longer than this, in steps that every UNet of the family takes.
    fn within(self, longest: usize) -> Self {
        let most = self.width.max(self.height).max(1);
        let side = |side: usize| (side * longest / most / STEP * STEP).max(STEP);
        Self { width: side(self.width), height: side(self.height), ..self }
    }

    /// How somebody comes to this size, in words.
    fn remedy(self) -> String {
        let Self { width, height, first, .. } = self;
        let scale = |[w, h]: [usize; 2]| (width as f64 / w as f64).min(height as f64 / h as f64);
        let cut = |scale: f64| (100.0 * scale).floor() / 100.0;
        match first.map(scale).map(cut) {
            Some(scale) if scale > 1.0 => format!("upscale by {scale} at most"),
            Some(_) => format!("choose {width}x{height} without upscaling, which fits"),
            None => format!("choose {width}x{height}, the largest of this shape that fits"),
        }
    }
}

/// Pixels between two sizes that are proposed.
const STEP: usize = 64;

/// What a picture takes that decides whether it can be drawn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Need {
    /// Bytes of memory on top of the weights, in buffers that the device gives.
    Memory(u64),
    /// Bytes of a tensor that is larger than the device's largest buffer.
    Buffer(u64),
}

/// Checks that there is room for a picture, of which `need` tells what it takes at any size. `lighter`:
/// whether the model's weights could be kept in fewer bits.
///
/// # Errors
/// When there isn't, with the largest picture of that shape that would fit; and `need`'s own.
pub fn check_picture(
    wanted: Wanted,
    offer: &Offer,
    lighter: bool,
    need: impl Fn(Wanted) -> Result<Need>,
) -> Result<()> {
    let has_room = |need: Need| match need {
        Need::Memory(bytes) => offer.workspace().is_none_or(|there| bytes <= there),
        Need::Buffer(_) => false,
    };
    let needed = need(wanted)?;
    if has_room(needed) {
        return Ok(());
    }
    let fits = |wanted: Wanted| need(wanted).is_ok_and(has_room);
    let Wanted { width, height, .. } = wanted;
    let (takes, last) = match needed {
        Need::Memory(bytes) => {
            let room = offer.workspace().map(gigabytes);
            let room = room.map_or_else(String::new, |it| format!(", and there is room for {it}"));
            let takes = format!("takes about {} more memory{room}", gigabytes(bytes));
            let less = "give the model less memory for its weights (Model, Weights)";
            (takes, lighter.then_some(less))
        }
        Need::Buffer(bytes) => {
            let most = offer.buffer.map(mebibytes);
            let most =
                most.map_or_else(String::new, |it| format!(", and this GPU gives at most {it}"));
            let takes = format!("takes a buffer of {}{most}", mebibytes(bytes));
            let elsewhere =
                "draw on the processor, whose buffers have no such limit (?backend=cpu)";
            (takes, Some(elsewhere))
        }
    };
    let sizes = (1..=wanted.width.max(wanted.height) / STEP).rev().map(|step| step * STEP);
    let smaller = sizes.map(|longest| wanted.within(longest)).find(|&smaller| fits(smaller));
    let plain = Wanted { guided: false, ..wanted };
    let mut remedies = Vec::new();
    remedies.extend(smaller.map(Wanted::remedy));
    if wanted.guided && fits(plain) {
        remedies.push("set guidance to 1, which needs half of that".into());
    }
    remedies.extend(last.map(String::from));
    if remedies.is_empty() {
        remedies.push("use a smaller model, or a device with more memory".into());
    }
    let remedy = capitalised(&remedies.join(", or "));
    Err(Error::memory("size", format!("{width}x{height} {takes}"), remedy))
}

/// As WebGPU's own messages count.
fn mebibytes(bytes: u64) -> String {
    format!("{} MiB", bytes.div_ceil(1 << 20))
}

fn capitalised(text: &str) -> String {
    let mut letters = text.chars();
    letters.next().map_or_else(String::new, |first| first.to_uppercase().chain(letters).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn square(side: usize, guided: bool) -> Wanted {
        Wanted { width: side, height: side, guided, first: None }
    }

    fn sd15(wanted: Wanted) -> u64 {
        let pixels = Pixels::of(wanted.width, wanted.height, wanted.guided);
        unet_peak(&UNet2DConditionConfig::default(), pixels, true)
    }

    #[test]
    fn a_pass_grows_with_pixels_and_pictures() {
        let [small, large] = [512, 1024].map(|side| sd15(square(side, true)));
        // Level 0's feed-forward layer: 13 widths of 320 channels, and the skips.
        assert!((150 << 20..220 << 20).contains(&small), "{small}");
        assert!((39 * small / 10..=4 * small).contains(&large), "{small}, then {large}");
        let plain = sd15(square(512, false));
        assert!((50 * small / 100..=60 * small / 100).contains(&plain), "{plain} of {small}");
        // Sides that don't halve evenly.
        assert!(sd15(Wanted { width: 520, ..square(504, true) }) > 99 * small / 100);
        let pixels = Pixels::of(512, 512, true);
        let burns = unet_peak(&UNet2DConditionConfig::default(), pixels, false);
        assert!((small..3 * small / 2).contains(&burns), "{burns} by burn, {small} by ours");
    }

    #[test]
    fn what_does_not_fit_is_refused_with_what_would() {
        let offer = |total| Offer { total: Some(total), ..Offer::default() };
        let need = |wanted| Ok(Need::Memory(sd15(wanted)));
        let wanted = square(1024, true);
        assert_eq!(check_picture(wanted, &Offer::default(), true, need), Ok(()));
        assert_eq!(check_picture(wanted, &offer(3 << 29), true, need), Ok(()));
        let error = check_picture(wanted, &offer(720 << 20), true, need).unwrap_err().to_string();
        let says = ["size: 1024x1024 takes about ", "there is room for 442 MB. Choose 768x768, "];
        for part in says {
            assert!(error.contains(part), "{error}");
        }
        assert!(error.contains("set guidance to 1"), "{error}");
        let wide = Wanted { width: 1024, ..square(512, true) };
        let error = check_picture(wide, &offer(320 << 20), true, need).unwrap_err().to_string();
        assert!(error.contains("Choose 704x320, "), "{error}");
        // Of a picture that is drawn once more and larger the scale is named.
        for (side, words) in [(512, "Upscale by 1.5 at most, "), (1024, "Choose 768x768 without")] {
            let wanted = Wanted { first: Some([side, side]), ..wanted };
            let error = check_picture(wanted, &offer(720 << 20), true, need).unwrap_err();
            assert!(error.to_string().contains(words), "{error}");
        }
        // Nothing fits: no size is named.
        let error = check_picture(wanted, &offer(1 << 20), true, need).unwrap_err().to_string();
        assert!(!error.contains("Choose") && error.contains("Give the model less"), "{error}");
        // Weights that are in 8 bits already.
        let error = check_picture(wanted, &offer(1 << 20), false, need).unwrap_err().to_string();
        assert!(!error.contains("weights") && error.contains("Use a smaller model"), "{error}");
        // A buffer that the device doesn't give: less memory for the weights doesn't help.
        let offer = Offer { buffer: Some(4 << 20), ..Offer::default() };
        let need = |Wanted { width, .. }| match (width as u64) << 14 {
            bytes if bytes > 8 << 20 => Ok(Need::Buffer(bytes)),
            bytes => Ok(Need::Memory(bytes)),
        };
        let error = check_picture(wanted, &offer, true, need).unwrap_err().to_string();
        let says = ["a buffer of 16 MiB", "at most 4 MiB. Choose 512x512, ", "?backend=cpu"];
        for part in says {
            assert!(error.contains(part), "{error}");
        }
        assert!(!error.contains("weights"), "{error}");
    }
}
