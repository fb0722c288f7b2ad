//! The program: hands the arguments to the door and returns its exit code.

fn main() -> std::process::ExitCode {
    llamake::cli::main()
}
