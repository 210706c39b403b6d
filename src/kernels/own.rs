//! Buffers of their own for a GPU's tensors.

use burn::backend::Dispatch;
use burn::tensor::Tensor;

use super::ops::Kernels;

/// While this lives, tensors that are made on the device have buffers of their own.
#[derive(Debug)]
pub struct OwnBuffers(Tensor<1>);

/// Gives each tensor that is made on the device of `near` a buffer of its size, which goes back to the
/// device with the tensor, for as long as the result lives. Elsewhere than on a GPU nothing changes.
///
/// A pool's page is worth its time where the same sizes come again and again, as in the steps of a
/// picture. A training step has hundreds of sizes, and in a browser a small tensor that stays takes any
/// free page, however large, so that the work that comes needs another one (`cubecl-server` 0.11,
/// `exclusive_pool.rs`): the pool grew to several times what was in use.
pub fn own_buffers(near: &Tensor<1>) -> OwnBuffers {
    switch(near, true);
    OwnBuffers(near.clone())
}

impl Drop for OwnBuffers {
    fn drop(&mut self) {
        switch(&self.0, false);
    }
}

fn switch(near: &Tensor<1>, own: bool) {
    let near = near.clone().into_dispatch();
    drop(Dispatch::kernel_own_buffers(near, own));
}
