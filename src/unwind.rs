//! Panics of libraries that decode data from outside: contained as errors of that data, and not reported as bugs.

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};

thread_local! {
    static CONTAINED: Cell<bool> = const { Cell::new(false) };
}

/// Calls `decode` and returns the message of its panic as an error. What `decode` has changed must not be used again
/// after that.
///
/// For decoders of other crates alone, which panic where a length or a type in damaged data cannot be: data must never
/// look like a bug of this program.
pub(crate) fn contained<T>(decode: impl FnOnce() -> T) -> Result<T, String> {
    let was_contained = CONTAINED.replace(true);
    let result = catch_unwind(AssertUnwindSafe(decode));
    CONTAINED.set(was_contained);
    result.map_err(|panic| match panic.downcast::<String>() {
        Ok(text) => *text,
        Err(panic) => panic.downcast_ref::<&str>().map_or_else(|| "unknown contents".into(), |text| (*text).into()),
    })
}

/// Returns true if a panic of this thread is contained, so that the panic hook has nothing to report.
pub(crate) fn is_contained() -> bool {
    CONTAINED.get()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_becomes_its_message() {
        assert_eq!(contained(|| 1), Ok(1));
        let inner = || {
            assert!(is_contained());
            let _ = contained(|| ());
            assert!(is_contained(), "the inner call does not end the outer one");
            let at = [0u8; 1].len();
            panic!("no buffer at {at}")
        };
        assert_eq!(contained::<()>(inner), Err("no buffer at 1".into()));
        assert_eq!(contained::<()>(|| panic!("plain")), Err("plain".into()));
        assert!(!is_contained());
    }
}
