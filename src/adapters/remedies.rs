//! What is said of files that can't be used, in the same words everywhere.

pub(super) const OTHER_MODEL: &str = "Use an adapter made for the model that is loaded";
pub(super) const READABLE: &str = "Use a LoRA, LoCon, DoRA, LoHa or LoKr file";
pub(super) const UNSUPPORTED: &str = "isn't supported yet";
pub(super) const BROKEN: &str = "The adapter's file is broken: get another copy";
