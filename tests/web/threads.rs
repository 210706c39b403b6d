//! Threads of the CPU backend, started as the page starts them.

use std::collections::BTreeSet;

use burn::tensor::{Device, Tensor};
use js_sys::{Function, Object, Promise, Reflect};
use lorakeet::kernels::cpu::threads;
use lorakeet::web::{thread_material, threads_ready};
use lorakeet::{kernels, layers};
use wasm_bindgen::prelude::*;
use wasm_bindgen_futures::JsFuture;
use wasm_bindgen_test::{console_log, wasm_bindgen_test};

use super::{cpu, values};

#[wasm_bindgen(module = "/web/threads.js")]
extern "C" {
    #[wasm_bindgen(js_name = startThreads)]
    fn start_threads(wasm: &Object, count: usize, start: &Function) -> Promise;
}

const THREADS: usize = 3;

async fn start() {
    lorakeet::web::prepare();
    let wasm = Object::new();
    let material = Closure::<dyn Fn() -> JsValue>::new(|| thread_material().unwrap());
    let ready = Closure::<dyn Fn(usize, bool)>::new(threads_ready);
    Reflect::set(&wasm, &"threadMaterial".into(), &material.into_js_value()).unwrap();
    Reflect::set(&wasm, &"threadsReady".into(), &ready.into_js_value()).unwrap();
    let script = js_sys::encode_uri_component(include_str!("../../web/thread.js"));
    let start = Function::new_with_args(
        "name",
        // what is encoded has no backtick
        &format!("return new Worker(`data:text/javascript,{script}`, {{ type: 'module', name }})"),
    );
    let count = JsFuture::from(start_threads(&wasm, THREADS, &start)).await.unwrap();
    assert_eq!(count.as_f64(), Some(THREADS as f64), "see the console");
    assert_eq!(threads::count(), THREADS);
}

/// Random, and the same every time.
fn tensor<const D: usize>(dims: [usize; D], device: &Device) -> Tensor<D> {
    let count = dims.iter().product::<usize>();
    let numbers: Vec<f32> = (0..count).map(|i| (i as f32 * 0.7313).sin()).collect();
    Tensor::<1>::from_floats(&numbers[..], device).reshape(dims)
}

/// Every kernel there and back, on sizes that are shared.
async fn everything(device: &Device) -> Vec<Vec<f32>> {
    let device = &device.clone().autodiff();
    let mut results = Vec::new();
    let mut note = async |input: Tensor<1>, f: &dyn Fn(Tensor<1>) -> Tensor<1>| {
        let input = input.require_grad();
        let output = f(input.clone());
        let gradients = output.clone().mul(output.clone()).sum().backward();
        results.push(values(output.inner()).await);
        results.push(values(input.grad(&gradients).unwrap()).await);
    };
    let weight = tensor([320, 160], device);
    note(tensor([300 * 160], device), &|x| {
        kernels::linear(x.reshape([300, 160]), weight.clone(), None).flatten(0, 1)
    })
    .await;
    for stride in [1, 2] {
        let weight = tensor([48, 32, 3, 3], device);
        note(tensor([2 * 32 * 33 * 31], device), &|x| {
            let x = x.reshape([2, 32, 33, 31]);
            kernels::conv2d(x, weight.clone(), None, stride, (1, 1)).flatten(0, 3)
        })
        .await;
        let input = tensor([2, 32, 33, 31], device);
        note(tensor([48 * 32 * 9], device), &|w| {
            let weight = w.reshape([48, 32, 3, 3]);
            kernels::conv2d(input.clone(), weight, None, stride, (1, 1)).flatten(0, 3)
        })
        .await;
    }
    let keys = tensor([1, 77, 160], device);
    note(tensor([300 * 160], device), &|x| {
        let q = x.reshape([1, 300, 160]);
        let y = kernels::attention(q.clone(), q.clone(), q, 4, true);
        kernels::attention(y, keys.clone(), keys.clone(), 4, false).flatten(0, 2)
    })
    .await;
    let (gain, shift) = (tensor([64], device), tensor([64], device));
    note(tensor([2 * 64 * 900], device), &|x| {
        let x = x.reshape([2, 64, 30, 30]);
        let y = kernels::group_norm(x, gain.clone(), shift.clone(), 32, 1e-5, true);
        let y = kernels::layer_norm(y.reshape([1800, 64]), gain.clone(), shift.clone(), 1e-5);
        kernels::geglu(kernels::silu(y)).flatten(0, 1)
    })
    .await;
    results
}

#[wasm_bindgen_test]
async fn threads_change_nothing_but_the_time() {
    let device = cpu();
    assert!(kernels::serve(kernels::Operation::Linear, &tensor([1], &device)));
    let alone = everything(&device).await;
    start().await;
    // Often, since what goes wrong between threads goes wrong now and then.
    for round in 0..20 {
        let together = everything(&device).await;
        for (i, (one, many)) in alone.iter().zip(&together).enumerate() {
            assert!(one == many, "round {round}, result {i}");
            assert!(one.iter().all(|x| x.is_finite()) && one.iter().any(|x| *x != 0.0));
        }
    }
    let _ = layers::checks(&device);

    // Each thread has memory of its own: who does a part leaves its address.
    let mut who = BTreeSet::new();
    let mut shares = 0;
    while who.len() < THREADS && shares < 1_000_000 {
        let mut marks = vec![0.0; 64];
        let split = threads::Split::new(&mut marks);
        threads::share(64, 1, |part, scratch| {
            let mark = scratch.as_ptr() as usize as u32;
            // SAFETY: one element for each part.
            let element = unsafe { split.piece(part, 1) };
            element[0] = f32::from_bits(mark);
        });
        assert!(marks.iter().all(|mark| mark.to_bits() != 0));
        who.extend(marks.iter().map(|mark| mark.to_bits()));
        shares += 1;
    }
    console_log!("{} threads took part after {shares} times", who.len());
    assert_eq!(who.len(), THREADS);
    threads_ready(0, true);
}
