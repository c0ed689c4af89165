//! `harborctl completion`

use clap::{Args, CommandFactory};
use clap_complete::{Shell, generate};

use crate::cli::Cli;
use crate::failure::Failure;
use crate::output::Output;

const EXAMPLES: &str = "\
Examples:
  source <(harborctl completion bash)
  harborctl completion zsh > \"${fpath[1]}/_harborctl\"
  harborctl completion fish > ~/.config/fish/completions/harborctl.fish";

/// Arguments of `harborctl completion`.
#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct CompletionArgs {
    /// Shell to complete words in
    shell: Shell,
}

impl CompletionArgs {
    /// Writes the script.
    pub(crate) fn run(self, output: &Output) -> Result<(), Failure> {
        let mut script = Vec::new();
        generate(self.shell, &mut Cli::command(), "harborctl", &mut script);
        output.write(&String::from_utf8_lossy(&script))
    }
}
