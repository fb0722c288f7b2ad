//! The program: hands the arguments to the door and returns its exit code.

/// A build that has nothing to do is mostly small allocations.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> std::process::ExitCode {
    llamake::cli::main()
}
