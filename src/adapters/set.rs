//! The adapters attached to a model. One place decides how each runs: LoRA and LoCon unmerged, the
//! kinds that change the weight from its base at every pass. Either way a strength is one number and
//! nothing is uploaded when it moves.

use burn::tensor::{Device, Tensor, TensorData};

use super::spread::{self, Spread};
use super::{AdapterFile, AdapterModule, CoverageReport, HostTensor, Part};
use crate::error::{Error, Result};
use crate::keys::ldm::UNetLayout;
use crate::layers::{Branch, Factors, Site, Strength};

/// An adapter that is attached.
#[derive(Debug)]
pub struct Attached {
    /// Its number for as long as it is attached.
    pub id: u64,
    /// Its file's name.
    pub name: String,
    /// What its file holds and how much of it is used.
    pub report: CoverageReport,
    enabled: bool,
    /// Out of the arithmetic until its strengths are set again, or all are back.
    muted: bool,
    wanted: [f32; 2],
    spread: Spread,
    places: Vec<Place>,
}

/// A part of a model in which an adapter has one strength.
#[derive(Debug)]
struct Place {
    part: Part,
    /// The UNet's block, or `BASE`; none: in no block.
    block: Option<String>,
    strength: Strength,
}

impl Attached {
    /// Whether it is switched on.
    pub fn enabled(&self) -> bool {
        self.enabled
    }

    /// The strength it has for one part when it is switched on.
    pub fn strength(&self, part: Part) -> f32 {
        self.wanted[index(part)]
    }

    /// How its strength is spread over blocks and steps.
    pub fn spread(&self) -> &Spread {
        &self.spread
    }

    /// The blocks that it has modules in, as [`Spread::blocks`] names them, in order.
    pub fn blocks(&self) -> Vec<&str> {
        let mut blocks: Vec<_> =
            self.places.iter().filter_map(|place| place.block.as_deref()).collect();
        // BASE, IN, M, OUT: the order of the alphabet is that of the model.
        blocks.sort_unstable();
        // Two text encoders are one.
        blocks.dedup();
        blocks
    }

    /// Puts the strengths in force where this part of a picture's steps is done.
    fn apply(&self, done: Option<f32>) {
        for place in &self.places {
            let along = match (place.part, done) {
                (Part::UNet, Some(done)) => self.spread.at(done),
                _ => 1.0,
            };
            let block = self.spread.of_block(place.block.as_deref());
            let on = self.enabled && !self.muted;
            place.strength.set(if on { self.strength(place.part) * block * along } else { 0.0 });
        }
    }
}

fn index(part: Part) -> usize {
    match part {
        Part::UNet => 0,
        Part::TextEncoder | Part::TextEncoder2 => 1,
    }
}

/// Every adapter attached to one model, in the order in which they came.
#[derive(Debug, Default)]
pub struct AdapterSet {
    adapters: Vec<Attached>,
    next: u64,
    /// The part of a picture's steps that is done, while one is drawn.
    done: Option<f32>,
}

impl AdapterSet {
    /// Strengths that are accepted, for each part.
    pub const STRENGTHS: std::ops::RangeInclusive<f32> = -10.0..=10.0;

    /// The number that the next one gets.
    pub fn next_id(&self) -> u64 {
        self.next
    }

    /// Those attached.
    pub fn iter(&self) -> impl Iterator<Item = &Attached> {
        self.adapters.iter()
    }

    /// Uploads an adapter's factors and attaches them to their layers, at strength 1: to the sites of UNet,
    /// text encoder and second text encoder. `layout` tells the UNet's blocks.
    ///
    /// # Errors
    /// When a factor has another shape than its layer needs; nothing is attached then.
    pub fn attach(
        &mut self,
        file: AdapterFile,
        [unet, text_encoder, second]: [&[Site]; 3],
        layout: Option<&UNetLayout>,
        device: &Device,
    ) -> Result<u64> {
        let id = self.next;
        let mut places: Vec<Place> = Vec::new();
        let mut branches = Vec::with_capacity(file.modules.len());
        for module in &file.modules {
            let sites = match module.part {
                Part::UNet => unet,
                Part::TextEncoder => text_encoder,
                Part::TextEncoder2 => second,
            };
            let site = sites.iter().find(|site| site.path == module.path).ok_or_else(|| {
                Error::key(
                    &file.name,
                    &module.path,
                    "names a layer that the model lacks",
                    "Use an adapter made for this model",
                )
            })?;
            let factors = upload(&file.name, module, site, device)?;
            let block = match module.part {
                Part::UNet => layout.and_then(|layout| spread::block(&module.path, layout)),
                Part::TextEncoder | Part::TextEncoder2 => Some(spread::BASE.into()),
            };
            let strength = strength_at(&mut places, module.part, block);
            let scale = module.scale;
            let branch = Branch { adapter: id, strength, scale, factors, dropout: None };
            branches.push((site, branch));
        }
        for (site, branch) in branches {
            site.slot.attach(branch);
        }
        self.next += 1;
        self.adapters.push(Attached {
            id,
            name: file.name,
            report: file.report,
            enabled: true,
            muted: false,
            wanted: [1.0; 2],
            spread: Spread::default(),
            places,
        });
        Ok(id)
    }

    /// Sets an adapter's switch and strengths: numbers change, nothing else. One that was muted acts again.
    ///
    /// # Errors
    /// When there is no such adapter or a strength is out of [`Self::STRENGTHS`].
    pub fn set(&mut self, id: u64, enabled: bool, unet: f32, text_encoder: f32) -> Result<()> {
        for strength in [unet, text_encoder] {
            if !Self::STRENGTHS.contains(&strength) {
                return Err(Error::setting(
                    "strength",
                    format!("{strength} is not between -10 and 10"),
                    "Choose a strength from -10 to 10",
                ));
            }
        }
        let done = self.done;
        let adapter = self.find(id)?;
        (adapter.enabled, adapter.muted) = (enabled, false);
        adapter.wanted = [unet, text_encoder];
        adapter.apply(done);
        Ok(())
    }

    /// Spreads an adapter's strength over blocks and steps.
    ///
    /// # Errors
    /// When there is no such adapter or a factor is out of range; nothing changes then.
    pub fn spread(&mut self, id: u64, spread: Spread) -> Result<()> {
        spread.check()?;
        let done = self.done;
        let adapter = self.find(id)?;
        adapter.spread = spread;
        adapter.apply(done);
        Ok(())
    }

    /// Says how far a picture is, 0 to 1 of its steps; none: none is drawn. Strengths follow their curves.
    pub fn at(&mut self, done: Option<f32>) {
        self.done = done;
        for adapter in self.adapters.iter().filter(|adapter| !adapter.spread.curve.is_empty()) {
            adapter.apply(done);
        }
    }

    fn find(&mut self, id: u64) -> Result<&mut Attached> {
        self.adapters.iter_mut().find(|adapter| adapter.id == id).ok_or_else(|| unknown(id))
    }

    /// Takes every adapter out of the arithmetic without forgetting its strengths, or puts all back.
    pub fn mute(&mut self, mute: bool) {
        for adapter in &mut self.adapters {
            adapter.muted = mute;
            adapter.apply(self.done);
        }
    }

    /// Takes an adapter off; nothing of it stays in the model.
    ///
    /// # Errors
    /// When there is no such adapter.
    pub fn detach(&mut self, id: u64, sites: &[&[Site]]) -> Result<()> {
        let place =
            self.adapters.iter().position(|adapter| adapter.id == id).ok_or_else(|| unknown(id))?;
        self.adapters.remove(place);
        for site in sites.iter().copied().flatten() {
            site.slot.detach(id);
        }
        Ok(())
    }
}

/// The strength of a place, which is made where it is the first of its kind.
fn strength_at(places: &mut Vec<Place>, part: Part, block: Option<String>) -> Strength {
    let known = places.iter().find(|place| place.part == part && place.block == block);
    if let Some(place) = known {
        return place.strength.clone();
    }
    let strength = Strength::new(1.0);
    places.push(Place { part, block, strength: strength.clone() });
    strength
}

fn unknown(id: u64) -> Error {
    Error::setting("adapter", format!("there is no adapter {id}"), "Add the adapter's file again")
}

fn upload(file: &str, module: &AdapterModule, site: &Site, device: &Device) -> Result<Factors> {
    // Everything a matrix: a layer's own shape tells what is a kernel.
    let matrix = |host: &HostTensor| {
        let HostTensor { shape, data } = host.flattened();
        Tensor::from_data(TensorData::new(data, [shape[0], shape[1]]), device)
    };
    module.factors.map(matrix).action(&site.shape).ok_or_else(|| {
        let shapes: Vec<_> = module.factors.tensors().map(|tensor| &tensor.shape).collect();
        let problem = format!("factors of {shapes:?} don't fit the layer's {:?}", site.shape);
        Error::key(file, &module.path, problem, "Use an adapter made for this model")
    })
}
