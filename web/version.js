// The version of the page, as Cargo.toml has it (a test compares them).

export const VERSION = "0.1.0";
