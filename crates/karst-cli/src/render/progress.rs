//! Progress bars on standard error. Hidden where bars have no place; the calls stay the same.

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// Redraws a second: often enough to look alive, too seldom to cost anything.
const REDRAWS_PER_SECOND: u8 = 8;

fn bar(length: Option<u64>, template: &str) -> ProgressBar {
    let target = match super::bars() {
        true => ProgressDrawTarget::stderr_with_hz(REDRAWS_PER_SECOND),
        false => ProgressDrawTarget::hidden(),
    };
    let style =
        ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
    ProgressBar::with_draw_target(length, target).with_style(style.progress_chars("=> "))
}

/// Of a file of this size, with what else there is to say as its message.
pub(crate) fn of_file(bytes: u64) -> ProgressBar {
    bar(
        Some(bytes),
        "[{bar:30}] {percent:>3}% of {total_bytes}  {msg}  eta {eta}",
    )
}

/// Of a known number of things.
pub(crate) fn of_count(total: u64) -> ProgressBar {
    bar(
        Some(total),
        "[{bar:30}] {human_pos}/{human_len}  {per_sec}  {msg}  eta {eta}",
    )
}

/// Of a measurement of so many seconds.
pub(crate) fn of_seconds(seconds: u64) -> ProgressBar {
    bar(Some(seconds), "[{bar:30}] {pos}/{len} s  {msg}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_template_is_one_the_library_understands() {
        // A template that is not falls back silently; its message would then be missing.
        for bar in [of_file(10), of_count(10), of_seconds(10)] {
            bar.set_message("m");
            bar.inc(1);
            assert_eq!(bar.position(), 1);
        }
        for template in ["{bar:30} {percent:>3} {total_bytes} {msg} {eta} {human_pos} {human_len}"]
        {
            assert!(ProgressStyle::with_template(template).is_ok());
        }
    }
}
