//! What one pass computed, for a second pass over the same layers: block checkpointing runs each
//! block twice, once without a graph. What a convolution of size 3 x 3 and attention give is small
//! beside a block's graph and takes most of a pass's time, so that it is kept rather than computed
//! again (Korthikanti et al., "Reducing Activation Recomputation in Large Transformer Models", 2022,
//! 5: selective recomputation).

use std::cell::RefCell;
use std::collections::VecDeque;

use burn::backend::DispatchTensor;

/// What an operation gave.
#[derive(Debug)]
enum Known {
    Convolution(Box<DispatchTensor>),
    /// The output, and what the backend wants to have for the gradients.
    Attention(Box<[DispatchTensor; 2]>),
}

/// What a pass gave on its way, in order.
#[derive(Debug, Default)]
pub struct Kept(VecDeque<Known>);

#[derive(Debug, Default)]
enum Tape {
    #[default]
    Off,
    Keep(Kept),
    Recall(Kept),
}

thread_local! {
    static TAPE: RefCell<Tape> = const { RefCell::new(Tape::Off) };
}

/// Ends what was begun, even by a panic.
struct Running;

impl Running {
    fn start(tape: Tape) -> Self {
        TAPE.set(tape);
        Self
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        TAPE.take();
    }
}

/// Runs `pass`, whose tensors have no graph, and keeps what [`recall`] can use.
pub fn keep<T>(pass: impl FnOnce() -> T) -> (T, Kept) {
    let _running = Running::start(Tape::Keep(Kept::default()));
    let result = pass();
    match TAPE.take() {
        Tape::Keep(kept) => (result, kept),
        _ => unreachable!("passes don't nest"),
    }
}

/// Runs a pass again, on the same values, with a graph: what was kept isn't computed, and what has to
/// be known for its gradients is noted as ever.
pub fn recall<T>(kept: Kept, pass: impl FnOnce() -> T) -> T {
    let _running = Running::start(Tape::Recall(kept));
    pass()
}

/// Whether a pass is being kept.
pub(super) fn keeps() -> bool {
    TAPE.with_borrow(|tape| matches!(tape, Tape::Keep(_)))
}

/// What a convolution gives for `inputs`: by `known` from the result of the pass before, or by
/// `compute`.
pub(super) fn convolution<T>(
    inputs: T,
    compute: impl FnOnce(T) -> DispatchTensor,
    known: impl FnOnce(T, DispatchTensor) -> DispatchTensor,
) -> DispatchTensor {
    match next() {
        None => {
            let y = compute(inputs);
            note(|| Known::Convolution(Box::new(y.clone())));
            y
        }
        Some(Known::Convolution(y)) => known(inputs, *y),
        Some(other) => unreachable!("the second pass isn't the first one's: {other:?}"),
    }
}

/// The same of attention.
pub(super) fn attention<T>(
    inputs: T,
    compute: impl FnOnce(T) -> (DispatchTensor, DispatchTensor),
    known: impl FnOnce(T, DispatchTensor, DispatchTensor) -> DispatchTensor,
) -> DispatchTensor {
    match next() {
        None => {
            let (output, kept) = compute(inputs);
            note(|| Known::Attention(Box::new([output.clone(), kept])));
            output
        }
        Some(Known::Attention(both)) => {
            let [output, kept] = *both;
            known(inputs, output, kept)
        }
        Some(other) => unreachable!("the second pass isn't the first one's: {other:?}"),
    }
}

fn next() -> Option<Known> {
    TAPE.with_borrow_mut(|tape| match tape {
        Tape::Recall(kept) => kept.0.pop_front(),
        _ => None,
    })
}

fn note(known: impl FnOnce() -> Known) {
    TAPE.with_borrow_mut(|tape| {
        if let Tape::Keep(kept) = tape {
            kept.0.push_back(known());
        }
    });
}
