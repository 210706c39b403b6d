//! From generated WGSL to a dispatch on burn's device.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::fmt::Debug;
use std::hash::Hash;

use burn::backend::TensorMetadata;
use burn::backend::wgpu::{CubeDim, CubeTensor, KernelSource, SourceKernel, SourceTemplate};
use burn::tensor::{DType, Shape};
use cubecl::CubeCount;
use cubecl::server::{Handle, KernelArguments};

use super::attention::Attention;
use super::conv::Conv;
use super::matmul::Matmul;
use super::norm::{Elementwise, Norm};
use super::pack::{Pack, Unpack};
use super::parts::{Part, parts};
use super::stored::Widen;
use super::weight_gradient::WeightGradient;

/// A shader: its constants, which are also the key of the compiled pipeline.
pub trait Program: Debug + Clone + Eq + Hash + Send + Sync + 'static {
    /// Its text, generated only when it is compiled.
    fn wgsl(&self) -> String;
    /// Invocations of a workgroup.
    fn workgroup(&self) -> [u32; 3];
}

#[derive(Debug)]
struct Wgsl<P>(P);

impl<P: Program> KernelSource for Wgsl<P> {
    fn source(&self) -> SourceTemplate {
        SourceTemplate::new(self.0.wgsl())
    }

    fn id(&self) -> cubecl::prelude::KernelId {
        cubecl::prelude::KernelId::new::<Self>().info(self.0.clone())
    }

    fn lang(&self) -> &'static str {
        "wgsl"
    }
}

/// The most sizes that are kept on the device. A model of one resolution has some hundred.
const MOST_SIZES: usize = 4096;

thread_local! {
    /// The same sizes come again at every step: uploaded once, they cost no transfer.
    static SIZES: RefCell<HashMap<Vec<u32>, Handle>> = RefCell::new(HashMap::new());
}

/// Bytes of results after which work is handed to the GPU, while tensors have buffers of their own.
const UNSUBMITTED: usize = 1 << 24;

thread_local! {
    /// Bytes of results since work was last handed over; none: that is left to cubecl, which counts
    /// tasks.
    static WAITING: Cell<Option<usize>> = const { Cell::new(None) };
}

/// From now on work is handed to the GPU after so many bytes of results, or as cubecl does it. A buffer
/// that is given back lives on until what reads it is submitted, so these bytes are what a pass takes
/// beside the tensors that it holds.
pub fn submit_by_bytes(on: bool) {
    WAITING.set(on.then_some(0));
}

fn submit_in_time(outputs: &[&CubeTensor]) {
    let Some(before) = WAITING.get() else { return };
    let bytes = |y: &&CubeTensor| y.shape().num_elements() * y.dtype.size();
    let waiting = before + outputs.iter().map(bytes).sum::<usize>();
    let due = waiting >= UNSUBMITTED;
    WAITING.set(Some(if due { 0 } else { waiting }));
    if let (true, Some(output)) = (due, outputs.first()) {
        // An error comes again where a result is read, and is answered for there.
        drop(output.client.flush());
    }
}

/// Where in its memory a handle's bytes lie.
fn place(handle: &Handle) -> std::ops::Range<u64> {
    let start = handle.offset_start.unwrap_or(0);
    start..start + handle.size_in_used()
}

/// The tensors' memory, of which what shares bytes with another is a copy: all bindings may be written,
/// as far as WebGPU knows, and of such it refuses two on the same bytes.
fn apart(tensors: &[&CubeTensor]) -> Vec<Handle> {
    let mut all: Vec<Handle> = Vec::with_capacity(tensors.len());
    for tensor in tensors {
        let handle = &tensor.handle;
        let shared = all.iter().any(|other| {
            let (a, b) = (place(handle), place(other));
            handle.memory.descriptor() == other.memory.descriptor()
                && a.start < b.end
                && b.start < a.end
        });
        all.push(if shared { tensor.copy().handle } else { handle.clone() });
    }
    all
}

/// Runs a shader whose bindings are `inputs`, `outputs` and `sizes`, in this order. Inputs may share
/// memory with each other.
pub fn launch<P: Program>(
    program: P,
    inputs: &[&CubeTensor],
    outputs: &[&CubeTensor],
    sizes: &[u32],
    grid: [u32; 3],
) {
    let Some(client) = outputs.first().map(|output| output.client.clone()) else { return };
    let info = SIZES.with_borrow_mut(|known| {
        if known.len() > MOST_SIZES {
            known.clear();
        }
        known
            .entry(sizes.to_vec())
            .or_insert_with(|| client.create_from_slice(bytemuck::cast_slice(sizes)))
            .clone()
    });
    let results = outputs.iter().map(|output| output.handle.clone());
    let tensors = apart(inputs).into_iter().chain(results).map(Handle::binding);
    let buffers = tensors.chain([info.binding()]).collect();
    let [x, y, z] = program.workgroup();
    let kernel = SourceKernel::new(Wgsl(program), CubeDim::new_3d(x, y, z));
    let count = CubeCount::Static(grid[0], grid[1], grid[2]);
    client.launch(Box::new(kernel), count, KernelArguments::new().with_buffers(buffers));
    submit_in_time(outputs);
}

/// As [`launch`], in as many dispatches as so much work takes, in multiplications and additions. To
/// the sizes each adds its place in the grid.
pub fn launch_parts<P: Program>(
    program: P,
    inputs: &[&CubeTensor],
    outputs: &[&CubeTensor],
    sizes: &[u32],
    grid: [u32; 3],
    work: u64,
) {
    for Part { first, grid } in parts(grid, work) {
        launch(program.clone(), inputs, outputs, &[sizes, &first].concat(), grid);
    }
}

/// Memory for a result, next to `like`.
pub fn output(like: &CubeTensor, shape: impl Into<Shape>) -> CubeTensor {
    output_of(like, shape, DType::F32)
}

/// The same for results of another type.
pub fn output_of(like: &CubeTensor, shape: impl Into<Shape>, dtype: DType) -> CubeTensor {
    let shape = shape.into();
    let memory = like.client.empty(shape.num_elements() * dtype.size());
    CubeTensor::new_contiguous(like.client.clone(), like.device.clone(), shape, memory, dtype)
}

/// The kernels as programs.
macro_rules! programs {
    ($($kernel:ty),* $(,)?) => {
        $(impl Program for $kernel {
            fn wgsl(&self) -> String {
                <$kernel>::wgsl(self)
            }

            fn workgroup(&self) -> [u32; 3] {
                <$kernel>::workgroup(self)
            }
        })*
    };
}

programs!(Matmul, Conv, WeightGradient, Pack, Unpack, Widen, Attention, Norm, Elementwise);
