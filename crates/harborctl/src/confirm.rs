//! Asks before what cannot be undone.

use std::io::{self, BufRead, IsTerminal, Write};

use clap::Args;

use crate::failure::Failure;

/// Whether to ask first.
#[derive(Args, Clone, Copy, Default)]
pub(crate) struct YesArgs {
    /// Do not ask first; needed where there is no terminal to ask on
    #[arg(long, short)]
    yes: bool,
}

impl YesArgs {
    /// Goes on only if somebody wants it.
    ///
    /// # Errors
    /// Nobody said yes, or there is nobody to ask.
    pub(crate) fn confirm(self, question: &str) -> Result<(), Failure> {
        if self.yes {
            return Ok(());
        }
        if !(io::stdin().is_terminal() && io::stderr().is_terminal()) {
            let text = "this cannot be undone; there is no terminal to ask on, so it needs --yes";
            return Err(Failure::Usage(text.to_owned()));
        }
        if ask(question, &mut io::stdin().lock(), &mut io::stderr().lock())? {
            return Ok(());
        }
        Err(Failure::Unfulfilled("nothing was done".to_owned()))
    }
}

/// Whether the answer is yes. No answer is none.
fn ask(question: &str, answers: &mut impl BufRead, terminal: &mut impl Write) -> Result<bool, io::Error> {
    write!(terminal, "{question} This cannot be undone. [y/N] ")?;
    terminal.flush()?;
    let mut answer = String::new();
    answers.read_line(&mut answer)?;
    let answer = answer.trim();
    Ok(answer.eq_ignore_ascii_case("y") || answer.eq_ignore_ascii_case("yes"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_yes_is_yes() {
        let check = |answer: &str, expected: bool| {
            let mut terminal = Vec::new();
            assert_eq!(
                ask("Remove it?", &mut answer.as_bytes(), &mut terminal).unwrap(),
                expected,
                "{answer}"
            );
            assert_eq!(terminal, b"Remove it? This cannot be undone. [y/N] ");
        };
        check("y\n", true);
        check(" YES \n", true);
        check("n\n", false);
        check("yes please\n", false);
        check("\n", false);
        check("", false);
    }
}
