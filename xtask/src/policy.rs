//! What the page and all that it starts may load and whom they may ask: their own origin, and nobody else.
//! `index.html` and `bench.html` say it themselves, for hosts that send no headers (`tests/tidy.rs` compares
//! them with this). The service worker and `cargo xtask serve` send it as a header with every file.

/// What each document may do. Workers inherit it from theirs (`web/workers.js`).
macro_rules! own_origin {
    ($more:literal) => {
        concat!(
            "default-src 'none'; script-src 'self' 'wasm-unsafe-eval'; style-src 'self'; img-src 'self' blob: data:; \
             connect-src 'self'; worker-src 'self' blob:; frame-src 'self'; base-uri 'none'; object-src 'none'; \
             form-action 'none'",
            $more
        )
    };
}

/// index.html's: besides, it can be installed, and no text becomes markup or a script's address but by
/// `web/workers.js`.
pub const PAGE: &str = own_origin!(
    "; manifest-src 'self'; require-trusted-types-for 'script'; trusted-types lorakeet"
);

/// bench.html's. The other side of a race starts workers in its own way.
pub const BENCH: &str = own_origin!("");

/// The frame that downloads writes its own: it may ask the hosts that a person chose.
const FRAME: &str = "web/download/frame.html";

/// With the first two a document and its workers are cross-origin isolated.
const ALWAYS: [(&str, &str); 6] = [
    ("Cross-Origin-Opener-Policy", "same-origin"),
    ("Cross-Origin-Embedder-Policy", "require-corp"),
    ("Cross-Origin-Resource-Policy", "same-origin"),
    ("X-Content-Type-Options", "nosniff"),
    ("Referrer-Policy", "no-referrer"),
    (
        "Permissions-Policy",
        "camera=(), display-capture=(), geolocation=(), microphone=(), midi=(), payment=(), usb=()",
    ),
];

/// Files that have headers of their own; every other one has the page's.
pub const SPECIAL: [&str; 2] = ["bench.html", FRAME];

/// The headers of a file, whose path begins at the page's folder.
pub fn headers(path: &str) -> Vec<(&'static str, String)> {
    let policy = match path {
        FRAME => "frame-ancestors 'self'".to_string(),
        "bench.html" => format!("{BENCH}; frame-ancestors 'none'"),
        _ => format!("{PAGE}; frame-ancestors 'none'"),
    };
    let always = ALWAYS.map(|(name, value)| (name, value.to_string()));
    always.into_iter().chain([("Content-Security-Policy", policy)]).collect()
}
