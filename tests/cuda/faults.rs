//! What the host build must find: barriers that are missing or that not all threads reach, memory
//! that is not theirs, parameters that are not those of the kernel.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use llamake::train::kernels::gemm::launch::TokenBlocks;
use llamake::train::kernels::launch::{Accelerator, Argument, Array, Fault};
use llamake::train::kernels::rms_norm::launch::Read;
use llamake::train::kernels::{Sink, conformance, gemm, rms_norm};

use super::shim::{Shim, files, kernels_folder};
use super::{cpu, numbers, room, to};

const BARRIER: &str = "__syncthreads();";

/// Places of the barriers in a file of kernels.
fn barriers(file: &str) -> Vec<usize> {
    let text = fs::read_to_string(kernels_folder().join(file)).unwrap();
    text.match_indices(BARRIER).map(|(at, _)| at).collect()
}

/// Copies what `file` needs and leaves out the barrier at a place of `broken`.
fn plant(folder: &Path, file: &str, broken: &str, barrier: usize) {
    for part in files(&kernels_folder(), "cuh") {
        fs::copy(&part, folder.join(part.file_name().unwrap())).unwrap();
    }
    fs::copy(kernels_folder().join(file), folder.join(file)).unwrap();
    let mut text = fs::read_to_string(folder.join(broken)).unwrap();
    text.replace_range(barrier..barrier + BARRIER.len(), "");
    fs::write(folder.join(broken), text).unwrap();
}

/// Whether an operation gives other bits for some order of threads once a barrier is left out.
fn is_found(
    [file, broken]: [&str; 2],
    barrier: usize,
    expected: &[f32],
    run: &dyn Fn(&Arc<dyn Accelerator>) -> Array<f32>,
) -> bool {
    let folder = tempfile::tempdir().unwrap();
    plant(folder.path(), file, broken, barrier);
    let bits = |x: &[f32]| x.iter().map(|x| x.to_bits()).collect::<Vec<_>>();
    (1..=4).any(|seed| {
        let on = Shim::with_folder(seed, folder.path());
        bits(&run(&on).read().unwrap()) != bits(expected)
    })
}

#[test]
fn every_missing_barrier_of_a_norm_s_gradient_is_found() {
    let (m, d, rows) = (2600, 40, std::iter::once(0..2600).collect::<Vec<_>>());
    let (x, dy, inv) = (numbers("x", m * d), numbers("dy", m * d), numbers("inv", m));
    let mut dw = vec![0.0; d];
    rms_norm::grad_weight(&cpu(), &dy, &x, &inv, &rows, &mut dw);
    let run = |on: &Arc<dyn Accelerator>| {
        let (dy, x, inv) = (to(on, &dy), to(on, &x), to(on, &inv));
        let (blocks, mut found) =
            (TokenBlocks::new(on, &rows, m).unwrap(), Array::zeros(on, d).unwrap());
        let read = Read { dy: dy.all(), x: x.all(), inv_rms: inv.all() };
        rms_norm::launch::grad_weight(&**on, read, &blocks, found.all_mut()).unwrap();
        found
    };
    let barriers = barriers("rms_norm.cu");
    assert!(!barriers.is_empty());
    for at in barriers {
        assert!(is_found(["rms_norm.cu"; 2], at, &dw, &run), "the barrier at byte {at}");
    }
}

#[test]
fn a_missing_barrier_of_a_product_is_found() {
    let [m, k, n] = [70, 600, 40];
    let (x, w, mut y) = (numbers("x", m * k), numbers("w", n * k), vec![0.0; m * n]);
    gemm::linear(&cpu(), &x, &w, &mut y, [m, k, n]);
    let run = |on: &Arc<dyn Accelerator>| {
        let (x, w, mut found) = (to(on, &x), to(on, &w), room(on, m * n));
        let (read, into) = ((x.all(), w.all()), found.all_mut());
        gemm::launch::linear(&**on, read.0, read.1, into, [m, k, n], Sink::Write).unwrap();
        found
    };
    let barriers = barriers("product.cuh");
    assert!(!barriers.is_empty());
    for at in barriers {
        assert!(is_found(["gemm.cu", "product.cuh"], at, &y, &run), "the barrier at byte {at}");
    }
}

#[test]
fn an_accelerator_with_other_bits_is_found_out() {
    let on = Shim::new(3);
    assert!(conformance::differing(&on, &cpu()).unwrap().is_empty());
    // A card that takes products in another order.
    let folder = tempfile::tempdir().unwrap();
    for part in files(&kernels_folder(), "cuh") {
        fs::copy(&part, folder.path().join(part.file_name().unwrap())).unwrap();
    }
    let text = fs::read_to_string(kernels_folder().join("swiglu.cu")).unwrap();
    let exact = "(g[at] * exact_sigmoid(g[at])) * u[at]";
    assert!(text.contains(exact));
    let reordered = "g[at] * (exact_sigmoid(g[at]) * u[at])";
    fs::write(folder.path().join("swiglu.cu"), text.replace(exact, reordered)).unwrap();
    let on = Shim::with_folder(3, folder.path());
    assert_eq!(conformance::differing(&on, &cpu()).unwrap(), ["gates"]);
}

/// Kernels that are wrong, each in its own way.
const WRONG: &str = r#"
extern "C" __global__ void some_wait(float* x) {
    if (threadIdx.x < 40) __syncthreads();
    x[threadIdx.x] = 1.0f;
}
extern "C" __global__ void two_places(float* x) {
    if (threadIdx.x < 32)
        __syncthreads();
    else
        __syncthreads();
    x[threadIdx.x] = 1.0f;
}
extern "C" __global__ void half_a_warp(float* x) {
    if (threadIdx.x < 16) x[threadIdx.x] = __shfl_xor_sync(0xFFFFFFFFu, 1.0f, 1);
}
extern "C" __global__ void too_much(float* x) {
    extern __shared__ float4 shared[];
    reinterpret_cast<float*>(shared)[threadIdx.x] = 1.0f;
    x[threadIdx.x] = 1.0f;
}
extern "C" __global__ void never_set(float* x) {
    __shared__ float once[64];
    if (threadIdx.x > 0) once[threadIdx.x] = 1.0f;
    __syncthreads();
    x[threadIdx.x] = once[threadIdx.x];
}
extern "C" __global__ void beside(float* x) { x[threadIdx.x + 1] = 1.0f; }
"#;

fn launch_wrong(kernel: &'static str, shared: u32) -> (Result<(), Fault>, Vec<f32>) {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("wrong.cu"), WRONG).unwrap();
    let on = Shim::with_folder(1, folder.path());
    let x: Array<f32> = Array::zeros(&on, 64).unwrap();
    let done = on.launch(kernel, [1; 3], [64, 1, 1], shared, &[x.all().into()]);
    (done, x.read().unwrap())
}

#[test]
fn barriers_that_not_all_threads_reach_are_told() {
    for kernel in ["some_wait", "two_places", "half_a_warp"] {
        let told = launch_wrong(kernel, 0).0.unwrap_err().message;
        assert!(told.contains("a barrier that not all threads reach"), "{kernel}: {told}");
    }
}

#[test]
fn shared_memory_is_new_to_every_block_and_has_an_end() {
    assert!(launch_wrong("too_much", 256).0.is_ok());
    let told = launch_wrong("too_much", 252).0.unwrap_err().message;
    assert!(told.contains("wrote behind its 252 bytes of shared memory"), "{told}");
    let numbers = launch_wrong("never_set", 0).1;
    assert!(numbers[0].is_nan() && numbers[1..].iter().all(|x| *x == 1.0));
}

#[test]
#[should_panic(expected = "a kernel wrote beside an array")]
fn memory_beside_an_array_is_guarded() {
    launch_wrong("beside", 0).0.unwrap();
}

#[test]
fn parameters_that_are_not_the_kernel_s_and_blocks_that_no_gpu_starts_are_told() {
    let on = Shim::new(1);
    let fault = |block, arguments: &[Argument]| {
        on.launch("swiglu_forward", [1; 3], block, 0, arguments).unwrap_err().message
    };
    let told = fault([32, 1, 1], &[1u32.into(), 1.0f32.into()]);
    assert!(told.contains("declared as `pppl` and given as `uf`"), "{told}");
    let x: Array<f32> = Array::zeros(&on, 1).unwrap();
    let arguments = [x.all().into(), x.all().into(), x.all().into(), 0u64.into()];
    let told = fault([2048, 1, 1], &arguments);
    assert!(told.contains("no GPU starts 1 x 1 x 1 blocks of 2048 threads"), "{told}");
}
