//! The `hks` command.

use std::process::ExitCode;

fn main() -> ExitCode {
    hks::cli::main()
}
