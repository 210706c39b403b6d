//! The layers of Stable Diffusion 1 and 2, for files that come without their model: from the widths of
//! their configurations. `tests/adapter_tools.rs` holds them against the list of a real SD 1.5.

use crate::adapters::file::{Part, Site};

/// Channels of each level, from the outermost inwards.
const CHANNELS: [usize; 4] = [320, 640, 1280, 1280];
const TIME: usize = 1280;

/// Every layer; `second`: of Stable Diffusion 2.
pub(super) fn sites(second: bool) -> Vec<Site> {
    let mut unet = UNet { sites: Vec::new(), context: if second { 1024 } else { 768 }, second };
    unet.all();
    let (width, layers) = if second { (1024, 23) } else { (768, 12) };
    [unet.sites, text_encoder(width, layers)].concat()
}

struct UNet {
    sites: Vec<Site>,
    context: usize,
    /// Its transformers' first and last layers are linear.
    second: bool,
}

impl UNet {
    fn add(&mut self, path: String, shape: &[usize]) {
        self.sites.push(Site { part: Part::UNet, path, shape: shape.to_vec() });
    }

    fn all(&mut self) {
        let [first, .., last] = CHANNELS;
        self.add("conv_in".into(), &[first, 4, 3, 3]);
        self.add("conv_norm_out".into(), &[first]);
        self.add("conv_out".into(), &[4, first, 3, 3]);
        self.add("time_embedding.linear_1".into(), &[TIME, first]);
        self.add("time_embedding.linear_2".into(), &[TIME, TIME]);
        let mut skips = vec![first];
        let mut wide = first;
        for (level, channels) in CHANNELS.into_iter().enumerate() {
            let block = format!("down_blocks.{level}");
            for layer in 0..2 {
                self.resnet(&format!("{block}.resnets.{layer}"), wide, channels);
                wide = channels;
                if level < 3 {
                    self.transformer(&format!("{block}.attentions.{layer}"), channels);
                }
                skips.push(channels);
            }
            if level < 3 {
                self.add(format!("{block}.downsamplers.0.conv"), &[channels, channels, 3, 3]);
                skips.push(channels);
            }
        }
        self.transformer("mid_block.attentions.0", last);
        for layer in 0..2 {
            self.resnet(&format!("mid_block.resnets.{layer}"), last, last);
        }
        for (level, channels) in CHANNELS.into_iter().rev().enumerate() {
            let block = format!("up_blocks.{level}");
            for layer in 0..3 {
                let skip = skips.pop().unwrap_or_default();
                self.resnet(&format!("{block}.resnets.{layer}"), wide + skip, channels);
                wide = channels;
                if level > 0 {
                    self.transformer(&format!("{block}.attentions.{layer}"), channels);
                }
            }
            if level < 3 {
                self.add(format!("{block}.upsamplers.0.conv"), &[channels, channels, 3, 3]);
            }
        }
    }

    fn resnet(&mut self, path: &str, input: usize, output: usize) {
        self.add(format!("{path}.norm1"), &[input]);
        self.add(format!("{path}.conv1"), &[output, input, 3, 3]);
        self.add(format!("{path}.time_emb_proj"), &[output, TIME]);
        self.add(format!("{path}.norm2"), &[output]);
        self.add(format!("{path}.conv2"), &[output, output, 3, 3]);
        if input != output {
            self.add(format!("{path}.conv_shortcut"), &[output, input, 1, 1]);
        }
    }

    fn transformer(&mut self, path: &str, c: usize) {
        let point = if self.second { vec![c, c] } else { vec![c, c, 1, 1] };
        self.add(format!("{path}.norm"), &[c]);
        self.add(format!("{path}.proj_in"), &point);
        self.add(format!("{path}.proj_out"), &point);
        let block = format!("{path}.transformer_blocks.0");
        for norm in ["norm1", "norm2", "norm3"] {
            self.add(format!("{block}.{norm}"), &[c]);
        }
        for (attention, context) in [("attn1", c), ("attn2", self.context)] {
            self.add(format!("{block}.{attention}.to_q"), &[c, c]);
            self.add(format!("{block}.{attention}.to_k"), &[c, context]);
            self.add(format!("{block}.{attention}.to_v"), &[c, context]);
            self.add(format!("{block}.{attention}.to_out.0"), &[c, c]);
        }
        self.add(format!("{block}.ff.net.0.proj"), &[8 * c, c]);
        self.add(format!("{block}.ff.net.2"), &[c, 4 * c]);
    }
}

fn text_encoder(width: usize, layers: usize) -> Vec<Site> {
    let mut sites = Vec::new();
    let mut add = |path: String, shape: &[usize]| {
        sites.push(Site { part: Part::TextEncoder, path, shape: shape.to_vec() });
    };
    for layer in 0..layers {
        let layer = format!("text_model.encoder.layers.{layer}");
        for name in ["q_proj", "k_proj", "v_proj", "out_proj"] {
            add(format!("{layer}.self_attn.{name}"), &[width, width]);
        }
        add(format!("{layer}.mlp.fc1"), &[4 * width, width]);
        add(format!("{layer}.mlp.fc2"), &[width, 4 * width]);
        add(format!("{layer}.layer_norm1"), &[width]);
        add(format!("{layer}.layer_norm2"), &[width]);
    }
    add("text_model.final_layer_norm".into(), &[width]);
    sites
}
