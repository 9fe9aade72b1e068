//! Turns: of equal steps that are to be done at the same time, one is done, and the others find it in the cache.

use std::collections::BTreeSet;
use std::sync::{Condvar, Mutex, PoisonError};

use super::Key;

/// The keys of the steps that are being done.
#[derive(Debug, Default)]
pub struct Turns {
    taken: Mutex<BTreeSet<String>>,
    ended: Condvar,
}

/// The right to do a step, until the value is dropped.
#[derive(Debug)]
pub struct Turn<'a> {
    turns: &'a Turns,
    key: String,
}

impl Turns {
    /// Waits until nobody is doing the step.
    pub fn take(&self, key: &Key) -> Turn<'_> {
        let key = key.hex().to_owned();
        let taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        let mut taken =
            self.ended.wait_while(taken, |taken| taken.contains(&key)).unwrap_or_else(PoisonError::into_inner);
        taken.insert(key.clone());
        drop(taken);
        Turn { turns: self, key }
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.turns.taken.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.key);
        self.turns.ended.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::thread;
    use std::time::Duration;

    use super::*;

    #[test]
    fn equal_steps_wait_for_each_other_and_others_do_not() {
        let (turns, inside) = (Turns::default(), AtomicUsize::new(0));
        let (a, b) = (Key::builder("a").finish(), Key::builder("b").finish());
        let _other = turns.take(&b);
        thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    let _turn = turns.take(&a);
                    assert_eq!(inside.fetch_add(1, Ordering::SeqCst), 0);
                    thread::sleep(Duration::from_millis(5));
                    inside.fetch_sub(1, Ordering::SeqCst);
                });
            }
        });
        assert_eq!(turns.taken.lock().unwrap().len(), 1);
    }
}
