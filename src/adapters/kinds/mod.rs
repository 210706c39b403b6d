//! The kinds of adapters, a file for each: how its tensors are called and read, what they do to a layer,
//! with the formula's source. What stands for a tensor is left open: one in host memory ([`HostTensor`]),
//! one on the device, or a place in the vector that is trained.
//!
//! A new kind is a file here and a line in the table below.

pub mod host;
pub mod kind;
pub mod role;
mod square;
pub mod tensors;

use burn::tensor::Tensor;

use crate::error::Result;
use crate::layers;
use crate::weights::Index;
use host::Piece;
use tensors::{Found, Tensors};

pub use host::HostTensor;
pub use kind::Kind;
pub use role::Role;

/// Makes all that has to know every kind of the table of kinds. What each file has: `KINDS`, `FAMILY`,
/// `SCALED`, `NEEDS_BASE`, `PARAMETERS`, `SUFFIXES`, `belongs`, `read`, and its factors' `named`, `map`,
/// `kind`, `is_zero`, `written` and `action`.
macro_rules! kinds {
    ($($file:ident::$name:ident;)+) => {
        $(pub mod $file;)+
        $(pub use $file::$name;)+

        /// What a module is made of.
        #[derive(Debug, Clone, PartialEq)]
        #[allow(missing_docs, reason = "each is told by its file")]
        pub enum Factors<T> {
            $($name($name<T>),)+
        }

        impl<T> Factors<T> {
            /// Every tensor with its role, that next to the input first.
            pub fn named(&self) -> Vec<(Role, &T)> {
                match self {
                    $(Self::$name(factors) => factors.named(),)+
                }
            }

            /// The same of something else for every tensor.
            pub fn map<U>(&self, mut each: impl FnMut(&T) -> U) -> Factors<U> {
                match self {
                    $(Self::$name(factors) => Factors::$name(factors.map(&mut each)),)+
                }
            }

            /// Whether its change depends on the weight that it changes.
            pub fn needs_base(&self) -> bool {
                match self {
                    $(Self::$name(_) => $file::NEEDS_BASE,)+
                }
            }

            /// Whether alpha / rank is its scale, so that tools write an alpha beside it.
            pub fn is_scaled(&self) -> bool {
                match self {
                    $(Self::$name(_) => $file::SCALED,)+
                }
            }
        }

        impl HostFactors {
            /// Its kind, for people.
            pub fn kind(&self) -> Kind {
                match self {
                    $(Self::$name(factors) => factors.kind(),)+
                }
            }

            /// Its tensors as kohya's scripts and LyCORIS write them: what follows the module's name.
            ///
            /// # Errors
            /// Says why, where neither has a form for it.
            pub fn written(&self) -> std::result::Result<Vec<Piece>, &'static str> {
                match self {
                    $(Self::$name(factors) => factors.written(),)+
                }
            }

            /// Whether what it adds is zero whatever the layer: then it changes nothing, or (DoRA) was
            /// never trained.
            pub fn is_zero(&self) -> bool {
                match self {
                    $(Self::$name(factors) => factors.is_zero(),)+
                }
            }
        }

        impl Factors<Tensor<2>> {
            /// What it does to a layer whose weight has this shape; none where a factor doesn't fit it.
            /// Every tensor is a matrix here: its first dimension, and the rest.
            pub fn action(self, shape: &[usize]) -> Option<layers::Factors> {
                match self {
                    $(Self::$name(factors) => factors.action(shape),)+
                }
            }
        }

        /// Roles that are called the same in every naming.
        const PARAMETERS: &[&[Role]] = &[$($file::PARAMETERS,)+];
        /// Other endings of keys.
        const SUFFIXES: &[&[role::Suffix]] = &[&role::SUFFIXES, $($file::SUFFIXES,)+];

        /// Families that these roles belong to, of which a layer may have one alone, each with a role.
        pub fn families(roles: &[Role]) -> Vec<(&'static str, Role)> {
            let mut found = Vec::new();
            for &role in roles {
                let one = |asked: Role| asked == role;
                $(if let (Some(family), true) = ($file::FAMILY, $file::belongs(&one)) {
                    found.push((family, role));
                })+
            }
            found.dedup();
            found
        }

        /// Reads every kind that a layer's tensors belong to, each with whether alpha / rank is its scale.
        ///
        /// # Errors
        /// Names the key: a factor missing, misshapen or not finite.
        pub fn read(tensors: &Tensors) -> Result<Vec<Found<HostFactors>>> {
            let has = |role: Role| tensors.has(role);
            let mut found = Vec::new();
            $(if $file::belongs(&has) {
                found.push($file::read(tensors)?.map(Factors::$name));
            })+
            Ok(found)
        }

        /// All there are, in the order in which they are named.
        const ALL: &[&[Kind]] = &[$($file::KINDS,)+];
    };
}

kinds! {
    low_rank::LowRank;
    dora::DoRA;
    loha::LoHa;
    lokr::LoKr;
    decomposed::Decomposed;
    glora::GLoRA;
    ia3::IA3;
    oft::Oft;
    boft::Boft;
    difference::Difference;
}

pub use lokr::KroneckerFactor;

/// Those of a module in host memory.
pub type HostFactors = Factors<HostTensor>;

impl HostFactors {
    /// Every tensor.
    pub fn tensors(&self) -> impl Iterator<Item = &HostTensor> {
        self.named().into_iter().map(|(_, tensor)| tensor)
    }

    /// Whether the kernel of a convolution that is larger than 1x1 is part of it.
    pub fn has_kernel(&self) -> bool {
        self.tensors().any(HostTensor::has_kernel)
    }
}

impl Kind {
    /// What all these together are called: each once, in the table's order, and LoCon for LoRA where any
    /// has a kernel. A file may hold several, as LyCORIS' presets make them.
    pub fn all_of(kinds: impl Iterator<Item = Self>) -> Vec<Self> {
        let found: Vec<Self> = kinds.collect();
        let all = ALL.iter().copied().flatten().copied();
        let mut kinds: Vec<Self> = all.filter(|kind| found.contains(kind)).collect();
        if kinds.contains(&low_rank::LOCON) {
            kinds.retain(|kind| *kind != low_rank::LORA);
        }
        kinds
    }
}

/// Whether a role is one of norms alone, or of other layers alone; none where it may be either.
pub fn is_of_norms(role: Role) -> Option<bool> {
    match role {
        difference::NORM_WEIGHT | difference::NORM_BIAS => Some(true),
        difference::WEIGHT | difference::BIAS | Role::ALPHA | Role::SCALE | Role::RESHAPE => None,
        _ => Some(false),
    }
}

/// Splits a key into its module's name and the tensor's role in it. `index`: the file's, since some names
/// mean something only beside others.
pub fn split<'k>(index: &Index, key: &'k str) -> Option<(&'k str, Role)> {
    let suffix = SUFFIXES.iter().copied().flatten();
    let suffix = suffix.filter_map(|(suffix, role)| Some((key.strip_suffix(suffix)?, *role)));
    // The longest, where one ends with another.
    let suffix = suffix.min_by_key(|(module, _)| module.len());
    let found = parameter(key).or(suffix);
    let (module, mut role) = found.filter(|(module, _)| !module.is_empty())?;
    // BOFT's blocks are called as OFT's are.
    let staged = || index.tensors.get(key).is_some_and(|info| info.shape.len() == 4);
    if role == oft::BLOCKS && staged() {
        role = oft::STAGES;
    }
    let is_alone = || {
        let beside = format!("{module}.{}", ia3::ON_INPUT.label());
        role == ia3::WEIGHT && !index.tensors.contains_key(&beside)
    };
    (!is_alone()).then_some((module, role))
}

/// The module and role of a key whose last part, but for PEFT's endings, is a parameter's name.
fn parameter(key: &str) -> Option<(&str, Role)> {
    let key = key.strip_suffix(".weight").unwrap_or(key);
    let key =
        [".default", ".default_0"].iter().find_map(|end| key.strip_suffix(end)).unwrap_or(key);
    let (module, last) = key.rsplit_once('.')?;
    let mut roles = PARAMETERS.iter().copied().flatten();
    Some((module, *roles.find(|role| role.label() == last)?))
}
