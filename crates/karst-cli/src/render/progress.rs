//! Progress bars on standard error. Hidden where bars have no place; the calls stay the same.

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// Redraws a second: often enough to look alive, too seldom to cost anything.
const REDRAWS_PER_SECOND: u8 = 8;

fn bar(length: u64, template: &str) -> ProgressBar {
    let target = match super::bars() {
        true => ProgressDrawTarget::stderr_with_hz(REDRAWS_PER_SECOND),
        false => ProgressDrawTarget::hidden(),
    };
    let style =
        ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
    ProgressBar::with_draw_target(Some(length), target).with_style(style.progress_chars("=> "))
}

const FILE: &str = "[{bar:30}] {percent:>3}% of {total_bytes}  {msg}  eta {eta}";
const COUNT: &str = "[{bar:30}] {human_pos}/{human_len}  {per_sec}  eta {eta}";
const SECONDS: &str = "[{bar:30}] {pos}/{len} s  {msg}";

/// Of a file of this size, with what else there is to say as its message.
pub(crate) fn of_file(bytes: u64) -> ProgressBar {
    bar(bytes, FILE)
}

/// Of a known number of things.
pub(crate) fn of_count(total: u64) -> ProgressBar {
    bar(total, COUNT)
}

/// Of a measurement of so many seconds.
pub(crate) fn of_seconds(seconds: u64) -> ProgressBar {
    bar(seconds, SECONDS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_template_is_one_the_library_understands() {
        // One that is not would silently fall back to the library's own.
        for template in [FILE, COUNT, SECONDS] {
            let style = ProgressStyle::with_template(template);
            assert!(style.is_ok(), "{template}: {:?}", style.err());
        }
    }

    #[test]
    fn a_hidden_bar_still_counts() {
        // Tests have no terminal, so this one is hidden.
        let bar = of_count(10);
        bar.inc(3);
        assert!(bar.is_hidden());
        assert_eq!(bar.position(), 3);
    }
}
