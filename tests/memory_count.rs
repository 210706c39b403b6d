//! How memory is counted. The count is the whole process's, and other tests of one process free what they had
//! when they are done: so this is the only test of its process.

#[path = "support/counting.rs"]
mod counting;

/// Counting within a count hides nothing from it.
#[test]
fn peaks_within_peaks_are_counted() {
    assert!(counting::is_counted());
    let before = counting::start();
    drop(vec![1u8; 5 << 20]);
    let (kept, inner) = counting::peak_of(|| {
        drop(vec![1u8; 3 << 20]);
        vec![1u8; 1 << 20]
    });
    let outer = counting::peak_above(before);
    // The test harness's own thread takes and frees a little memory at the same time.
    let near = |bytes: usize, mebi: usize| bytes.abs_diff(mebi << 20) < 1 << 16;
    assert!(near(inner, 3) && near(outer, 5), "{inner} {outer}");
    assert_eq!(kept.len(), 1 << 20);
}
