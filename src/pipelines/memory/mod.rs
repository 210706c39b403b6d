//! What fits: a model's weights, and a picture's tensors, against what a device offers. Plain
//! arithmetic, before anything large is asked of the device.

mod picture;

use super::encoders::come_and_go;
use crate::error::{Error, Result};
use crate::layers::Storage;
use crate::weights::Checkpoint;

pub use picture::{Need, Pixels, Wanted, check_picture, unet_peak};

/// Above this many bytes of f32 weights, they are kept in halves where that can be chosen (1 GiB).
const LARGE_MODEL: u64 = 1 << 30;

/// This share of a heap is left to what doesn't fit between other things (1 in 16).
const RESERVE: u64 = 16;

/// Of what a heap has free, tensors that come and go take so much at most, in eighths. They leave
/// holes that the next ones don't fit in: SD 1.5's heap grew by 1.45 times of what a picture of
/// 512x512 had in use when that was decoded whole (972 MB for 677).
const WORKED_IN: u64 = 5;

/// A process that holds more than this is worth starting anew for another model: WebAssembly's memory
/// never shrinks, and a GPU's pools keep their pages (512 MiB).
const WORTH_A_RESTART: u64 = 512 << 20;

/// What a device has for a model.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Offer {
    /// Bytes in all; None: nobody tells. WebGPU doesn't, and a process of 64 bits has more than it
    /// could use.
    pub total: Option<u64>,
    /// Bytes of that which are in use.
    pub taken: u64,
    /// Bytes of the largest buffer; None: as large as there is memory for.
    pub buffer: Option<u64>,
}

impl Offer {
    /// Bytes that can still be taken.
    pub fn free(&self) -> Option<u64> {
        self.total.map(|total| (total - total / RESERVE).saturating_sub(self.taken))
    }

    /// Bytes of that for tensors that come and go: those of a picture, or of a run's passes.
    pub fn workspace(&self) -> Option<u64> {
        self.free().map(|free| free / 8 * WORKED_IN)
    }

    /// Whether so many bytes more fit, and stay.
    pub fn has_room(&self, bytes: u64) -> bool {
        self.free().is_none_or(|free| bytes <= free)
    }

    /// The same with other bytes in use.
    pub fn with_taken(self, taken: u64) -> Self {
        Self { taken, ..self }
    }
}

/// Whether a process that has reserved so many bytes is better started anew for another model.
pub fn is_worth_a_restart(reserved: u64) -> bool {
    reserved > WORTH_A_RESTART
}

/// Bytes that a model's weights take, by how they are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Sizes {
    /// As f32.
    pub f32: u64,
    /// In halves.
    pub f16: u64,
    /// In 8-bit blocks.
    pub q8: u64,
}

impl Sizes {
    /// Of a checkpoint's weights, by names and shapes: the most that are there at once. Of text encoders
    /// that come and go (SDXL's) only the largest counts.
    pub fn of(checkpoint: &Checkpoint) -> Self {
        let of = |storage| {
            let all = checkpoint.bytes_as(storage);
            let [texts, largest] = checkpoint.text_encoder_bytes_as(storage);
            if come_and_go(checkpoint) { all - texts + largest } else { all }
        };
        let [f32, f16, q8] = [Storage::F32, Storage::F16, Storage::Q8].map(of);
        Self { f32, f16, q8 }
    }

    /// Of one way.
    pub fn get(&self, storage: Storage) -> u64 {
        match storage {
            Storage::F32 => self.f32,
            Storage::F16 => self.f16,
            Storage::Q8 => self.q8,
        }
    }

    /// Whether they are kept in halves where that can be chosen.
    pub fn are_large(&self) -> bool {
        self.f32 > LARGE_MODEL
    }
}

/// How a model's weights are to be kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chosen {
    /// How.
    pub storage: Storage,
    /// In a sentence, for people.
    pub words: String,
}

/// Chooses how a model's weights are kept, as `wanted` if that is said: the most exact way that
/// leaves room for a picture of the model's own size, which takes `picture` bytes. Large models are
/// kept in halves at most. `narrow`: whether the device takes halves and 8-bit blocks at all.
///
/// # Errors
/// When the weights alone don't fit, with what would.
pub fn choose(
    sizes: &Sizes,
    picture: u64,
    offer: &Offer,
    narrow: bool,
    wanted: Option<Storage>,
) -> Result<Chosen> {
    let ways: &[Storage] = match (wanted, narrow, sizes.are_large()) {
        (Some(Storage::F32), ..) | (None, false, _) => &[Storage::F32],
        (Some(_), false, _) => {
            let problem = "can't be f16 or q8 on this device";
            return Err(Error::setting("weights", problem, "Use f32, or switch kernels on"));
        }
        (Some(Storage::F16), ..) => &[Storage::F16],
        (Some(Storage::Q8), ..) => &[Storage::Q8],
        (None, true, true) => &[Storage::F16, Storage::Q8],
        (None, true, false) => &[Storage::F32, Storage::F16, Storage::Q8],
    };
    let fits = |way: &&Storage| offer.has_room(sizes.get(**way));
    let leaves_room = |way: &&Storage| {
        let left = offer.with_taken(offer.taken + sizes.get(**way)).workspace();
        fits(way) && left.is_none_or(|left| picture <= left)
    };
    let comfortable = ways.iter().find(leaves_room);
    let found = comfortable.or_else(|| ways.iter().rfind(fits));
    let Some(&storage) = found else { return Err(refusal(sizes, offer, narrow)) };
    Ok(Chosen { storage, words: words(sizes, storage, offer, comfortable.is_some()) })
}

fn words(sizes: &Sizes, storage: Storage, offer: &Offer, comfortable: bool) -> String {
    let ways = [Storage::F32, Storage::F16, Storage::Q8];
    let others = ways.into_iter().filter(|&way| way != storage);
    let others = others.map(|way| format!("{} {}", gigabytes(sizes.get(way)), kept(way)));
    let others = others.collect::<Vec<_>>().join(", ");
    let room = match offer.free() {
        Some(free) => format!("there is room for {}", gigabytes(free)),
        None => "how much room there is, this device doesn't tell".into(),
    };
    let tight = match comfortable {
        true => "",
        false => "; what is left is too little for a picture of the model's own size",
    };
    format!(
        "Weights take {} {} ({others}); {room}{tight}",
        gigabytes(sizes.get(storage)),
        kept(storage)
    )
}

fn refusal(sizes: &Sizes, offer: &Offer, narrow: bool) -> Error {
    let ways: &[Storage] =
        if narrow { &[Storage::F32, Storage::F16, Storage::Q8] } else { &[Storage::F32] };
    let all = ways.iter().map(|&way| format!("{} {}", gigabytes(sizes.get(way)), kept(way)));
    let all = all.collect::<Vec<_>>().join(", ");
    let free = offer.free().unwrap_or(0);
    let fits = ways.iter().find(|&&way| offer.has_room(sizes.get(way)));
    let remedy = match fits {
        Some(&way) => format!("Load it with its weights {}", kept(way)),
        None => "Use a smaller model, or a device with more memory".into(),
    };
    Error::memory(
        "memory",
        format!("this model's weights take {all}, and there is room for {}", gigabytes(free)),
        remedy,
    )
}

/// How weights are kept, as the end of a sentence.
pub fn kept(storage: Storage) -> &'static str {
    match storage {
        Storage::F32 => "in full (f32)",
        Storage::F16 => "in halves (f16)",
        Storage::Q8 => "in 8 bits",
    }
}

/// Bytes for people.
pub fn gigabytes(bytes: u64) -> String {
    let bytes = bytes as f64;
    if bytes < 1e9 { format!("{:.0} MB", bytes / 1e6) } else { format!("{:.2} GB", bytes / 1e9) }
}

/// A number of bytes as people write it: `1500000000`, `1500MB`, `1.5 GB`.
///
/// # Errors
/// When it is none.
pub fn parse_bytes(text: &str) -> Result<u64> {
    let text = text.trim();
    let digits = text.trim_end_matches(|letter: char| letter.is_ascii_alphabetic()).trim_end();
    let unit = match text[digits.len()..].trim().to_ascii_lowercase().as_str() {
        "" | "b" => 1.0,
        "mb" | "m" => 1e6,
        "gb" | "g" => 1e9,
        "mib" => f64::from(1 << 20),
        "gib" => f64::from(1 << 30),
        _ => f64::NAN,
    };
    let bytes = digits.parse::<f64>().map_or(f64::NAN, |number| number * unit);
    // Above 2^53 a number of bytes is a mistake, and f64 is no longer exact.
    if (1.0..9e15).contains(&bytes) {
        return Ok(bytes as u64);
    }
    Err(Error::setting(
        "memory",
        format!("{text} is no number of bytes"),
        "Write it like 3000000000, 3000MB or 3GB",
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    const GB: u64 = 1_000_000_000;
    const SD15: Sizes = Sizes { f32: 4_265_000_000, f16: 2_135_000_000, q8: 1_210_000_000 };

    fn heap(total: u64) -> Offer {
        Offer { total: Some(total), ..Offer::default() }
    }

    fn chosen(offer: Offer, wanted: Option<Storage>) -> Result<Storage> {
        choose(&SD15, GB, &offer, true, wanted).map(|chosen| chosen.storage)
    }

    #[test]
    fn the_most_exact_way_that_leaves_room_for_a_picture() {
        assert_eq!(chosen(heap(1 << 32), None), Ok(Storage::F16));
        // Nobody tells what a GPU has: halves, as for any large model.
        assert_eq!(chosen(Offer::default(), None), Ok(Storage::F16));
        assert_eq!(chosen(Offer::default(), Some(Storage::F32)), Ok(Storage::F32));
        assert_eq!(chosen(heap(3 * GB), None), Ok(Storage::Q8));
        // Weights in 8 bits alone: better than nothing, and said.
        let tight = choose(&SD15, GB, &heap(2 * GB), true, None).unwrap();
        assert_eq!(tight.storage, Storage::Q8);
        assert!(tight.words.ends_with("too little for a picture of the model's own size"));
        let small = Sizes { f32: 100 << 20, f16: 50 << 20, q8: 30 << 20 };
        let small = choose(&small, GB, &heap(1 << 32), true, None).unwrap();
        assert_eq!(small.storage, Storage::F32);
        assert_eq!(
            small.words,
            "Weights take 105 MB in full (f32) (52 MB in halves (f16), 31 MB in 8 bits); \
             there is room for 4.03 GB"
        );
    }

    #[test]
    fn what_cannot_fit_is_refused_with_what_would() {
        let error = chosen(heap(1 << 32), Some(Storage::F32)).unwrap_err().to_string();
        assert!(error.contains("4.26 GB in full (f32), 2.13 GB in halves (f16)"), "{error}");
        assert!(error.ends_with("Load it with its weights in halves (f16)"), "{error}");
        let error = chosen(heap(GB), None).unwrap_err().to_string();
        assert!(error.contains("there is room for 938 MB. Use a smaller model"), "{error}");
        let taken = heap(1 << 32).with_taken(3 * GB);
        assert_eq!(taken.free(), Some((1 << 32) / 16 * 15 - 3 * GB));
        assert!(chosen(taken, None).is_err());
        let error = choose(&SD15, 0, &heap(1 << 32), false, Some(Storage::Q8)).unwrap_err();
        assert!(error.to_string().contains("can't be f16 or q8"), "{error}");
    }

    #[test]
    fn what_comes_and_goes_gets_less_than_what_is_free() {
        // SD 1.5 in halves, and its decoder's plans for 768x768: whole, and in buffers of 128 MiB.
        let loaded = heap(1 << 32).with_taken(SD15.f16);
        let there = loaded.workspace().unwrap();
        assert!(loaded.has_room(1440 << 20) && there < 1440 << 20, "{there}");
        assert!(there > 1011 << 20, "{there}");
        assert_eq!(Offer::default().workspace(), None);
        // Weights stay: those that leave no such room are kept in fewer bits.
        let choice = |picture| choose(&SD15, picture, &heap(1 << 32), true, None).unwrap().storage;
        assert_eq!([choice(1011 << 20), choice(1440 << 20)], [Storage::F16, Storage::Q8]);
    }

    #[test]
    fn bytes_are_read_as_people_write_them() {
        for (text, bytes) in [("1500000000", 1_500_000_000), (" 1.5 GB", 1_500_000_000)] {
            assert_eq!(parse_bytes(text), Ok(bytes));
        }
        assert_eq!(parse_bytes("512MiB"), Ok(512 << 20));
        for text in ["", "much", "-1", "0", "1 TB", "nan", "inf", "1e300"] {
            assert!(parse_bytes(text).is_err(), "{text}");
        }
    }
}
