//! What the driver cannot do, in words: one function a sentence. Knows no recipe, so it does not
//! say which settings would help.

use cudarc::cublaslt::result::CublasError;
use cudarc::driver::result::DriverError;
use cudarc::driver::sys::CUresult;

use super::super::launch::Fault;

fn fault(message: impl Into<String>, remedy: &str) -> Fault {
    Fault::new(message).remedy(remedy)
}

/// The library of the driver is not found.
pub fn no_driver() -> Fault {
    let message = "there is no driver of NVIDIA on this machine";
    fault(message, "install it, so that `libcuda.so.1` is found, or use the CPU")
}

/// The driver is older than the release that compiled the kernels.
pub fn old_driver(knows: [u32; 2], needs: [u32; 2]) -> Fault {
    let [knows, needs] = [knows, needs].map(|[major, minor]| format!("CUDA {major}.{minor}"));
    let message = format!("the driver knows {knows}, and the kernels are of {needs}");
    fault(message, "install a newer driver, or build llamake with an older CUDA toolkit")
}

/// The driver is there and finds nothing to drive.
pub fn no_gpu() -> Fault {
    let message = "the driver finds no GPU";
    fault(message, "see that `nvidia-smi` lists one and `CUDA_VISIBLE_DEVICES` does not hide it")
}

/// What the driver says when it is asked what there is.
pub fn of_driver(error: DriverError) -> Fault {
    match error.0 {
        CUresult::CUDA_ERROR_STUB_LIBRARY => {
            let message = "the `libcuda.so` that is found first is a stub, which drives nothing";
            fault(message, "take its folder out of `LD_LIBRARY_PATH`")
        }
        CUresult::CUDA_ERROR_NO_DEVICE => no_gpu(),
        _ => Fault::new(format!("the driver: {}", said(error))),
    }
}

/// What the driver says of one GPU while it works.
pub fn of_gpu(index: usize, error: DriverError) -> Fault {
    let message = format!("`cuda:{index}`: {}", said(error));
    let remedy = match error.0 {
        CUresult::CUDA_ERROR_UNSUPPORTED_PTX_VERSION | CUresult::CUDA_ERROR_NO_BINARY_FOR_GPU => {
            Some("install a driver of the CUDA toolkit that llamake was built with, or a newer one")
        }
        CUresult::CUDA_ERROR_ILLEGAL_ADDRESS | CUresult::CUDA_ERROR_LAUNCH_FAILED => {
            Some("this is a fault of llamake itself or of the card; please report it")
        }
        _ => None,
    };
    Fault { remedy: remedy.map(str::to_string), ..Fault::new(message) }
}

/// What a GPU computes differs from what the processor does.
pub fn other_bits(index: usize, operations: &[&str]) -> Fault {
    let operations = operations.join("`, `");
    let message = format!("`cuda:{index}` gives other bits than the processor for `{operations}`");
    fault(message, "use the CPU, and report it with the names of the card and of its driver")
}

/// More memory was asked than a GPU has free.
pub fn out_of_memory(index: usize, asked: usize, free: usize, total: usize) -> Fault {
    let amount = |bytes: usize| match bytes as f64 / f64::from(1 << 20) {
        mib if mib < 1024.0 => format!("{mib:.1} MiB"),
        mib => format!("{:.1} GiB", mib / 1024.0),
    };
    let [asked, free, total] = [asked, free, total].map(amount);
    let message = format!("`cuda:{index}` has {free} of its {total} free, and needs {asked} more");
    let remedy = "see with `nvidia-smi` what else is on it, or give the stage less to keep";
    Fault { lacks_memory: true, ..fault(message, remedy) }
}

/// The host has no memory that can stay where it is.
pub fn no_pages(bytes: usize, Fault { message, .. }: Fault) -> Fault {
    let mib = bytes as f64 / f64::from(1 << 20);
    let message = format!("{mib:.1} MiB of pinned memory of the host cannot be had: {message}");
    fault(message, "raise `page_budget`, so that more stays on the GPU, or free memory")
}

/// No file of kernels has this one.
pub fn no_kernel(name: &str) -> Fault {
    let message = format!("this llamake has no kernel `{name}`");
    fault(message, "this is a fault of llamake itself; please report it")
}

/// The library of products is not found.
pub fn no_products() -> Fault {
    let message = "there is no cuBLASLt on this machine, which products in 16 bits need";
    let remedy = "install the CUDA toolkit, or `pip install nvidia-cublas` and name the folder of \
                  `libcublasLt.so.13` in `LD_LIBRARY_PATH`";
    fault(message, remedy)
}

/// What the library of products says.
pub fn of_products(index: usize, error: CublasError) -> Fault {
    Fault::new(format!("`cuda:{index}`: cuBLASLt says {:?}", error.0))
}

/// An error in the driver's own words.
fn said(error: DriverError) -> String {
    match error.error_string() {
        Ok(words) => words.to_string_lossy().into_owned(),
        Err(_) => format!("error {}", error.0 as u32),
    }
}
