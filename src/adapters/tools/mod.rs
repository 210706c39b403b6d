//! What can be done with adapters' files: looked into, written in another tool's names, made smaller,
//! merged, taken out of two models and put into one. Files come in as [`Source`](crate::weights::Source)s
//! and go out as bytes, so that a page can use all this as the command line does.

pub mod bake;
pub mod change;
pub mod extract;
pub mod inspect;
pub mod merge;
pub mod opened;
pub mod resize;
pub mod sites;
pub mod standard;

pub use bake::{Baked, bake};
pub use change::Weighted;
pub use extract::{Extraction, extract};
pub use inspect::{Inspection, inspect};
pub use merge::{Merged, merge};
pub use opened::{Opened, Origin};
pub use resize::{Goal, Resized, resize};
pub use sites::Layers;
